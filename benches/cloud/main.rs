//! What the cloud can do, as ratios to what the machine can do in the same minutes.
//!
//! `cargo xtask bench [FILTER] [--quick]`. The server is the real binary; it and the load share the
//! machine. Every ratio is the median of rounds in which the thing and its ceiling take turns.
//! `docs/performance.md` tells how each figure is made and what came out.

mod console;
mod devices;
mod echo;
mod handshakes;
mod load;
mod metering;
mod publish;
mod readers;
mod report;
mod restart;
mod server;
mod stream;
mod updates;
mod wire;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use devices::connect;
use echo::Echo;
use handshakes::{OPEN, Round, TCP_CLIENTS, tcp_identity};
use load::{Rate, closed_loop};
use publish::Publishers;
use readers::{Publisher, Readers};
use report::{BARS, Report, median, say};
use server::{Folder, Server};
use stream::Reader;
use wire::Wire;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Publishes a second of the open loop.
const PACE_PER_S: f64 = 4000.0;
/// Publishes a second to many readers, and how long the last of them may take.
const READ_PER_S: f64 = 50.0;
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What is measured while devices are updated.
const UPDATES: [&str; 2] = ["updates_publish_p99", "update_bytes"];

#[derive(Parser)]
struct Args {
    /// Only figures whose key contains this text.
    filter: Option<String>,
    /// Few devices and short rounds: shows that everything works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the server on this data folder.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// Be one that counts nothing.
    #[arg(long, hide = true, requires = "serve")]
    without_counting: bool,
}

/// How much of everything.
struct Scale {
    /// Devices of the small server.
    small: usize,
    /// Devices of the large one.
    large: usize,
    rounds: usize,
    /// Of each side of a round.
    span: Duration,
    open_loop: Duration,
    /// In a round.
    handshakes: usize,
    /// From the last connection to the measurement of memory. Answers are kept for 90 s, so that an
    /// idle device is one that was silent for longer.
    rest: Duration,
    restarts: usize,
    /// Event streams of one account, those that nobody reads, and for how long events are published.
    readers: usize,
    stuck: usize,
    stream: Duration,
    /// Of each side of a round with and without counting: long enough for sums to be written meanwhile.
    metering: Duration,
    /// How often each question about the list of devices is asked.
    console_rounds: usize,
    /// Devices that are updated, and as many others that publish once a second.
    updates: updates::Plan,
}

const FULL: Scale = Scale {
    small: 1000,
    large: 100_000,
    rounds: 5,
    span: Duration::from_secs(2),
    open_loop: Duration::from_secs(10),
    handshakes: 2000,
    rest: Duration::from_secs(95),
    restarts: 3,
    readers: 2000,
    stuck: 100,
    stream: Duration::from_secs(30),
    metering: Duration::from_secs(10),
    console_rounds: 100,
    updates: updates::Plan {
        devices: 1000,
        image_bytes: 256 << 10,
        settle: Duration::from_secs(15),
        span: Duration::from_secs(30),
    },
};

const QUICK: Scale = Scale {
    small: 200,
    large: 1000,
    rounds: 2,
    span: Duration::from_millis(300),
    open_loop: Duration::from_secs(1),
    handshakes: 200,
    rest: Duration::from_secs(1),
    restarts: 1,
    readers: 200,
    stuck: 10,
    stream: Duration::from_secs(2),
    metering: Duration::from_secs(2),
    console_rounds: 5,
    updates: updates::Plan {
        devices: 50,
        image_bytes: 64 << 10,
        settle: Duration::from_secs(5),
        span: Duration::from_secs(4),
    },
};

fn main() -> Outcome {
    let args = Args::parse();
    if let Some(data) = &args.serve {
        return metering::serve(data, !args.without_counting);
    }
    let scale = if args.quick { QUICK } else { FULL };
    let mut bench = Bench { scale, filter: args.filter, report: Report::default() };
    bench.run()?;
    bench.report.print()
}

struct Bench {
    scale: Scale,
    filter: Option<String>,
    report: Report,
}

/// A server with connected devices.
struct Side {
    folder: Folder,
    server: Server,
    wire: Wire,
    publishers: Publishers,
    reader: Reader,
}

