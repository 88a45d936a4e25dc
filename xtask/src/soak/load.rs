//! What is done to the server meanwhile: devices of three generations that come and go, calls and reads,
//! streams that come and go, console pages, updates, a webhook.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{FORM, NOTHING, ask, get, open};
use crate::shell::Outcome;

/// Where the load goes.
pub(super) struct Target {
    /// The program that was built.
    pub(super) binary: PathBuf,
    pub(super) data: PathBuf,
    /// Address of the HTTP API.
    pub(super) http: String,
    pub(super) udp_port: String,
    pub(super) tcp_port: String,
    /// Whose the devices are, and a token of that account.
    pub(super) owner: &'static str,
    pub(super) token: String,
    pub(super) devices: u32,
}

/// How often each kind of work succeeded.
#[derive(Debug, Default)]
pub(super) struct Done {
    fleets: AtomicU64,
    calls: AtomicU64,
    reads: AtomicU64,
    streams: AtomicU64,
    pages: AtomicU64,
    updates: AtomicU64,
    events: AtomicU64,
    webhooks: AtomicU64,
}

/// The load, until it is stopped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Done>,
    threads: Vec<JoinHandle<()>>,
}

/// A fleet lives shorter than a minute: what it leaves behind must go.
const FLEET_S: &str = "50";
/// How long a stream is read.
const STREAM: Duration = Duration::from_secs(7);
/// Name of the event that the webhook is for.
const HOOKED: &str = "soak/hook";
const PAGES: [&str; 6] = [
    "/",
    "/console/devices",
    "/console/usage",
    "/console/integrations",
    "/console/server",
    "/v1/devices",
];
/// What the devices of the newest generation are, in words and as a number.
const PLATFORM: (&str, u64) = ("argon", 12);

impl Load {
    pub(super) fn start(target: Target) -> Outcome<Self> {
        let image = image(&target)?;
        let sink = TcpListener::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
        add_webhook(&target, &sink)?;
        let mut load = Self { stop: Arc::default(), done: Arc::default(), threads: Vec::new() };
        let target = Arc::new(target);
        let second = Duration::from_secs(1);
        load.answer_webhooks(sink);
        load.keep_fleets(Arc::clone(&target));
        load.repeat(&target, second, |done| &done.calls, call);
        load.repeat(&target, second, |done| &done.reads, read);
        for _ in 0..3 {
            load.repeat(&target, second, |done| &done.streams, follow);
        }
        load.repeat(&target, second, |done| &done.pages, turn_pages);
        load.repeat(
            &target,
            20 * second,
            |done| &done.updates,
            move |target| update(target, &image),
        );
        load.repeat(&target, 2 * second, |done| &done.events, cause_webhook);
        Ok(load)
    }

    /// Ends it; fails if some kind of work never succeeded.
    pub(super) fn stop(self) -> Outcome<String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a thread of the load panicked")?;
        }
        self.done.summary()
    }

    /// Does something again and again, in a thread of its own; what fails (a device that is away) is not
    /// counted.
    fn repeat(
        &mut self,
        target: &Arc<Target>,
        pause: Duration,
        counter: fn(&Done) -> &AtomicU64,
        work: impl Fn(&Target) -> Outcome + Send + 'static,
    ) {
        let (stop, done, target) =
            (Arc::clone(&self.stop), Arc::clone(&self.done), Arc::clone(target));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if work(&target).is_ok() {
                    counter(&done).fetch_add(1, Ordering::Relaxed);
                }
                rest(pause, &stop);
            }
        }));
    }

    fn keep_fleets(&mut self, target: Arc<Target>) {
        let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut fleet) = fleet(&target) {
                    while matches!(fleet.try_wait(), Ok(None)) && !stop.load(Ordering::Relaxed) {
                        rest(Duration::from_millis(500), &stop);
                    }
                    let _ = fleet.kill();
                    let ended = fleet.wait();
                    let is_well = ended.is_ok_and(|status| status.success());
                    done.fleets.fetch_add(u64::from(is_well), Ordering::Relaxed);
                }
                rest(Duration::from_secs(1), &stop);
            }
        }));
    }

    /// Answers each request for the webhook.
    fn answer_webhooks(&mut self, sink: TcpListener) {
        let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
        self.threads.push(std::thread::spawn(move || {
            if sink.set_nonblocking(true).is_err() {
                return;
            }
            while !stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = sink.accept() else {
                    rest(Duration::from_millis(50), &stop);
                    continue;
                };
                done.webhooks.fetch_add(u64::from(answer(stream).is_ok()), Ordering::Relaxed);
            }
        }));
    }
}

impl Done {
    fn summary(&self) -> Outcome<String> {
        let Self { fleets, calls, reads, streams, pages, updates, events, webhooks } = self;
        let told = [
            ("fleets", fleets),
            ("calls", calls),
            ("reads", reads),
            ("streams", streams),
            ("rounds of pages", pages),
            ("updates begun", updates),
            ("events of the API", events),
            ("webhook requests", webhooks),
        ];
        let told = told.map(|(name, count)| (name, count.load(Ordering::Relaxed)));
        let text = told.map(|(name, count)| format!("{count} {name}")).join(", ");
        match told.iter().find(|(_, count)| *count == 0) {
            None => Ok(text),
            Some((name, _)) => Err(format!("no {name} at all: {text}")),
        }
    }
}

