//! What a device answers to requests of the server, in virtual time.

mod support;

use std::time::Duration;

use protocol::coap::Code;
use sim::device::Observation;
use sim::device::application::ReceivedEvent;
use sim::device::profile::Generation;
use sim::harness::Harness;
use support::{SECOND, Script, connected};

/// What the device sends within a second of a request.
fn answers(harness: &mut Harness<Script>, code: Code, options: &[(u16, &[u8])]) -> Vec<String> {
    let before = harness.server.heard.len();
    harness.server.ask(code, 0x42, options, &[]);
    harness.run(SECOND);
    harness.server.heard[before..].iter().map(support::Heard::what).collect()
}

/// Method, letter, name; code and payload of the answer.
type Case = (Code, &'static [u8], &'static [u8], &'static str, &'static [u8]);
/// Parts of the name, content format, whether a handler takes it.
type Delivery = (&'static [&'static [u8]], Option<&'static [u8]>, bool);

#[test]
fn functions_and_variables_are_acknowledged_and_answered_apart() {
    for generation in [Generation::Os6, Generation::Os3] {
        let mut harness = connected(generation);
        let cases: [Case; 5] = [
            (Code::POST, b"f", b"echo", "2.04", &[0, 0, 0, 3]),
            (Code::POST, b"f", b"neg", "2.04", &[0xFF; 4]),
            (Code::GET, b"v", b"v_int", "2.05", &[0, 0, 0, 42]),
            (Code::GET, b"v", b"v_double", "2.05", &[0, 0, 0, 0, 0, 0, 0x0A, 0x40]),
            (Code::GET, b"v", b"nosuch", "4.04", &[]),
        ];
        for (code, letter, name, answer, payload) in cases {
            let heard = answers(&mut harness, code, &[(11, letter), (11, name), (15, b"abc")]);
            assert_eq!(heard, ["ack", answer]);
            let last = harness.server.heard.last().expect("an answer");
            assert_eq!(last.packet().payload, payload);
            assert_eq!(last.packet().token().as_slice(), [0x42]);
            assert!(last.packet().is_confirmable());
        }
    }
}

#[test]
fn an_unknown_function_is_acknowledged_and_no_more() {
    let mut harness = connected(Generation::Os6);
    let options: [(u16, &[u8]); 3] = [(11, b"f"), (11, b"nosuch"), (15, b"")];
    assert_eq!(answers(&mut harness, Code::POST, &options), ["ack"]);
}

#[test]
fn an_argument_over_the_limit_is_refused_without_a_call() {
    let mut harness = connected(Generation::Os3);
    let long = [b'x'; 865];
    let options: [(u16, &[u8]); 3] = [(11, b"f"), (11, b"echo"), (15, &long)];
    assert_eq!(answers(&mut harness, Code::POST, &options), ["ack 4.00"]);
    let called =
        harness.observations(0).iter().any(|(_, o)| matches!(o, Observation::Called { .. }));
    assert!(!called);
}

#[test]
fn a_copy_is_acknowledged_again_and_not_executed() {
    let mut harness = connected(Generation::Os6);
    let header =
        protocol::coap::Header::confirmable(Code::POST, 777, protocol::coap::Token::one(5));
    let call = support::message(header, &[(11, b"f"), (11, b"echo"), (15, b"x")], &[]);
    let before = harness.server.heard.len();
    for wait in [4, 8, 40] {
        harness.server.say(&call);
        harness.run(Duration::from_secs(wait));
    }
    harness.server.say(&call);
    harness.run(SECOND);
    let heard: Vec<_> = harness.server.heard[before..]
        .iter()
        .map(support::Heard::what)
        .filter(|what| what != "ping")
        .collect();
    // The last copy comes after 52 s, when the device has forgotten the first.
    assert_eq!(heard, ["ack", "2.04", "ack", "ack", "ack", "2.04"]);
}

#[test]
fn events_reach_the_handlers_that_take_them() {
    let mut harness = connected(Generation::Os6);
    let cases: [Delivery; 5] = [
        (&[b"test", b"abc"], None, true),
        (&[b"mine/z"], None, true),
        (&[b"test/json"], Some(&[50]), true),
        (&[b"test/binary"], Some(&[42]), false),
        (&[b"other"], None, false),
    ];
    for (path, format, taken) in cases {
        let mut options: Vec<(u16, &[u8])> = vec![(11, b"e")];
        options.extend(path.iter().map(|part| (11, *part)));
        options.extend(format.map(|format| (12, format)));
        assert_eq!(answers(&mut harness, Code::POST, &options), ["ack"], "always acknowledged");
        let name = String::from_utf8(path.join(&b'/')).expect("text");
        let is_it = |event: &ReceivedEvent| event.name == name;
        let found = harness
            .observations(0)
            .iter()
            .any(|(_, o)| matches!(o, Observation::Event(event) if is_it(event)));
        assert_eq!(found, taken, "{name}");
    }
}

#[test]
fn the_reset_function_is_acknowledged_and_the_session_resumed() {
    let mut harness = connected(Generation::Os6);
    let before = harness.server.heard.len();
    harness.server.ask(Code::POST, 1, &[(11, b"f"), (11, b"reset"), (15, b"")], &[]);
    harness.run(3 * SECOND);
    let heard: Vec<_> = harness.server.heard[before..].iter().map(support::Heard::what).collect();
    assert_eq!(heard[..2], ["ack", "ping"]);
    assert_eq!(harness.server.heard[before + 1].marker, 253);
}

#[test]
fn a_description_is_fetched_in_blocks_with_one_etag() {
    let mut large = support::setup(Generation::Os6);
    large.modules = 60;
    let mut harness = support::harness(large);
    harness.with(0, sim::device::Device::power_on);
    harness.run(5 * SECOND);
    let mut described = Vec::new();
    for block in [&[][..], &[0x16], &[0x26]] {
        let mut options: Vec<(u16, &[u8])> = vec![(11, b"d"), (15, &[1])];
        if !block.is_empty() {
            options.push((23, block));
        }
        assert_eq!(answers(&mut harness, Code::GET, &options), ["ack", "2.05"]);
        let packet = harness.server.heard.last().expect("an answer").packet();
        assert_eq!((packet.value(4), packet.value(12)), (Some(&[1][..]), Some(&[42][..])));
        described.extend_from_slice(packet.payload);
    }
    let posted =
        harness.server.all("d").into_iter().filter(|heard| heard.packet().value(27).is_some());
    let posted: Vec<u8> = posted.flat_map(|heard| heard.packet().payload.to_vec()).collect();
    assert_eq!(described, posted, "the same as the device told by itself");
}
