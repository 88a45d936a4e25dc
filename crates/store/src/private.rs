//! Files for their owner alone: the tables and the journal hold session keys and hashes of passwords.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tracing::warn;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// What the group and all others may do.
const OTHERS: u32 = 0o077;

/// Creates a folder, those above it included, that nobody else can look into. One that is there stays
/// as it is: who may enter it is the operator's choice. What is made durable inside is found after a
/// loss of power only if the names of new folders are durable, too.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let new: Vec<_> = path.ancestors().take_while(is_new).collect();
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    new.into_iter().filter_map(Path::parent).try_for_each(sync_names)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_names(folder: &Path) -> io::Result<()> {
    let here = Path::new(".");
    File::open(if folder.as_os_str().is_empty() { here } else { folder })?.sync_all()
}

/// Creates a folder like [`create_folder`], or takes it from all others.
pub(crate) fn own_folder(path: &Path) -> io::Result<()> {
    create_folder(path)?;
    take_from_others(path, FOLDER)
}

/// How a file is opened that is created if need be.
pub(crate) fn options() -> OpenOptions {
    let mut options = File::options();
    options.create(true).write(true).mode(FILE);
    options
}

/// Takes a file from all others, if it is there.
pub(crate) fn own_file(path: &Path) -> io::Result<()> {
    match take_from_others(path, FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A file system without permissions is told of and used all the same.
fn take_from_others(path: &Path, mode: u32) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        warn!(path = %path.display(), %error, "others can read what holds session keys");
    }
    Ok(())
}
