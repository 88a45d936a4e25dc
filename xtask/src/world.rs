//! `cargo xtask world`: many worlds in virtual time, each from a seed.

use model::planted::PLANTED;

use crate::shell::{self, Outcome, command, root};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds; of planted bugs, at most for each (1000 unless told).
    #[arg(long, required_unless_present_any = ["minutes", "planted"])]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// No world is begun after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// A few devices and about a minute of faults, as in the tests.
    #[arg(long)]
    small: bool,
    /// Print all that happened in a world that does not hold, not only the end.
    #[arg(long)]
    trace: bool,
    /// Put each planted bug in, one after the other, and look whether the worlds find it; or only the
    /// one of this name.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    planted: Option<String>,
}

/// Optimised, with every assertion in force.
pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(name) = &args.planted {
        return planted(args, name);
    }
    let package = ["run", "--quiet", "--profile", "world", "--package", "cloudchamber-sim"];
    let mut world = command("cargo", &package);
    world.args(["--example", "world", "--", "--start", &args.start.to_string()]);
    for (name, value) in [("--seeds", args.seeds), ("--minutes", args.minutes)] {
        if let Some(value) = value {
            world.args([name, &value.to_string()]);
        }
    }
    world.args(args.small.then_some("--small"));
    world.args(args.trace.then_some("--trace"));
    shell::run(&mut world)
}

/// One build has all of them; which one is in force is said when it runs.
fn planted(args: &Args, name: &str) -> Outcome {
    let chosen = |planted: &&(&str, &str)| name.is_empty() || planted.0 == name;
    if !PLANTED.iter().any(|planted| chosen(&planted)) {
        return Err(format!("there is no planted bug {name:?}: see docs/testing.md"));
    }
    let build =
        ["build", "--profile", "world", "--package", "cloudchamber-sim", "--example", "world"];
    let target = root().join("target/planted");
    let mut build = command("cargo", &build);
    build.env("RUSTFLAGS", "--cfg planted").arg("--target-dir").arg(&target);
    shell::run(&mut build)?;
    let mut missed = Vec::new();
    for (name, _) in PLANTED.iter().filter(chosen) {
        let mut world = command(&target.join("world/examples/world").to_string_lossy(), &[]);
        let (start, seeds) = (args.start.to_string(), args.seeds.unwrap_or(1000).to_string());
        world.args(["--planted", name, "--start", &start, "--seeds", &seeds]);
        world.args(args.small.then_some("--small"));
        if !shell::run_reading(&mut world)?.1 {
            missed.push(*name);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join(", "))) }
}
