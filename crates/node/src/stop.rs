//! The end, in order: nothing new, what is known is written down, what waits goes out.

use std::thread::JoinHandle;

use model::DeviceState;
use model::journal::Entry;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::mail::Notice;
use crate::{Handle, Node};

/// The number of no shard: nobody waits for what is recorded under it.
const NOBODY: u8 = u8::MAX;

impl Node {
    /// Stops in order: no datagram is read any more, presence is written, TCP connections are closed,
    /// what is recorded becomes durable and is acknowledged, event streams end. Takes at most
    /// [`crate::NodeConfig::stop_deadline`]; what is left then is abandoned, as in a crash.
    pub async fn stop(self) {
        let deadline = self.shared.config.stop_deadline;
        let hub = self.shared.hub.clone();
        if timeout(deadline, self.stop_in_order()).await.is_err() {
            warn!(?deadline, "stopped without waiting any longer");
        }
        hub.close();
    }

    async fn stop_in_order(self) {
        for shard in &self.shared.shards {
            shard.notify(Notice::Quiesce);
        }
        self.write_presence().await;
        // Nobody listens when the thread has failed; the rest is stopped all the same.
        let _ = self.tcp_stop.send(true);
        self.stop_shards().await;
        self.shared.commits.close();
        self.shared.pool.close();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let threads = self.threads.into_iter().chain([self.commit]);
        let joined = tokio::task::spawn_blocking(|| threads.for_each(join)).await;
        info!(in_order = joined.is_ok(), "device side stopped");
    }

    /// When devices were last heard is written about once a minute; the last time is now.
    async fn write_presence(&self) {
        let devices = self.shared.registry.with_session();
        let states = Handle::new(self.shared.clone()).states(&devices).await;
        let mut entries = states
            .into_iter()
            .filter_map(presence)
            .zip(1..)
            .map(|(entry, number)| (number, entry))
            .collect();
        self.shared.commits.submit(NOBODY, &mut entries);
    }

    async fn stop_shards(&self) {
        let ends = self.shared.shards.iter().map(|shard| {
            let (end, ended) = oneshot::channel();
            shard.notify(Notice::Stop(end));
            ended
        });
        for ended in ends.collect::<Vec<_>>() {
            // Dropped when the shard ends, never sent.
            let _ = ended.await;
        }
    }
}

fn presence(state: DeviceState) -> Option<Entry> {
    let DeviceState { device, online, peer, last_heard, .. } = state;
    Some(Entry::Presence { device, online, peer, last_heard: last_heard? })
}

fn join(thread: JoinHandle<()>) {
    // A panic was told when it happened.
    let _ = thread.join();
}
