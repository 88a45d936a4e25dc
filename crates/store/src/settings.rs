//! Small values the server keeps for itself, such as the secret of its cookies.

use async_trait::async_trait;

use crate::StoreError;

/// The settings.
#[async_trait]
pub trait Settings: Send + Sync {
    /// The value of a setting.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Sets a value.
    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;
    /// The value of a setting; if it has none it gets this one, whoever else asks meanwhile.
    async fn get_or_set(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError>;
}
