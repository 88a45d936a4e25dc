//! Who can read the data folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::journal::Entry;
use model::{DeviceId, Timestamp};
use store::Store;

/// Opens a store, so that all its files are there, and keeps them open.
async fn open(folder: &Path) -> Store {
    let store = Store::open(folder).await.expect("opens");
    let mut journal = store.journal().expect("the only writer");
    let entry = Entry::Forget { device: DeviceId([7; 12]) };
    journal.append(Timestamp(1), &[entry]).expect("written");
    drop(journal);
    store.settle().await.expect("folded");
    store
}

/// Everything in a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let folders: Vec<_> = found.iter().filter(|path| path.is_dir()).cloned().collect();
    found.extend(folders.iter().flat_map(|folder| below(folder)));
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn assert_closed(paths: &[PathBuf]) {
    for path in paths {
        assert_eq!(mode(path) & 0o077, 0, "{} has mode {:o}", path.display(), mode(path));
    }
}

#[tokio::test]
async fn a_new_data_folder_and_all_that_is_in_it_are_for_its_owner_alone() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("new");
    let _store = open(&folder).await;
    assert_eq!(mode(&folder), 0o700);
    let paths = below(&folder);
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "lock", ".journal"] {
        assert!(paths.iter().any(|path| path.to_string_lossy().ends_with(name)), "{name}");
    }
    assert_closed(&paths);
}

#[tokio::test]
async fn files_that_others_could_read_are_taken_from_them_and_the_folder_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).await.close().await.expect("closes");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("allowed");
    for path in below(folder.path()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("allowed");
    }
    let _store = open(folder.path()).await;
    assert_eq!(mode(folder.path()), 0o755);
    // Segments that are there are behind the closed door of their folder.
    let names = ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "journal"];
    assert_closed(&names.map(|name| folder.path().join(name)));
}
