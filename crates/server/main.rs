//! The `cloudchamber` command.

use std::process::ExitCode;

/// The C library's allocator keeps what a storm of connections needed for a minute: with 100,000 devices
/// half as much again as what is in use. SQLite and OpenSSL use this one, too (the feature of the crate that
/// leaves its names without a prefix).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cloudchamber::cli::main()
}
