//! Copies a data folder under a running server, so that the copy is what a crash at one moment would
//! leave.
//!
//! The tables are copied first, in one transaction; the journal, which is always ahead of them, after
//! them: a server that starts on the copy folds the rest. Firmware files are there before the tables
//! name them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sqlx::Connection;

use crate::inspect::{Inspection, connect, inspect};
use crate::journal::disk;
use crate::{FilesConfig, OpenError, private};

/// What belongs to the process and not to the data.
const LEFT_OUT: [&str; 5] =
    ["journal", "lock", "store.sqlite", "store.sqlite-shm", "store.sqlite-wal"];

/// Copies `folder` to `to`, which must not be there or be empty, and looks at the copy.
///
/// # Errors
/// There is no data folder, `to` holds something, or a file cannot be read or written. What the copy lacks,
/// such as a firmware file that was removed while it was made, is a problem of the [`Inspection`].
pub async fn backup(
    folder: &Path,
    to: &Path,
    files: &FilesConfig,
) -> Result<Inspection, OpenError> {
    if !folder.join("store.sqlite").is_file() {
        return Err(OpenError::NotAFolder { path: folder.to_owned() });
    }
    empty_folder(to).and_then(|()| outside(folder, to)).map_err(|source| at(to, source))?;
    copy_tables_and_journal(folder, to).await?;
    copy_rest(folder, to).map_err(|source| at(to, source))?;
    inspect(to, files).await
}

/// A server that runs removes no segment meanwhile, however long it takes.
async fn copy_tables_and_journal(folder: &Path, to: &Path) -> Result<(), OpenError> {
    let journal = folder.join("journal");
    let _held = disk::hold(&journal);
    copy_tables(&folder.join("store.sqlite"), &to.join("store.sqlite")).await?;
    copy_folder(&journal, &to.join("journal")).map_err(|source| at(to, source))
}

fn at(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

fn empty_folder(to: &Path) -> io::Result<()> {
    private::create_folder(to)?;
    match std::fs::read_dir(to)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty")),
    }
}

/// A copy within what is copied would never end.
fn outside(folder: &Path, to: &Path) -> io::Result<()> {
    if to.canonicalize()?.starts_with(folder.canonicalize()?) {
        std::fs::remove_dir(to)?;
        let text = "a folder is not copied into itself: name one outside of it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

async fn copy_tables(from: &Path, to: &Path) -> Result<(), OpenError> {
    let failed =
        |error: sqlx::Error| OpenError::Database { path: from.to_owned(), why: error.to_string() };
    // SQLite fills an empty file, which has the right permissions from the start.
    private::options().open(to).map_err(|source| at(to, source))?;
    let mut connection = connect(from).await.map_err(failed)?;
    let copy = sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned());
    copy.execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|source| at(to, source))
}

fn copy_rest(folder: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| LEFT_OUT.contains(&name)) {
            continue;
        }
        copy(&entry.path(), &to.join(name))?;
    }
    private::sync_names(to)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    private::create_folder(to)?;
    let entries = std::fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        copy(&from.join(&name), &to.join(&name))?;
    }
    private::sync_names(to)
}

/// What is neither file nor folder, as the socket for commands, belongs to the process. A file that
/// went meanwhile is needed no more. Of a link what it leads to is copied, such as keys on another disk.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_symlink() && from.parent().is_some_and(|here| leads_up(from, here)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a link leads to a folder it is in",
        ));
    }
    let kind = match std::fs::metadata(from) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_dir() {
        return copy_folder(from, to);
    }
    if !kind.is_file() {
        return Ok(());
    }
    match File::open(from) {
        Ok(file) => copy_file(&file, to),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn leads_up(link: &Path, here: &Path) -> bool {
    let ends = (link.canonicalize(), here.canonicalize());
    matches!(&ends, (Ok(end), Ok(here)) if here.starts_with(end))
}

/// As long as it is at one moment: a file that grows is copied up to there.
fn copy_file(from: &File, to: &Path) -> io::Result<()> {
    let bytes = from.metadata()?.len();
    let mut copy = private::options().truncate(true).open(to)?;
    io::copy(&mut from.take(bytes), &mut copy)?;
    copy.sync_all()
}
