//! What the threads of the device side share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use model::{RequestId, Timestamp};
use secure::dtls::ServerIdentity;
use secure::p256::OpensslP256;
use secure::tcp::RsaServerKeys;
use store::Store;
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::clock::Clock;
use crate::commit::CommitQueue;
use crate::errands::Errand;
use crate::health::{CommitHealth, Health};
use crate::hub::EventHub;
use crate::mail::Mailbox;
use crate::pool::Pool;
use crate::quota::LogQuota;
use crate::registry::Registry;
use crate::reports::ReportBoard;
use crate::safe_modes::SafeModeBoard;
use crate::{Billing, NodeConfig};

/// One for the process.
pub(crate) struct Shared {
    pub(crate) billing: Arc<Billing>,
    /// Held while a row is read from the store, comes into force and is told: what was read first is
    /// not the last to come into force.
    pub(crate) changing: Mutex<()>,
    pub(crate) clock: Clock,
    pub(crate) commit_health: CommitHealth,
    pub(crate) commits: CommitQueue,
    pub(crate) config: NodeConfig,
    pub(crate) errands: mpsc::Sender<Errand>,
    pub(crate) hub: EventHub,
    pub(crate) keys: Keys,
    pub(crate) pool: Pool,
    pub(crate) registry: Registry,
    pub(crate) reports: ReportBoard,
    pub(crate) safe_modes: SafeModeBoard,
    /// By number.
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) store: Arc<Store>,
    /// One for each job of a TCP handshake that may wait for the pool.
    pub(crate) tcp_jobs: Semaphore,
    /// One line for devices with unknown keys, however many knock.
    pub(crate) unknown_keys: LogQuota,
    pub(crate) failures: Failures,
    pub(crate) request_ids: AtomicU64,
}

/// What the arithmetic of handshakes needs.
pub(crate) struct Keys {
    pub(crate) p256: OpensslP256,
    pub(crate) identity: ServerIdentity,
    pub(crate) rsa: RsaServerKeys,
}

/// Threads that ended though nobody stopped them.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    any: AtomicBool,
}

impl Shared {
    /// The shard of this number; numbers come from the registry, which knows how many there are.
    pub(crate) fn shard(&self, number: u8) -> Option<&Mailbox> {
        self.shards.get(usize::from(number))
    }

    /// Whether a device may begin a handshake: somebody computes it, and its session can be kept.
    pub(crate) fn admits(&self) -> bool {
        self.pool.has_room() && self.commit_health.accepts()
    }

    /// A name for one request, unique until the process ends.
    pub(crate) fn request_id(&self) -> RequestId {
        RequestId(self.request_ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn utc(&self) -> Timestamp {
        self.clock.now().utc
    }

    pub(crate) fn health(&self) -> Health {
        if self.failures.any.load(Ordering::Relaxed) {
            let degraded = "a thread of the device side has failed: restart the server".to_owned();
            return Health { degraded: Some(degraded) };
        }
        Health { degraded: self.commit_health.complaint(Instant::now()) }
    }
}

impl Failures {
    /// Runs the work of a thread; a panic in it is told to the operator and not hidden.
    pub(crate) fn watch(&self, thread: &str, work: impl FnOnce()) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if outcome.is_err() {
            self.any.store(true, Ordering::Relaxed);
            tracing::error!(thread, "a thread of the device side failed; restart the server");
        }
    }
}
