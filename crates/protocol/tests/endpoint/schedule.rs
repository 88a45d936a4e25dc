//! When messages to a device leave, and what becomes of them.

use model::link::{ExchangeId, LinkEvent};
use model::{Answer, CloudMessage};

use crate::client::Kind;
use crate::support::*;

#[test]
fn an_unanswered_event_is_sent_at_0_4_and_12_seconds_and_given_up_at_20() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let first = device.receive(&mut world, 5, event(b"x"));
    assert_eq!(first.len(), 1);
    let (link, exchange) = (device.link, ExchangeId(5));
    assert_eq!(world.event(), LinkEvent::Attempt { link, exchange });

    let sent = world.pass(20 * SECOND - 1);
    let times: Vec<u64> = sent.iter().map(|(at, _, _)| *at).collect();
    assert_eq!(times, [4 * SECOND, 12 * SECOND]);
    for (_, _, datagram) in sent {
        assert_eq!(device.open(&world, datagram).as_ref(), Some(&first[0]), "same id, same bytes");
    }
    assert_eq!(
        world.take_events(),
        [LinkEvent::Attempt { link, exchange }, LinkEvent::Attempt { link, exchange }]
    );

    assert!(world.pass(1).is_empty());
    assert_eq!(world.event(), LinkEvent::Unanswered { link, exchange });
}

#[test]
fn an_acknowledged_event_is_not_repeated() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let sent = device.receive(&mut world, 5, event(b"x"));
    assert_eq!(sent[0][0], 0x40, "confirmable, without token");
    world.take_events();
    let ack = empty_ack(u16::from_be_bytes([sent[0][2], sent[0][3]]));
    assert!(device.say(&mut world, &ack).is_empty());
    let (link, exchange) = (device.link, ExchangeId(5));
    let answer = Answer::Accepted;
    assert_eq!(world.event(), LinkEvent::Answered { link, exchange, answer });
    assert!(world.pass(30 * SECOND).is_empty());
    assert!(world.take_events().is_empty());
}

#[test]
fn the_message_id_is_the_low_half_of_the_record_number() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    // Finished, two acknowledgements.
    assert_eq!(device.receive(&mut world, 1, event(b"x"))[0][2..4], [0, 3]);
    assert_eq!(device.receive(&mut world, 2, event(b"x"))[0][2..4], [0, 4]);
}

#[test]
fn a_separate_answer_after_a_lost_acknowledgement_implies_it_and_is_acknowledged() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let sent = device.receive(&mut world, 5, call("on"));
    let token = sent[0][4];
    world.take_events();
    world.pass(5 * SECOND);
    world.take_events();
    let answer = [0x41, 0x44, 0x01, 0x00, token, 0xff, 0, 0, 0, 42];
    assert_eq!(device.say(&mut world, &answer), [empty_ack(0x100)]);
    let (link, exchange) = (device.link, ExchangeId(5));
    let returned = Answer::Returned(42);
    assert_eq!(world.event(), LinkEvent::Answered { link, exchange, answer: returned });
    assert!(world.pass(60 * SECOND).is_empty());
    assert!(world.take_events().is_empty());
    // A copy of the answer has nobody who waits for it, and still its acknowledgement.
    assert_eq!(device.say(&mut world, &answer), [empty_ack(0x100)]);
    assert!(world.take_events().is_empty());
}

#[test]
fn an_answer_20_seconds_after_its_acknowledgement_is_told() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let sent = device.receive(&mut world, 5, call(""));
    let ack = empty_ack(u16::from_be_bytes([sent[0][2], sent[0][3]]));
    device.say(&mut world, &ack);
    assert!(world.pass(20 * SECOND).is_empty(), "what arrived is not repeated");
    world.take_events();
    let answer = [0x41, 0x44, 0x01, 0x00, sent[0][4], 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(device.say(&mut world, &answer), [empty_ack(0x100)]);
    let (link, exchange) = (device.link, ExchangeId(5));
    let returned = Answer::Returned(-1);
    assert_eq!(world.event(), LinkEvent::Answered { link, exchange, answer: returned });
}

