//! A server with healthy devices, and the measures that are taken of it while a case runs.
//!
//! With `HOSTILE_SECONDS` in the environment each phase takes so long and the rates are those of a
//! measurement; each case then prints one line of JSON for `cargo xtask hostile`.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use sim::device::profile::Generation;

use crate::elsewhere::{Load, burn, elsewhere};
use crate::healthy::{Healthy, SERIES, Waits, p99_ms};
use crate::support::Server;
use crate::support::folder::{Folder, Ports, identity};
use crate::support::watch::{let_metrics_settle, metric};

/// Longer than any answer on a loaded machine, shorter than a retransmission.
const ANSWERED: Duration = Duration::from_secs(4);
/// A case by itself.
const SHORT: Duration = Duration::from_millis(1200);
/// Milliseconds in which a device gains one publish.
pub(crate) const REFILL_MS: &str = "20";
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Metrics are exported once a second.
const EXPORTED: Duration = Duration::from_secs(10);
/// Devices of Device OS 6 that are registered; the first is the healthy one.
const DEVICES: u32 = 8;

/// What a case asserts.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Most that the resident memory may grow, in MiB.
    pub(crate) memory_mib: u64,
    /// The counter that moves, and what its labels contain.
    pub(crate) counter: (&'static str, &'static str),
    /// By how much at least, out of each 100 things sent.
    pub(crate) counted_percent: u64,
}

/// See the module.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) ports: Ports,
    pub(crate) token: String,
    /// Before the server, so that it ends first.
    healthy: Healthy,
    server: Server,
}

/// A folder with devices, and a token of their owner.
pub(crate) struct Place {
    pub(crate) folder: Folder,
    pub(crate) token: String,
}

impl Place {
    /// Made once; each case has a copy.
    pub(crate) fn new() -> Self {
        static FIRST: OnceLock<Place> = OnceLock::new();
        let first = FIRST.get_or_init(|| {
            let folder = Folder::new();
            let mut devices: Vec<_> =
                (1..=DEVICES).map(|index| identity(Generation::Os6, index)).collect();
            devices.extend([1, 2].map(|index| identity(Generation::Tcp, index)));
            devices.push(identity(Generation::Os3, 2));
            folder.register(&devices);
            let token = folder.token();
            Self { folder, token }
        });
        Self { folder: first.folder.copy(), token: first.token.clone() }
    }

    /// The settings of every case: no limit for the healthy callers, and one publish each 20 ms.
    pub(crate) fn environment() -> [(&'static str, &'static str); 3] {
        [
            ("CLOUDCHAMBER_PUBLISH__REFILL_MS", REFILL_MS),
            ("CLOUDCHAMBER_LIMITS__EXEMPT", "127.0.0.1/32"),
            ("RUST_LOG", "error"),
        ]
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let server = place.folder.serve_with(&Place::environment());
        Self::on(place, server)
    }

    /// On a server that runs already.
    pub(crate) fn on(place: Place, server: Server) -> Self {
        let Place { folder, token } = place;
        let ports = Ports::of(&server);
        let healthy = Healthy::start(&folder, &ports, &token);
        Self { folder, ports, token, healthy, server }
    }

    /// A counter as it is exported now.
    pub(crate) fn count(&self, (name, labels): (&str, &str)) -> u64 {
        metric(&self.ports.url(), name, labels)
    }

