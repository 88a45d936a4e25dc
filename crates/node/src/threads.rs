//! The threads of the device side and what runs on them.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use protocol::endpoint::{Endpoint, EndpointConfig};
use router::{Shard, ShardConfig};
use store::{Journal, StoredSession};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tracing::{error, warn};

use crate::carry::Carrier;
use crate::mail::{Mails, Notice};
use crate::shard_task::ShardTask;
use crate::shared::Shared;
use crate::{StartError, commit, metrics, tcp};

const METRICS_EACH: Duration = Duration::from_secs(1);

/// What one shard begins with.
pub(crate) struct Wires {
    pub(crate) mails: Mails,
    pub(crate) socket: UdpSocket,
    pub(crate) sessions: Vec<StoredSession>,
    pub(crate) cookie_secret: [u8; 32],
}

/// Whether a shard could begin.
pub(crate) type Ready = oneshot::Receiver<io::Result<()>>;

/// Starts the thread of a shard.
pub(crate) fn shard(
    shared: &Arc<Shared>,
    number: usize,
    wires: Wires,
) -> Result<(JoinHandle<()>, Ready), StartError> {
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    let (ready, is_ready) = oneshot::channel();
    let its = Arc::clone(shared);
    let thread = spawn(shared, format!("shard-{number}"), move |runtime| {
        runtime.block_on(async move {
            match begin(number, wires, its) {
                Ok(task) => {
                    let _ = ready.send(Ok(()));
                    task.run().await;
                }
                Err(cause) => drop(ready.send(Err(cause))),
            }
        });
    })?;
    Ok((thread, is_ready))
}

/// Waits until a shard reads its socket.
pub(crate) async fn wait(ready: Ready) -> Result<(), StartError> {
    let failed = || Err(io::Error::other("it failed at once"));
    let outcome = ready.await.unwrap_or_else(|_| failed());
    outcome.map_err(|cause| StartError::Thread { name: "shard".to_owned(), cause })
}

fn begin(number: u8, wires: Wires, shared: Arc<Shared>) -> io::Result<ShardTask> {
    let Wires { mails, socket, sessions, cookie_secret } = wires;
    let config = &shared.config;
    let shards = config.shards_number();
    let mut endpoint = EndpointConfig::new(number, shards, rand::random(), cookie_secret);
    endpoint.trust_on_first_use = config.trust_on_first_use;
    endpoint.update_bandwidth = share(config.update_bandwidth, shards);
    let shard = ShardConfig {
        publish_burst: config.publish_burst,
        publish_rate_ms: config.publish_refill_ms,
        rules: shared.billing.default_rules(),
        platforms: shared.billing.catalogues().platforms(),
        counts: config.counts,
        seed: rand::random(),
    };
    let (endpoint, shard) = (Endpoint::new(endpoint), Shard::new(shard));
    let mut carrier = Carrier::new(number, endpoint, shard, Arc::clone(&shared));
    let unreadable = carrier.restore(shared.clock.now(), sessions);
    if unreadable > 0 {
        warn!(unreadable, "stored sessions that cannot be read: their devices make new ones");
    }
    ShardTask::new(carrier, mails, shared, socket)
}

/// What one of `shards` may use of a bandwidth; 0 means no bound, for all of them.
fn share(bandwidth: u64, shards: u8) -> u64 {
    bandwidth.div_ceil(u64::from(shards.max(1)))
}

/// Starts the thread that owns the journal.
pub(crate) fn commit(shared: &Arc<Shared>, journal: Journal) -> Result<JoinHandle<()>, StartError> {
    let its = Arc::clone(shared);
    spawn(shared, "commit".to_owned(), move |_| {
        let wait = its.config.commit_wait;
        let show = |first, entries: &[_]| its.hub.committed(first, entries);
        commit::run(&its.commits, journal, wait, &its.commit_health, show, |shard, notice| {
            if let Some(shard) = its.shard(shard) {
                shard.notify(Notice::Commit(notice));
            }
        });
    })
}

/// Starts the thread that serves TCP connections.
pub(crate) fn tcp(
    shared: &Arc<Shared>,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, StartError> {
    let its = Arc::clone(shared);
    spawn(shared, "tcp".to_owned(), move |runtime| {
        if let Err(error) = runtime.block_on(tcp::serve(listener, Arc::clone(&its), stopped)) {
            error!(%error, "TCP devices are not served");
            its.failures.note("tcp");
        }
    })
}

fn spawn(
    shared: &Arc<Shared>,
    name: String,
    work: impl FnOnce(&runtime::Runtime) + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let its = Arc::clone(shared);
    let thread = runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let label = name.clone();
        Builder::new()
            .name(name.clone())
            .spawn(move || its.failures.watch(&label, || work(&runtime)))
    });
    thread.map_err(|cause| StartError::Thread { name, cause })
}

/// Exports once a second what belongs to no shard.
pub(crate) async fn export_metrics(shared: Arc<Shared>) {
    // Before the first shard exports anything; the exporter is installed before the start.
    metrics::describe();
    loop {
        tokio::time::sleep(METRICS_EACH).await;
        let (hub, tasks) = (&shared.hub, runtime::Handle::current().metrics().num_alive_tasks());
        metrics::shared(tasks, shared.pool.waiting(), hub.streams_open(), hub.events_missed());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;

    use secure::keys::ServerKeys;
    use store::Store;

    use super::*;
    use crate::{Node, NodeConfig};

    #[tokio::test]
    async fn a_listener_that_cannot_be_served_is_told_to_the_operator() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let (node, handle) = Node::start(NodeConfig::loopback(), store, keys).await.unwrap();
        assert_eq!(handle.health().degraded, None);
        let mut options = std::fs::OpenOptions::new();
        let no_socket = options.read(true).custom_flags(libc::O_NONBLOCK).open("/dev/null");
        let listener = TcpListener::from(OwnedFd::from(no_socket.unwrap()));
        let (_stop, stopped) = watch::channel(false);
        tcp(&node.shared, listener, stopped).unwrap().join().unwrap();
        let complaint = handle.health().degraded;
        assert_eq!(complaint.as_deref(), Some("tcp failed: restart the server"));
        node.stop().await;
    }
}