#[test]
fn an_answer_nobody_waits_for_any_more_is_acknowledged_and_dropped_and_its_token_rests() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let sent = device.receive(&mut world, 5, call(""));
    let token = sent[0][4];
    device.say(&mut world, &empty_ack(u16::from_be_bytes([sent[0][2], sent[0][3]])));
    world.pass(29 * SECOND);
    world.take_events();
    let answer = [0x41, 0x44, 0x01, 0x00, token, 0xff, 0, 0, 0, 1];
    assert_eq!(device.say(&mut world, &answer), [empty_ack(0x100)]);
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.counters().answers_unmatched, 1);
    // 256 more calls come round to every token but that one.
    for number in 0..300 {
        let sent = device.receive(&mut world, number, call(""));
        assert_ne!(sent[0][4], token);
        let [high, low] = [sent[0][2], sent[0][3]];
        device.say(&mut world, &[0x61, 0x80, high, low, sent[0][4]]);
    }
}

/// A confirmable answer of a function.
fn returned(message_id: u16, token: u8, value: u8) -> [u8; 10] {
    let [high, low] = message_id.to_be_bytes();
    [0x41, 0x44, high, low, token, 0xff, 0, 0, 0, value]
}

#[test]
fn a_late_copy_of_an_answer_does_not_answer_the_call_that_has_its_token_by_then() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let token = device.receive(&mut world, 0, call(""))[0][4];
    let first = returned(0x100, token, 42);
    device.say(&mut world, &first);
    let mut last = 0;
    for number in 1_u16.. {
        last = number;
        let other = device.receive(&mut world, number.into(), call(""))[0][4];
        if other == token {
            break;
        }
        device.say(&mut world, &returned(0x100 + number, other, 1));
    }
    world.skip(6 * SECOND);
    world.take_events();
    assert_eq!(device.say(&mut world, &first), [empty_ack(0x100)], "acknowledged again");
    assert!(world.take_events().is_empty());
    device.say(&mut world, &returned(0x200, token, 7));
    let (link, exchange) = (device.link, ExchangeId(last.into()));
    let answer = Answer::Returned(7);
    assert_eq!(world.event(), LinkEvent::Answered { link, exchange, answer });
}

#[test]
fn after_a_full_handshake_and_after_90_seconds_an_answer_may_have_an_id_that_came_before() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let link = device.link;
    for number in 0..2 {
        let token = device.receive(&mut world, number, call(""))[0][4];
        world.take_events();
        device.say(&mut world, &returned(0x100, token, 7));
        assert!(matches!(world.event(), LinkEvent::Answered { link: l, .. } if l == link));
        world.pass(90 * SECOND);
        world.take_events();
    }
    device.receive(&mut world, 2, call(""));
    let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    let greeting = hello(1, device.id);
    device.say(&mut world, &greeting);
    device.link = opened(world.take_events().pop().unwrap()).link;
    device.say(&mut world, &ping(2));
    let token = device.receive(&mut world, 3, call(""))[0][4];
    world.take_events();
    device.say(&mut world, &returned(0x100, token, 7));
    assert!(matches!(world.event(), LinkEvent::Answered { link, .. } if link == device.link));
}

#[test]
fn nothing_that_was_under_way_is_repeated_once_the_key_is_replaced() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    assert_eq!(device.receive(&mut world, 1, event(b"for the owner")).len(), 1);
    assert_eq!(device.receive(&mut world, 2, CloudMessage::KeyChange).len(), 1);
    world.take_events();
    // A delivery is repeated after 4 and 12 s, as the KeyChange is.
    world.pass(19 * SECOND);
    let attempts = world.take_events().into_iter().filter_map(|event| match event {
        LinkEvent::Attempt { exchange, .. } => Some(exchange.0),
        _ => None,
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn answers_are_told_by_kind() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let read = CloudMessage::VariableRequest { name: "temp".into() };
    let token = device.receive(&mut world, 1, read.clone())[0][4];
    device.say(&mut world, &[0x41, 0x45, 1, 0, token, 0xff, 1, 2]);
    let token = device.receive(&mut world, 2, read)[0][4];
    device.say(&mut world, &[0x41, 0x84, 1, 1, token]);
    let sent = device.receive(&mut world, 3, CloudMessage::Signal(true));
    // The id of this acknowledgement is wrong, its token is not.
    device.say(&mut world, &[0x61, 0x44, 0xff, 0xff, sent[0][4]]);
    let sent = device.receive(&mut world, 4, CloudMessage::KeyChange);
    assert_eq!(sent[0][1], 3);
    device.say(&mut world, &empty_ack(0x7777));
    device.receive(&mut world, 5, CloudMessage::Ping);
    device.say(&mut world, &publish(50));
    let answers: Vec<_> = world
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            LinkEvent::Answered { exchange, answer, .. } => Some((exchange.0, answer)),
            _ => None,
        })
        .collect();
    assert_eq!(
        answers,
        [
            (1, Answer::Value([1, 2].into())),
            (2, Answer::Failed(404)),
            (3, Answer::Accepted),
            (4, Answer::Accepted),
            (5, Answer::Accepted),
        ]
    );
}

