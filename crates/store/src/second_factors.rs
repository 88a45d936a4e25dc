//! Second factors: secrets of one-time passwords.

use async_trait::async_trait;
use model::AccountId;

use crate::StoreError;

/// The second factors of accounts.
#[async_trait]
pub trait SecondFactors: Send + Sync {
    /// The secret of an account that has a second factor.
    async fn secret(&self, account: AccountId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Gives an account a secret, or takes it away.
    async fn set(&self, account: AccountId, secret: Option<&[u8]>) -> Result<(), StoreError>;
    /// Takes note that the password of this time step was used; false if it, or a later one, was used
    /// before: each is good for one sign-in.
    async fn use_step(&self, account: AccountId, step: u64) -> Result<bool, StoreError>;
}
