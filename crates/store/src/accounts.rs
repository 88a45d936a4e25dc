//! Accounts: who owns devices and pays.

use async_trait::async_trait;
use model::{AccountId, Timestamp};

use crate::StoreError;

/// An account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number, from 1 on.
    pub id: AccountId,
    /// Its e-mail address as given; unique whatever the case of its letters.
    pub email: String,
    /// The password's hash in PHC text form; empty: no password is set.
    pub password_hash: String,
    /// The caller's own data about the account (`account_info`), as JSON text.
    pub info: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The accounts.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Creates an account; [`StoreError::Taken`] if the address has one.
    async fn create(
        &self,
        email: &str,
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Account, StoreError>;
    /// The account of this address, in any case.
    async fn by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;
    /// The account of this number.
    async fn by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError>;
    /// All accounts by number.
    async fn list(&self) -> Result<Vec<Account>, StoreError>;
    /// Replaces the password's hash.
    async fn set_password(&self, id: AccountId, password_hash: &str) -> Result<(), StoreError>;
    /// Replaces the address; [`StoreError::Taken`] if another account has it.
    async fn set_email(&self, id: AccountId, email: &str) -> Result<(), StoreError>;
    /// Replaces the caller's own data (JSON text).
    async fn set_info(&self, id: AccountId, info: Option<&str>) -> Result<(), StoreError>;
    /// Removes the account with its tokens and claim codes; its devices have no owner afterwards.
    /// The ledger keeps its sums.
    async fn delete(&self, id: AccountId) -> Result<(), StoreError>;
}
