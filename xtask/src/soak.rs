//! `cargo xtask soak`: a server under mixed load whose devices come and go, and what it holds after it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{self, Outcome, command, note, root, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Simulated devices.
    #[arg(long, default_value_t = 200)]
    devices: u32,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    after: Duration,
    rss_kib: u64,
    threads: u64,
    files: u64,
    data_kib: u64,
}

/// Whose the devices are.
const OWNER: &str = "soak@example.org";
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Streams and tables find their size in the beginning: a sixth of the time, at most this.
const WARM_UP_MAX: Duration = Duration::from_secs(600);
/// Threads and files that may come and go between two looks.
const SLACK: u64 = 8;

/// Release, as in use.
pub(crate) fn run(args: &Args) -> Outcome {
    shell::run(&mut command("cargo", &["build", "--release", "--bin", "cloudchamber"]))?;
    let data = root().join("target/soak");
    drop(std::fs::remove_dir_all(&data));
    let binary = binary();
    let mut user = Command::new(&binary);
    user.args(["user", "add", OWNER, "--password-stdin", "--data"]).arg(&data);
    pipe(&mut user, "correct horse\n")?;
    let mut serve = Command::new(&binary);
    let mut server = start(serve.args(["serve", "--ready-json", "--data"]).arg(&data))?;
    let held = soak(args, &binary, &mut server, &data);
    stop(server.0);
    let held = held?;
    judge(&held)
}

fn binary() -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    target.unwrap_or_else(|| root().join("target")).join("release/cloudchamber")
}

/// Runs a command with a line for its input.
fn pipe(command: &mut Command, line: &str) -> Outcome {
    let failed = |why: std::io::Error| format!("{why}");
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
    child.stdin.take().ok_or("no input")?.write_all(line.as_bytes()).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed ({status})")) }
}

fn start(command: &mut Command) -> Outcome<(Child, serde_json::Value)> {
    for part in ["UDP", "TCP", "HTTP"] {
        command.env(format!("CLOUDCHAMBER_{part}__LISTEN"), "127.0.0.1:0");
    }
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|why| format!("{command:?}: {why}"))?;
    let mut line = String::new();
    let output = child.stdout.take().ok_or("no output")?;
    BufReader::new(output).read_line(&mut line).map_err(|why| why.to_string())?;
    let ready = serde_json::from_str(&line).map_err(|why| format!("{why}: {line}"))?;
    Ok((child, ready))
}

fn soak(
    args: &Args,
    binary: &Path,
    server: &mut (Child, serde_json::Value),
    data: &Path,
) -> Outcome<Vec<Held>> {
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let began = Instant::now();
    let mut held = Vec::new();
    let mut fleet: Option<Child> = None;
    while Instant::now() < end {
        // Each fleet lives a little shorter than a minute; what it leaves behind must go.
        if fleet.as_mut().is_none_or(|fleet| !matches!(fleet.try_wait(), Ok(None))) {
            fleet = Some(load(args, binary, &server.1, data)?);
        }
        std::thread::sleep(LOOK);
        let now = look(server.0.id(), data, began.elapsed())?;
        note(&format!("{now:?}"));
        held.push(now);
    }
    fleet.into_iter().for_each(stop);
    Ok(held)
}

fn load(args: &Args, binary: &Path, ready: &serde_json::Value, data: &Path) -> Outcome<Child> {
    let text = |key: &str| ready[key].as_str().unwrap_or_default();
    let port = |key: &str| text(key).rsplit(':').next().unwrap_or_default().to_owned();
    let mut sim = Command::new(binary);
    sim.args(["sim", "--devices", &args.devices.to_string(), "--duration", "50", "--rate", "0.5"]);
    sim.args(["--profile", "os6", "--profile", "os3", "--profile", "tcp", "--loss", "2"]);
    sim.args(["--roam-every", "15", "--reset-every", "20", "--owner", OWNER]);
    sim.args(["--udp-port", &port("udp"), "--tcp-port", &port("tcp"), "--data"]).arg(data);
    sim.stdout(Stdio::null()).stderr(Stdio::null());
    sim.spawn().map_err(|why| format!("{sim:?}: {why}"))
}

fn look(pid: u32, data: &Path, after: Duration) -> Outcome<Held> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.map_err(|why| format!("the server ended: {why}"))?;
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    let files =
        std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64);
    let (rss_kib, threads) = (number("VmRSS:"), number("Threads:"));
    Ok(Held { after, rss_kib, threads, files, data_kib: size_of(data) / 1024 })
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// The slope is that of a line through all looks behind the warm-up.
fn judge(held: &[Held]) -> Outcome {
    let last = held.last().ok_or("it was not looked at once")?;
    let warm = (last.after / 6).min(WARM_UP_MAX);
    let flat: Vec<_> = held.iter().filter(|held| held.after >= warm).collect();
    let first = flat.first().ok_or("too short")?;
    let slope = slope(&flat);
    say(&format!(
        "rss {} -> {} KiB ({slope:.0} KiB an hour), threads {} -> {}, files {} -> {}, data {} -> {} KiB",
        first.rss_kib,
        last.rss_kib,
        first.threads,
        last.threads,
        first.files,
        last.files,
        first.data_kib,
        last.data_kib
    ));
    if last.threads > first.threads + SLACK || last.files > first.files + SLACK * 8 {
        return Err("threads or files grow".into());
    }
    // Minutes tell no slope of an hour: only a leak that shows at once is one then.
    let bound = if last.after >= Duration::from_secs(3000) { 1024.0 } else { 256.0 * 1024.0 };
    if slope > bound { Err(format!("memory grows: {slope:.0} KiB an hour")) } else { Ok(()) }
}

fn slope(held: &[&Held]) -> f64 {
    let hours = |held: &Held| held.after.as_secs_f64() / 3600.0;
    let count = held.len() as f64;
    let mean_x = held.iter().map(|held| hours(held)).sum::<f64>() / count;
    let mean_y = held.iter().map(|held| held.rss_kib as f64).sum::<f64>() / count;
    let over: f64 =
        held.iter().map(|held| (hours(held) - mean_x) * (held.rss_kib as f64 - mean_y)).sum();
    let under: f64 = held.iter().map(|held| (hours(held) - mean_x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

fn stop(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
