//! The command line: one file for each verb.

mod backup;
mod calc;
mod check;
mod device;
mod doctor;
mod firmware;
mod keys;
mod plan;
mod serve;
mod sessions;
mod sim;
mod token;
mod usage;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};

use crate::config::{Config, Overrides};
use crate::output::note;

/// A device cloud for Particle-type IoT devices, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "cloudchamber", version, about, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Args),
    /// Create accounts, and invite people to create theirs.
    #[command(subcommand)]
    User(user::Command),
    /// Make access tokens for the API.
    #[command(subcommand)]
    Token(token::Command),
    /// Register and list devices.
    #[command(subcommand)]
    Device(device::Command),
    /// Firmware binaries: check them, keep system modules, make some to try.
    #[command(subcommand)]
    Firmware(firmware::Command),
    /// Make the keys of the server and of devices.
    Keys(keys::KeysArgs),
    /// Give accounts plans.
    #[command(subcommand)]
    Plan(plan::Command),
    /// What accounts and their devices used.
    Usage(usage::Args),
    /// Data Operations, plan and blocks for a fleet that is only planned.
    Calc(calc::Args),
    /// Look whether a data folder is whole: tables, journal, firmware files, keys. A server may use it.
    Check(StoreArgs),
    /// Copy a data folder, also under a running server.
    Backup(backup::BackupArgs),
    /// Make a data folder of a backup, and forget its sessions.
    Restore(backup::RestoreArgs),
    /// What to do about sessions after a backup was restored.
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Run simulated devices against a server.
    Sim(sim::Args),
    /// Check keys, ports, reachability, clock, socket buffers and data folder; says what to do.
    Doctor(doctor::Args),
}

/// Options of every command on the data folder.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DataArgs {
    /// Data folder of the server.
    #[arg(long, env = "CLOUDCHAMBER_DATA__DIR", default_value = "cloudchamber-data")]
    pub(crate) data: PathBuf,
    /// Write the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Those of commands that need the firmware files as well.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Settings file of the server: needed if it keeps its firmware files in a bucket.
    #[arg(long)]
    config: Option<PathBuf>,
}

impl StoreArgs {
    /// Where the firmware files are.
    pub(crate) fn files(&self) -> Result<store::FilesConfig, String> {
        let overrides = Overrides { data: Some(self.data.data.clone()) };
        let config = Config::load(self.config.as_deref(), &overrides);
        Ok(config.map_err(|why| why.to_string())?.updates.files())
    }
}

/// Runs the command line; the exit code is 0 if it did what was asked, 1 if not, 2 for a bad call.
pub fn main() -> ExitCode {
    // Whatever is made, the admin socket included, is never open to others, not even for a moment.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let outcome = match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::User(command) => user::run(command),
        Command::Token(command) => token::run(command),
        Command::Device(command) => device::run(command),
        Command::Firmware(command) => firmware::run(command),
        Command::Keys(args) => keys::run(args).map_err(|why| why.to_string()),
        Command::Plan(command) => plan::run(command),
        Command::Usage(args) => usage::run(args),
        Command::Calc(args) => calc::run(args),
        Command::Check(store) => check::run(&store),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Sessions(command) => sessions::run(command),
        Command::Sim(args) => sim::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            note(&format!("cloudchamber: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// A runtime for a command that waits for a few things only.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| why.to_string())
}
