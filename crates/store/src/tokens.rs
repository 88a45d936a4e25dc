//! Access tokens and refresh tokens. Only their SHA-256 is stored.

use std::fmt;

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// The SHA-256 of a secret text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as its holder writes it.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

/// An access token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its hash.
    pub hash: TokenHash,
    /// Its first characters, for lists.
    pub prefix: String,
    /// Whose it is.
    pub account: AccountId,
    /// The OAuth client that asked for it.
    pub client: String,
    /// What it may be used for; empty: everything.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; absent: never.
    pub expires_at: Option<Timestamp>,
}

/// A refresh token as stored. It is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// Its hash.
    pub hash: TokenHash,
    /// The access token made with it; revoking that one revokes this one.
    pub access: TokenHash,
    /// Whose it is.
    pub account: AccountId,
    /// The OAuth client that asked for it.
    pub client: String,
    /// What the tokens made with it may be used for; empty: everything.
    pub scopes: Vec<String>,
    /// When it ends; absent: never.
    pub expires_at: Option<Timestamp>,
}

/// The tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Keeps a token, and the refresh token made with it.
    async fn insert(&self, token: &Token, refresh: Option<&RefreshToken>)
    -> Result<(), StoreError>;
    /// The token with this hash, expired or not: the caller compares `expires_at`.
    async fn find(&self, hash: TokenHash) -> Result<Option<Token>, StoreError>;
    /// The tokens of an account, oldest first.
    async fn list(&self, account: AccountId) -> Result<Vec<Token>, StoreError>;
    /// Revokes a token and its refresh token; false if there was none.
    async fn delete(&self, hash: TokenHash) -> Result<bool, StoreError>;
    /// Revokes all tokens of an account but `kept`; tells how many.
    async fn delete_all(
        &self,
        account: AccountId,
        kept: Option<TokenHash>,
    ) -> Result<u64, StoreError>;
    /// The refresh token with this hash. Absent if it is unknown, used or expired at `now`.
    async fn refresh(
        &self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<RefreshToken>, StoreError>;
    /// Puts a token and its refresh token in the place of a refresh token and the access token that
    /// belongs to it. False, and nothing happens, if that one is unknown, used or expired at `now`.
    async fn exchange(
        &self,
        used: TokenHash,
        now: Timestamp,
        token: &Token,
        refresh: &RefreshToken,
    ) -> Result<bool, StoreError>;
    /// Drops what expired before `before`; tells how many access tokens.
    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError>;
}
