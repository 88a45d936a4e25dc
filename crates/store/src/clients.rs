//! OAuth clients: programs that act for the account that registered them.

use async_trait::async_trait;
use model::{AccountId, ProductId, Timestamp};

use crate::{StoreError, TokenHash};

/// A client as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id, as it names itself.
    pub id: String,
    /// Who registered it.
    pub account: AccountId,
    /// The product that it serves; absent: the account.
    pub product: Option<ProductId>,
    /// Its name.
    pub name: String,
    /// `installed` or `web`.
    pub kind: String,
    /// Where browsers are sent back to, of a `web` client.
    pub redirect_uri: Option<String>,
    /// What its tokens may be used for, as its owner wrote it.
    pub scope: Option<String>,
    /// The hash of its secret.
    pub secret: TokenHash,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// The OAuth clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Keeps a client; [`StoreError::Taken`] if its id is taken.
    async fn insert(&self, client: &Client) -> Result<(), StoreError>;
    /// The client of this id.
    async fn get(&self, id: &str) -> Result<Option<Client>, StoreError>;
    /// The clients of an account, those of its products too, oldest first.
    async fn list(&self, account: AccountId) -> Result<Vec<Client>, StoreError>;
    /// Replaces name and scope.
    async fn update(&self, id: &str, name: &str, scope: Option<&str>) -> Result<(), StoreError>;
    /// Removes a client with its tokens and refresh tokens, whosever they are.
    async fn delete(&self, id: &str) -> Result<(), StoreError>;
}
