//! `cargo xtask hostile`: the cases of `tests/hostile_peers`, longer and one after the other, against a
//! release build. Fails when a case fails, or when the healthy devices wait too much longer.

use serde_json::Value;

use crate::shell::{self, Outcome, command, root, run_reading, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose test's name contains this text.
    filter: Option<String>,
    /// Length of each phase of a case: quiet, attack, the same traffic to nobody.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often a case whose devices waited too long is measured again; a machine with other work stalls.
    #[arg(long, default_value_t = 1)]
    again: u32,
}

/// What begins a line of the tests that tells a measured case.
const MARK: &str = "hostile: ";
/// A 99th percentile may be so many times what it was without the attack …
const RATIO_MAX: f64 = 2.0;
/// … and this is taken for the least it was, in milliseconds.
const FLOOR_MS: f64 = 2.0;

pub(crate) fn run(args: &Args) -> Outcome {
    shell::run(&mut command("cargo", &["build", "--release", "--bin", "cloudchamber"]))?;
    let (mut measured, green) = measure(args, args.filter.as_deref().unwrap_or_default())?;
    for _ in 0..args.again {
        let slow: Vec<_> = measured.iter().enumerate().filter(|(_, case)| is_slow(case)).collect();
        let slow: Vec<_> =
            slow.into_iter().map(|(place, case)| (place, text(case, "test"))).collect();
        for (place, test) in slow {
            if let Some(again) = measure(args, &test)?.0.pop() {
                measured[place] = again;
            }
        }
    }
    print_table(&measured);
    let slow = measured.iter().filter(|case| is_slow(case)).count();
    say(&format!("{} cases, {slow} with devices that wait too long", measured.len()));
    match (green, measured.len(), slow) {
        (false, ..) => Err("a case failed".into()),
        (_, 0, _) => Err("no case has this name".into()),
        (_, _, 0) => Ok(()),
        (_, _, slow) => Err(format!("in {slow} cases healthy devices wait too long")),
    }
}

/// Runs the tests; gives what they told, and whether none failed.
fn measure(args: &Args, filter: &str) -> Outcome<(Vec<Value>, bool)> {
    let mut test = command("cargo", &["test", "--test", "hostile_peers", "--"]);
    test.args(["--test-threads=1", "--nocapture", filter]);
    test.env("HOSTILE_SECONDS", args.seconds.to_string()).env("TESTED_BINARY", release());
    let (lines, green) = run_reading(&mut test)?;
    let told = lines.iter().filter_map(|line| line.strip_prefix(MARK));
    let told = told.map(|line| serde_json::from_str(line).map_err(|why| format!("{why}: {line}")));
    Ok((told.collect::<Outcome<_>>()?, green))
}

/// The server as `cargo build --release` makes it.
fn release() -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    target.unwrap_or_else(|| root().join("target")).join("release/cloudchamber")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn text(case: &Value, key: &str) -> String {
    case[key].as_str().unwrap_or_default().to_owned()
}

/// Each series: quiet, beside the same traffic to nobody, under attack.
fn waits(case: &Value) -> Vec<[f64; 3]> {
    let count = case["series"].as_array().map_or(0, Vec::len);
    let of = |place: usize| {
        ["quiet_ms", "burner_ms", "attacked_ms"].map(|phase| number(&case[phase][place]))
    };
    (0..count).map(of).collect()
}

/// What an attack costs beyond the processor that the attacker takes from the server on one machine.
fn ratio([quiet, burner, attacked]: [f64; 3]) -> f64 {
    attacked / quiet.max(burner).max(FLOOR_MS)
}

fn is_slow(case: &Value) -> bool {
    waits(case).into_iter().any(|waits| ratio(waits) > RATIO_MAX)
}

fn print_table(measured: &[Value]) {
    let head = "| case | sent | a second | publish UDP, TCP | call UDP, TCP | ratio | RSS before, peak, after | at most | counter |";
    say(head);
    say(&format!("{}|", "| --- ".repeat(head.matches('|').count() - 1)));
    measured.iter().for_each(|case| say(&row(case)));
}

fn row(case: &Value) -> String {
    let waits = waits(case);
    let cell = |place: usize| {
        waits
            .get(place)
            .map(|[quiet, burner, attacked]| format!("{quiet:.1}/{burner:.1}/{attacked:.1}"))
    };
    let pair = |place: usize| {
        format!("{}, {}", cell(place).unwrap_or_default(), cell(place + 1).unwrap_or_default())
    };
    let worst = waits.iter().copied().map(ratio).fold(0.0, f64::max);
    let mib = |key: &str| number(&case[key]) / 1024.0;
    let labels = text(case, "labels");
    let counter = text(case, "counter").replace("cloudchamber_", "");
    let counter = if labels.is_empty() { counter } else { format!("{counter}{{{labels}}}") };
    format!(
        "| {} | {} | {:.0} | {} | {} | {worst:.1} | {:.1}, {:+.1}, {:+.1} | +{} | `{counter}` +{} |",
        text(case, "case"),
        case["sent"],
        number(&case["rate"]),
        pair(0),
        pair(2),
        mib("before_kib"),
        mib("peak_kib") - mib("before_kib"),
        mib("after_kib") - mib("before_kib"),
        case["memory_mib"],
        case["counted"],
    )
}
