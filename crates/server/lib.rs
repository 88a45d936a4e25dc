//! The product: settings, assembly of the crates, and the command line. It holds no rule of the cloud.
//!
//! `cloudchamber serve` is [`assemble::Server`]; every other command is a file in [`cli`].

pub mod admin;
pub mod assemble;
pub mod cli;
pub mod config;
pub mod demo;
pub mod logging;
pub mod mail;
pub mod memory;
pub mod open_files;
pub mod output;
pub mod plans;
pub mod server_keys;
