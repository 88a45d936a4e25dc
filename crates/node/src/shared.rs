//! What the threads of the device side share.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
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

/// Threads and tasks that ended though nobody stopped them.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// There are as many as there are kinds of work.
    names: std::sync::Mutex<BTreeSet<String>>,
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
        let failed = self.failures.complaint();
        let commit = self.commit_health.complaint(Instant::now());
        let tables = self.store.complaint().map(str::to_owned);
        let told: Vec<_> = [failed, commit, tables].into_iter().flatten().collect();
        Health { degraded: (!told.is_empty()).then(|| told.join("; ")) }
    }
}

impl Failures {
    /// Runs the work of a thread; a panic in it is told to the operator and not hidden.
    pub(crate) fn watch(&self, name: &str, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.note(name);
        }
    }

    /// The same for a task.
    pub(crate) async fn watch_task(&self, name: &str, task: impl Future<Output = ()>) {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            self.note(name);
        }
    }

    /// What failed, for the operator.
    fn complaint(&self) -> Option<String> {
        let names = self.names();
        let told: Vec<_> = names.iter().map(String::as_str).collect();
        (!told.is_empty()).then(|| format!("{} failed: restart the server", told.join(", ")))
    }

    /// Keeps what failed, for [`Shared::health`].
    pub(crate) fn note(&self, name: &str) {
        tracing::error!(name, "a thread or a task of the server failed; restart the server");
        self.names().insert(name.to_owned());
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_thread_or_of_a_task_is_told_under_its_name() {
        let failures = Failures::default();
        failures.watch("commit", || {});
        assert_eq!(failures.complaint(), None);
        failures.watch("shard-0", || panic!("on purpose"));
        let told = failures.watch_task("billing", async { panic!("on purpose") });
        assert_eq!(told.now_or_never(), Some(()));
        let complaint = failures.complaint();
        assert_eq!(complaint.as_deref(), Some("billing, shard-0 failed: restart the server"));
    }
}
