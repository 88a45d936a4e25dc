//! Running other programs and talking to the developer.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a step failed with, for a person.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// How the names of what `cargo run` tells a program of its package begin.
const OF_THIS_PACKAGE: &str = "CARGO_PKG_";

/// Writes one line to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "xtask: {text}");
}

/// Writes one line to standard output.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// A command that runs in the root folder, without what cargo tells this program of itself: a build script that
/// looks at it would take every build for a new one.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with(OF_THIS_PACKAGE)) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

/// Program and arguments, without the environment.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(std::ffi::OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs to the end; a failure names the command.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = shown(command);
    note(&shown);
    let status = command.status().map_err(|why| format!("{shown} does not start: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} failed ({status})")) }
}

/// Whether a program can be started with these arguments and succeeds, in silence.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    command(program, args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs to the end, passing each line of standard output on, and gives the lines and whether it succeeded.
pub(crate) fn run_reading(command: &mut Command) -> Outcome<(Vec<String>, bool)> {
    let shown = shown(command);
    note(&shown);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{shown} does not start: {why}"))?;
    let mut lines = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            say(&line);
            lines.push(line);
        }
    }
    let status = child.wait().map_err(|why| format!("{shown}: {why}"))?;
    Ok((lines, status.success()))
}
