//! `cloudchamber sessions`: the sessions of UDP devices, while the server is stopped.

use std::path::Path;

use model::DeviceId;
use model::journal::Entry;
use model::link::Transport;
use store::{OpenError, Store};

use crate::admin::utc_now;
use crate::cli::{DataArgs, runtime};
use crate::output::{say, say_json};

/// Entries of one write.
const BATCH: usize = 10_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Forget all sessions of UDP devices: to be done before a server starts on a restored backup.
    ///
    /// Its record numbers are old, and one that is used again gives away what it protected. Devices find
    /// out within three minutes of their next message and make new sessions by themselves.
    Forget {
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    let Command::Forget { data: DataArgs { data, json } } = command;
    let forgotten = runtime()?.block_on(forget(&data))?;
    if json {
        say_json(&serde_json::json!({"sessions": forgotten}));
    } else {
        say(&format!("{forgotten} sessions forgotten"));
    }
    Ok(())
}

pub(super) async fn forget(data: &Path) -> Result<usize, String> {
    if !data.is_dir() {
        return Err(format!("{} is no data folder", data.display()));
    }
    let store = Store::open(data).await.map_err(|why| match why {
        OpenError::Locked { .. } => format!("{why}: stop the server first"),
        other => other.to_string(),
    })?;
    let forgotten = forget_in(&store).await;
    store.close().await.map_err(|why| why.to_string())?;
    forgotten
}

async fn forget_in(store: &Store) -> Result<usize, String> {
    let recovery = store.recover().await.map_err(|why| why.to_string())?;
    let sessions = recovery.sessions.iter().filter(|stored| stored.transport == Transport::Udp);
    let devices: Vec<DeviceId> = sessions.map(|stored| stored.session.device).collect();
    let mut journal = store.journal().ok_or("the journal is in use")?;
    for batch in devices.chunks(BATCH) {
        let entries: Vec<_> = batch.iter().map(|&device| Entry::Forget { device }).collect();
        journal.append(utc_now(), &entries).map_err(|why| why.to_string())?;
    }
    Ok(devices.len())
}
