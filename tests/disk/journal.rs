//! The journal's disk.

use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::device::{How, Observation};

use crate::Rig;
use crate::faults::{EIO, ENOSPC, Fault};
use crate::support::http;
use crate::support::live::{connect, publish};

/// Nothing is acknowledged while the fault lasts, no device gets in, and all goes on behind it.
fn refuses_until_it_is_gone<'a>(mut rig: Rig, faults: impl IntoIterator<Item = Fault<'a>>) {
    rig.faults.set(faults);
    rig.is_refused();
    rig.await_complaint("the journal refuses writes");
    let mut other = rig.folder.device(Generation::Os6, 1, rig.ports.udp());
    other.power_on();
    other.run(Duration::from_secs(2));
    let connected = Observation::Connected(How::Handshake);
    assert!(!other.observations().contains(&connected), "{:?}", other.observations());
    rig.is_refused();

    rig.faults.set([]);
    rig.is_acknowledged();
    rig.await_health();
    connect(&mut other);
    drop(other);
    rig.holds_what_was_acknowledged();
}

#[test]
fn a_full_disk_refuses_publishes_and_devices_and_is_left_without_a_restart() {
    let rig = Rig::new();
    let journal = rig.path("journal");
    refuses_until_it_is_gone(rig, [Fault::of_writes(ENOSPC, &journal)]);
}

#[test]
fn a_disk_that_makes_nothing_durable_refuses_publishes_and_devices() {
    let rig = Rig::new();
    let journal = rig.path("journal");
    refuses_until_it_is_gone(rig, [Fault::of_syncs(EIO, &journal)]);
}

#[test]
fn a_folder_that_becomes_read_only_refuses_publishes_and_devices() {
    let rig = Rig::new();
    let data = rig.path("");
    refuses_until_it_is_gone(rig, Fault::read_only(&data));
}

#[test]
fn a_read_only_folder_is_told_at_the_start() {
    let mut rig = Rig::new();
    rig.kill();
    let data = rig.path("");
    rig.faults.set(Fault::read_only(&data));
    let told = rig.refuses_to_start();
    assert!(told.contains("Read-only file system") && told.contains(rig.folder.data()), "{told}");
    rig.holds_what_was_acknowledged();
}

#[test]
fn with_syncs_of_200_ms_everything_works_and_nothing_is_wrong() {
    let mut rig = Rig::new();
    let data = rig.path("");
    rig.faults.set([Fault::slow(Duration::from_millis(200), &data)]);
    let begun = Instant::now();
    for _ in 0..3 {
        rig.is_acknowledged();
    }
    assert!(begun.elapsed() >= Duration::from_millis(600), "nothing is acknowledged before");
    assert_eq!(rig.complaint(), None);
    let devices = format!("{}/v1/devices", rig.ports.url());
    assert_eq!(http("GET", &devices, &rig.token, "").0, 200);
    rig.holds_what_was_acknowledged();
}

#[test]
fn with_syncs_of_3_s_health_tells_it_and_nothing_is_acknowledged_before() {
    let mut rig = Rig::new();
    let journal = rig.path("journal");
    rig.faults.set([Fault::slow(Duration::from_secs(3), &journal)]);
    let begun = Instant::now();
    rig.is_acknowledged();
    assert!(begun.elapsed() >= Duration::from_secs(3), "nothing is acknowledged before");
    rig.await_complaint("the journal is slow");
    // Killed while one is under way.
    publish(&mut rig.live, "other", "never answered");
    rig.is_one_open = true;
    rig.live.run(Duration::from_millis(500));
    rig.faults.set([]);
    rig.kill();
    rig.live.forget_observations();
    rig.holds_what_was_acknowledged();
}
