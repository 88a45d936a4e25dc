//! What is refused when a device is to be flashed, in words, and what a second flash of a file does.

use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Observation, UpdateStep};
use sim::firmware::Binary;

use crate::support::flash::send_files;
use crate::support::folder::{Folder, Ports, identity};
use crate::support::live::connect;
use crate::{device, flash};

#[test]
fn a_file_that_the_device_cannot_take_is_refused_at_once_and_says_why() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let server = folder.serve();
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let url = format!("{}/v1/devices/{}", ports.url(), live.device().id());
    let refused = |file: &[u8]| {
        let (status, body) = send_files("PUT", &url, &token, &[], &[("app.bin", file)]);
        let told: Value = serde_json::from_str(&body).expect("JSON");
        (status, told["errors"][0].as_str().unwrap_or_default().to_owned())
    };
    let (status, text) = refused(&Binary::application(13, 20 << 10).build());
    assert!(status == 400 && text.contains("for boron"), "{status} {text}");
    let good = Binary::application(12, 20 << 10).build();
    let (status, text) = refused(&good[..good.len() / 2]);
    assert!(status == 400 && text.contains("truncated"), "{status} {text}");
    let mut broken = good.clone();
    broken[5_000] ^= 1;
    let (status, text) = refused(&broken);
    assert!(status == 400 && text.contains("CRC"), "{status} {text}");
    let (status, text) = refused(&Binary::application(12, 700 << 10).build());
    assert!(status == 413 && text.contains("at most 655360"), "{status} {text}");
    assert!(!live.observations().iter().any(|seen| matches!(seen, Observation::Update(_))));
    assert_eq!(
        device(&ports.url(), &token, &live.device().id().to_string())["firmware_update"],
        Value::Null
    );
}

#[test]
fn a_file_that_the_device_runs_already_is_a_success_without_a_transfer() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let server = folder.serve();
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    let file = Binary::application(12, 20 << 10).build();
    let mut begun = Vec::new();
    for _ in 0..2 {
        flash(&ports.url(), &token, &id, &file);
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            live.run(Duration::from_millis(200));
            let shown = device(&ports.url(), &token, &id)["firmware_update"].clone();
            if shown["status"] == "success" {
                break;
            }
            assert!(Instant::now() < end && shown["status"] != "failed", "{shown}");
        }
        let is_begun =
            |seen: &&Observation| matches!(seen, Observation::Update(UpdateStep::Begun { .. }));
        begun.push(live.observations().iter().filter(is_begun).count());
    }
    assert_eq!(begun, [1, 1]);
}
