//! Worlds that did not hold once. What was wrong has a test of its own beside the code that was
//! mended; here stands a world that found it, for as long as its seed leads there.

use sim::world::Size;

use crate::run;

/// A TCP device that received an event every few seconds was closed for its silence
/// (`endpoint::streams::a_device_that_only_receives_is_asked_for_a_sign_of_life_and_stays`).
#[test]
fn devices_that_only_listen_stay_connected() {
    run(Size::Usual, [6]);
}
