//! Images on their way to devices that behave as the firmware does, in virtual time: both protocols,
//! bad networks, restarts of either side, faults of the device.

mod updates_support;

use std::time::Duration;

use model::update::{UpdateFailure, WaitReason};
use model::{UpdateId, UpdateState};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sim::device::profile::Generation;
use sim::device::{Loss, Observation, UpdateFault, UpdateStep};
use sim::network::Conditions;
use updates_support::{Bench, bad_network, image};

const HOUR: Duration = Duration::from_secs(3600);
const MIB: usize = 1 << 20;

#[test]
fn an_image_arrives_bit_exact_and_is_told_of_from_its_start_to_the_new_version() {
    for v3 in [true, false] {
        let mut bench = Bench::new(1, Conditions::perfect(), v3);
        let image = image(100_000, 7);
        bench.update(&image, 1);
        assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
        bench.assert_installed(&image);
        let states = bench.states();
        assert_eq!(states.first(), Some(&UpdateState::Started { offset: 0 }));
        assert!(
            states.contains(&UpdateState::Validating) && states.contains(&UpdateState::Restarting)
        );
        assert_eq!(states.last(), Some(&UpdateState::Succeeded));
        assert_eq!(bench.flash_statuses(), ["started", "success"]);
    }
}

#[test]
fn an_image_arrives_bit_exact_over_a_stream() {
    let mut bench = Bench::of(1, Conditions::perfect(), Generation::Tcp, false);
    let image = image(100_000, 7);
    bench.update(&image, 1);
    assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
    bench.assert_installed(&image);
}

#[test]
fn a_mebibyte_arrives_bit_exact_at_0_10_and_30_percent_loss() {
    for (seed, loss) in [(1, 0), (2, 10), (3, 30), (4, 30)] {
        for v3 in [true, false] {
            let mut bench = Bench::new(seed, bad_network(loss), v3);
            let image = image(MIB, seed as u8);
            bench.update(&image, 1);
            assert!(bench.run_to_end(6 * HOUR), "{loss} % {v3}: {:?}", bench.states().last());
            bench.assert_installed(&image);
            assert!(!bench.observed(&Observation::Update(UpdateStep::Trapped)));
        }
    }
}

#[test]
fn a_device_that_restarts_gets_what_it_lacks_and_a_legacy_one_everything_again() {
    for seed in 1..6 {
        for v3 in [true, false] {
            let mut bench = Bench::new(seed, bad_network(5), v3);
            let chunk = 20 + 25 * seed as u32;
            bench.set_fault(UpdateFault::PowerCut { chunk });
            let image = image(200_000, 3);
            bench.update(&image, 1);
            assert!(bench.run_to_end(2 * HOUR), "{seed} {v3}: {:?}", bench.states());
            bench.assert_installed(&image);
            let offsets = bench.offsets();
            assert_eq!(offsets.len(), 2, "{offsets:?}");
            assert_eq!(offsets[0], 0);
            assert_eq!(offsets[1] > 0, v3, "{offsets:?}");
        }
    }
}

#[test]
fn a_server_that_forgot_everything_but_its_sessions_goes_on() {
    for seed in 1..6 {
        for v3 in [true, false] {
            let mut bench = Bench::new(seed, bad_network(5), v3);
            let image = image(200_000, 5);
            bench.update(&image, 1);
            bench.run(Duration::from_millis(600 + 700 * seed));
            bench.restart_server();
            bench.update(&image, 2);
            assert!(bench.run_to_end(2 * HOUR), "{seed} {v3}: {:?}", bench.states());
            bench.assert_installed(&image);
            assert_eq!(bench.states().last(), Some(&UpdateState::Succeeded));
        }
    }
}

/// Both sides lose their power while a mebibyte is on its way, each at a moment that the seed chooses.
#[test]
fn a_mebibyte_survives_a_restart_of_each_side_at_any_moment_whatever_the_network_loses() {
    for (seed, loss) in [(11, 0), (12, 10), (13, 30)] {
        for v3 in [true, false] {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut bench = Bench::new(seed, bad_network(loss), v3);
            let image = image(MIB, seed as u8);
            bench.set_fault(UpdateFault::PowerCut { chunk: random.random_range(1..900) });
            bench.update(&image, 1);
            // About as long as the transfer takes, so that most moments are within it.
            let expected = if v3 { 2_000 + 1_500 * u64::from(loss) } else { 45_000 };
            bench.run(Duration::from_millis(random.random_range(1..expected)));
            bench.restart_server();
            bench.update(&image, 2);
            assert!(bench.run_to_end(12 * HOUR), "{seed} {v3}: {:?}", bench.states());
            bench.assert_installed(&image);
            assert!(!bench.observed(&Observation::Update(UpdateStep::Trapped)));
            assert_eq!(bench.applied(), 1, "it is applied once, as a whole");
            let begun = bench.device_offsets();
            assert!(v3 || begun.iter().all(|offset| *offset == 0), "{begun:?}");
            assert!(!v3 || begun.is_sorted(), "nothing that was there is thrown away: {begun:?}");
        }
    }
}