    /// Runs an attack, which gives how many things it sent, and looks at everything.
    pub(crate) fn run(&self, case: &Case, attack: impl FnOnce(Duration) -> u64 + Send) {
        let span = span();
        let counted = self.count(case.counter);
        let own = Load::begin();
        let (_, quiet) =
            self.healthy.during(|| std::thread::sleep(if measures() { span } else { LOOK }));
        let own = own.share();
        let memory = Memory::watch(self.server.pid());
        let (began, taken) = (Instant::now(), Load::begin());
        let (sent, mut attacked) = self.healthy.during(|| elsewhere(|| attack(span)));
        let rate = sent as f64 / began.elapsed().as_secs_f64();
        let taken = (taken.share() - own).max(0.0);
        let slowest = attacked.iter().flatten().max().copied().unwrap_or_default();
        let counted = self.await_count(case, counted, sent);
        let memory = memory.end();
        if measures() {
            let (_, burnt) = self.healthy.during(|| elsewhere(|| burn(rate, taken, span)));
            let after = resident_kib(self.server.pid());
            tell(
                case,
                Measured {
                    sent,
                    rate,
                    counted,
                    memory,
                    after,
                    waits: [quiet, burnt, attacked.clone()],
                },
            );
        }
        let p99: Vec<_> = attacked.iter_mut().map(|waits| p99_ms(waits)).collect();
        eprintln!(
            "{}: {sent} sent, {counted} counted, {memory:?}, p99 {p99:.1?} ms, slowest {slowest:?}",
            case.name
        );
        assert!(sent > 0, "{}: nothing was sent", case.name);
        assert!(slowest < ANSWERED, "{}: a healthy device waits {slowest:?}", case.name);
        let grown = memory.peak.saturating_sub(memory.before) / 1024;
        assert!(grown < case.memory_mib, "{}: {grown} MiB more", case.name);
    }

    /// Waits until the counter has moved as far as it must; gives how far.
    fn await_count(&self, case: &Case, before: u64, sent: u64) -> u64 {
        if measures() {
            let_metrics_settle();
        }
        let wanted = (sent * case.counted_percent / 100).max(1);
        let end = Instant::now() + EXPORTED;
        loop {
            let counted = self.count(case.counter) - before;
            if counted >= wanted {
                return counted;
            }
            assert!(Instant::now() < end, "{}: {counted} of {sent} counted", case.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the server in order.
    pub(crate) fn end(self) {
        drop(self.healthy);
        assert!(self.server.stop().success());
    }
}

fn seconds() -> Option<u64> {
    std::env::var("HOSTILE_SECONDS").ok()?.parse().ok()
}

/// Whether percentiles are measured.
pub(crate) fn measures() -> bool {
    seconds().is_some()
}

fn span() -> Duration {
    seconds().map_or(SHORT, Duration::from_secs)
}

/// So many a second: those of a measurement, or a tenth.
pub(crate) fn rate(measured: u64) -> u64 {
    if measures() { measured } else { (measured / 10).max(1) }
}

/// Things to send at a rate, evenly but for the kernel's timers.
pub(crate) struct Pace {
    began: Instant,
    span: Duration,
    per_second: f64,
    next: u64,
}

impl Pace {
    pub(crate) fn new(per_second: u64, span: Duration) -> Self {
        Self { began: Instant::now(), span, per_second: per_second as f64, next: 0 }
    }
}

impl Iterator for Pace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due = Duration::from_secs_f64(self.next as f64 / self.per_second);
        if due >= self.span {
            return None;
        }
        let early = due.saturating_sub(self.began.elapsed());
        if !early.is_zero() {
            std::thread::sleep(early.max(Duration::from_millis(1)));
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    before: u64,
    peak: u64,
}

struct Memory {
    before: u64,
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let before = resident_kib(pid);
        let (peak, stop) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&peak), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                seen.fetch_max(resident_kib(pid), Ordering::SeqCst);
                std::thread::sleep(LOOK);
            }
        });
        Self { before, peak, stop, thread }
    }

    fn end(self) -> Resident {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the server runs");
        Resident { before: self.before, peak: self.peak.load(Ordering::SeqCst) }
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

struct Measured {
    sent: u64,
    rate: f64,
    counted: u64,
    memory: Resident,
    after: u64,
    /// Quiet, beside the same traffic to nobody, under attack.
    waits: [Waits; 3],
}

/// One line for `cargo xtask hostile`.
fn tell(case: &Case, mut measured: Measured) {
    let p99 = measured.waits.each_mut().map(|phase| phase.each_mut().map(|waits| p99_ms(waits)));
    let line = json!({
        "case": case.name, "test": std::thread::current().name(), "sent": measured.sent, "rate": measured.rate,
        "counter": case.counter.0, "labels": case.counter.1, "counted": measured.counted,
        "memory_mib": case.memory_mib, "before_kib": measured.memory.before,
        "peak_kib": measured.memory.peak, "after_kib": measured.after,
        "series": SERIES, "quiet_ms": p99[0], "burner_ms": p99[1], "attacked_ms": p99[2],
    });
    let _ = writeln!(std::io::stdout(), "\nhostile: {line}");
}
