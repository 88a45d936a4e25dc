//! `cargo xtask soak`: a server under mixed load whose devices and readers come and go, and whether what it
//! holds grows.

mod held;
mod http;
mod load;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::held::{Held, judge};
use self::load::{Load, Target, pipe};
use crate::shell::{self, Outcome, command, note, root, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Simulated devices.
    #[arg(long, default_value_t = 100)]
    devices: u32,
    /// A program that was built before, instead of a release of what is here.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Whose the devices are.
const OWNER: &str = "soak@example.org";
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The short form: beside other tests.
const LIGHT: Args = Args { minutes: 3, devices: 20, binary: None };
/// Accounts that many devices fit into, callers that nothing holds up, a webhook to this machine.
const SETTINGS: [(&str, &str); 7] = [
    // Else only root could count its open files.
    ("NODE__CORE_DUMPS", "true"),
    ("UDP__LISTEN", "127.0.0.1:0"),
    ("TCP__LISTEN", "127.0.0.1:0"),
    ("HTTP__LISTEN", "127.0.0.1:0"),
    ("LIMITS__EXEMPT", "127.0.0.0/8"),
    ("WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true"),
    ("LOG__FILTER", "warn"),
];

/// Release, as in use.
pub(crate) fn run(args: &Args) -> Outcome {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            shell::run(&mut command("cargo", &["build", "--release", "--bin", "cloudchamber"]))?;
            built("release")
        }
    };
    let told = soak(args, binary, |held| note(&format!("{held:?}")))?;
    say(&told);
    Ok(())
}

/// Some minutes of it, lightly and in silence, with the program that tests use.
pub(crate) fn light() -> Outcome<String> {
    soak(&LIGHT, built("debug"), |_| {})
}

fn built(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root().join("target")).join(profile).join("cloudchamber")
}

/// A server, killed when dropped.
struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    fn start(binary: &Path, data: &Path) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.args(["serve", "--ready-json", "--data"]).arg(data);
        for (key, value) in SETTINGS {
            command.env(format!("CLOUDCHAMBER_{key}"), value);
        }
        let failed = |why: std::io::Error| format!("{}: {why}", binary.display());
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut server = Self { child, ready: Value::Null };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        server.ready = serde_json::from_str(&line).map_err(|why| format!("{why}: {line}"))?;
        Ok(server)
    }

    fn text(&self, key: &str) -> String {
        self.ready[key].as_str().unwrap_or_default().to_owned()
    }

    fn port(&self, key: &str) -> String {
        self.text(key).rsplit(':').next().unwrap_or_default().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn soak(args: &Args, binary: PathBuf, tell: impl Fn(&Held)) -> Outcome<String> {
    let name = format!("cloudchamber-soak-{}", std::process::id());
    let data = std::env::temp_dir().join(name);
    let told = soak_on(args, binary, &data, tell);
    drop(std::fs::remove_dir_all(&data));
    drop(std::fs::remove_file(data.with_extension("bin")));
    told
}

fn soak_on(args: &Args, binary: PathBuf, data: &Path, tell: impl Fn(&Held)) -> Outcome<String> {
    pipe(&binary, &["user", "add", OWNER, "--password-stdin"], data, "correct horse\n")?;
    pipe(&binary, &["plan", "set", OWNER, "unlimited"], data, "")?;
    let server = Server::start(&binary, data)?;
    let http = server.text("http");
    let load = Load::start(Target {
        token: pipe(&binary, &["token", "create", OWNER], data, "")?,
        binary,
        data: data.to_owned(),
        http: http.clone(),
        udp_port: server.port("udp"),
        tcp_port: server.port("tcp"),
        owner: OWNER,
        devices: args.devices,
    })?;
    let (began, mut held) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(60 * args.minutes) {
        std::thread::sleep(LOOK);
        let now = Held::look(server.child.id(), &http, data, began.elapsed())?;
        tell(&now);
        held.push(now);
    }
    let done = load.stop()?;
    Ok(format!("{}; meanwhile {done}", judge(&held)?))
}
