//! What every request handler shares.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;
use node::Handle;
use store::Store;

use crate::limits::{Limits, LimitsConfig};
use crate::password::Passwords;

/// Renders the metrics in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct State {
    /// What is kept.
    pub store: Arc<Store>,
    /// Live devices and events.
    pub handle: Handle,
    /// Password hashing, bounded.
    pub passwords: Passwords,
    /// The text behind `/metrics`.
    pub render_metrics: RenderMetrics,
    /// How often callers may ask.
    pub(crate) limits: Limits,
}

impl State {
    /// State over an open store and a running node.
    pub fn new(
        store: Arc<Store>,
        handle: Handle,
        render_metrics: RenderMetrics,
        limits: LimitsConfig,
    ) -> Self {
        let limits = Limits::new(limits);
        Self { store, handle, passwords: Passwords::default(), render_metrics, limits }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// The time of day.
pub(crate) fn utc_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
