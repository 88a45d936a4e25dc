//! How a device keeps, moves and drops its session, in virtual time.

mod support;

use std::sync::Arc;
use std::time::Duration;

use model::Mono;
use protocol::coap::Code;
use sim::device::profile::Generation;
use sim::device::{Device, How, Loss, Observation, Publish};
use sim::harness::Harness;
use support::{Reply, SECOND, Script, connected, harness, setup};

fn how(harness: &Harness<Script>) -> Vec<How> {
    let how = |observation: &Observation| match observation {
        Observation::Connected(how) => Some(*how),
        _ => None,
    };
    harness.observations(0).iter().filter_map(|(_, observation)| how(observation)).collect()
}

/// Restarts the device and gives the time from which it speaks again.
fn restart(harness: &mut Harness<Script>) -> Mono {
    let from = harness.now();
    harness.with(0, Device::reset);
    harness.run(5 * SECOND);
    from
}

#[test]
fn everything_is_told_in_the_recorded_order_of_6_2() {
    let harness = connected(Generation::Os6);
    let expected = [
        "h",
        "d",
        "t",
        "E/particle/device/updates/enabled",
        "E/particle/device/updates/forced",
        "d",
        "e/particle",
        "e/spark",
        "e/test/",
        "e/mine",
    ];
    assert_eq!(harness.server.since(Mono(0)), expected);
    assert!(harness.server.heard.iter().all(|heard| heard.marker == 25));
    let ids: Vec<_> = harness.server.heard.iter().map(|h| h.packet().message_id()).collect();
    assert_eq!(ids, (1..=10).collect::<Vec<u16>>());
    assert!(harness.observations(0).iter().any(|(_, o)| *o == Observation::Settled));
}

#[test]
fn everything_is_told_in_the_recorded_order_of_3_0() {
    let harness = connected(Generation::Os3);
    let expected = [
        "h",
        "d",
        "E/particle/device/updates/enabled",
        "E/particle/device/updates/forced",
        "t",
        "d",
        "e/spark",
        "e/particle",
        "e/test/",
        "e/mine",
    ];
    assert_eq!(harness.server.since(Mono(0)), expected);
    assert!(harness.server.heard.iter().all(|heard| heard.marker == 23));
}

#[test]
fn a_restart_resumes_with_a_ping_and_marks_records_until_the_first_reply() {
    for (generation, moved, usual) in [(Generation::Os6, 253, 25), (Generation::Os3, 254, 23)] {
        let mut harness = connected(generation);
        let (before, hellos) = (harness.server.heard.len(), harness.server.hellos.len());
        let last = harness.server.heard[before - 1].clone();
        let from = restart(&mut harness);
        harness.with(0, |device, now| device.publish(now, &Publish::text("later", "x")).is_ok());
        harness.run(SECOND);

        let after = &harness.server.heard[before..];
        let markers: Vec<u8> = after.iter().map(|heard| heard.marker).collect();
        assert_eq!(markers, [moved, moved, moved, usual], "{generation:?}");
        assert_eq!(
            harness.server.since(from),
            [
                "ping",
                "E/particle/device/updates/enabled",
                "E/particle/device/updates/forced",
                "E/later"
            ]
        );
        assert_eq!(how(&harness), [How::Handshake, How::Resumed]);
        assert_eq!(harness.server.hellos.len(), hellos, "no handshake");
        assert_ne!(after[0].from, last.from, "from a new address");
        assert_eq!(after[0].record, last.record + 1, "record numbers go on");
        assert_eq!(after[0].packet().message_id(), last.packet().message_id() + 1, "so do ids");
    }
}

#[test]
fn the_marker_stays_while_nothing_is_answered() {
    let mut harness = connected(Generation::Os6);
    let before = harness.server.heard.len();
    harness.server.reply = Box::new(|_| Reply::Silence);
    restart(&mut harness);
    harness.run(20 * SECOND);
    let after = &harness.server.heard[before..];
    assert!(after.len() >= 6 && after.iter().all(|heard| heard.marker == 253));
}

#[test]
fn an_answered_resume_starts_the_use_counter_again() {
    let mut harness = connected(Generation::Os6);
    for _ in 0..6 {
        restart(&mut harness);
    }
    assert_eq!(how(&harness)[1..], [How::Resumed; 6]);
}

#[test]
fn three_unanswered_resumes_use_the_session_up() {
    let mut harness = connected(Generation::Os6);
    let hellos = harness.server.hellos.len();
    harness.network.set_filter(Some(Box::new(|_| false)));
    for _ in 0..3 {
        harness.with(0, Device::reset);
        harness.run(5 * SECOND);
    }
    harness.network.set_filter(None);
    harness.with(0, Device::reset);
    harness.run(5 * SECOND);
    assert_eq!(how(&harness)[1..], [How::Resumed, How::Resumed, How::Resumed, How::Handshake]);
    assert_eq!(harness.server.hellos.len(), hellos + 2);
}

#[test]
fn a_power_loss_begins_at_message_id_1_with_a_full_handshake() {
    let mut harness = connected(Generation::Os6);
    harness.with(0, |device, _| device.lose_power());
    harness.run(5 * SECOND);
    let from = harness.now();
    harness.with(0, Device::power_on);
    harness.run(5 * SECOND);
    assert_eq!(how(&harness), [How::Handshake, How::Handshake]);
    let hello = harness.server.heard.iter().find(|heard| heard.at >= from).expect("a Hello");
    assert_eq!((hello.what().as_str(), hello.packet().message_id()), ("h", 1));
}

