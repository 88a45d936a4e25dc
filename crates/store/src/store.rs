//! The data folder, opened.

use std::path::Path;

use model::{AccountId, EventId, Timestamp};

use crate::journal::Journal;
use crate::{
    Accounts, Claims, Devices, Ledger, OpenError, Products, Recovery, Replay, Settings, StoreError,
    Tokens,
};

/// An open data folder: `lock`, `store.sqlite`, `journal/`. Share it by `Arc`.
pub struct Store {}

impl Store {
    /// Opens a data folder, creating it if need be, and folds what the journal holds beyond the
    /// tables.
    ///
    /// # Errors
    /// See [`OpenError`]: in use by another process, written by a newer version, damaged, no folder.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Err(OpenError::NotAFolder { path: folder.to_owned() })
    }

    /// A store that keeps nothing: tables and journal in memory, for tests.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub async fn in_memory() -> Result<Self, OpenError> {
        Err(OpenError::NotAFolder { path: "".into() })
    }

    /// The accounts.
    pub fn accounts(&self) -> &dyn Accounts {
        unimplemented!()
    }

    /// The access and refresh tokens.
    pub fn tokens(&self) -> &dyn Tokens {
        unimplemented!()
    }

    /// The devices.
    pub fn devices(&self) -> &dyn Devices {
        unimplemented!()
    }

    /// The products.
    pub fn products(&self) -> &dyn Products {
        unimplemented!()
    }

    /// The claim codes.
    pub fn claims(&self) -> &dyn Claims {
        unimplemented!()
    }

    /// The server's own settings and secrets.
    pub fn settings(&self) -> &dyn Settings {
        unimplemented!()
    }

    /// The ledger.
    pub fn ledger(&self) -> &dyn Ledger {
        unimplemented!()
    }

    /// The writing end of the journal; absent if it was taken before. Dropping it loses nothing.
    pub fn journal(&self) -> Option<Journal> {
        unimplemented!()
    }

    /// What the server begins with. Call it before the journal is used.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recover(&self) -> Result<Recovery, StoreError> {
        Err(StoreError::NotFound)
    }

    /// The account's events behind `after` that the replay window (5 minutes, 64 MiB) still holds,
    /// at most `limit`: the newest ones, if there are more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn replay(
        &self,
        account: AccountId,
        after: EventId,
        now: Timestamp,
        limit: usize,
    ) -> Result<Replay, StoreError> {
        let _ = (account, after, now, limit);
        Err(StoreError::NotFound)
    }

    /// Waits until everything appended before this call is in the tables.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub async fn settle(&self) -> Result<(), StoreError> {
        Err(StoreError::NotFound)
    }

    /// Folds what is left, closes the tables and gives the folder free. Not calling it costs a little
    /// work at the next open and loses nothing.
    ///
    /// # Errors
    /// The tables cannot be written; the folder is free all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        Err(StoreError::NotFound)
    }
}
