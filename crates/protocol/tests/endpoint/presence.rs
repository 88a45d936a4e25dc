//! Who is online.

use model::CloudMessage;
use model::link::LinkEvent;

use crate::support::*;

const DEFAULT_SILENCE: u64 = 46 * 60 * SECOND;

/// Pings every `seconds`, as a device does that receives nothing but our answers.
fn ping_regularly(world: &mut World, device: &mut Device, seconds: u64, first_id: u16) {
    for id in first_id..first_id + 3 {
        world.pass(seconds * SECOND);
        device.say(world, &ping(id));
    }
}

#[test]
fn a_device_is_silent_after_46_minutes_and_alive_with_its_next_message() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    world.pass(DEFAULT_SILENCE - 1);
    assert!(world.take_events().is_empty());
    world.pass(1);
    let link = device.link;
    assert_eq!(world.event(), LinkEvent::Silent { link });
    world.pass(DEFAULT_SILENCE);
    assert!(world.take_events().is_empty(), "told once");
    device.say(&mut world, &ping(3));
    assert_eq!(world.event(), LinkEvent::Alive { link });
    assert_eq!(world.endpoint.counters().resumes, 1);
}

#[test]
fn three_pings_at_one_distance_are_learnt() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    ping_regularly(&mut world, &mut device, 25, 3);
    world.pass(50 * SECOND - 1);
    assert!(world.take_events().is_empty());
    world.pass(1);
    assert_eq!(world.event(), LinkEvent::Silent { link: device.link });
}

#[test]
fn the_distance_is_measured_from_our_last_sending_not_from_the_last_ping() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    for id in 3..6 {
        world.pass(10 * SECOND);
        let unknown = [0x40, 2, 1, id as u8, 0xb1, b'Z'];
        device.say(&mut world, &unknown);
        world.pass(30 * SECOND);
        device.say(&mut world, &ping(id));
    }
    world.pass(60 * SECOND - 1);
    assert!(world.take_events().is_empty());
    world.pass(1);
    assert_eq!(world.event(), LinkEvent::Silent { link: device.link });
}

#[test]
fn a_device_that_comes_back_starts_again_with_23_minutes() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    ping_regularly(&mut world, &mut device, 30, 3);
    world.pass(60 * SECOND);
    device.say(&mut world, &ping(9));
    world.take_events();
    world.pass(DEFAULT_SILENCE - 1);
    assert!(world.take_events().is_empty());
    world.pass(1);
    assert_eq!(world.event(), LinkEvent::Silent { link: device.link });
}

#[test]
fn a_device_that_was_given_up_is_alive_with_its_next_message() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.receive(&mut world, 1, CloudMessage::Ping);
    world.pass(20 * SECOND);
    assert!(matches!(world.take_events().last(), Some(LinkEvent::Unanswered { .. })));
    device.say(&mut world, &publish(9));
    let events = world.take_events();
    assert!(
        matches!(events[..], [LinkEvent::Alive { .. }, LinkEvent::Message { .. }]),
        "{events:?}"
    );
}

#[test]
fn an_alert_of_the_device_ends_the_session_for_good() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut datagram = Vec::new();
    let session = device.client.session.as_mut().unwrap();
    session.seal(secure::dtls::ContentType::Alert, &[1, 0], &mut datagram).unwrap();
    world.deliver(device.peer, &datagram);
    assert_eq!(world.event(), LinkEvent::Closed { link: device.link, forget: true });
    assert!(device.say(&mut world, &ping(9)).is_empty());
    assert_eq!(world.endpoint.next_timeout(), None);
}

#[test]
fn a_connection_that_the_shard_closes_says_so_to_the_device() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut sent = world.command(device.link, model::link::Command::Close);
    let session = device.client.session.as_mut().unwrap();
    assert_eq!(session.open(&mut sent[0].1).unwrap().plaintext, [1, 0]);
    assert_eq!(world.event(), LinkEvent::Closed { link: device.link, forget: true });
    world.command(device.link, model::link::Command::Close);
    assert_eq!(world.endpoint.counters().commands_late, 1);
}

#[test]
fn a_reset_is_sent_only_when_the_shard_asks_for_it() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    let (_, receipt) = message(world.event());
    let receipt = receipt.unwrap();
    let sent = world.command(device.link, model::link::Command::Reset { receipt });
    assert_eq!(device.open_all(&world, sent), [[0x70, 0, 0, 10]]);
}

#[test]
fn a_hello_of_a_device_that_was_silent_is_told_as_a_hello_alone_wherever_it_comes_from() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    world.pass(DEFAULT_SILENCE);
    world.take_events();
    device.peer = "10.0.0.9:9".parse().unwrap();
    let again = hello(500, device.id);
    device.say(&mut world, &again);
    let opened = opened(world.event());
    assert_eq!((opened.link, opened.peer), (device.link, device.peer));
    assert_eq!(world.endpoint.counters().resumes, 1);
}
