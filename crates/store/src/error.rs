//! What can go wrong with stored things, by who must act.

use std::path::PathBuf;

/// Why a store could not be opened. All of them are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bucket for firmware files cannot be used as configured.
    #[error("the bucket for firmware files: {why}")]
    Bucket {
        /// What is wrong.
        why: String,
    },
    /// The journal holds damage that is no torn end: acknowledged entries would be lost.
    #[error("{path} is damaged at byte {offset}: restore the data folder from a backup", path = path.display())]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// Where the first bad batch begins.
        offset: u64,
    },
    /// The database file cannot be used.
    #[error("{path}: {why}. If the disk is full, make room; if the file is damaged, restore the data folder from a backup", path = path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
    /// The folder or a file in it cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the folder open.
    #[error("{path} is in use by another process (it holds the lock file in it)", path = path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// A newer version of this program wrote the folder.
    #[error("{path} was written by a newer version (schema {found}, this program knows {known})", path = path.display())]
    NewerVersion {
        /// The file that tells it.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another version of this program wrote the journal, and not all of it is in the tables.
    #[error("{path} was written by another version (journal version {found}, this program knows {known}): nothing is lost; start the version that wrote it", path = path.display())]
    OtherVersion {
        /// The segment.
        path: PathBuf,
        /// The version found.
        found: u8,
        /// The version that this program reads and writes.
        known: u8,
    },
    /// The path is there and is no folder.
    #[error("{path} is not a folder", path = path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// The database refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a stored thing could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A stored value is not what we wrote.
    #[error("a stored {0} cannot be read")]
    Damaged(&'static str),
    /// No such thing.
    #[error("no such thing is stored")]
    NotFound,
    /// Its name, id or address belongs to another one.
    #[error("already taken")]
    Taken,
    /// Nothing was changed, because something would have more parts than it may have.
    #[error("{0}")]
    TooMany(&'static str),
    /// The database cannot be reached, is full or too busy.
    #[error("the store refuses: {0}")]
    Unavailable(String),
}

/// Why entries were not written. None of the entries of the failed call is kept, and a later call
/// may succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full or fails.
    #[error("the journal cannot be written: {0}")]
    Io(#[from] std::io::Error),
    /// More than [`crate::journal::BATCH_BYTES_MAX`] bytes at once.
    #[error("a batch of {0} bytes is too large")]
    TooLarge(usize),
}
