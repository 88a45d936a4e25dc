//! The tables, in SQLite. The statements keep to what PostgreSQL takes as well.

mod accounts;
mod agreements;
mod assignments;
mod claims;
mod clients;
mod deliveries;
mod devices;
mod firmware;
mod fold;
mod fold_ledger;
mod invitations;
mod ledger;
mod letters;
mod line;
mod points;
mod products;
mod recovery;
mod releases;
mod roll_up;
mod rows;
mod second_factors;
mod settings;
mod teams;
mod tokens;
mod updates;
mod usage_reports;
mod value;
mod webhooks;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

use crate::{OpenError, StoreError};

pub(crate) use firmware::FILES_NEEDED;
pub use roll_up::{RollUp, Step};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections at once; SQLite has one writer anyway.
const CONNECTIONS_MAX: u32 = 4;
/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory for pages, for each connection, in KiB. The kernel keeps the file's pages anyway; what is
/// here, too, is here twice.
const CACHE_KIB: i64 = 2 * 1024;

/// A connection that nobody used for so long is closed: it holds pages and statements.
const IDLE: Duration = Duration::from_secs(60);

/// The tables.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pool: SqlitePool,
    /// Tables in memory live as long as a connection to them does.
    _anchor: Option<Arc<Mutex<SqliteConnection>>>,
}

impl Tables {
    /// Opens a file, creating it if need be, and brings its schema up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, OpenError> {
        // FULL: a segment of the journal may go once what it holds is in the tables.
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // A new file changes to the write-ahead log on one connection: two at once would find each
        // other's lock, and that change does not wait.
        let first = options.connect().await.map_err(|error| unusable(&error, file))?;
        first.close().await.map_err(|error| unusable(&error, file))?;
        Self::connect(options, CONNECTIONS_MAX, file).await
    }

    /// Tables that nobody sees again.
    pub(crate) async fn in_memory() -> Result<Self, OpenError> {
        // This form names the memory, so that a second connection can hold it while the pool replaces
        // its own (it does after a call that was given up half-way).
        let options: SqliteConnectOptions = "sqlite::memory:".parse().map_err(failed)?;
        let anchor = options.connect().await.map_err(failed)?;
        let tables = Self::connect(options, 1, Path::new("memory")).await?;
        Ok(Self { _anchor: Some(Arc::new(Mutex::new(anchor))), ..tables })
    }

    async fn connect(
        options: SqliteConnectOptions,
        connections: u32,
        file: &Path,
    ) -> Result<Self, OpenError> {
        let options = options
            .pragma("cache_size", (-CACHE_KIB).to_string())
            .pragma("temp_store", "memory")
            .row_buffer_size(1024);
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .idle_timeout(Some(IDLE))
            .max_lifetime(None)
            // One whose commit failed, as on a full disk, begins nothing any more: another takes its place.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect_with(options)
            .await
            .map_err(|error| unusable(&error, file))?;
        MIGRATOR.run(&pool).await.map_err(|error| migration_error(error, file))?;
        Ok(Self { pool, _anchor: None })
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that will write: it waits for other writers at its beginning, not half-way.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
    }
}

fn migration_error(error: MigrateError, file: &Path) -> OpenError {
    let known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
            OpenError::NewerVersion { path: file.to_owned(), found, known }
        }
        other => OpenError::Database { path: file.to_owned(), why: other.to_string() },
    }
}

fn unusable(error: &sqlx::Error, file: &Path) -> OpenError {
    OpenError::Database { path: file.to_owned(), why: error.to_string() }
}

/// What the database said, by who must act.
fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => StoreError::Taken,
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Damaged("row"),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// [`StoreError::NotFound`] if a change changed nothing.
fn found(done: &sqlx::sqlite::SqliteQueryResult) -> Result<(), StoreError> {
    if done.rows_affected() == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
