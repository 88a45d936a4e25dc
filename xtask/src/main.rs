//! Development commands, run as `cargo xtask COMMAND`. No part of the product.

mod bench;
mod deny;
mod fuzz;
mod hostile;
mod schemathesis;
mod shell;
mod soak;
mod test;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the load scenarios and print a table and one line of JSON.
    Bench(bench::Args),
    /// Check licences, duplicates, sources and, with a database, advisories of every dependency (installs
    /// cargo-deny once).
    Deny,
    /// Give every fuzz target minutes of processor time (installs cargo-fuzz once).
    Fuzz(fuzz::Args),
    /// Let strangers and broken peers at a release server and measure healthy devices beside them.
    Hostile(hostile::Args),
    /// Make thousands of requests from the API's description and look at every answer (installs
    /// schemathesis once).
    Schemathesis(schemathesis::Args),
    /// Run a server under mixed load whose devices come and go; fails if it grows.
    Soak(soak::Args),
    /// Set up what the tests need, then run every check and test; ends with `N passed, N failed`.
    Test(test::Args),
    /// Run worlds in virtual time, each from a seed; ends with `N passed, M failed`.
    World(world::Args),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Deny => deny::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Hostile(args) => hostile::run(&args),
        Command::Schemathesis(args) => schemathesis::execute(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Test(args) => test::run(&args),
        Command::World(args) => world::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            shell::note(&why);
            ExitCode::FAILURE
        }
    }
}
