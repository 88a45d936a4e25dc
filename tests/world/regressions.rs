//! Worlds that did not hold once. What was wrong has a test of its own beside the code that was
//! mended; here stands a world that found it, for as long as its seed leads there.

use sim::world::Size;

use crate::run;

/// What a start remembers of the last messages was looked for by the newest time in the journal, which
/// is a wrong one when the clock was set back
/// (`journal::tests::recent_sources_are_known_though_the_clock_was_set_back`).
#[test]
fn copies_are_recognised_after_a_stop_though_the_clock_was_set_back() {
    run(Size::Usual, [14, 34]);
}

/// What was on its way to a device went on being repeated, uncounted, to whoever held the key before
/// (`endpoint::schedule::nothing_that_was_under_way_is_repeated_once_the_key_is_replaced`).
#[test]
fn nothing_is_repeated_to_a_device_whose_key_was_replaced() {
    run(Size::Usual, [45, 72, 99]);
}
