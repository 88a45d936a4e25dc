//! Logs: to standard error, by the filter of the settings.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig};

/// Begins logging. `RUST_LOG`, if set, wins over the settings.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let text = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter = EnvFilter::try_new(&text)
        .map_err(|why| ConfigError::Refused { key: "log.filter", why: why.to_string() })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = if config.json { logs.json().try_init() } else { logs.try_init() };
    Ok(())
}
