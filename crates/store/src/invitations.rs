//! Invitations to create an account.

use async_trait::async_trait;
use model::Timestamp;

use crate::{Account, StoreError, TokenHash};

/// Somebody who may create an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The address of the account, as the operator wrote it.
    pub email: String,
    /// Since when.
    pub made_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The open invitations; of each code only the hash is kept.
#[async_trait]
pub trait Invitations: Send + Sync {
    /// Keeps an invitation in place of an older one of its address; [`StoreError::Taken`] if the address
    /// has an account. Those that ended before it was made go.
    async fn invite(&self, invitation: &Invitation, code: TokenHash) -> Result<(), StoreError>;
    /// Those that are good at `now`, oldest first.
    async fn invitations(&self, now: Timestamp) -> Result<Vec<Invitation>, StoreError>;
    /// Takes the invitation of an address back; [`StoreError::NotFound`] if it has none.
    async fn withdraw(&self, email: &str) -> Result<(), StoreError>;
    /// Whether the code invites this address, in any case, at `now`.
    async fn is_invited(
        &self,
        email: &str,
        code: TokenHash,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Creates the account that the code invites to and uses the invitation up; none if there is no
    /// such invitation. [`StoreError::Taken`], and it stays, if the address has an account.
    async fn accept(
        &self,
        email: &str,
        code: TokenHash,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError>;
}