#[test]
fn nothing_is_sent_before_the_first_message_after_the_hello() {
    let mut world = World::new();
    let mut device = Device::greeted(&mut world, 1, Kind::DeviceWithCid);
    assert!(device.receive(&mut world, 1, event(b"a")).is_empty());
    assert!(device.receive(&mut world, 2, event(b"b")).is_empty());
    world.pass(4 * SECOND);
    assert!(world.take_events().is_empty());
    let answers = device.say(&mut world, &ping(9));
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0], empty_ack(9));
    assert!(answers[1].ends_with(b"\xffa") && answers[2].ends_with(b"\xffb"), "in order");
    assert_eq!(world.take_events().len(), 2);
}

#[test]
fn a_copy_of_the_hello_is_no_proof_that_its_answer_arrived() {
    let mut world = World::new();
    let mut device = Device::greeted(&mut world, 1, Kind::DeviceWithCid);
    assert!(device.receive(&mut world, 1, event(b"a")).is_empty());
    world.skip(4 * SECOND);
    let hello = hello(1, device.id);
    assert_eq!(device.say(&mut world, &hello), [empty_ack(1)]);
    assert!(world.take_events().is_empty());
    let sent = world.pass(6 * SECOND);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, 5 * SECOND, "five seconds after the last answer");
}

#[test]
fn a_device_that_is_silent_after_its_hello_is_sent_to_after_5_seconds() {
    let mut world = World::new();
    let mut device = Device::greeted(&mut world, 1, Kind::DeviceWithCid);
    device.receive(&mut world, 1, event(b"a"));
    let times: Vec<u64> = world.pass(10 * SECOND).iter().map(|(at, _, _)| *at).collect();
    assert_eq!(times, [5 * SECOND, 9 * SECOND]);
}

#[test]
fn what_the_device_cannot_take_is_unsendable_and_costs_no_attempt() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    assert!(device.receive(&mut world, 1, event(&[b'x'; 1025])).is_empty());
    let (link, exchange) = (device.link, ExchangeId(1));
    assert_eq!(world.event(), LinkEvent::Unsendable { link, exchange });
    assert_eq!(device.receive(&mut world, 2, event(&[b'x'; 1024])).len(), 1);
}

#[test]
fn when_one_message_is_given_up_all_that_was_not_acknowledged_is() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.receive(&mut world, 1, event(b"a"));
    world.pass(15 * SECOND);
    device.receive(&mut world, 2, call(""));
    world.take_events();
    let sent = world.pass(30 * SECOND);
    assert_eq!(
        sent.len(),
        1,
        "the call was repeated at 4 s, and not at 12 s: the device is offline"
    );
    let unanswered: Vec<_> = world
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            LinkEvent::Unanswered { exchange, .. } => Some(exchange.0),
            _ => None,
        })
        .collect();
    assert_eq!(unanswered, [1, 2]);
}

#[test]
fn a_new_hello_on_the_same_session_ends_what_was_under_way() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.receive(&mut world, 1, call(""));
    world.take_events();
    let again = hello(77, device.id);
    assert!(device.say(&mut world, &again).is_empty());
    let opened = opened(world.event());
    assert!(!opened.full_handshake);
    assert_eq!(opened.link, device.link);
    assert!(world.pass(60 * SECOND).is_empty());
    assert!(world.take_events().is_empty());
}
