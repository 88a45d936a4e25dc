//! Bytes over the carrier: whose, how many, and when they are told.

use model::link::{Command, LinkEvent};
use model::{DeviceId, Traffic};

use crate::client::Kind;
use crate::support::*;

fn told(world: &mut World, device: DeviceId) -> Traffic {
    let mut sum = Traffic::default();
    for (of, traffic) in std::mem::take(&mut world.carried) {
        assert_eq!(of, device);
        sum += traffic;
    }
    sum
}

#[test]
fn everything_from_the_first_client_hello_on_is_told_within_a_minute_of_the_first_of_it() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let mut world = World::new();
        let mut device = Device::connected_as(&mut world, 1, kind);
        device.say(&mut world, &publish(3));
        device.receive(&mut world, 1, event(b"x"));
        assert_eq!(world.carried, []);
        world.pass(60 * SECOND);
        let wire = world.wire;
        assert!(wire.received > 500 && wire.sent > 400, "{wire:?}");
        assert_eq!(told(&mut world, device.id), wire);

        device.say(&mut world, &ping(4));
        world.pass(60 * SECOND);
        let ping = told(&mut world, device.id);
        assert_eq!(ping.received, world.wire.received - wire.received);
        assert_eq!(ping.sent, world.wire.sent - wire.sent);
        world.pass(600 * SECOND);
        assert_eq!(world.carried, [], "nothing is told of nothing");
    }
}

#[test]
fn transmissions_that_nobody_acknowledges_are_told_too() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    world.pass(61 * SECOND);
    told(&mut world, device.id);
    let before = world.wire.sent;
    device.receive(&mut world, 1, call("x"));
    world.pass(61 * SECOND);
    assert_eq!(
        told(&mut world, device.id),
        Traffic { received: 0, sent: world.wire.sent - before }
    );
}

#[test]
fn a_handshake_without_a_hello_is_charged_to_nobody() {
    let mut world = World::new();
    Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    world.pass(200 * SECOND);
    assert_eq!(world.carried, []);
}

#[test]
fn many_bytes_are_told_before_the_minute_is_over() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut id = 10;
    while world.carried.is_empty() {
        device.say(&mut world, &ping(id));
        id += 1;
    }
    let wire = world.wire;
    assert_eq!(told(&mut world, device.id), wire);
    assert!((65_536..65_536 + 200).contains(&wire.total()), "{wire:?}");
}

#[test]
fn what_is_not_told_when_a_connection_ends_is_told_before_its_end() {
    let mut world = World::new();
    let device = Device::connected(&mut world, 1);
    world.command(device.link, Command::Close);
    let wire = world.wire;
    assert_eq!(told(&mut world, device.id), wire);
    assert!(matches!(world.event(), LinkEvent::Closed { .. }));
}

#[test]
fn records_that_are_replayed_or_forged_are_charged_to_nobody() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let record = device.seal(&ping(5));
    world.deliver(device.peer, &record);
    let wire = world.wire;
    world.deliver(device.peer, &record);
    let mut forged = device.seal(&ping(6));
    *forged.last_mut().unwrap() ^= 1;
    world.deliver(device.peer, &forged);
    world.pass(60 * SECOND);
    assert_eq!(told(&mut world, device.id), wire);
}

#[test]
fn a_stop_in_order_tells_everything() {
    let mut world = World::new();
    let device = Device::connected(&mut world, 1);
    world.endpoint.tell_all(world.now);
    world.drain();
    let wire = world.wire;
    assert_eq!(told(&mut world, device.id), wire);
}
