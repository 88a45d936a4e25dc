//! `cargo xtask bench`: the load scenarios of `benches/`, in release.

use crate::shell::{self, Outcome, command};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenarios whose key contains this text.
    filter: Option<String>,
    /// Short runs: shows that every scenario works, not how fast it is.
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    shell::run(&mut command("cargo", &["build", "--release", "--bin", "cloudchamber"]))?;
    let mut bench = command("cargo", &["bench", "--bench", "cloud", "--"]);
    if let Some(filter) = &args.filter {
        bench.arg(filter);
    }
    if args.quick {
        bench.arg("--quick");
    }
    shell::run(&mut bench)
}
