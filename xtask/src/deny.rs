//! `cargo xtask deny`: the dependency check, with its tool.

use std::path::PathBuf;

use crate::shell::{self, Outcome, command, note, root, works};

/// Licences, bans and sources; advisories where their database is at hand.
pub(crate) fn run() -> Outcome {
    if !is_installed() {
        shell::run(&mut command("cargo", &["install", "cargo-deny", "--locked"]))?;
    }
    let args = ["deny", "--config", ".deny.toml", "check", "licenses", "bans", "sources"];
    shell::run(&mut command("cargo", &args))?;
    advisories()
}

/// Every dependency against the RustSec database as it was last fetched. Without a database, or without
/// the tool, nothing is checked, and that is said: both come from places that not every machine reaches.
pub(crate) fn advisories() -> Outcome {
    let Some(database) = database() else {
        note(
            "advisories were NOT checked: no RustSec database is here. Where GitHub can be reached, `cargo deny \
             --config .deny.toml fetch db` brings it; or name a copy of that folder in ADVISORY_DB",
        );
        return Ok(());
    };
    if !is_installed() {
        note("advisories were NOT checked: `cargo xtask deny` installs the tool first");
        return Ok(());
    }
    let settings = settings(&database)?;
    let mut deny = command("cargo", &["deny", "--offline", "--config"]);
    shell::run(deny.arg(settings).args(["check", "advisories"]))
}

fn is_installed() -> bool {
    works("cargo", &["deny", "--version"])
}

/// The folder in which cargo-deny keeps its copies of databases, if there is one in it.
fn database() -> Option<PathBuf> {
    let named = std::env::var_os("ADVISORY_DB").map(PathBuf::from);
    let cargo = || {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        Some(home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?.join("advisory-dbs"))
    };
    let folder = named.or_else(cargo)?;
    std::fs::read_dir(&folder).ok()?.next().map(|_| folder)
}

/// The settings of `.deny.toml` with this database.
fn settings(database: &std::path::Path) -> Outcome<PathBuf> {
    let path = root().join(".deny.toml");
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let line = format!("[advisories]\ndb-path = {:?}\n", database.display().to_string());
    let with_database = text.replacen("[advisories]\n", &line, 1);
    let written = std::env::temp_dir().join("cloudchamber-deny.toml");
    std::fs::write(&written, with_database).map_err(failed)?;
    Ok(written)
}
