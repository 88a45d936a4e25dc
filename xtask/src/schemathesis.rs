//! `cargo xtask schemathesis`: requests made from the API's description, against the real binary.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::shell::{self, Outcome, command, root, run, say};

const VERSION: &str = "schemathesis==4.32.5";
/// What every answer is held to. Whether a request that the description does not allow is refused is
/// not asked: the API takes numbers as text and leaves unknown fields alone, as its clients expect.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// Streams have no end, some operations end the token that asks, and `/health` says 503 of a machine
/// that is too busy to write.
const LEFT_OUT: &str =
    "^get_.*events|^(delete_access_tokens(_current)?|delete_user|put_user|get_health)$";
/// An answer that takes longer is a hang: calls of devices end after 28 s.
const PATIENCE_S: &str = "35";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests tried for each operation and kind of test.
    #[arg(long, default_value = "25")]
    examples: u32,
    /// The seed of the requests.
    #[arg(long, default_value = "1")]
    seed: u64,
}

pub(crate) fn execute(args: &Args) -> Outcome {
    let folder = root().join("target").join("schemathesis");
    let program = install(&folder)?;
    run(&mut command("cargo", &["build", "--bin", "cloudchamber"]))?;
    let server = Server::start()?;
    let settings = server.known_things(&folder)?;
    // With names that do not exist first, with a device and a product that do then.
    for config in [None, Some(settings)] {
        // It keeps what it found where it runs.
        run(attack(&program, &server, config.as_deref(), args).current_dir(&folder))?;
    }
    say("schemathesis found nothing");
    Ok(())
}

/// A virtual environment of its own, made once.
fn install(folder: &Path) -> Outcome<PathBuf> {
    let program = folder.join("bin/schemathesis");
    if !program.exists() {
        let path = folder.to_string_lossy();
        run(&mut command("python3", &["-m", "venv", &path]))?;
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", VERSION]))?;
    }
    Ok(program)
}

fn attack(program: &Path, server: &Server, config: Option<&Path>, args: &Args) -> Command {
    let mut attack = Command::new(program);
    if let Some(config) = config {
        attack.arg("--config-file").arg(config);
    }
    attack
        .args(["run", &format!("{}/openapi.json", server.text("url"))])
        .args(["--header", &format!("Authorization: Bearer {}", server.demo("token"))])
        .args(["--checks", CHECKS, "--exclude-operation-id-regex", LEFT_OUT])
        .args(["--max-examples", &args.examples.to_string(), "--seed", &args.seed.to_string()])
        .args(["--request-timeout", PATIENCE_S, "--no-color", "--suppress-health-check", "all"]);
    attack
}

/// A demo with its limits off; killed when dropped.
struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    fn start() -> Outcome<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let binary = target.unwrap_or_else(|| root().join("target")).join("debug/cloudchamber");
        let mut child = Command::new(&binary)
            .args(["serve", "--demo", "--ready-json"])
            .env("CLOUDCHAMBER_UDP__LISTEN", "127.0.0.1:0")
            .env("CLOUDCHAMBER_TCP__LISTEN", "127.0.0.1:0")
            .env("CLOUDCHAMBER_HTTP__LISTEN", "127.0.0.1:0")
            .env("CLOUDCHAMBER_LIMITS__EXEMPT", "127.0.0.0/8")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| format!("{}: {why}", binary.display()))?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("no standard output")?;
        let read = BufReader::new(output).read_line(&mut line);
        let mut server = Self { child, ready: Value::Null };
        read.map_err(|why| why.to_string())?;
        server.ready = serde_json::from_str(&line).map_err(|why| why.to_string())?;
        Ok(server)
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_default()
    }

    fn demo(&self, key: &str) -> &str {
        self.ready["demo"][key].as_str().unwrap_or_default()
    }

    /// Makes a product; gives the settings that name it and a device.
    fn known_things(&self, folder: &Path) -> Outcome<PathBuf> {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--header",
                &format!("Authorization: Bearer {}", self.demo("token")),
            ])
            .args(["--data", "name=Attacked&platform_id=13"])
            .arg(format!("{}/v1/products", self.text("url")))
            .output()
            .map_err(|why| format!("curl: {why}"))?;
        let made: Value = serde_json::from_slice(&output.stdout).map_err(|why| why.to_string())?;
        let device = self.ready["demo"]["devices"][0]["id"].as_str().unwrap_or_default();
        let product = &made["product"]["id"];
        let text = format!(
            "[parameters]\n\"path.device\" = \"{device}\"\n\"path.product\" = \"{product}\"\n"
        );
        let path = folder.join("known.toml");
        std::fs::write(&path, text).map_err(|why| why.to_string())?;
        shell::note(&format!("device {device}, product {product}"));
        Ok(path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
