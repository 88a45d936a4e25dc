//! Runs worlds: `cargo xtask world` calls it.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::world::{self, Failure, Report, Size};

/// What the command line says.
struct Options {
    seeds: u64,
    start: u64,
    minutes: Option<u64>,
    size: Size,
    trace: bool,
    /// Ends with the first world that does not hold.
    until_found: bool,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        say("usage: world [--seeds N] [--start S] [--minutes M] [--small] [--trace]");
        say("       world --planted NAME --seeds N [--small] (built with --cfg planted)");
        return ExitCode::FAILURE;
    };
    if options.until_found {
        return look_for(&options);
    }
    // A panic is a failure of its seed and told with it.
    std::panic::set_hook(Box::new(|_| {}));
    let end = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let results = Results::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&options, end, &results));
        }
    });
    let (passed, failed) =
        (results.passed.load(Ordering::Relaxed), results.failed.load(Ordering::Relaxed));
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs worlds until one of them finds the bug that was put in.
fn look_for(options: &Options) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    for number in 0..options.seeds {
        let seed = options.start.wrapping_add(number);
        if let Err(failure) = world::run(seed, options.size) {
            let what = failure.what.lines().next().unwrap_or_default();
            let what: String = what.chars().take(160).collect();
            let took = began.elapsed().as_secs_f64();
            say(&format!("found by seed {seed} after {} worlds, {took:.1} s: {what}", number + 1));
            return ExitCode::SUCCESS;
        }
    }
    say(&format!("not found in {} worlds", options.seeds));
    ExitCode::FAILURE
}

/// Puts a bug in force; only a build with `--cfg planted` has any.
#[cfg(planted)]
fn plant(name: &str) -> bool {
    model::planted::choose(name)
}

#[cfg(not(planted))]
fn plant(_name: &str) -> bool {
    false
}

#[derive(Default)]
struct Results {
    taken: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
    output: Mutex<()>,
}

fn work(options: &Options, end: Option<Instant>, results: &Results) {
    while end.is_none_or(|end| Instant::now() < end) {
        let number = results.taken.fetch_add(1, Ordering::Relaxed);
        if number >= options.seeds {
            return;
        }
        let seed = options.start.wrapping_add(number);
        let began = Instant::now();
        let result = world::run(seed, options.size);
        let _turn = results.output.lock();
        match result {
            Ok(report) => {
                results.passed.fetch_add(1, Ordering::Relaxed);
                tell(seed, began.elapsed(), &report);
            }
            Err(failure) => {
                results.failed.fetch_add(1, Ordering::Relaxed);
                tell_failure(&failure, options);
            }
        }
    }
}

fn tell(seed: u64, took: Duration, report: &Report) {
    let Report { devices, lasted, healed_after, crashes, tally, fingerprint } = report;
    say(&format!(
        "seed {seed}: {devices} devices, {} s (healed after {} s), {crashes} crashes, {tally:?}, \
         {fingerprint:016x}, took {} ms",
        lasted.as_secs(),
        healed_after.as_secs(),
        took.as_millis()
    ));
}

fn tell_failure(failure: &Failure, options: &Options) {
    let Failure { seed, what, last_lines } = failure;
    let shown = if options.trace { last_lines.len() } else { 40.min(last_lines.len()) };
    for line in &last_lines[last_lines.len() - shown..] {
        say(line);
    }
    say(&format!("seed {seed}: {what}"));
    let small = if options.size == Size::Small { " --small" } else { "" };
    say(&format!("replay: cargo xtask world --seeds 1 --start {seed}{small} --trace"));
}

fn options() -> Option<Options> {
    let size = Size::Usual;
    let mut options = Options {
        seeds: u64::MAX,
        start: 1,
        minutes: None,
        size,
        trace: false,
        until_found: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next()?.parse().ok();
        match argument.as_str() {
            "--seeds" => options.seeds = value()?,
            "--start" => options.start = value()?,
            "--minutes" => options.minutes = Some(value()?),
            "--small" => options.size = Size::Small,
            "--trace" => options.trace = true,
            "--planted" => {
                options.until_found = plant(&arguments.next()?);
                if !options.until_found {
                    return None;
                }
            }
            _ => return None,
        }
    }
    (options.seeds < u64::MAX || options.minutes.is_some()).then_some(options)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
