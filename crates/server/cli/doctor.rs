//! `cloudchamber doctor`: finds what keeps a server from working, and says what to do.

mod firmware;
mod https;

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::config::{Config, Overrides};
use crate::open_files::NEEDED;
use crate::output::{say, say_json};
use crate::server_keys;

/// How long a probe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// 2026-01-01: an earlier clock is not set.
const CLOCK_MIN_S: u64 = 1_767_225_600;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Settings file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Data folder; overrides `data.dir`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Write the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Failure,
}

pub(crate) fn run(args: Args) -> Result<(), String> {
    let overrides = Overrides { data: args.data.clone() };
    let findings = match Config::load(args.config.as_deref(), &overrides) {
        Ok(config) => examine(&config),
        Err(why) => vec![failure("settings", why.to_string())],
    };
    let failures = findings.iter().filter(|finding| finding.level == Level::Failure).count();
    if args.json {
        say_json(&findings);
    } else {
        findings.iter().for_each(|finding| say(&as_line(finding)));
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} checks failed")) }
}

fn as_line(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Ok => "ok     ",
        Level::Warning => "warning",
        Level::Failure => "FAILED ",
    };
    format!("{mark}  {:14}  {}", finding.check, finding.text)
}

fn examine(config: &Config) -> Vec<Finding> {
    let data = &config.data.dir;
    let running = std::os::unix::net::UnixStream::connect(data.join("admin.sock")).is_ok();
    let mut findings = vec![ok("settings", "every key is known and every value makes sense")];
    findings.push(check_folder(data));
    findings.push(check_secrets(data));
    findings.push(check_keys(data));
    findings.push(check_clock());
    findings.push(check_buffers(config.udp.socket_buffer_bytes));
    findings.push(check_open_files());
    findings.push(check_core_dumps(config.node.core_dumps));
    if running {
        findings.push(ask_udp(config.udp.listen));
        findings.push(ask_tcp(config.tcp.listen));
        findings.push(match config.http.certificate() {
            Some(_) => https::ask(config.http.listen),
            None => ask_http(config.http.listen),
        });
        findings.push(firmware::check(data));
    } else {
        findings.push(warning(
            "server",
            format!("no server runs on {}: start it with `cloudchamber serve`", data.display()),
        ));
        findings.push(can_bind(
            "udp.listen",
            UdpSocket::bind(config.udp.listen).map(drop),
            config.udp.listen,
        ));
        findings.push(can_bind(
            "tcp.listen",
            std::net::TcpListener::bind(config.tcp.listen).map(drop),
            config.tcp.listen,
        ));
        findings.push(can_bind(
            "http.listen",
            std::net::TcpListener::bind(config.http.listen).map(drop),
            config.http.listen,
        ));
    }
    findings.push(check_device_port(config.udp.listen));
    findings
}

fn check_folder(data: &Path) -> Finding {
    if !data.exists() {
        return warning(
            "data folder",
            format!("{} does not exist yet: the first `serve` makes it", data.display()),
        );
    }
    let probe = data.join(".doctor");
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => ok("data folder", &format!("{} can be written", data.display())),
        Err(why) => failure(
            "data folder",
            format!(
                "{} cannot be written: {why}. Give it to the user that runs the server",
                data.display()
            ),
        ),
    }
}

/// What holds session keys and hashes of passwords.
const SECRETS: [&str; 4] = ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "journal"];

fn check_secrets(data: &Path) -> Finding {
    const CHECK: &str = "secrets";
    if !data.exists() {
        return ok(CHECK, "nothing to read yet");
    }
    let open = SECRETS.map(|name| data.join(name)).into_iter().find(|path| is_open(path));
    match open.filter(|_| is_open(data)) {
        Some(path) => failure(
            CHECK,
            format!(
                "others may read {}, which holds the keys of sessions: chmod -R go= {}",
                path.display(),
                data.display()
            ),
        ),
        None => ok(CHECK, "tables and journal can be read by their owner alone"),
    }
}

/// Whether anybody but its owner may do anything with it.
fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & server_keys::OTHERS != 0)
}

fn check_keys(data: &Path) -> Finding {
    if !server_keys::exist(data) {
        return warning("server keys", "none yet: `serve` makes them, or take existing ones with `cloudchamber keys server --ec-key FILE --rsa-key FILE`".into());
    }
    if let Err(why) = server_keys::load_or_create(data) {
        return failure("server keys", why.to_string());
    }
    match server_keys::open_files(data).into_iter().next() {
        Some(path) => {
            failure("server keys", format!("others may read {0}: chmod 600 {0}", path.display()))
        }
        None => ok("server keys", "they can be read, by their owner alone"),
    }
}

