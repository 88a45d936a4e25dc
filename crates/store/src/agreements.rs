//! What accounts agreed to, what their keepers remember, and what they were told.
//!
//! The agreement, a keeper's memory and a notice are texts of their owner (JSON); the store looks at
//! the hours of the open billing period alone.

use async_trait::async_trait;
use model::{AccountId, Timestamp};

use crate::{Hour, StoreError};

/// An account's agreement with its keeper's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAgreement {
    /// Whose.
    pub account: AccountId,
    /// What was agreed on.
    pub agreement: String,
    /// What its keeper remembers.
    pub keeper: String,
    /// First hour of the open billing period. What is counted for an earlier hour after this was
    /// stored is counted in this one, so that a closed period never changes.
    pub opened: Hour,
    /// The hour that the next period begins with.
    pub closes: Hour,
}

/// A period that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPeriod {
    /// Its first hour.
    pub opened: Hour,
    /// The hour that the next period began with.
    pub closed: Hour,
    /// What was used in it.
    pub body: String,
}

/// Something an account is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// When it became due.
    pub at: Timestamp,
    /// What it says.
    pub body: String,
}

/// Something an account was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotice {
    /// Its number, in the order in which notices became due; never used again.
    pub id: u64,
    /// Whom.
    pub account: AccountId,
    /// When it became due.
    pub at: Timestamp,
    /// What it says.
    pub body: String,
    /// When its e-mail was handed over.
    pub mailed_at: Option<Timestamp>,
}

/// What a keeper's decision changes, written all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The agreement and the keeper's memory from now on.
    pub agreement: StoredAgreement,
    /// A period that ended with it.
    pub closed: Option<ClosedPeriod>,
    /// What the account is told.
    pub notices: Vec<NewNotice>,
}

/// What an account used in its open billing period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenUsage {
    /// Whose.
    pub account: AccountId,
    /// Data Operations.
    pub operations: u64,
    /// Bytes over the carrier of devices with a modem, Trackers apart.
    pub cellular_bytes: u64,
    /// Those of Trackers.
    pub tracker_bytes: u64,
}

/// The agreements and notices.
#[async_trait]
pub trait Agreements: Send + Sync {
    /// All agreements, by account; those of accounts that are gone excepted.
    async fn all(&self) -> Result<Vec<StoredAgreement>, StoreError>;
    /// Accounts that have none, and when they were created.
    async fn without(&self) -> Result<Vec<(AccountId, Timestamp)>, StoreError>;
    /// Writes what was decided, or nothing of it.
    async fn decide(&self, decided: &Decided) -> Result<(), StoreError>;
    /// What all accounts with an agreement used in their open periods.
    async fn open_usages(&self) -> Result<Vec<OpenUsage>, StoreError>;
    /// How many devices each account pays for; accounts without devices excepted. The owner of a
    /// product that does not exist is nobody: then the device's own pays.
    async fn paid_devices(&self) -> Result<Vec<(AccountId, u64)>, StoreError>;
    /// How many devices this account pays for.
    async fn paid_devices_of(&self, account: AccountId) -> Result<u64, StoreError>;
    /// The newest notices of an account, newest first.
    async fn notices(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<StoredNotice>, StoreError>;
    /// The oldest notices that were not mailed yet.
    async fn notices_to_mail(&self, limit: u32) -> Result<Vec<StoredNotice>, StoreError>;
    /// A notice was handed over to be mailed, or needs no mail.
    async fn notice_mailed(&self, id: u64, at: Timestamp) -> Result<(), StoreError>;
    /// The periods of an account that ended, newest first.
    async fn closed_periods(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<ClosedPeriod>, StoreError>;
}
