//! `cargo xtask deny`: the dependency check, with its tool.

use crate::shell::{self, Outcome, command, works};

/// Licences, bans and sources. Advisories need their database fetched beside:
/// `cargo deny --config .deny.toml check advisories`.
pub(crate) fn run() -> Outcome {
    if !works("cargo", &["deny", "--version"]) {
        shell::run(&mut command("cargo", &["install", "cargo-deny", "--locked"]))?;
    }
    let args = ["deny", "--config", ".deny.toml", "check", "licenses", "bans", "sources"];
    shell::run(&mut command("cargo", &args))
}
