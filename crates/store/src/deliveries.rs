//! What webhooks sent and got.

use async_trait::async_trait;
use model::Timestamp;

use crate::StoreError;

/// One attempt of a webhook, or an event it gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number; of one to keep 0.
    pub id: u64,
    /// The webhook's id.
    pub webhook: String,
    /// When.
    pub at: Timestamp,
    /// `success`, `error`, `skipped` or `discarded`.
    pub outcome: String,
    /// Name of the event.
    pub event: String,
    /// The device's id, or `api`.
    pub origin: String,
    /// Everything else, as JSON text.
    pub body: String,
}

/// Which deliveries are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliverySearch {
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only of events whose names begin so.
    pub event: Option<String>,
    /// Only of this origin.
    pub origin: Option<String>,
    /// Only with smaller numbers: the next page.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// The delivery history of webhooks.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Keeps some; those of webhooks that are gone are dropped, and of each webhook all but the newest `max`.
    async fn keep(&self, deliveries: &[Delivery], max: u32) -> Result<(), StoreError>;
    /// Those of a webhook that are looked for, newest first.
    async fn search(
        &self,
        webhook: &str,
        search: &DeliverySearch,
    ) -> Result<Vec<Delivery>, StoreError>;
    /// One delivery of a webhook.
    async fn delivery(&self, webhook: &str, id: u64) -> Result<Option<Delivery>, StoreError>;
    /// Drops those made before `at`.
    async fn purge_deliveries(&self, at: Timestamp) -> Result<(), StoreError>;
}
