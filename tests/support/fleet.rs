//! Several devices driven in the test's thread, while the API is asked in others.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::Observation;
use sim::live::Live;

use super::folder::{Folder, OWNER};
use super::live::{PATIENCE, await_observation, connect, finish};
use super::{http, run_ok};

/// How long each device lives in a turn.
const TURN: Duration = Duration::from_millis(2);

/// Connects all of them, one after the other.
pub fn connect_all(devices: &mut [Live]) {
    devices.iter_mut().for_each(connect);
}

/// Lets all devices live for this long.
pub fn run_all(devices: &mut [Live], span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        devices.iter_mut().for_each(|live| live.run(TURN));
    }
}

/// Asks the API while the devices live; gives status and body.
pub fn ask(
    devices: &mut [Live],
    method: &'static str,
    url: String,
    token: &str,
    form: &'static str,
) -> (u16, String) {
    let token = token.to_owned();
    let asked = std::thread::spawn(move || http(method, &url, &token, form));
    run_until_done(devices, &asked);
    asked.join().expect("no panic")
}

fn run_until_done<T>(devices: &mut [Live], thread: &JoinHandle<T>) {
    while !thread.is_finished() {
        devices.iter_mut().for_each(|live| live.run(TURN));
        std::thread::sleep(TURN);
    }
}

/// Publishes an event and waits for its answer: 0, or the code of a refusal.
pub fn publish_answered(live: &mut Live, name: &str, data: &str) -> u16 {
    let number = super::live::publish(live, name, data);
    let seen = await_observation(
        live,
        |seen| matches!(seen, Observation::PublishAnswered { publish, .. } if *publish == number),
    );
    finish(live);
    match seen {
        Observation::PublishAnswered { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

/// How the account stands, as `cloudchamber usage` tells.
pub fn usage(folder: &Folder) -> Value {
    let text = run_ok(&["usage", "--owner", OWNER, "--json", "--data", folder.data()], "");
    let lines: Value = serde_json::from_str(&text).expect("JSON");
    lines[0].clone()
}

/// Data Operations of the account in its open period.
pub fn operations(folder: &Folder) -> u64 {
    usage(folder)["operations"]["used"].as_u64().expect("a number")
}

/// Waits until something holds.
pub fn await_true(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
