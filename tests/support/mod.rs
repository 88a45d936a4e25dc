//! Runs the real binary for black-box tests: its own data folder, its own ports.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the parts it needs")]

pub mod browser;
pub mod conformance;
pub mod flash;
pub mod fleet;
pub mod folder;
pub mod live;
pub mod operated;
pub mod relay;
pub mod watch;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The built binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_cloudchamber");

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// What `--ready-json` said.
    pub ready: Value,
}

/// A call of the binary with free loopback ports in its environment.
pub fn cloudchamber(args: &[&str]) -> Command {
    // Measurements are made of a release build.
    let binary = std::env::var_os("TESTED_BINARY").unwrap_or_else(|| BINARY.into());
    let mut command = Command::new(binary);
    command
        .args(args)
        .env("CLOUDCHAMBER_UDP__LISTEN", "127.0.0.1:0")
        .env("CLOUDCHAMBER_TCP__LISTEN", "127.0.0.1:0")
        .env("CLOUDCHAMBER_HTTP__LISTEN", "127.0.0.1:0")
        .env_remove("RUST_LOG");
    command
}

/// Runs a command of the binary to its end.
pub fn run(args: &[&str], input: &str) -> Output {
    let mut child = cloudchamber(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).ok();
    child.wait_with_output().expect("the binary ends")
}

/// Runs a command that must succeed and gives its standard output.
pub fn run_ok(args: &[&str], input: &str) -> String {
    let output = run(args, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

impl Server {
    /// Starts `serve --ready-json` with more arguments and environment.
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut all = vec!["serve", "--ready-json"];
        all.extend(args);
        let mut child = cloudchamber(&all)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"));
        Self { child, ready }
    }

    /// A text of the ready line.
    pub fn text(&self, key: &str) -> String {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready)).to_owned()
    }

    /// The base URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.text("http"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no chance to write anything.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM, and the exit status.
    pub fn stop(mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.child.wait().expect("ended")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The workspace's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The papers that lie beside the checkout.
pub fn papers() -> PathBuf {
    let path = root().join("../shared");
    assert!(path.is_dir(), "the folder shared/ must lie beside the checkout");
    path
}

/// Runs a Node script with the clients of `tests/clients` and gives its output; the script must succeed.
pub fn node(script: &Path, environment: &[(&str, &str)]) -> String {
    let modules = root().join("tests/clients/node_modules");
    assert!(modules.is_dir(), "run `cargo xtask test` once, or `npm ci` in tests/clients");
    let mut child = Command::new("node")
        .arg(script)
        .env("NODE_PATH", modules)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    let status = child.wait().expect("ended");
    assert!(status.success(), "{} failed:\n{text}", script.display());
    text
}

/// A request of the API on a connection of its own; gives the status and the body.
pub fn http(method: &str, url: &str, token: &str, form: &str) -> (u16, String) {
    http_as("application/x-www-form-urlencoded", method, url, token, form)
}

/// The same with a body of another kind.
pub fn http_as(kind: &str, method: &str, url: &str, token: &str, body: &str) -> (u16, String) {
    let (host, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut stream = std::net::TcpStream::connect(host).expect("connected");
    let head = format!(
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}
