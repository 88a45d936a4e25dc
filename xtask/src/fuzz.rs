//! `cargo xtask fuzz`: the fuzz targets, each for a while, from and into the committed corpus.

use crate::shell::{self, Outcome, command, root, works};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; all of them unless told.
    target: Option<String>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
}

/// Without sanitizer: the workspace forbids unsafe code, and without it five times as much is tried.
pub(crate) fn run(args: &Args) -> Outcome {
    if !works("cargo", &["fuzz", "--version"]) {
        shell::run(&mut command("cargo", &["install", "cargo-fuzz", "--locked"]))?;
    }
    let mut names = targets()?;
    let all = names.join(", ");
    names.retain(|name| args.target.as_ref().is_none_or(|target| target == name));
    if names.is_empty() {
        return Err(format!("there is no such target; there are {all}"));
    }
    names.iter().try_for_each(|name| fuzz(name, args.minutes))
}

fn fuzz(name: &str, minutes: u64) -> Outcome {
    let folder = root().join("tests/fuzz");
    let seconds = format!("-max_total_time={}", minutes * 60);
    let mut fuzz = command("cargo", &["fuzz", "run", "--fuzz-dir", ".", "-s", "none", "-a"]);
    fuzz.current_dir(folder).env("RUSTC_BOOTSTRAP", "1");
    if SERVER.contains(&name) {
        fuzz.args(["--features", "server"]);
    }
    fuzz.args([name, "--", &seconds, "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    shell::run(&mut fuzz)
}

/// Those that need the whole server.
const SERVER: [&str; 3] = ["config", "http", "webhook"];

fn targets() -> Outcome<Vec<String>> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut names: Vec<_> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
