//! Messages that come twice.

use model::link::{Command, LinkEvent, Source, Verdict};
use model::{DeviceMessage, message::Publish};

use crate::support::*;

#[test]
fn a_publish_is_told_once_and_acknowledged_when_the_shard_says_so() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    assert!(device.say(&mut world, &publish(10)).is_empty(), "held until durable");
    let event = world.event();
    let LinkEvent::Message { link, message, receipt, source } = event else { panic!("{event:?}") };
    assert_eq!(link, device.link);
    let DeviceMessage::Publish(Publish { name, data, ttl_s }) = message else { panic!() };
    assert_eq!((name.as_str(), ttl_s), ("temp", 60));
    assert_eq!(&*data.unwrap().bytes, b"21");
    // Finished, Hello, ping and then this.
    assert_eq!(source, Source { record: 3, message_id: 10, confirmable: true });
    let acks = device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    assert_eq!(acks, [empty_ack(10)]);
}

#[test]
fn a_copy_of_an_accepted_publish_is_told_as_a_copy_and_acknowledged_again() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    let (first, receipt) = message(world.event());
    device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    world.skip(40 * SECOND);
    assert!(device.say(&mut world, &publish(10)).is_empty());
    let (second, receipt) = copy(world.event());
    assert_eq!(first, second);
    let acks = device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    assert_eq!(acks, [empty_ack(10)]);
}

#[test]
fn the_next_copy_of_a_publish_that_was_reset_is_the_first_one() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    let (_, receipt) = message(world.event());
    let receipt = receipt.unwrap();
    let sent = world.command(device.link, Command::Reset { receipt });
    assert_eq!(device.open_all(&world, sent), [[0x70, 0, 0, 10]]);
    // The reset may have been lost.
    device.say(&mut world, &publish(10));
    message(world.event());
}

#[test]
fn a_copy_of_a_publish_that_is_being_committed_is_told_too() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    message(world.event());
    assert!(device.say(&mut world, &publish(10)).is_empty());
    copy(world.event());
}

#[test]
fn a_copy_of_a_refused_publish_gets_the_same_code_and_is_not_told() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    let (_, receipt) = message(world.event());
    let refused = device.acknowledged(&mut world, receipt.unwrap(), Verdict::TooManyRequests);
    assert_eq!(refused, [[0x60, 0x9d, 0, 10]]);
    assert_eq!(device.say(&mut world, &publish(10)), refused);
    assert!(world.take_events().is_empty());
}

#[test]
fn a_copy_of_a_subscription_waits_for_the_answer_of_the_first_and_then_gets_it_again() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    assert!(device.say(&mut world, &subscribe(11)).is_empty());
    let (_, receipt) = message(world.event());
    assert!(device.say(&mut world, &subscribe(11)).is_empty());
    assert!(world.take_events().is_empty());
    let acks = device.acknowledged(&mut world, receipt.unwrap(), Verdict::Accepted);
    assert_eq!(acks, [empty_ack(11)]);
    assert_eq!(device.say(&mut world, &subscribe(11)), [empty_ack(11)]);
    assert!(world.take_events().is_empty());
}

#[test]
fn the_same_record_twice_is_no_copy() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let datagram = device.seal(&publish(10));
    world.deliver(device.peer, &datagram);
    message(world.event());
    assert!(world.deliver(device.peer, &datagram).is_empty());
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.counters().dropped_replayed, 1);
}

#[test]
fn a_publish_that_is_not_confirmable_is_looked_up_too() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut bytes = publish(10);
    bytes[0] = 0x50;
    device.say(&mut world, &bytes);
    assert_eq!(message(world.event()).1, None);
    device.say(&mut world, &bytes);
    assert_eq!(copy(world.event()).1, None);
}

#[test]
fn after_90_seconds_an_id_is_new_again() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    message(world.event());
    world.pass(90 * SECOND);
    device.say(&mut world, &publish(10));
    message(world.event());
}

#[test]
fn what_the_session_answers_by_itself_is_answered_each_time() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let time = [0x41, 1, 0, 20, 0x55, 0xb1, b't'];
    let answer = [0x61, 0x45, 0, 20, 0x55, 0xff, 0x65, 0x53, 0xf1, 0x00];
    assert_eq!(device.say(&mut world, &time), [answer]);
    world.skip(5 * SECOND);
    let answers = device.say(&mut world, &time);
    assert_eq!(answers[0][6..], [0x65, 0x53, 0xf1, 0x05], "the time is told anew");
    let get_info = [0x41, 2, 0, 21, 0x56, 0xb1, b'L', 0xff, 0x08, 0x01];
    let none = [0x61, 0x44, 0, 21, 0x56, 0xff, 0x1a, 0x00];
    assert_eq!(device.say(&mut world, &get_info), [none]);
    assert_eq!(device.say(&mut world, &get_info), [none]);
    assert!(world.take_events().is_empty());
}

#[test]
fn requests_nobody_knows_are_answered_4_04_and_broken_ones_4_00() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let unknown = [0x41, 2, 0, 30, 0x57, 0xb1, b'Z'];
    assert_eq!(device.say(&mut world, &unknown), [[0x61, 0x84, 0, 30, 0x57]]);
    let non = [0x51, 2, 0, 31, 0x57, 0xb1, b'Z'];
    assert!(device.say(&mut world, &non).is_empty());
    let broken = [0x41, 2, 0, 32, 0x57, 0xb5, b'Z'];
    assert_eq!(device.say(&mut world, &broken), [[0x61, 0x80, 0, 32, 0x57]]);
    let nameless = [0x40, 2, 0, 33, 0xb1, b'E'];
    assert_eq!(device.say(&mut world, &nameless), [[0x60, 0x80, 0, 33]]);
    for strange in [&[0x60, 0, 0x99, 0x99][..], &[0x70, 0, 0x99, 0x99], &[0x61, 0x44, 9, 9, 1]] {
        assert!(device.say(&mut world, strange).is_empty(), "an acknowledgement is never answered");
    }
    assert!(world.take_events().is_empty());
}

#[test]
fn a_hello_or_describe_that_the_store_refuses_gets_no_answer() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let describe = [&[0x41, 2, 0, 40, 0x58, 0xb1, b'd', 0x41, 2, 0xff][..], b"{\"f\":[\"led\"]}"];
    assert!(device.say(&mut world, &describe.concat()).is_empty());
    let (_, receipt) = message(world.event());
    assert!(device.acknowledged(&mut world, receipt.unwrap(), Verdict::Unavailable).is_empty());
    assert!(device.say(&mut world, &describe.concat()).is_empty());
    assert!(world.take_events().is_empty());
}

#[test]
fn a_goodbye_is_acknowledged_at_once_and_its_copy_does_not_bring_the_device_back() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let goodbye = [0x40, 2, 0, 50, 0xb1, b'x', 0xff, 0x01, 0x05];
    assert_eq!(device.say(&mut world, &goodbye), [empty_ack(50)]);
    let (told, receipt) = message(world.event());
    assert!(matches!(told, DeviceMessage::Goodbye(_)) && receipt.is_none());
    assert_eq!(device.say(&mut world, &goodbye), [empty_ack(50)]);
    assert!(world.take_events().is_empty());
    device.say(&mut world, &ping(51));
    assert_eq!(world.event(), LinkEvent::Alive { link: device.link });
}
