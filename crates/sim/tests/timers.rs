//! A device's timers, in virtual time: what it repeats, when it gives up, what it forgets.

mod support;

use std::time::Duration;

use model::Mono;
use sim::device::profile::Generation;
use sim::device::{Device, HandshakeFailure, How, Loss, Observation, Publish};
use support::{Heard, Reply, SECOND, connected, harness, setup};

fn seconds(from: Mono, heard: &[&Heard]) -> Vec<f64> {
    heard.iter().map(|heard| heard.at.since(from).as_secs_f64()).collect()
}

fn losses(all: &[(Mono, Observation)]) -> Vec<Loss> {
    let loss = |observation: &Observation| match observation {
        Observation::Disconnected(loss) => Some(*loss),
        _ => None,
    };
    all.iter().filter_map(|(_, observation)| loss(observation)).collect()
}

#[test]
fn a_client_hello_is_repeated_after_3_9_and_21_seconds_and_given_up_after_45() {
    let mut harness = harness(setup(Generation::Os6));
    harness.network.set_filter(Some(Box::new(|_| false)));
    let start = harness.now();
    harness.with(0, Device::power_on);
    harness.run(44 * SECOND);
    assert_eq!(harness.network.sent(), 4);
    assert!(losses(harness.observations(0)).is_empty());
    harness.run(2 * SECOND);
    assert_eq!(losses(harness.observations(0)), [Loss::Handshake(HandshakeFailure::Timeout)]);
    let failed = |(_, observation): &&(Mono, Observation)| {
        matches!(observation, Observation::Disconnected(_))
    };
    let (at, _) = harness.observations(0).iter().find(failed).expect("it failed");
    assert_eq!(at.since(start), 45 * SECOND);
}

#[test]
fn failed_attempts_wait_1_2_4_up_to_128_seconds() {
    let mut harness = harness(setup(Generation::Os6));
    harness.network.set_filter(Some(Box::new(|_| false)));
    harness.with(0, Device::power_on);
    harness.run(Duration::from_secs(1200));
    let begins: Vec<u64> = harness
        .observations(0)
        .iter()
        .filter(|(_, observation)| matches!(observation, Observation::Connecting { .. }))
        .map(|(at, _)| at.since(Mono(1_000_000)).as_secs())
        .collect();
    let gaps: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0] - 45).collect();
    assert_eq!(gaps[..9], [1, 2, 4, 8, 16, 32, 64, 128, 128]);
}

#[test]
fn a_lost_flight_of_either_side_is_repeated_and_the_handshake_completes() {
    for lost in 1..=6 {
        let mut harness = harness(setup(Generation::Os6));
        let mut number = 0;
        harness.network.set_filter(Some(Box::new(move |_| {
            number += 1;
            number != lost
        })));
        harness.with(0, Device::power_on);
        harness.run(20 * SECOND);
        assert!(harness.device(0).is_online(), "without datagram {lost}");
        let how = Observation::Connected(How::Handshake);
        assert!(harness.observations(0).iter().any(|(_, observation)| *observation == how));
    }
}

#[test]
fn an_event_without_acknowledgement_is_sent_four_times_and_takes_the_session_with_it() {
    let mut harness = connected(Generation::Os3);
    harness.server.reply = Box::new(|heard| match heard.what().as_str() {
        "E/lonely" => Reply::Silence,
        _ => Reply::Usual,
    });
    let start = harness.now();
    let publish = harness.with(0, |device, now| device.publish(now, &Publish::text("lonely", "x")));
    harness.run(Duration::from_secs(95));

    let copies = harness.server.all("E/lonely");
    let at = seconds(start, &copies);
    assert_eq!(at.len(), 4);
    assert!((4.0..=6.1).contains(&at[1]), "{at:?}");
    assert!((12.0..=18.1).contains(&at[2]), "{at:?}");
    assert!((28.0..=42.1).contains(&at[3]), "{at:?}");
    assert!(copies.windows(2).all(|pair| pair[0].bytes == pair[1].bytes), "the same message");
    assert!(copies.windows(2).all(|pair| pair[0].record < pair[1].record), "in new records");

    assert_eq!(losses(harness.observations(0)), [Loss::NotAcknowledged]);
    let lost = Observation::PublishLost { publish: publish.expect("online") };
    assert!(harness.observations(0).iter().any(|(_, observation)| *observation == lost));
    let again = harness.server.all("h").len();
    assert_eq!(again, 2, "a new session says Hello again");
}

#[test]
fn a_quiet_device_pings_every_25_seconds() {
    let mut harness = connected(Generation::Os6);
    let start = harness.now();
    harness.run(Duration::from_secs(101));
    let pings = seconds(start, &harness.server.all("ping"));
    assert_eq!(pings.len(), 4, "{pings:?}");
    assert!(pings.windows(2).all(|pair| (pair[1] - pair[0] - 25.0).abs() < 0.01), "{pings:?}");
}

#[test]
fn a_ping_without_any_message_for_30_seconds_ends_the_connection_and_keeps_the_session() {
    let mut harness = connected(Generation::Os6);
    harness.server.reply = Box::new(|_| Reply::Silence);
    harness.run(Duration::from_secs(57));
    assert_eq!(losses(harness.observations(0)), [Loss::PingTimeout]);
    assert!(harness.device(0).has_session());
    let resumed = Observation::Connected(How::Resumed);
    assert!(harness.observations(0).iter().any(|(_, observation)| *observation == resumed));
}

#[test]
fn a_server_that_forgot_a_6_2_device_is_tried_three_times_and_costs_168_seconds() {
    let mut harness = connected(Generation::Os6);
    harness.server.forget();
    let start = harness.now();
    harness.with(0, Device::reset);
    harness.run(Duration::from_secs(175));
    let hellos: Vec<_> =
        harness.server.hellos.iter().filter(|(at, _)| *at > start).map(|(at, _)| *at).collect();
    // One second for the restart, then as recorded in udp-v6-stale.
    let first = hellos.first().expect("a full handshake").since(start).as_secs_f64() - 1.0;
    assert!((first - 168.0).abs() < 0.1, "{first}");
    let attempts = harness
        .observations(0)
        .iter()
        .filter(|(_, observation)| *observation == Observation::Connecting { resuming: true });
    assert_eq!(attempts.count(), 3);
    assert!(harness.device(0).is_online());
}

#[test]
fn a_server_that_forgot_a_3_0_device_costs_60_to_90_seconds() {
    let mut harness = connected(Generation::Os3);
    harness.server.forget();
    let start = harness.now();
    harness.with(0, Device::reset);
    harness.run(Duration::from_secs(100));
    let first = harness.server.hellos.iter().find(|(at, _)| *at > start).expect("a handshake");
    let after = first.0.since(start).as_secs_f64();
    assert!((61.0..92.5).contains(&after), "{after}");
}

#[test]
fn a_confirmable_message_the_firmware_does_not_know_ends_the_session_after_45_seconds() {
    let mut harness = connected(Generation::Os3);
    let unknown = (11, &b"Q"[..]);
    harness.server.ask(protocol::coap::Code::POST, 9, &[unknown], &[]);
    harness.run(44 * SECOND);
    assert!(losses(harness.observations(0)).is_empty());
    harness.run(2 * SECOND);
    assert_eq!(losses(harness.observations(0)), [Loss::Unacknowledgeable]);
}
