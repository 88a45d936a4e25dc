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

    async fn stop_in_order(mut self) {
        for shard in &self.shared.shards {
            shard.notify(Notice::Quiesce);
        }
        self.write_presence().await;
        // Nobody listens when the thread has failed; the rest is stopped all the same.
        let _ = self.tcp_stop.send(true);
        // Its end closes the connections, which tell the shards their last bytes.
        if let Some(thread) = self.tcp_thread.take() {
            let closed = tokio::task::spawn_blocking(|| join(thread)).await;
            debug_assert!(closed.is_ok(), "joining does not panic");
        }
        self.stop_shards().await;
        self.shared.commits.close();
        self.shared.pool.close();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let threads = self.threads.into_iter().chain([self.commit]);
        let joined = tokio::task::spawn_blocking(|| threads.for_each(join)).await;
        info!(in_order = joined.is_ok(), "device side stopped");
    }

    /// When devices were last heard is written about once a minute; the last time is now. Of devices
    /// whose shard does not answer nothing is known, so what is written of them stays.
    async fn write_presence(&self) {
        let devices = self.shared.registry.with_session();
        let states = Handle::new(self.shared.clone()).live_states(&devices).await;
        let mut entries = states
            .into_values()
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
    // The shard that holds the session tells its record numbers in its own order.
    Some(Entry::Presence { device, online, peer, last_heard: last_heard?, record_seen: 0 })
}

fn join(thread: JoinHandle<()>) {
    // A panic was told when it happened.
    let _ = thread.join();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::link::{Source, Transport};
    use model::{DeviceId, Hello, Platform, Timestamp};
    use secure::keys::ServerKeys;
    use store::{NewDevice, Store};

    use super::*;
    use crate::NodeConfig;

    const DEVICE: DeviceId = DeviceId([1; 12]);

    /// A device that is online by what is written of it.
    async fn store() -> Store {
        let store = Store::in_memory().await.unwrap();
        let new = NewDevice {
            id: DEVICE,
            account: None,
            product: None,
            name: None,
            platform: None,
            key: None,
            first_use: false,
        };
        store.devices().insert(&new, Timestamp(1)).await.unwrap();
        let session = Entry::Session {
            device: DEVICE,
            transport: Transport::Udp,
            snapshot: model::link::Snapshot::new(Box::from([0; 3])),
            peer: ([192, 0, 2, 1], 5684).into(),
            hello: Hello {
                product_id: 1,
                product_version: 1,
                flags: Default::default(),
                platform: Platform(13),
                device_id: None,
                system: None,
            },
            full_handshake: true,
            source: Source { record: 1, message_id: 1, confirmable: true },
            at: Timestamp(1),
        };
        store.journal().unwrap().append(Timestamp(1), &[session]).unwrap();
        store.settle().await.unwrap();
        store
    }

    #[tokio::test]
    async fn what_is_written_of_a_device_stays_when_its_shard_does_not_answer_at_the_stop() {
        let store = Arc::new(store().await);
        let keys = ServerKeys::generate().unwrap();
        let started = Node::start(NodeConfig::loopback(), Arc::clone(&store), keys).await;
        let (node, _handle) = started.unwrap();
        let no_shard = 9;
        node.shared.registry.session_began(DEVICE, no_shard);
        node.stop().await;
        let recovery = store.recover().await.unwrap();
        assert!(recovery.sessions[0].session.online);
    }
}
