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

/// Not the server, but who examined it: a message whose last attempt was lost just before the network
/// healed is given up after it, and its device with it, until that shows itself with its next ping.
#[test]
fn devices_given_up_just_after_the_network_healed_come_back_before_they_are_asked() {
    run(Size::Usual, [146, 244, 956]);
}