impl Bench {
    fn run(&mut self) -> Outcome {
        let wants = |key: &str| self.filter.as_ref().is_none_or(|filter| key.contains(filter));
        if !BARS.iter().any(|(key, _)| wants(key)) {
            return Err("no figure has such a name".into());
        }
        let readers = ["sse_readers_loss", "sse_reader_bytes", "sse_writes_vs_ceiling"]
            .into_iter()
            .any(wants);
        let is_apart =
            |key: &str| key.starts_with("sse_") || key == "metering_cost" || UPDATES.contains(&key);
        let others = BARS.iter().any(|(key, _)| wants(key) && !is_apart(key));
        let large = ["console_devices_ms", "publish_flat", "session_bytes", "restart_s"]
            .into_iter()
            .any(wants);
        let updates = UPDATES.into_iter().any(wants);
        if readers {
            self.event_readers()?;
        }
        if self.wants("metering_cost") {
            self.metering_cost()?;
        }
        if updates {
            self.updates()?;
        }
        if !others {
            return Ok(());
        }
        let mut small = self.small_side()?;
        if self.wants("publish_vs_echo") {
            self.publish_vs_echo(&mut small)?;
        }
        if self.wants("publish_sse_p99_ms") {
            self.publish_sse(&mut small)?;
        }
        self.handshakes(&mut small)?;
        if large { self.large(small) } else { Ok(()) }
    }

