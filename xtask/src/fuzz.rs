//! `cargo xtask fuzz`: the fuzz targets, each for a time of the processor, from the committed corpus.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::shell::{self, Outcome, command, note, root, say, works};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all of them unless told.
    targets: Vec<String>,
    /// How many minutes of processor time each of them gets, however long that takes.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// How many run side by side.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Fuzz nothing: put into the committed corpus what earlier runs found and what covers more than it does.
    #[arg(long)]
    keep: bool,
}

/// How often a program's processor time is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Of the times in /proc on every architecture that Linux runs on here.
const TICKS_PER_SECOND: u64 = 100;
/// Those that need the whole server.
const SERVER: [&str; 3] = ["config", "http", "webhook"];

/// Without sanitizer: the workspace forbids unsafe code, and without it five times as much is tried.
pub(crate) fn run(args: &Args) -> Outcome {
    if !works("cargo", &["fuzz", "--version"]) {
        shell::run(&mut command("cargo", &["install", "cargo-fuzz", "--locked"]))?;
    }
    let names = chosen(args)?;
    let folder = target_folder();
    names.iter().try_for_each(|name| build(name, &folder))?;
    if args.keep {
        return names.iter().try_for_each(|name| Target::new(name, &folder)?.keep());
    }
    let findings = fuzz_all(&names, args, &folder)?;
    say(&format!("{} targets, {findings} findings", names.len()));
    if findings == 0 { Ok(()) } else { Err("what was found is in tests/fuzz/artifacts".into()) }
}

fn chosen(args: &Args) -> Outcome<Vec<String>> {
    let all = targets()?;
    if let Some(unknown) = args.targets.iter().find(|target| !all.contains(target)) {
        return Err(format!("there is no target {unknown}; there are {}", all.join(", ")));
    }
    Ok(if args.targets.is_empty() { all } else { args.targets.clone() })
}

fn targets() -> Outcome<Vec<String>> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let files = std::fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut names: Vec<_> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn target_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root().join("tests/fuzz/target"))
}

/// The host's: libFuzzer runs nowhere else here.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn build(name: &str, folder: &Path) -> Outcome {
    let mut build = command("cargo", &["fuzz", "build", "--fuzz-dir", ".", "-s", "none", "-a"]);
    build.current_dir(root().join("tests/fuzz")).env("RUSTC_BOOTSTRAP", "1");
    build.args(["--target", &triple(), "--target-dir"]).arg(folder);
    if SERVER.contains(&name) {
        build.args(["--features", "server"]);
    }
    shell::run(build.arg(name))
}

/// As many side by side as are wanted; gives the number of findings.
fn fuzz_all(names: &[String], args: &Args, folder: &Path) -> Outcome<usize> {
    let left = Mutex::new(names.iter());
    let work = || -> Outcome<usize> {
        let mut findings = 0;
        loop {
            let Some(name) = left.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                return Ok(findings);
            };
            let told = Target::new(name, folder)?.fuzz(args.minutes)?;
            say(&told.to_line(name));
            findings += usize::from(!told.is_clean);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let ended =
            workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked"));
        ended.map(|findings| findings?).sum()
    })
}

/// One target's program and folders.
struct Target {
    program: PathBuf,
    /// What runs find lies here, so that the committed corpus stays small.
    found: PathBuf,
    corpus: PathBuf,
    artifacts: PathBuf,
    log: PathBuf,
}

/// What came of one run.
struct Told {
    executions: u64,
    edges: u64,
    cpu: Duration,
    is_clean: bool,
}

impl Target {
    fn new(name: &str, folder: &Path) -> Outcome<Self> {
        let fuzz = root().join("tests/fuzz");
        let target = Self {
            program: folder.join(triple()).join("release").join(name),
            found: folder.join("found").join(name),
            corpus: fuzz.join("corpus").join(name),
            artifacts: fuzz.join("artifacts").join(name),
            log: folder.join("found").join(format!("{name}.log")),
        };
        for folder in [&target.found, &target.artifacts] {
            std::fs::create_dir_all(folder)
                .map_err(|why| format!("{}: {why}", folder.display()))?;
        }
        Ok(target)
    }

    /// Until it has used its time, found something, or was told to end by signal USR1.
    fn fuzz(&self, minutes: u64) -> Outcome<Told> {
        let log = std::fs::File::create(&self.log)
            .map_err(|why| format!("{}: {why}", self.log.display()))?;
        let prefix = format!("-artifact_prefix={}/", self.artifacts.display());
        let mut fuzz = std::process::Command::new(&self.program);
        fuzz.args([&prefix, "-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        fuzz.args([&self.found, &self.corpus]).stdout(Stdio::null()).stderr(log);
        let mut child = fuzz.spawn().map_err(|why| format!("{fuzz:?} does not start: {why}"))?;
        note(&format!("{} runs as process {}", self.program.display(), child.id()));
        let (cpu, is_clean) = wait(&mut child, Duration::from_secs(minutes * 60))?;
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        Ok(Told {
            executions: last_number_behind(&log, "stat::number_of_executed_units:"),
            edges: last_number_behind(&log, " cov: "),
            cpu,
            is_clean,
        })
    }

    /// A smallest set of inputs with the coverage of all that were found.
    fn keep(&self) -> Outcome {
        let mut merge = std::process::Command::new(&self.program);
        merge.arg("-set_cover_merge=1").args([&self.corpus, &self.found]);
        shell::run(merge.stdout(Stdio::null()).stderr(Stdio::null()))
    }
}

impl Told {
    fn to_line(&self, name: &str) -> String {
        let Self { executions, edges, cpu, is_clean } = self;
        let minutes = cpu.as_secs_f64() / 60.0;
        let finding = if *is_clean { "no finding" } else { "A FINDING" };
        format!(
            "{name}: {executions} executions, {edges} edges, {minutes:.1} minutes of CPU, {finding}"
        )
    }
}

/// Its processor time when it ended, and whether it ended well. At its limit it is asked to end.
fn wait(child: &mut Child, limit: Duration) -> Outcome<(Duration, bool)> {
    let mut used = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait().map_err(|why| why.to_string())? {
            return Ok((used, status.success()));
        }
        used = cpu_time(child.id()).unwrap_or(used);
        if used >= limit {
            shell::run(&mut command("kill", &["-USR1", &child.id().to_string()]))?;
            let status = child.wait().map_err(|why| why.to_string())?;
            return Ok((used, status.success()));
        }
        thread::sleep(LOOK);
    }
}

/// Of all its threads (proc(5): fields 14 and 15 of `stat`); nothing once it has ended.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks = behind_name.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn last_number_behind(log: &str, word: &str) -> u64 {
    let number = |(_, rest): (&str, &str)| {
        let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    log.rsplit_once(word).and_then(number).unwrap_or(0)
}
