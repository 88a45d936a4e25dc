//! `cargo xtask test`: every check and test, with its own set-up.

use std::thread::JoinHandle;

use crate::shell::{self, Outcome, command, note, root, run_reading, say, works};
use crate::soak;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose names contain this text; format and lints are not checked then.
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    set_up()?;
    let mut failures = if args.filter.is_none() { static_checks() } else { Vec::new() };
    if args.filter.is_none() {
        failures.extend(crate::deny::advisories().err());
    }
    let mut test = command("cargo", &["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = &args.filter {
        test.arg(filter);
    }
    let soak = if args.filter.is_none() { soak_beside() } else { None };
    let (lines, green) = run_reading(&mut test)?;
    let (mut passed, failed) = count(&lines);
    match soak.map(JoinHandle::join) {
        None => {}
        Some(Ok(Ok(told))) => {
            note(&format!("soak: {told}"));
            passed += 1;
        }
        Some(Ok(Err(why))) => failures.push(format!("soak: {why}")),
        Some(Err(_)) => failures.push("soak: it panicked".into()),
    }
    if !green && failed == 0 {
        failures.push("cargo test did not build or was cut short".into());
    }
    for failure in &failures {
        note(failure);
    }
    let failed = failed + failures.len();
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { Ok(()) } else { Err("not green".into()) }
}

/// Some minutes of load beside the tests, most of which wait. What it runs is built with them; if that
/// fails, the tests tell why.
fn soak_beside() -> Option<JoinHandle<Outcome<String>>> {
    shell::run(&mut command("cargo", &["test", "--workspace", "--no-run", "--quiet"])).ok()?;
    Some(std::thread::spawn(soak::light))
}

/// Installs what the tests need beyond Rust: the JavaScript clients, an S3 server, Python's `cryptography` for the
/// independent server and `aiosmtpd` for mail, a browser, and a DTLS client that is not ours.
fn set_up() -> Outcome {
    install_clients("tests/clients", &["axe-core", "particle-api-js", "particle-cli"], &[])?;
    // Its dependencies build nothing that the tests use.
    install_clients("tests/clients/newer", &["particle-cli"], &["--ignore-scripts"])?;
    install_clients("tests/s3", &["s3rver"], &[])?;
    for module in ["cryptography", "aiosmtpd"] {
        if !works("python3", &["-c", &format!("import {module}")]) {
            install_python(module)?;
        }
    }
    if !works("chromedriver", &["--version"]) {
        install(&["chromium", "chromium-driver"])?;
    }
    if !works("gnutls-cli", &["--version"]) {
        install(&["gnutls-bin"])?;
    }
    Ok(())
}

/// The packages that a folder's lock file names, unless they are there.
fn install_clients(folder: &str, packages: &[&str], options: &[&str]) -> Outcome {
    let folder = root().join(folder);
    let is_there = |package: &&str| folder.join("node_modules").join(package).exists();
    if packages.iter().all(is_there) {
        return Ok(());
    }
    let mut install = command("npm", &["ci", "--no-audit", "--no-fund"]);
    shell::run(install.args(options).current_dir(&folder))
}

/// Packages of Debian's.
fn install(packages: &[&str]) -> Outcome {
    shell::run(&mut command("apt-get", &["update", "-q"]))?;
    let mut install = command("apt-get", &["install", "-y", "-q", "--no-install-recommends"]);
    shell::run(install.args(packages))
}

/// Debian's Python refuses packages of pip's outside a virtual environment; its own package does as well.
fn install_python(module: &str) -> Outcome {
    if works("python3", &["-m", "pip", "install", "--quiet", module]) {
        return Ok(());
    }
    shell::run(&mut command("apt-get", &["install", "-y", "-q", &format!("python3-{module}")]))
}

/// Format, lints and documentation. Each failure is one line.
fn static_checks() -> Vec<String> {
    let steps: [(&str, &[&str]); 3] = [
        ("format", &["fmt", "--all", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
        (
            "documentation",
            &["doc", "--workspace", "--no-deps", "--quiet", "--document-private-items"],
        ),
    ];
    steps
        .iter()
        .filter_map(|(name, args)| {
            let mut step = command("cargo", args);
            step.env("RUSTDOCFLAGS", "-D warnings");
            shell::run(&mut step).err().map(|why| format!("{name}: {why}"))
        })
        .collect()
}

/// Adds up the closing lines of every test binary.
fn count(lines: &[String]) -> (usize, usize) {
    let results = lines.iter().filter(|line| line.starts_with("test result:"));
    results.fold((0, 0), |(passed, failed), line| {
        (passed + number_before(line, " passed"), failed + number_before(line, " failed"))
    })
}

fn number_before(line: &str, word: &str) -> usize {
    let Some(end) = line.find(word) else { return 0 };
    let digits = line[..end].rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