    fn wants(&self, key: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| key.contains(filter))
    }

    fn small_side(&self) -> Outcome<Side> {
        let folder = Folder::new()?;
        let devices = (0..self.scale.small + OPEN).map(devices::identity);
        folder.register(devices.chain((0..TCP_CLIENTS).map(tcp_identity)))?;
        let server = folder.serve()?;
        Side::connect(folder, server, self.scale.small)
    }

    /// Two servers take turns; what one has to sum up is done before the other begins.
    fn metering_cost(&mut self) -> Outcome {
        let (mut with, mut without) = (self.counting_side(true)?, self.counting_side(false)?);
        let mut rounds = Vec::new();
        for round in 0..self.scale.rounds {
            let span = self.scale.metering;
            // Who begins takes turns, too.
            let (first, second) =
                if round % 2 == 0 { (&mut with, &mut without) } else { (&mut without, &mut with) };
            let (first, second) =
                (first.publish_until_rest(span)?, second.publish_until_rest(span)?);
            rounds.push(if round % 2 == 0 { (first, second) } else { (second, first) });
        }
        let micros = |cpu: Duration| format!("{:.1}", cpu.as_secs_f64() * 1e6);
        let cpu = |side: fn(&(metering::Side, metering::Side)) -> Duration| {
            micros(Duration::from_secs_f64(median(rounds.iter().map(|r| side(r).as_secs_f64()))))
        };
        let made_of = format!(
            "1 - {} with counting ÷ {} publishes/s without; {} and {} µs of a processor for each",
            thousands(rounds.iter().map(|(with, _)| with.per_s)),
            thousands(rounds.iter().map(|(_, without)| without.per_s)),
            cpu(|round| round.0.cpu),
            cpu(|round| round.1.cpu),
        );
        let cost = median(rounds.iter().map(|(with, without)| 1.0 - with.per_s / without.per_s));
        self.report.add("metering_cost", cost, made_of);
        Ok(())
    }

    fn counting_side(&self, counts: bool) -> Outcome<Side> {
        let folder = Folder::new()?;
        folder.register((0..self.scale.small).map(devices::identity))?;
        let server = folder.serve_counting(counts)?;
        Side::connect(folder, server, self.scale.small)
    }

    fn publish_vs_echo(&mut self, side: &mut Side) -> Outcome {
        let echo = Echo::start()?;
        let (mut mirror, mut wire) = (side.publishers.mirror(), Wire::new(echo.address)?);
        let mut rounds = Vec::new();
        side.reader.take();
        for _ in 0..self.scale.rounds {
            let ceiling = closed_loop(&mut wire, &mut mirror, self.scale.span)?;
            rounds.push((side.publish(self.scale.span)?, ceiling));
        }
        let seen = side.reader.take();
        let made_of = format!(
            "{} ÷ {} echoes/s; {} lost; the stream showed {} events, {} gaps",
            thousands(rounds.iter().map(|(rate, _)| rate.per_s)),
            thousands(rounds.iter().map(|(_, ceiling)| ceiling.per_s)),
            rounds.iter().map(|(rate, ceiling)| rate.lost + ceiling.lost).sum::<usize>(),
            seen.events,
            seen.gaps,
        );
        let ratios = rounds.iter().map(|(rate, ceiling)| rate.per_s / ceiling.per_s);
        self.report.add("publish_vs_echo", median(ratios), made_of);
        Ok(())
    }

    fn publish_sse(&mut self, side: &mut Side) -> Outcome {
        let Side { publishers, wire, reader, .. } = side;
        let span = self.scale.open_loop;
        publishers.open_loop(wire, PACE_PER_S, span / 5, reader.clock)?;
        reader.take();
        publishers.open_loop(wire, PACE_PER_S, span, reader.clock)?;
        let mut delays = reader.take().delays;
        delays.sort_unstable();
        let place = |share: f64| delays.get((delays.len() as f64 * share) as usize);
        let ms = |share: f64| place(share).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3);
        let published = PACE_PER_S * span.as_secs_f64();
        let made_of = format!(
            "{} of {published} events; p50 {:.2}, p90 {:.2}, p99.9 {:.2} ms",
            delays.len(),
            ms(0.5),
            ms(0.9),
            ms(0.999)
        );
        self.report.add("publish_sse_p99_ms", ms(0.99), made_of);
        Ok(())
    }

    /// One account's readers: those that read get everything, whatever those do that do not.
    fn event_readers(&mut self) -> Outcome {
        let (count, folder) = (self.scale.readers, Folder::new()?);
        let server = folder.serve()?;
        let (http, token) = (server.ports.http, folder.token.clone());
        let mut publisher = Publisher::connect(http, &token)?;
        publisher.publish()?;
        let empty = server.resident()?;
        let readers = Readers::open(http, &token, count)?;
        let warm = publisher.open_loop(READ_PER_S, Duration::from_secs(1))?;
        readers.wait_for(warm, READ_PATIENCE);
        let bytes = (server.resident()? - empty) / count as f64;
        self.report.add("sse_reader_bytes", bytes, format!("{count} readers"));
        let stuck: Vec<_> =
            (0..self.scale.stuck).map(|_| readers::open(http, &token)).collect::<Outcome<_>>()?;
        let before = readers.total();
        let sent = publisher.open_loop(READ_PER_S, self.scale.stream)?;
        readers.wait_for(warm + sent, READ_PATIENCE);
        let (due, read) = (sent * count, readers.total() - before);
        let made_of = format!(
            "{read} of {due} events at {READ_PER_S}/s, {} gaps told, {} more readers stuck",
            readers.gaps(),
            stuck.len()
        );
        self.report.add("sse_readers_loss", due.saturating_sub(read) as f64 / due as f64, made_of);
        self.writes(&mut publisher, &readers)
    }

    /// How fast the server may write before the slowest reader falls behind, against bare sends.
    fn writes(&mut self, publisher: &mut Publisher, readers: &Readers) -> Outcome {
        let (count, mut rounds) = (self.scale.readers, Vec::new());
        for _ in 0..self.scale.rounds {
            let ceiling = readers::ceiling(count, self.scale.span)?;
            let (sent, time) = publisher.closed_loop(readers, self.scale.span)?;
            rounds.push(((sent * count) as f64 / time.as_secs_f64(), ceiling));
        }
        let made_of = format!(
            "{} events/s to {count} readers ÷ {} sends/s to as many sockets",
            thousands(rounds.iter().map(|(rate, _)| *rate)),
            thousands(rounds.iter().map(|(_, ceiling)| *ceiling)),
        );
        let ratio = median(rounds.iter().map(|(rate, ceiling)| rate / ceiling));
        self.report.add("sse_writes_vs_ceiling", ratio, made_of);
        Ok(())
    }

    fn handshakes(&mut self, side: &mut Side) -> Outcome {
        let (count, first) = (self.scale.handshakes, self.scale.small);
        let (server, trust) = (&side.server, &side.folder.trust);
        let wire = &mut Wire::new(server.ports.udp()?)?;
        self.handshake("dtls_handshake_vs_arithmetic", server, || {
            handshakes::dtls(server, trust, wire, first, count)
        })?;
        self.handshake("tcp_handshake_vs_arithmetic", server, || {
            handshakes::tcp(server, trust, count / 2)
        })
    }

    fn handshake(
        &mut self,
        key: &'static str,
        server: &Server,
        mut round: impl FnMut() -> Outcome<Round>,
    ) -> Outcome {
        if !self.wants(key) {
            return Ok(());
        }
        server.wait_for_rest()?;
        let rounds: Vec<Round> =
            (0..self.scale.rounds).map(|_| round()).collect::<Result<_, _>>()?;
        let made_of = format!(
            "{} handshakes ÷ {} times the arithmetic in a second of a processor",
            thousands(rounds.iter().map(|round| round.per_cpu_s)),
            thousands(rounds.iter().map(|round| round.ceiling)),
        );
        let ratio = median(rounds.iter().map(|round| round.per_cpu_s / round.ceiling));
        self.report.add(key, ratio, made_of);
        Ok(())
    }

    /// Everything that needs the large server, which takes a minute to set up.
    fn large(&mut self, mut small: Side) -> Outcome {
        let folder = Folder::new()?;
        let empty = folder.serve()?.resident()?;
        say(&format!("registering {} devices", self.scale.large));
        folder.register((0..self.scale.large).map(devices::identity))?;
        let server = folder.serve()?;
        let registered = server.resident()?;
        let begun = Instant::now();
        let mut large = Side::connect(folder, server, self.scale.large)?;
        let per_s = self.scale.large as f64 / begun.elapsed().as_secs_f64();
        say(&format!("connected at {per_s:.0} devices/s"));
        if self.wants("session_bytes") {
            self.session_bytes(&large, empty, registered)?;
        }
        if self.wants("publish_flat") {
            self.publish_flat(&mut small, &mut large)?;
        }
        drop(small);
        if self.wants("console_devices_ms") {
            self.console_devices(&large)?;
        }
        if self.wants("restart_s") {
            self.restart(large)?;
        }
        Ok(())
    }

    fn session_bytes(&mut self, side: &Side, empty: f64, registered: f64) -> Outcome {
        std::thread::sleep(self.scale.rest);
        let (count, resident) = (self.scale.large as f64, side.server.resident()?);
        let made_of = format!(
            "{:.1} MB empty, {:.1} MB with {count} devices registered, {:.1} MB with them connected",
            empty / 1e6,
            registered / 1e6,
            resident / 1e6
        );
        self.report.add("session_bytes", (resident - empty) / count, made_of);
        Ok(())
    }

    fn publish_flat(&mut self, small: &mut Side, large: &mut Side) -> Outcome {
        let mut rounds = Vec::new();
        for _ in 0..self.scale.rounds {
            rounds.push((small.publish(self.scale.span)?, large.publish(self.scale.span)?));
        }
        let made_of = format!(
            "{} with {} sessions ÷ {} with {}; {} lost",
            thousands(rounds.iter().map(|(_, large)| large.per_s)),
            self.scale.large,
            thousands(rounds.iter().map(|(small, _)| small.per_s)),
            self.scale.small,
            rounds.iter().map(|(small, large)| small.lost + large.lost).sum::<usize>(),
        );
        let ratio = median(rounds.iter().map(|(small, large)| large.per_s / small.per_s));
        self.report.add("publish_flat", ratio, made_of);
        Ok(())
    }

    fn console_devices(&mut self, side: &Side) -> Outcome {
        let rounds = self.scale.console_rounds;
        let times = console::pages(side.server.ports.http, &side.folder.token, rounds)?;
        let ms = |share: f64| {
            let place = times.get((times.len() as f64 * share) as usize);
            place.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        let slowest = times.last().map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        let made_of = format!(
            "{} pages of {} devices; p50 {:.1}, p90 {:.1}, slowest {slowest:.1} ms",
            times.len(),
            self.scale.large,
            ms(0.5),
            ms(0.9),
        );
        self.report.add("console_devices_ms", ms(0.99), made_of);
        Ok(())
    }

    fn restart(&mut self, side: Side) -> Outcome {
        let Side { folder, mut server, mut wire, mut publishers, reader } = side;
        drop(reader);
        let mut times = Vec::new();
        for round in 0..self.scale.restarts {
            let device = round * self.scale.large / self.scale.restarts;
            let peer = publishers.peer(device).ok_or("no such device")?;
            let time;
            (server, time) = restart::restart(&folder, server, &mut wire, device, peer)?;
            times.push(time.as_secs_f64());
        }
        let made_of = format!("{times:.2?} s with {} sessions", self.scale.large);
        self.report.add("restart_s", median(times), made_of);
        Ok(())
    }
}