#[test]
fn after_a_restart_of_the_server_only_what_lies_behind_the_partial_size_is_sent() {
    for seed in 1..5 {
        let mut bench = Bench::new(seed, Conditions::perfect(), true);
        let image = image(MIB, 5);
        bench.update(&image, 1);
        bench.run(Duration::from_millis(20 * seed));
        bench.restart_server();
        let before = bench.wire_bytes();
        bench.update(&image, 2);
        assert!(bench.run_until_state(HOUR, |state| *state == UpdateState::Restarting));
        let cost = bench.wire_bytes() - before;
        let offset = bench.offsets().last().copied().expect("it began again");
        assert!(offset > 0, "the restart was in the middle");
        let behind = (image.len() - offset as usize) as u64;
        assert!(cost * 100 <= 110 * behind, "{cost} bytes for {behind}");
        assert!(bench.run_to_end(HOUR));
        bench.assert_installed(&image);
    }
}

#[test]
fn an_image_of_256_kib_costs_at_most_a_tenth_more_than_its_size_on_the_wire() {
    let mut bench = Bench::new(1, Conditions::perfect(), true);
    let image = image(256 << 10, 9);
    bench.run(Duration::from_secs(60));
    let before = bench.wire_bytes();
    bench.update(&image, 1);
    assert!(bench.run_until_state(HOUR, |state| *state == UpdateState::Restarting));
    let cost = bench.wire_bytes() - before;
    assert!(cost * 100 <= 110 * image.len() as u64, "{cost} of {}", image.len());
}

#[test]
fn a_bad_image_a_refusal_and_a_device_that_stays_as_it_was_fail_with_the_reason() {
    let failures = |fault, v3| {
        let mut bench = Bench::new(1, Conditions::perfect(), v3);
        bench.set_fault(fault);
        bench.update(&image(20_000, 1), 1);
        assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
        match bench.states().last() {
            Some(UpdateState::Failed(failure)) => failure.clone(),
            other => panic!("{other:?}"),
        }
    };
    for v3 in [true, false] {
        assert!(
            matches!(failures(UpdateFault::HashMismatch, v3), UpdateFailure::Invalid(text) if text.contains("-1330"))
        );
        assert!(matches!(failures(UpdateFault::FlashError, v3), UpdateFailure::Invalid(_)));
        assert!(matches!(
            failures(UpdateFault::Refuses, v3),
            UpdateFailure::Refused { code: 503, .. }
        ));
        assert!(matches!(failures(UpdateFault::NotApplied, v3), UpdateFailure::NotApplied(_)));
    }
}

#[test]
fn disabled_updates_wait_for_the_application_unless_they_are_forced() {
    for v3 in [true, false] {
        let mut bench = Bench::disabled(1, v3);
        let image = image(20_000, 1);
        bench.update(&image, 1);
        bench.run(Duration::from_secs(120));
        assert_eq!(bench.states(), [UpdateState::Waiting(WaitReason::Disabled)]);
        bench.cancel(1);
        assert_eq!(bench.states().last(), Some(&UpdateState::Cancelled));
        bench.update_forced(&image, 2);
        assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
        bench.assert_installed(&image);
    }
}

#[test]
fn an_update_that_was_called_off_can_be_begun_again() {
    for v3 in [true, false] {
        let mut bench = Bench::new(1, Conditions::perfect(), v3);
        let image = image(200_000, 1);
        bench.update(&image, 1);
        bench.run(Duration::from_millis(900));
        assert_eq!(bench.refused_second(&image), model::Refusal::UpdateRunning);
        bench.cancel(1);
        assert_eq!(bench.states().last(), Some(&UpdateState::Cancelled));
        bench.run(Duration::from_secs(400));
        bench.update(&image, 3);
        assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
        bench.assert_installed(&image);
    }
}

