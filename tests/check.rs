//! `cloudchamber check` on data folders that are whole, and on others.

mod support;

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sim::device::profile::Generation;
use support::folder::{Folder, Ports, identity};
use support::live::{await_acknowledgement, connect, publish};
use support::{run, run_ok};

/// What `check --json` says, and whether it succeeded.
fn check(folder: &Folder) -> (Value, bool) {
    let output = run(&["check", "--data", folder.data(), "--json"], "");
    let text = String::from_utf8(output.stdout).expect("text");
    let told = serde_json::from_str(&text).unwrap_or_else(|why| {
        panic!("{why}: {text:?}, {}", String::from_utf8_lossy(&output.stderr))
    });
    (told, output.status.success())
}

/// The problems of a folder that is not whole.
fn problems(folder: &Folder) -> Vec<String> {
    let (told, is_whole) = check(folder);
    assert!(!is_whole && told["ok"] == false, "{told}");
    let problems = told["problems"].as_array().unwrap_or_else(|| panic!("{told}"));
    assert!(!problems.is_empty(), "{told}");
    problems.iter().map(|problem| problem.as_str().expect("text").to_owned()).collect()
}

/// The only one.
fn problem(folder: &Folder) -> String {
    let mut problems = problems(folder);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

/// A folder in which a device published this often; the server is stopped.
fn used(publishes: usize) -> Folder {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 1)]);
    let server = folder.serve();
    let mut live = folder.device(Generation::Os6, 1, Ports::of(&server).udp());
    connect(&mut live);
    for _ in 0..publishes {
        let number = publish(&mut live, "temp", "21");
        await_acknowledgement(&mut live, number);
    }
    let (told, is_whole) = check(&folder);
    assert!(is_whole, "under a running server: {told}");
    server.stop();
    folder
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::File::options().write(true).open(path).expect("opened");
    file.seek(SeekFrom::Start(at)).expect("there");
    file.write_all(bytes).expect("written");
}

fn segment(folder: &Folder) -> PathBuf {
    let files = std::fs::read_dir(folder.path("journal")).expect("a folder");
    files.map(|file| file.expect("an entry").path()).min().expect("a segment")
}

/// The first file in a folder or in those in it.
fn first_file(folder: &Path) -> PathBuf {
    let entry = std::fs::read_dir(folder).expect("a folder").next().expect("an entry");
    let path = entry.expect("readable").path();
    if path.is_dir() { first_file(&path) } else { path }
}

#[test]
fn a_folder_that_was_used_is_whole_and_stays_as_it_is() {
    let folder = used(3);
    let before = std::fs::read(segment(&folder)).expect("read");
    let (told, is_whole) = check(&folder);
    assert!(is_whole && told["ok"] == true, "{told}");
    assert!(told["journal_entries"].as_u64() >= Some(3), "{told}");
    assert_eq!(std::fs::read(segment(&folder)).expect("read"), before);
    let nowhere = folder.path("nowhere");
    let refused = run(&["check", "--data", nowhere.to_str().expect("text")], "");
    assert!(!refused.status.success() && !nowhere.exists());
}

#[test]
fn a_damaged_page_of_the_database_is_found_and_the_server_says_what_to_do() {
    let folder = used(1);
    // A checkpoint happened at the stop: what counts is in the file itself.
    let tables = folder.path("store.sqlite");
    let pages = tables.metadata().expect("a file").len() / 4096;
    for page in 1..pages {
        overwrite(&tables, page * 4096, &[0x5a; 4096]);
    }
    let problems = problems(&folder);
    assert!(problems.iter().all(|problem| problem.contains("store.sqlite")), "{problems:?}");
    let output = run(&["serve", "--data", folder.data()], "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("backup"), "{errors}");
}

#[test]
fn damage_in_the_middle_of_the_journal_is_found_a_torn_end_is_none() {
    let folder = used(4);
    let path = segment(&folder);
    let whole = std::fs::read(&path).expect("read");
    std::fs::write(&path, &whole[..whole.len() - 3]).expect("written");
    let (told, _) = check(&folder);
    // What the tables hold and the journal lost is no loss.
    assert!(told["problems"].as_array().is_some_and(Vec::is_empty), "{told}");
    std::fs::write(&path, &whole).expect("written");
    overwrite(&path, 60, &[0xff; 8]);
    assert!(problem(&folder).contains("damaged"));
}

#[test]
fn a_firmware_file_that_is_lost_or_changed_is_found() {
    let folder = Folder::new();
    let file = folder.path("system.bin");
    let path = file.to_str().expect("text");
    let system = ["--function", "system", "--module-version", "6200"];
    run_ok(&[&["firmware", "make", path, "--platform", "argon"][..], &system].concat(), "");
    let added = run_ok(&["firmware", "add", path, "--json", "--data", folder.data()], "");
    let added: Value = serde_json::from_str(&added).expect("JSON");
    let hash = added[0]["hash"].as_str().expect("text");
    let (told, is_whole) = check(&folder);
    assert!(is_whole && told["firmware_files"] == 1, "{told}");
    let kept = first_file(&folder.path("firmware"));
    overwrite(&kept, 100, b"other");
    assert!(problem(&folder).contains(hash));
    std::fs::remove_file(&kept).expect("removed");
    assert!(problem(&folder).contains("is missing"));
}
