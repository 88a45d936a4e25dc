//! The real binary as a child process, with a data folder of its own on the disk of the build.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secure::keys::PublicKey;
use serde_json::Value;
use sim::device::Trust;
use sim::identity::Identity;

use crate::Outcome;

const BINARY: &str = env!("CARGO_BIN_EXE_cloudchamber");
const OWNER: &str = "bench@example.org";
/// Clock ticks of `/proc/PID/stat` in a second: 100 on every Linux that is in use.
const TICKS_PER_S: f64 = 100.0;
/// A server is at rest that used less than a fiftieth of this time.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(20);

/// A data folder with server keys and one account.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
    /// A token of the account.
    pub(crate) token: String,
    /// The server's public keys.
    pub(crate) server_keys: Vec<PublicKey>,
    /// The same, as a device has them.
    pub(crate) trust: Trust,
}

impl Folder {
    pub(crate) fn new() -> Outcome<Self> {
        // Not the system's folder for temporary files, which may be in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let data = dir.path().to_string_lossy().into_owned();
        run(&["keys", "server", "--data", &data], "")?;
        run(&["user", "add", OWNER, "--password-stdin", "--data", &data], "correct horse\n")?;
        let token = run(&["token", "create", OWNER, "--data", &data], "")?.trim().to_owned();
        let server_keys = vec![public_key(dir.path(), "ec")?, public_key(dir.path(), "rsa")?];
        let trust = Trust::new(server_keys.iter().cloned())?;
        Ok(Self { dir, token, server_keys, trust })
    }

    /// Registers devices of the account.
    pub(crate) fn register(&self, devices: impl Iterator<Item = Identity>) -> Outcome {
        let path = self.dir.path().join("devices.jsonl");
        let mut file = BufWriter::new(File::create(&path)?);
        for device in devices {
            writeln!(file, "{}", device.registration()?)?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        let (path, data) = (path.to_string_lossy(), self.dir.path().to_string_lossy());
        run(&["device", "import", &path, "--owner", OWNER, "--data", &data], "")?;
        Ok(())
    }

    /// Starts a server on free ports.
    pub(crate) fn serve(&self) -> Outcome<Server> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        self.serve_at(Ports { udp: any, tcp: any, http: any })
    }

    /// Starts a server on these ports.
    pub(crate) fn serve_at(&self, ports: Ports) -> Outcome<Server> {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--ready-json", "--data"]).arg(self.dir.path());
        start(command, ports)
    }

    /// Starts this very binary as a server, which counts or does not.
    pub(crate) fn serve_counting(&self, counts: bool) -> Outcome<Server> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(self.dir.path());
        if !counts {
            command.arg("--without-counting");
        }
        start(command, Ports { udp: any, tcp: any, http: any })
    }
}

/// Starts a server that tells its addresses in one line.
fn start(mut command: Command, ports: Ports) -> Outcome<Server> {
    let mut child = command
        .env("CLOUDCHAMBER_UDP__LISTEN", ports.udp.to_string())
        .env("CLOUDCHAMBER_TCP__LISTEN", ports.tcp.to_string())
        .env("CLOUDCHAMBER_HTTP__LISTEN", ports.http.to_string())
        .env("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0")
        .env("CLOUDCHAMBER_LIMITS__EXEMPT", "127.0.0.0/8")
        .env("CLOUDCHAMBER_LOG__FILTER", "error")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no standard output")?;
    let mut server = Server { child, ports };
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line)?;
    let address = |key: &str| -> Outcome<SocketAddr> {
        Ok(ready[key].as_str().ok_or("no address")?.parse()?)
    };
    server.ports = Ports { udp: address("udp")?, tcp: address("tcp")?, http: address("http")? };
    Ok(server)
}

/// Runs a command of the binary to its end.
fn run(args: &[&str], input: &str) -> Outcome<String> {
    let mut child = Command::new(BINARY)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{args:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn public_key(data: &Path, kind: &str) -> Outcome<PublicKey> {
    let pem = std::fs::read(data.join(format!("keys/server-{kind}.pub.pem")))?;
    Ok(PublicKey::parse(&pem)?)
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Ports {
    pub(crate) fn udp(&self) -> Outcome<SocketAddrV4> {
        match self.udp {
            SocketAddr::V4(address) => Ok(address),
            SocketAddr::V6(_) => Err("the bench needs IPv4".into()),
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) ports: Ports,
}

impl Server {
    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold blanks; user and system time are the 12th and 13th
        // field behind it.
        let (_, fields) = stat.rsplit_once(')').ok_or("no process name")?;
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_S))
    }

    /// Waits until it has nothing to do any more: what was said is folded into the database later.
    pub(crate) fn wait_for_rest(&self) -> Outcome {
        let begun = Instant::now();
        let mut before = self.cpu()?;
        while begun.elapsed() < REST_MAX {
            std::thread::sleep(REST);
            let cpu = self.cpu()?;
            if cpu - before <= REST / 50 {
                return Ok(());
            }
            before = cpu;
        }
        Ok(())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        let kib = line.split_whitespace().nth(1).ok_or("no number")?.parse::<f64>()?;
        Ok(kib * 1024.0)
    }

    /// SIGKILL; gives the ports to start the next one on.
    pub(crate) fn kill(mut self) -> Outcome<Ports> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.ports)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
