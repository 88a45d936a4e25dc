//! Looks whether a data folder is whole, without changing what it holds. A server may be using it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::journal::disk::{self, Disk, SegmentFile};
use crate::journal::scan::scan;
use crate::sqlite::FILES_NEEDED;
use crate::{FileHash, Files, FilesConfig, OpenError};

/// What was found in a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// Entries of the journal that were read.
    pub entries: u64,
    /// Firmware files that are there and have their hash.
    pub firmware_files: u64,
    /// Firmware files that are in a bucket, which is not looked at.
    pub firmware_elsewhere: u64,
    /// What is wrong, each for the operator; empty: nothing.
    pub problems: Vec<String>,
}

/// More than this of one kind is told as a number only.
const TOLD_MAX: usize = 20;

/// Reads tables, journal and firmware files.
///
/// # Errors
/// There is no data folder, or it cannot be read at all. What is damaged is a problem of the
/// [`Inspection`].
pub async fn inspect(folder: &Path, files: &FilesConfig) -> Result<Inspection, OpenError> {
    let file = folder.join("store.sqlite");
    if !file.is_file() {
        return Err(OpenError::NotAFolder { path: folder.to_owned() });
    }
    let mut found = Inspection::default();
    // A server that runs removes no segment between the two.
    let _held = disk::hold(&folder.join("journal"));
    // The journal is read behind the tables: what those hold is in there, or was.
    let folded = tables(&file, folder, files, &mut found).await;
    if let Err(error) = &folded {
        found.problems.push(format!("{}: {error}", file.display()));
    }
    if let Err(error) = journal(&folder.join("journal"), folded.ok(), &mut found) {
        found.problems.push(error.to_string());
    }
    Ok(found)
}

/// Opens the tables that are there as they are: no migration, no new file.
pub(crate) async fn connect(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new().filename(file).create_if_missing(false).connect().await
}

async fn tables(
    file: &Path,
    folder: &Path,
    files: &FilesConfig,
    found: &mut Inspection,
) -> Result<u64, sqlx::Error> {
    let mut connection = connect(file).await?;
    let limit = format!("PRAGMA integrity_check({TOLD_MAX})");
    for row in sqlx::query(sqlx::AssertSqlSafe(limit)).fetch_all(&mut connection).await? {
        let told: String = row.try_get(0)?;
        if told != "ok" {
            found.problems.push(format!("{}: {told}", file.display()));
        }
    }
    let loose = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await?;
    if !loose.is_empty() {
        let count = loose.len();
        found.problems.push(format!("{}: {count} rows refer to nothing", file.display()));
    }
    firmware(&mut connection, folder, files, found).await?;
    let row = sqlx::query("SELECT place FROM folded WHERE one = 1").fetch_one(&mut connection);
    let place: i64 = row.await?.try_get(0)?;
    connection.close().await?;
    Ok(u64::try_from(place).unwrap_or(0))
}

async fn firmware(
    connection: &mut SqliteConnection,
    folder: &Path,
    files: &FilesConfig,
    found: &mut Inspection,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(FILES_NEEDED).fetch_all(connection).await?;
    if rows.is_empty() {
        return Ok(());
    }
    if matches!(files, FilesConfig::S3(_)) {
        found.firmware_elsewhere = rows.len() as u64;
        return Ok(());
    }
    let Ok(files) = Files::open(folder, files) else { return Ok(()) };
    for row in rows {
        let bytes: Vec<u8> = row.try_get(0)?;
        let Ok(hash) = bytes.try_into().map(FileHash) else { continue };
        match files.get(hash).await {
            Ok(Some(_)) => found.firmware_files += 1,
            Ok(None) => found.problems.push(format!("the firmware file {hash} is missing")),
            Err(error) => found.problems.push(format!("the firmware file {hash}: {error}")),
        }
    }
    Ok(())
}

/// `folded` is absent when the tables do not tell how far they reach: then nothing is known to be missing
/// before the first segment.
fn journal(folder: &Path, folded: Option<u64>, found: &mut Inspection) -> Result<(), OpenError> {
    if !folder.is_dir() {
        return Err(OpenError::NotAFolder { path: folder.to_owned() });
    }
    let disk = Untouched(disk::Folder::at(folder));
    let firsts = disk.list().map_err(|source| OpenError::Io { path: folder.to_owned(), source })?;
    let folded = folded.or_else(|| firsts.first().copied()).unwrap_or(0);
    let log = scan(Arc::new(disk), folded)?;
    let segments = log.segments_from(0);
    found.entries = segments.iter().map(|segment| segment.next - segment.first).sum();
    Ok(())
}

/// The journal's folder, of which nothing is cut: the torn end may be what a server is writing.
struct Untouched(disk::Folder);

impl Disk for Untouched {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.0.list()
    }

    fn create(&self, _first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.0.open(first)
    }

    fn cut(&self, _first: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _first: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.0.path(first)
    }
}
