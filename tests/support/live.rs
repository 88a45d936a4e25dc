//! Waiting for what a device observes.

use std::time::Duration;

use sim::device::{How, Observation, Publish};
use sim::live::Live;

/// Longest wait: a retransmission comes after 4 to 6 s, its repetition 8 to 12 s later.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// Waits for an observation.
pub fn await_observation(live: &mut Live, wanted: impl FnMut(&Observation) -> bool) -> Observation {
    let found = live.run_until(PATIENCE, wanted);
    found.unwrap_or_else(|| panic!("seen so far: {:#?}", live.observations()))
}

/// Waits for an observation, unless there was one.
pub fn ensure_observation(live: &mut Live, mut wanted: impl FnMut(&Observation) -> bool) {
    if !live.observations().iter().any(&mut wanted) {
        await_observation(live, wanted);
    }
}

/// Switches a device on that was never connected, and waits until it has told everything.
pub fn connect(live: &mut Live) {
    live.power_on();
    ensure_observation(live, |seen| *seen == Observation::Connected(How::Handshake));
    ensure_observation(live, |seen| *seen == Observation::Settled);
    finish(live);
}

/// Waits until nothing of the device is unacknowledged.
pub fn finish(live: &mut Live) {
    let end = std::time::Instant::now() + PATIENCE;
    while live.device().unacknowledged() > 0 {
        assert!(std::time::Instant::now() < end, "seen so far: {:#?}", live.observations());
        live.run(Duration::from_millis(20));
    }
}

/// Publishes an event without waiting; the number is told with its acknowledgement.
pub fn publish(live: &mut Live, name: &str, data: &str) -> u64 {
    let now = live.now();
    live.device().publish(now, &Publish::text(name, data)).expect("taken")
}

/// Waits for the acknowledgement of a publish.
pub fn await_acknowledgement(live: &mut Live, number: u64) {
    ensure_observation(
        live,
        |seen| matches!(seen, Observation::PublishAnswered { publish, code: 0, .. } if *publish == number),
    );
}

/// How often a device began and finished a full handshake.
pub fn handshakes(observations: &[Observation]) -> (usize, usize) {
    let begun = |seen: &&Observation| matches!(seen, Observation::Connecting { resuming: false });
    let done = |seen: &&Observation| matches!(seen, Observation::Connected(How::Handshake));
    (observations.iter().filter(begun).count(), observations.iter().filter(done).count())
}
