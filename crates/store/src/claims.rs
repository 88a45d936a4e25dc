//! Claim codes: a device that shows one belongs to the account it was made for.

use async_trait::async_trait;
use model::{AccountId, DeviceId, Timestamp};

use crate::StoreError;

/// Characters of a claim code.
pub const CLAIM_CODE_CHARS: usize = 63;
/// Life of a claim code in milliseconds: 24 h.
pub const CLAIM_CODE_LIFE_MS: i64 = 24 * 3_600_000;

/// What became of a claim code that a device showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// The device belongs to this account, which owned it already or does since now.
    Claimed(AccountId),
    /// The device stays with its owner; the code, made for `wanted_by`, is used up.
    OwnedByOther {
        /// Whose device it is.
        owner: AccountId,
        /// Who made the code.
        wanted_by: AccountId,
    },
    /// No such code: unknown, used or expired. Nothing changed.
    Unknown,
}

/// The claim codes.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Makes a code of [`CLAIM_CODE_CHARS`] characters, valid for 24 h after `at`.
    async fn create(&self, account: AccountId, at: Timestamp) -> Result<String, StoreError>;
    /// The account that a valid code was made for; the code stays valid.
    async fn maker(&self, code: &str, at: Timestamp) -> Result<Option<AccountId>, StoreError>;
    /// Uses a code up for a device that proved its id, and gives the device an owner if it has none.
    async fn redeem(
        &self,
        code: &str,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<Redeemed, StoreError>;
}
