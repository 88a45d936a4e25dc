//! The `cloudchamber` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudchamber::cli::main()
}
