//! What else goes on while a device is updated.

use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::device::{Observation, UpdateStep};
use sim::firmware::Binary;

use crate::support::folder::{Folder, Ports, identity};
use crate::support::http;
use crate::support::live::{await_acknowledgement, connect, publish};
use crate::support::watch::replay;
use crate::{device, flash};

/// Slow enough for a call to reach its deadline before the transfer ends.
const BANDWIDTH: &str = "16384";

#[test]
fn a_device_publishes_while_it_is_updated_and_calls_wait_and_it_stays_online() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let server = folder.serve_with(&[("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", BANDWIDTH)]);
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    flash(&ports.url(), &token, &id, &Binary::application(12, 600 << 10).build());
    live.run(Duration::from_secs(1));
    assert!(live.device().is_updating());

    let (url, of_caller) = (format!("{}/v1/devices/{id}/echo", ports.url()), token.clone());
    let call = std::thread::spawn(move || http("POST", &url, &of_caller, "arg=12345"));
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while !call.is_finished() {
        let at = Instant::now();
        let number = publish(&mut live, "during/update", "1");
        await_acknowledgement(&mut live, number);
        slowest = slowest.max(at.elapsed());
        // One a second is what a device may publish.
        live.run(Duration::from_millis(1_100));
        assert!(begun.elapsed() < Duration::from_secs(60), "the call has no end");
    }
    let (status, body) = call.join().expect("no panic");
    assert_eq!(status, 408, "{body}");
    assert!(begun.elapsed() > Duration::from_secs(20), "it waited to its deadline");
    assert!(slowest < Duration::from_secs(5), "a publish took {slowest:?}");
    assert!(live.device().is_updating(), "all of that was within the transfer");
    assert!(!live.observations().iter().any(|seen| matches!(seen, Observation::Called { .. })));
    assert_eq!(device(&ports.url(), &token, &id)["online"], true);

    let statuses = replay(&ports.url(), &token, "spark/status");
    let told: Vec<_> = statuses.iter().filter_map(|told| told.data.as_deref()).collect();
    assert_eq!(told, ["online"], "presence does not flap");
    let published = replay(&ports.url(), &token, "during/update");
    assert!(published.len() >= 20, "{} events", published.len());
    assert!(replay(&ports.url(), &token, "spark/flash/progress").len() <= 60);
}

#[test]
fn a_call_that_waits_for_a_short_update_is_made_afterwards() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let server = folder.serve_with(&[("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", "65536")]);
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    flash(&ports.url(), &token, &id, &Binary::application(12, 200 << 10).build());
    live.run(Duration::from_secs(1));
    assert!(live.device().is_updating());
    let url = format!("{}/v1/devices/{id}/echo", ports.url());
    let call = std::thread::spawn(move || http("POST", &url, &token, "arg=12345"));
    while !call.is_finished() {
        live.run(Duration::from_millis(50));
    }
    let (status, body) = call.join().expect("no panic");
    let seen = live.observations();
    let applied = seen.iter().position(|seen| *seen == Observation::Update(UpdateStep::Applied));
    let called = seen.iter().position(|seen| matches!(seen, Observation::Called { .. }));
    assert_eq!(status, 200, "{body}");
    assert!(called > applied && applied.is_some(), "{seen:#?}");
}
