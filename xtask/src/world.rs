//! `cargo xtask world`: many worlds in virtual time, each from a seed.

use crate::shell::{self, Outcome, command};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, required_unless_present = "minutes")]
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
}

/// Optimised, with every assertion in force.
pub(crate) fn run(args: &Args) -> Outcome {
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
