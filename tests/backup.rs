//! A data folder that comes back from a backup.

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sim::device::Observation;
use sim::device::profile::Generation;
use support::folder::{Folder, Ports, identity};
use support::live::{await_acknowledgement, connect, publish};
use support::{run, run_ok};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

fn forget(folder: &Folder) -> u64 {
    let told = run_ok(&["sessions", "forget", "--data", folder.data(), "--json"], "");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["sessions"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn sessions_of_a_backup_are_forgotten_and_devices_make_new_ones() {
    let folder = Folder::new();
    let generations = [Generation::Os6, Generation::Os3, Generation::Tcp];
    folder.register(&generations.map(|generation| identity(generation, 1)));
    let server = folder.serve();
    let ports = Ports::of(&server);
    let mut devices = generations.map(|generation| {
        let address = if generation == Generation::Tcp { ports.tcp() } else { ports.udp() };
        let mut live = folder.device(generation, 1, address);
        connect(&mut live);
        live
    });
    server.stop();
    let backup = tempfile::tempdir().expect("a folder");
    copy(Path::new(folder.data()), backup.path());

    let server = folder.serve_again(&ports, &[]);
    let live = &mut devices[0];
    let number = publish(live, "temp", "21");
    await_acknowledgement(live, number);
    server.kill();

    for name in ["store.sqlite-wal", "store.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path(name));
    }
    std::fs::remove_dir_all(folder.path("journal")).expect("removed");
    copy(backup.path(), Path::new(folder.data()));
    assert_eq!(forget(&folder), 2, "over TCP there is nothing to forget");
    assert_eq!(forget(&folder), 0);
    let _server = folder.serve_again(&ports, &[]);
    live.forget_observations();
    publish(live, "temp", "22");
    live.run(Duration::from_secs(6));
    let is_answer = |seen: &Observation| matches!(seen, Observation::PublishAnswered { .. });
    assert!(!live.observations().iter().any(is_answer), "nothing is said under the old keys");
    connect(&mut folder.device(Generation::Os6, 1, ports.udp()));
}

#[test]
fn sessions_of_a_running_server_are_not_forgotten() {
    let folder = Folder::new();
    let _server = folder.serve();
    let refused = run(&["sessions", "forget", "--data", folder.data()], "");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop the server first"));
    let nowhere = folder.path("nowhere");
    let refused = run(&["sessions", "forget", "--data", nowhere.to_str().expect("text")], "");
    assert!(!refused.status.success() && !nowhere.exists());
}

#[test]
fn a_backup_of_a_running_server_is_whole_and_a_server_starts_on_it() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 1)]);
    let server = folder.serve();
    let mut live = folder.device(Generation::Os6, 1, Ports::of(&server).udp());
    connect(&mut live);
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).to_str().expect("text").to_owned();
    for round in 0..3 {
        let number = publish(&mut live, "temp", "21");
        await_acknowledgement(&mut live, number);
        publish(&mut live, "temp", "under way");
        let copy = path(&format!("copy{round}"));
        let told = run_ok(&["backup", &copy, "--data", folder.data(), "--json"], "");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["ok"], true, "{told}");
        assert!(told["journal_entries"].as_u64() > Some(round), "{told}");
        live.run(Duration::from_millis(1500));
    }
    let again = run(&["backup", &path("copy0"), "--data", folder.data()], "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
    server.kill();

    let restored = path("restored");
    let told = run_ok(&["restore", &path("copy2"), "--data", &restored, "--json"], "");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["sessions"], 1, "{told}");
    let server = support::Server::start(&["--data", &restored], &[]);
    let mut anew = folder.device(Generation::Os6, 1, Ports::of(&server).udp());
    connect(&mut anew);
    let number = publish(&mut anew, "temp", "22");
    await_acknowledgement(&mut anew, number);
    server.stop();
    run_ok(&["check", "--data", &restored], "");
}

#[test]
fn a_backup_within_the_data_folder_is_refused_and_one_through_links_is_whole() {
    let folder = Folder::new();
    let inside = folder.path("copy");
    let refused = run(&["backup", inside.to_str().expect("text"), "--data", folder.data()], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not copied into itself"));
    assert!(!inside.exists());

    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).to_str().expect("text").to_owned();
    std::fs::rename(folder.path("keys"), path("keys")).expect("moved");
    std::os::unix::fs::symlink(path("keys"), folder.path("keys")).expect("linked");
    run_ok(&["backup", &path("copy"), "--data", folder.data()], "");
    let of = |name: &str| std::fs::read(Path::new(&path(name)).join("server-ec.pub.pem"));
    assert_eq!(of("copy/keys").expect("copied"), of("keys").expect("there"));
}

#[test]
fn what_is_left_of_a_restore_that_was_cut_short_is_no_folder_that_a_server_starts_on() {
    let folder = Folder::new();
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).to_str().expect("text").to_owned();
    run_ok(&["backup", &path("copy"), "--data", folder.data()], "");
    std::fs::create_dir(path("data.part")).expect("made");
    let refused = run(&["restore", &path("copy"), "--data", &path("data")], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cut short"));
    assert!(!Path::new(&path("data")).exists());
    std::fs::remove_dir(path("data.part")).expect("removed");
    std::fs::create_dir(path("data")).expect("made");
    run_ok(&["restore", &path("copy"), "--data", &path("data")], "");
    assert!(!Path::new(&path("data.part")).exists());
    run_ok(&["check", "--data", &path("data")], "");
}
