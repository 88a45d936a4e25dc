//! What counting costs: the same server in this same binary, once as it is and once without counting. No setting of
//! the real binary switches counting off, so the bench is the server of both sides.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use cloudchamber::assemble::Server;
use cloudchamber::config::{Config, Overrides};
use serde_json::json;

use crate::Outcome;

/// How a round went.
pub(crate) struct Side {
    /// Durable publishes a second.
    pub(crate) per_s: f64,
    /// Processor time of the server for each, until everything is summed up.
    pub(crate) cpu: Duration,
}

/// Serves a data folder until the process is killed.
pub(crate) fn serve(data: &Path, counts: bool) -> Outcome {
    let overrides = Overrides { data: Some(data.to_owned()) };
    let config = Config::load(None, &overrides)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = if counts {
            Server::start(&config).await?
        } else {
            Server::start_without_counting(&config).await?
        };
        let at = server.addresses();
        let ready = json!({"http": at.http, "udp": at.udp, "tcp": at.tcp});
        writeln!(std::io::stdout(), "{ready}")?;
        std::future::pending::<Outcome>().await
    })
}
