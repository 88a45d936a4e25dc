//! Webhooks: requests that events cause.

use async_trait::async_trait;
use model::{AccountId, ProductId, Timestamp};

use crate::StoreError;

/// A webhook as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id: 24 hex digits.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// The product whose devices cause it; absent: the account's own devices do.
    pub product: Option<ProductId>,
    /// What its owner wrote, as JSON text.
    pub definition: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last replaced.
    pub updated_at: Timestamp,
}

/// What became of a webhook's deliveries on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WebhookDay {
    /// Days since 1970, in UTC.
    pub day: i64,
    /// Answered well.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts not made because the target was failing.
    pub skipped: u64,
    /// Events given up.
    pub discarded: u64,
}

/// The webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Keeps a webhook; [`StoreError::Taken`] if its id is taken.
    async fn insert(&self, webhook: &Webhook) -> Result<(), StoreError>;
    /// The webhook of this id.
    async fn get(&self, id: &str) -> Result<Option<Webhook>, StoreError>;
    /// The webhooks of an account, those of its products too, oldest first.
    async fn list(&self, account: AccountId) -> Result<Vec<Webhook>, StoreError>;
    /// The accounts that have any.
    async fn accounts(&self) -> Result<Vec<AccountId>, StoreError>;
    /// Replaces the definition.
    async fn replace(&self, id: &str, definition: &str, at: Timestamp) -> Result<(), StoreError>;
    /// Removes a webhook and its counts.
    async fn delete(&self, id: &str) -> Result<(), StoreError>;
    /// Adds to a webhook's counts; one that is gone counts nothing.
    async fn count(&self, id: &str, added: WebhookDay) -> Result<(), StoreError>;
    /// A webhook's counts from `first_day` on, oldest first.
    async fn days(&self, id: &str, first_day: i64) -> Result<Vec<WebhookDay>, StoreError>;
    /// Drops the counts of days before `day`.
    async fn purge_days(&self, day: i64) -> Result<(), StoreError>;
}