impl Side {
    fn connect(folder: Folder, server: Server, count: usize) -> Outcome<Self> {
        let mut wire = Wire::new(server.ports.udp()?)?;
        let publishers = Publishers::new(connect(&mut wire, &folder.trust, count)?)?;
        let reader = Reader::open(server.ports.http, &folder.token)?;
        Ok(Self { folder, server, wire, publishers, reader })
    }

    /// Publishes for a while and waits until everything of it is summed up.
    fn publish_until_rest(&mut self, span: Duration) -> Outcome<metering::Side> {
        self.server.wait_for_rest()?;
        self.reader.take();
        let before = self.server.cpu()?;
        let rate = self.publish(span)?;
        self.server.wait_for_rest()?;
        let published = self.reader.take().events.max(1);
        let cpu = (self.server.cpu()? - before).div_f64(published as f64);
        Ok(metering::Side { per_s: rate.per_s, cpu })
    }

    fn publish(&mut self, span: Duration) -> Outcome<Rate> {
        closed_loop(&mut self.wire, &mut self.publishers, span)
    }
}

/// The median of rates, for people.
fn thousands(rates: impl Iterator<Item = f64>) -> String {
    let rate = median(rates);
    if rate < 10_000.0 { format!("{rate:.0}") } else { format!("{:.1}k", rate / 1e3) }
}