#[test]
fn a_changed_system_says_hello_on_the_resumed_session_and_tells_everything_again() {
    let mut harness = connected(Generation::Os6);
    let from = harness.now();
    let mut changed = setup(Generation::Os6);
    changed.profile.system_version = 6201;
    harness.with(0, |device, now| {
        device.set_setup(Arc::new(changed));
        device.reset(now);
    });
    harness.run(5 * SECOND);
    assert_eq!(how(&harness), [How::Handshake, How::ResumedWithHello]);
    let heard = harness.server.since(from);
    assert_eq!(heard[..3], ["h", "d", "t"]);
    assert_eq!(heard.iter().filter(|what| what.starts_with("e/")).count(), 4);
}

#[test]
fn a_changed_application_is_told_alone() {
    let mut harness = connected(Generation::Os6);
    let from = harness.now();
    let mut changed = setup(Generation::Os6);
    let mut program = (*changed.program).clone();
    program.functions.pop();
    changed.program = Arc::new(program);
    harness.with(0, |device, now| {
        device.set_setup(Arc::new(changed));
        device.reset(now);
    });
    harness.run(5 * SECOND);
    let expected =
        ["ping", "E/particle/device/updates/enabled", "E/particle/device/updates/forced", "d"];
    assert_eq!(harness.server.since(from), expected);
}

#[test]
fn a_description_that_was_not_acknowledged_is_told_again_with_a_hello() {
    let mut harness = harness(setup(Generation::Os6));
    harness.server.reply = Box::new(|heard| match heard.packet().value(12) {
        Some(_) => Reply::Silence,
        None => Reply::Usual,
    });
    harness.with(0, Device::power_on);
    harness.run(2 * SECOND);
    restart(&mut harness);
    assert_eq!(how(&harness), [How::Handshake, How::ResumedWithHello]);
}

#[test]
fn a_reset_of_any_message_ends_the_session() {
    let mut harness = connected(Generation::Os6);
    harness.server.say(&[0x70, 0, 0xAB, 0xCD]);
    harness.run(5 * SECOND);
    assert!(
        harness.observations(0).iter().any(|(_, o)| *o == Observation::Disconnected(Loss::Reset))
    );
    assert_eq!(how(&harness), [How::Handshake, How::Handshake]);
}

#[test]
fn alerts_end_the_session_if_fatal_or_close_notify_and_only_then() {
    for (level, description, ends) in [(1, 0, true), (2, 40, true), (1, 90, false)] {
        let mut harness = connected(Generation::Os6);
        harness.server.alert(level, description);
        harness.run(5 * SECOND);
        let loss = Observation::Disconnected(Loss::Alert(description));
        let lost = harness.observations(0).iter().any(|(_, observation)| *observation == loss);
        assert_eq!(lost, ends, "{level} {description}");
    }
}

#[test]
fn a_key_change_is_acknowledged_with_an_own_id_and_a_handshake_follows_at_once() {
    let mut harness = connected(Generation::Os6);
    let (from, hellos) = (harness.now(), harness.server.hellos.len());
    harness.server.ask(Code::PUT, 0, &[(11, b"k"), (15, &[1])], &[]);
    harness.run(SECOND);
    let answer = harness.server.heard.iter().find(|heard| heard.at >= from).expect("an answer");
    assert_eq!((answer.what().as_str(), answer.packet().message_id()), ("ack", 11));
    assert!(harness.server.hellos.len() > hellos);
    let hello = harness.server.all("h")[1];
    assert_eq!(hello.packet().message_id(), 12, "ids go on within one boot");
}

#[test]
fn roaming_keeps_the_session_and_sends_no_marker() {
    let mut harness = connected(Generation::Os6);
    let before = harness.server.heard.len();
    harness.with(0, |device, now| {
        device.roam();
        device.publish(now, &Publish::text("moved", "x")).is_ok()
    });
    harness.run(SECOND);
    let heard = &harness.server.heard[before];
    assert_eq!((heard.marker, heard.what().as_str()), (25, "E/moved"));
    assert_ne!(heard.from, harness.server.heard[0].from);
    assert_eq!(harness.device(0).unacknowledged(), 0, "the answer found the new address");
}

#[test]
fn a_description_of_several_blocks_goes_one_block_at_a_time() {
    let mut large = setup(Generation::Os6);
    large.modules = 60;
    let mut harness = harness(large);
    harness.with(0, Device::power_on);
    harness.run(5 * SECOND);
    let blocks: Vec<_> = harness
        .server
        .all("d")
        .into_iter()
        .filter_map(|heard| heard.packet().value(27).map(<[u8]>::to_vec))
        .collect();
    assert_eq!(blocks, [vec![0x0E], vec![0x1E], vec![0x26]], "as recorded for 2,151 bytes");
}

#[test]
fn sessions_survive_the_day_on_a_poor_network() {
    for seed in 0..5 {
        let mut harness = harness(setup(Generation::Os6));
        harness.network = sim::network::Network::new(seed, sim::network::Conditions::poor());
        harness.with(0, Device::power_on);
        let online = |harness: &Harness<Script>| harness.device(0).is_online();
        assert!(harness.run_until(Duration::from_secs(300), online), "seed {seed}");
        for _ in 0..20 {
            harness.rebind(0);
            harness.run(Duration::from_secs(60));
        }
        assert!(harness.run_until(Duration::from_secs(300), online), "seed {seed}");
    }
}