fn rest(span: Duration, stop: &AtomicBool) {
    let end = Instant::now() + span;
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(span.min(Duration::from_millis(200)));
    }
}

fn fleet(target: &Target) -> Outcome<Child> {
    let mut sim = Command::new(&target.binary);
    let devices = target.devices.to_string();
    sim.args(["sim", "--devices", &devices, "--duration", FLEET_S, "--rate", "0.2"]);
    sim.args(["--profile", "os6", "--profile", "os3", "--profile", "tcp", "--loss", "2"]);
    sim.args(["--roam-every", "15", "--reset-every", "20", "--owner", target.owner]);
    sim.args(["--udp-port", &target.udp_port, "--tcp-port", &target.tcp_port, "--data"]);
    sim.arg(&target.data).stdout(Stdio::null()).stderr(Stdio::null());
    sim.spawn().map_err(|why| format!("{sim:?}: {why}"))
}

/// A device that is online, of a platform if one is given; another one each second.
fn device(target: &Target, platform: Option<u64>) -> Outcome<String> {
    let listed = get(&target.http, "/v1/devices", &target.token)?;
    let listed: Vec<Value> = serde_json::from_str(&listed).map_err(|why| why.to_string())?;
    let wanted = |device: &&Value| {
        device["online"] == true
            && platform.is_none_or(|platform| device["platform_id"] == platform)
    };
    let found: Vec<_> = listed.iter().filter(wanted).collect();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let turn = since.unwrap_or_default().as_secs() as usize % found.len().max(1);
    let id = found.get(turn).and_then(|device| device["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| "no device is online".to_owned())
}

fn call(target: &Target) -> Outcome {
    let path = format!("/v1/devices/{}/echo", device(target, None)?);
    succeeds(ask(&target.http, "POST", &path, &target.token, (FORM, b"arg=hello"))?)
}

fn read(target: &Target) -> Outcome {
    let path = format!("/v1/devices/{}/v_int", device(target, None)?);
    succeeds(ask(&target.http, "GET", &path, &target.token, NOTHING)?)
}

/// Reads the account's events for a while and goes away without a word.
fn follow(target: &Target) -> Outcome {
    let path = "/v1/devices/events";
    let mut stream = open(&target.http, "GET", path, &target.token, NOTHING)?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).map_err(|why| why.to_string())?;
    let (end, mut bytes, mut buffer) = (Instant::now() + STREAM, 0, [0; 16_384]);
    while Instant::now() < end {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the stream ended".into()),
            Ok(count) => bytes += count,
            // Quiet for a second.
            Err(_) => {}
        }
    }
    if bytes > 0 { Ok(()) } else { Err("nothing came".into()) }
}

fn turn_pages(target: &Target) -> Outcome {
    PAGES.iter().try_for_each(|page| get(&target.http, page, &target.token).map(drop))
}

fn image(target: &Target) -> Outcome<Vec<u8>> {
    let file = target.data.with_extension("bin");
    let mut make = Command::new(&target.binary);
    make.args(["firmware", "make"]).arg(&file);
    make.args(["--platform", PLATFORM.0, "--kib", "24"]).stdout(Stdio::null());
    crate::shell::run(&mut make)?;
    std::fs::read(&file).map_err(|why| format!("{}: {why}", file.display()))
}

fn update(target: &Target, image: &[u8]) -> Outcome {
    let path = format!("/v1/devices/{}", device(target, Some(PLATFORM.1))?);
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let body = [head.as_bytes(), image, b"\r\n--b--\r\n"].concat();
    let kind = "multipart/form-data; boundary=b";
    succeeds(ask(&target.http, "PUT", &path, &target.token, (kind, &body))?)
}

fn add_webhook(target: &Target, sink: &TcpListener) -> Outcome {
    let address = sink.local_addr().map_err(|why| why.to_string())?;
    let form = format!("event={HOOKED}&url=http%3A%2F%2F{address}%2F");
    succeeds(ask(&target.http, "POST", "/v1/webhooks", &target.token, (FORM, form.as_bytes()))?)
}

fn cause_webhook(target: &Target) -> Outcome {
    let form = format!("name={HOOKED}&data=now");
    let path = "/v1/devices/events";
    succeeds(ask(&target.http, "POST", path, &target.token, (FORM, form.as_bytes()))?)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let count = stream.read(&mut [0; 16_384])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")?;
    if count > 0 { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn succeeds((status, body): (u16, String)) -> Outcome {
    if (200..300).contains(&status) { Ok(()) } else { Err(format!("{status} {body}")) }
}

/// Runs a command with a line for its input and gives what it says.
pub(super) fn pipe(binary: &Path, args: &[&str], data: &Path, line: &str) -> Outcome<String> {
    let failed = |why: std::io::Error| format!("{}: {why}", binary.display());
    let mut command = Command::new(binary);
    command.args(args).arg("--data").arg(data).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    child.stdin.take().ok_or("no input")?.write_all(line.as_bytes()).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(format!("{command:?} failed ({})", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