fn check_clock() -> Finding {
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < CLOCK_MIN_S {
        return failure("clock", "it shows a time before 2026: set it (timedatectl), devices take their time from this server".into());
    }
    ok("clock", "it shows a plausible time")
}

fn check_buffers(wanted: usize) -> Finding {
    let granted = ["rmem_max", "wmem_max"].iter().filter_map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    });
    match granted.min() {
        Some(granted) if granted < wanted => warning(
            "socket buffers",
            format!(
                "the kernel grants {granted} bytes of {wanted}: in a reconnect storm datagrams are lost. sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}"
            ),
        ),
        Some(_) => ok("socket buffers", "the kernel grants what is asked for"),
        None => warning("socket buffers", "this system does not tell its limit".into()),
    }
}

fn check_open_files() -> Finding {
    use nix::sys::resource::{Resource, getrlimit};
    match getrlimit(Resource::RLIMIT_NOFILE) {
        // The server takes all that it may.
        Ok((_, hard)) if hard < NEEDED => warning(
            "open files",
            format!(
                "the limit is {hard}: each connection needs one. Raise it with `ulimit -Hn {NEEDED}` or LimitNOFILE= of the service"
            ),
        ),
        Ok((_, hard)) => ok("open files", &format!("up to {hard}")),
        Err(why) => warning("open files", format!("the limit cannot be read: {why}")),
    }
}

fn check_core_dumps(allowed: bool) -> Finding {
    if !allowed {
        return ok("core dumps", "the server switches them off when it starts");
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let text = format!(
        "node.core_dumps is on: a crash writes the server's keys to where the system keeps images ({})",
        pattern.trim()
    );
    warning("core dumps", text)
}

fn check_device_port(udp: SocketAddr) -> Finding {
    match udp.port() {
        5684 => ok("device port", "udp 5684, the one that Device OS from 1.1.0 on always uses"),
        port => warning(
            "device port",
            format!(
                "udp {port}: Device OS from 1.1.0 on ignores the port in its key image and sends to 5684. Forward 5684 to this port, or listen there"
            ),
        ),
    }
}

/// A ClientHello without a cookie must be answered with a HelloVerifyRequest (handshake type 3).
fn ask_udp(listen: SocketAddr) -> Finding {
    let target = reachable(listen);
    let answered = (|| {
        let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&sim::probe::client_hello(), target)?;
        let mut answer = [0; 512];
        socket.recv(&mut answer).map(|length| length > 13 && answer[0] == 22 && answer[13] == 3)
    })();
    match answered {
        Ok(true) => ok("udp answers", &format!("{target} asked for a cookie")),
        Ok(false) => failure(
            "udp answers",
            format!("{target} answers, but not with DTLS: another program has the port"),
        ),
        Err(why) => failure(
            "udp answers",
            format!("{target} does not answer ({why}): look for a firewall rule"),
        ),
    }
}

fn ask_tcp(listen: SocketAddr) -> Finding {
    let target = reachable(listen);
    let answered = TcpStream::connect_timeout(&target, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut [0; 40])
    });
    match answered {
        Ok(()) => ok("tcp answers", &format!("{target} sent its nonce")),
        Err(why) => failure(
            "tcp answers",
            format!(
                "{target} sends no nonce ({why}): look for a firewall rule, or another program on the port"
            ),
        ),
    }
}

fn ask_http(listen: SocketAddr) -> Finding {
    use std::io::Write;
    let target = reachable(listen);
    let answer = TcpStream::connect_timeout(&target, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /health HTTP/1.0\r\nHost: {target}\r\n\r\n")?;
        let mut text = String::new();
        stream.take(4096).read_to_string(&mut text)?;
        Ok(text)
    });
    match answer {
        Ok(text) if text.contains(" 200 ") => ok("http answers", &format!("{target} is well")),
        Ok(text) => failure(
            "http answers",
            format!("{target}: {}", text.lines().last().unwrap_or("no answer")),
        ),
        Err(why) => failure("http answers", format!("{target} does not answer: {why}")),
    }
}

/// Where a listening address is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        std::net::IpAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], listen.port())),
        std::net::IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, listen.port())),
    }
}

fn can_bind(check: &'static str, bound: std::io::Result<()>, address: SocketAddr) -> Finding {
    match bound {
        Ok(()) => ok(check, &format!("{address} is free")),
        Err(why) => failure(
            check,
            format!("{address}: {why}. Stop what listens there or choose another address"),
        ),
    }
}

fn ok(check: &'static str, text: &str) -> Finding {
    Finding { check, level: Level::Ok, text: text.to_owned() }
}

fn warning(check: &'static str, text: String) -> Finding {
    Finding { check, level: Level::Warning, text }
}

fn failure(check: &'static str, text: String) -> Finding {
    Finding { check, level: Level::Failure, text }
}
