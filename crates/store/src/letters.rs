//! Mails that are no notices, and the ways to a new password that they tell.

use async_trait::async_trait;
use model::{AccountId, Timestamp};

use crate::{StoreError, TokenHash};

/// A mail that was not handed over yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number, from 1 on.
    pub id: u64,
    /// To whom.
    pub address: String,
    /// What it is about.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// When it was written.
    pub at: Timestamp,
}

/// The mails to send and the password resets.
#[async_trait]
pub trait Letters: Send + Sync {
    /// Writes a mail; gives its number.
    async fn write_letter(
        &self,
        address: &str,
        subject: &str,
        body: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Mails to send, oldest first, at most `limit`.
    async fn letters(&self, limit: u32) -> Result<Vec<Letter>, StoreError>;
    /// A mail was handed over, or given up.
    async fn letter_done(&self, id: u64) -> Result<(), StoreError>;
    /// Keeps a way to a new password; false, and nothing is kept, while the account has `max` of them.
    async fn begin_reset(
        &self,
        hash: TokenHash,
        account: AccountId,
        now: Timestamp,
        expires_at: Timestamp,
        max: u32,
    ) -> Result<bool, StoreError>;
    /// Uses one up, and with it all of its account.
    async fn redeem_reset(
        &self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError>;
}
