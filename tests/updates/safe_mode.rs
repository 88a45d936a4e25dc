//! A device whose application needs modules that it has not.

use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::device::{Observation, UpdateStep};
use sim::firmware::Binary;

use crate::support::folder::{Folder, Ports, identity};
use crate::support::live::connect;
use crate::support::watch::replay;
use crate::support::{http, run_ok};
use crate::{device, flash};

const BOOTLOADER: u8 = 2;
const SYSTEM_PART: u8 = 4;

fn binary(function: u8, index: u8, version: u16, dependencies: Vec<(u8, u8, u16)>) -> Binary {
    Binary { function, index, version, dependencies, ..Binary::application(12, 20 << 10) }
}

#[test]
fn a_device_in_safe_mode_gets_what_it_lacks_lowest_first_and_one_at_a_time() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let modules = [
        ("system.bin", binary(SYSTEM_PART, 1, 6300, vec![(BOOTLOADER, 0, 1100)])),
        ("bootloader.bin", binary(BOOTLOADER, 0, 1100, Vec::new())),
        ("newer.bin", binary(BOOTLOADER, 0, 1200, Vec::new())),
    ];
    for (name, module) in modules {
        std::fs::write(folder.path(name), module.build()).expect("written");
        let path = folder.path(name);
        let path = path.to_str().expect("text");
        run_ok(&["firmware", "add", path, "--data", folder.data()], "");
    }
    let server = folder.serve();
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    let application = binary(5, 1, 7, vec![(SYSTEM_PART, 1, 6300)]).build();
    flash(&ports.url(), &token, &id, &application);

    let mut applied = Vec::new();
    for _ in 0..3 {
        let seen = live.run_until(Duration::from_secs(60), |seen| {
            *seen == Observation::Update(UpdateStep::Applied)
        });
        assert!(seen.is_some(), "{applied:?} {:#?}", live.observations());
        let installed = live.device().installed().expect("an update");
        applied.push((installed.function, installed.index, installed.version));
        assert_eq!(live.device().is_in_safe_mode(), applied.len() < 3);
    }
    assert_eq!(applied, [(5, 1, 7), (BOOTLOADER, 0, 1100), (SYSTEM_PART, 1, 6300)]);

    // The application runs again, and nothing more is sent.
    let end = Instant::now() + Duration::from_secs(30);
    while device(&ports.url(), &token, &id)["functions"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < end, "{}", device(&ports.url(), &token, &id));
        live.run(Duration::from_millis(200));
    }
    live.run(Duration::from_secs(6));
    assert_eq!(device(&ports.url(), &token, &id)["firmware_update"]["status"], "success");
    let url = format!("{}/v1/devices/{id}/echo", ports.url());
    let of_caller = token.clone();
    let call = std::thread::spawn(move || http("POST", &url, &of_caller, "arg=12345"));
    while !call.is_finished() {
        live.run(Duration::from_millis(20));
    }
    assert_eq!(call.join().expect("no panic").0, 200);
    let told = replay(&ports.url(), &token, "spark/safe-mode-updater/updating");
    let functions: Vec<u64> = told
        .iter()
        .filter_map(|told| serde_json::from_str::<serde_json::Value>(told.data.as_deref()?).ok())
        .filter_map(|told| told["function"].as_u64())
        .collect();
    assert!(functions.starts_with(&[2]) && functions.ends_with(&[4]), "{told:?}");
    assert!(!replay(&ports.url(), &token, "spark/status/safe-mode").is_empty());
}