/// The device waits for chunks for five minutes and connects anew then.
#[test]
fn a_device_that_is_told_of_the_end_before_the_beginning_does_not_begin() {
    let mut begun = 0;
    // It is called off at another moment each time.
    for ms in (4..200).step_by(4) {
        let mut bench = Bench::new(ms, Conditions::perfect(), true);
        let (delay_min, delay_max) = (Duration::from_millis(1), Duration::from_millis(90));
        bench.set_network(Conditions { delay_min, delay_max, ..Conditions::perfect() });
        bench.update(&image(20_000, 1), 1);
        bench.run(Duration::from_millis(ms));
        bench.cancel(1);
        bench.run(Duration::from_secs(400));
        begun += usize::from(!bench.device_offsets().is_empty());
        let lost = Observation::Disconnected(Loss::UpdateTimeout);
        assert!(!bench.observed(&lost), "{ms}");
    }
    assert!(begun > 10, "{begun}");
}

/// A chunk tells its place by its number alone, counted from where its transfer began.
#[test]
fn what_an_update_that_was_called_off_left_in_the_network_gets_into_no_other() {
    for seed in 1..9 {
        let mut bench = Bench::new(seed, bad_network(0), true);
        let (delay_min, delay_max) = (Duration::from_millis(200), Duration::from_millis(900));
        bench.set_network(Conditions { delay_min, delay_max, ..bad_network(0) });
        bench.update(&image(100_000, 1), 1);
        assert!(bench.run_until_state(HOUR, |state| *state == UpdateState::Started { offset: 0 }));
        bench.set_network(bad_network(0));
        bench.cancel(1);
        let wanted = image(100_000, 2);
        bench.update(&wanted, 2);
        assert!(bench.run_to_end(HOUR), "{seed}: {:?}", bench.states());
        bench.assert_installed(&wanted);
    }
}

#[test]
fn a_device_that_has_the_image_already_gets_nothing() {
    let mut bench = Bench::new(1, Conditions::perfect(), true);
    let image = image(20_000, 1);
    bench.update(&image, 1);
    assert!(bench.run_to_end(HOUR));
    bench.run(Duration::from_secs(60));
    bench.update(&image, 2);
    assert!(bench.run_to_end(HOUR));
    assert_eq!(bench.states_of(UpdateId(2)), [UpdateState::Succeeded]);
}

/// What the device said of it when it connected is gone with the server: its refusal says it again.
#[test]
fn a_server_that_was_restarted_keeps_to_what_the_application_allows() {
    for v3 in [true, false] {
        let mut bench = Bench::disabled(1, v3);
        let image = image(20_000, 1);
        bench.restart_server();
        bench.update(&image, 1);
        bench.run(Duration::from_secs(120));
        let states = bench.states();
        assert_eq!(states.last(), Some(&UpdateState::Waiting(WaitReason::Disabled)), "{states:?}");
        bench.cancel(1);

        bench.restart_server();
        bench.update_forced(&image, 2);
        assert!(bench.run_to_end(HOUR), "{:?}", bench.states());
        bench.assert_installed(&image);
    }
}

#[test]
fn a_device_that_restarts_before_it_is_told_to_finish_gets_what_it_needs_and_is_not_at_fault() {
    let image = image(20_000, 1);
    // The restart comes at another moment of the transfer each time; at some it has everything.
    for ms in (40..640).step_by(12) {
        let mut bench = Bench::new(1, bad_network(0), true);
        bench.update(&image, 1);
        bench.run(Duration::from_millis(ms));
        bench.reset_device();
        assert!(bench.run_to_end(HOUR), "{ms}: {:?}", bench.states());
        bench.assert_installed(&image);
    }
}

#[test]
fn a_call_that_waited_for_a_transfer_does_not_leave_uncounted_when_the_device_is_thrown_out_of_it()
{
    for seed in 1..6 {
        let mut bench = Bench::new(seed, Conditions::perfect(), false);
        let image = image(200_000, 5);
        bench.update(&image, 1);
        bench.run(Duration::from_millis(900));
        bench.restart_server();
        bench.update(&image, 2);
        // The device is asked what it consists of; then it is told to begin, and refuses.
        for _ in 0..20 {
            bench.call();
            bench.run(Duration::from_millis(2));
        }
        assert!(bench.run_to_end(2 * HOUR), "{seed}: {:?}", bench.states());
        bench.assert_installed(&image);
        let (ran, recorded) = bench.calls();
        assert!(ran <= recorded, "{seed}: {ran} calls ran, {recorded} attempts are recorded");
    }
}
