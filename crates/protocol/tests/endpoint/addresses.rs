//! Devices whose address changes.

use std::net::SocketAddr;

use model::link::LinkEvent;
use protocol::endpoint::{Disposition, Where};
use secure::dtls::record::{mark_moved, mark_moved_cid};

use crate::client::Kind;
use crate::support::*;

fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 8, 7], port))
}

#[test]
fn a_record_with_connection_id_moves_the_session() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    for (port, marked) in [(1000, false), (1001, true)] {
        device.peer = elsewhere(port);
        let mut datagram = device.seal(&ping(port));
        if marked {
            mark_moved_cid(&mut datagram);
        }
        let answers = world.deliver(device.peer, &datagram);
        assert_eq!(device.open(&world, answers[0].clone()), Some(empty_ack(port)));
        let record = device.last_record();
        assert_eq!(
            world.event(),
            LinkEvent::Moved { link: device.link, peer: device.peer, record }
        );
    }
    assert_eq!(world.endpoint.counters().resumes, 2);
}

#[test]
fn a_record_of_type_254_moves_the_session_and_plain_ones_follow() {
    let mut world = World::new();
    let mut device = Device::connected_as(&mut world, 1, Kind::Device);
    device.peer = elsewhere(1000);
    let mut datagram = device.seal(&ping(9));
    mark_moved(&mut datagram, &device.id.0);
    let answers = world.deliver(device.peer, &datagram);
    assert_eq!(device.open(&world, answers[0].clone()), Some(empty_ack(9)));
    let record = device.last_record();
    assert_eq!(world.event(), LinkEvent::Moved { link: device.link, peer: device.peer, record });
    assert_eq!(device.say(&mut world, &ping(10)), [empty_ack(10)]);
}

#[test]
fn a_plain_record_from_an_unknown_address_is_dropped() {
    let mut world = World::new();
    let mut device = Device::connected_as(&mut world, 1, Kind::Device);
    device.peer = elsewhere(1000);
    assert!(device.say(&mut world, &ping(9)).is_empty());
    assert_eq!(world.endpoint.counters().dropped_unknown_session, 1);
}

/// One in 128 addresses has a hash that the table cannot tell from that of the address before.
#[test]
fn a_session_without_connection_id_is_found_by_each_of_2000_addresses_it_moves_to() {
    let mut world = World::new();
    let mut device = Device::connected_as(&mut world, 1, Kind::Device);
    for number in 1..2000_u32 {
        // Steps of one length have hashes of one distance.
        let port = (number * number % 60_000) as u16 + 1000;
        device.peer = elsewhere(port);
        let mut datagram = device.seal(&ping(port));
        mark_moved(&mut datagram, &device.id.0);
        world.deliver(device.peer, &datagram);
        device.say(&mut world, &ping(port + 1));
        assert_eq!(world.endpoint.counters().dropped_unknown_session, 0, "port {port}");
    }
}

#[test]
fn an_old_record_from_a_new_address_moves_nothing() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let old = device.seal(&publish(10));
    let replayed = device.seal(&ping(11));
    world.deliver(device.peer, &replayed);
    // A replayed one and one that is authentic but not the newest.
    assert!(world.deliver(elsewhere(1000), &replayed).is_empty());
    assert!(
        world.endpoint.handle_datagram(world.now, elsewhere(1000), &mut old.clone())
            == protocol::endpoint::Disposition::Taken
    );
    world.drain();
    let (_, receipt) = message(world.event());
    let sent = world.accept(device.link, receipt.unwrap());
    assert_eq!(sent[0].0, device.peer, "the answer goes to the known address");
}

#[test]
fn a_record_that_is_not_authentic_moves_nothing_and_is_no_life() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut forged = device.seal(&ping(10));
    *forged.last_mut().unwrap() ^= 1;
    assert!(world.deliver(elsewhere(1000), &forged).is_empty());
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.counters().dropped_not_authentic, 1);
    assert!(world.deliver(elsewhere(1000), &[0]).is_empty());
    assert_eq!(world.endpoint.counters().dropped_noise, 1);
}

#[test]
fn answers_held_back_go_to_where_the_device_is_by_then() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(10));
    let (_, receipt) = message(world.event());
    device.peer = elsewhere(1000);
    device.say(&mut world, &ping(11));
    let sent = world.accept(device.link, receipt.unwrap());
    assert_eq!(sent[0].0, device.peer);
}

#[test]
fn two_devices_behind_one_address_after_each_other_keep_their_sessions() {
    let mut world = World::new();
    let mut first = Device::connected(&mut world, 1);
    let mut second = Device::connected(&mut world, 2);
    second.peer = first.peer;
    assert_eq!(second.say(&mut world, &ping(9)), [empty_ack(9)]);
    assert_eq!(first.say(&mut world, &ping(9)), [empty_ack(9)], "found by its connection id");
    assert!(matches!(world.take_events()[..], [LinkEvent::Moved { .. }]));
}

/// Nothing tells another device from one that sends with somebody else's address.
#[test]
fn a_device_without_connection_id_gets_its_address_back_from_another_device_when_it_resumes() {
    for other in [Kind::Device, Kind::DeviceWithCid] {
        let mut world = World::new();
        let mut device = Device::connected_as(&mut world, 1, Kind::Device);
        let mut other = Device::connected_as(&mut world, 2, other);
        other.peer = device.peer;
        let mut datagram = other.seal(&ping(9));
        if other.client.session.as_ref().unwrap().cid().is_none() {
            mark_moved(&mut datagram, &other.id.0);
            assert_eq!(world.deliver(other.peer, &datagram).len(), 1);
            assert!(device.say(&mut world, &ping(9)).is_empty(), "found by its address alone");
        } else {
            assert_eq!(world.deliver(other.peer, &datagram).len(), 1);
        }
        let mut datagram = device.seal(&ping(10));
        mark_moved(&mut datagram, &device.id.0);
        assert_eq!(world.deliver(device.peer, &datagram).len(), 1);
        assert_eq!(device.say(&mut world, &ping(11)), [empty_ack(11)]);
    }
}

#[test]
fn a_device_with_connection_id_takes_no_address_from_others() {
    let mut world = World::new();
    let mut device = Device::connected_as(&mut world, 1, Kind::Device);
    let mut other = Device::connected(&mut world, 2);
    other.peer = device.peer;
    assert_eq!(other.say(&mut world, &ping(9)), [empty_ack(9)]);
    assert_eq!(device.say(&mut world, &ping(9)), [empty_ack(9)]);
}

#[test]
fn what_comes_from_an_address_that_a_session_of_another_shard_has_taken_is_not_kept_from_it() {
    let mut world = World::with(|config| config.shards = 2);
    let mut device = Device::connected_as(&mut world, 1, Kind::Device);
    world.endpoint.address_taken(device.link, elsewhere(9));
    assert_eq!(device.say(&mut world, &ping(9)), [empty_ack(9)], "it was another address");
    world.endpoint.address_taken(device.link, device.peer);
    let (now, peer) = (world.now, device.peer);
    let disposition = world.endpoint.handle_datagram(now, peer, &mut device.seal(&ping(10)));
    assert_eq!(disposition, Disposition::Forward(Where::Address));
    let mut resumed = device.seal(&ping(11));
    mark_moved(&mut resumed, &device.id.0);
    assert_eq!(world.deliver(peer, &resumed).len(), 1, "it takes its address back");
    assert_eq!(device.say(&mut world, &ping(12)), [empty_ack(12)]);
}

#[test]
fn with_several_shards_a_resumed_session_tells_its_address_though_it_is_the_old_one() {
    for shards in [1, 2] {
        let mut world = World::with(|config| config.shards = shards);
        let mut device = Device::connected_as(&mut world, 1, Kind::Device);
        let mut datagram = device.seal(&ping(10));
        mark_moved(&mut datagram, &device.id.0);
        world.deliver(device.peer, &datagram);
        let is_told = matches!(world.take_events()[..], [LinkEvent::Moved { .. }]);
        assert_eq!(is_told, shards > 1);
    }
}

#[test]
fn what_another_shard_has_is_forwarded_untouched() {
    use protocol::endpoint::{Disposition, Where};

    let mut other = World::with(|config| {
        config.shard = 1;
        config.shards = 2;
    });
    let mut world = World::with(|config| config.shards = 2);
    let mut with_cid = Device::connected(&mut other, 1);
    let mut without = Device::connected_as(&mut other, 2, Kind::Device);
    let mut moved = without.seal(&ping(11));
    mark_moved(&mut moved, &without.id.0);
    for (datagram, place) in [
        (with_cid.seal(&ping(10)), Where::Shard(1)),
        (without.seal(&ping(10)), Where::Address),
        (moved, Where::Device(without.id)),
    ] {
        let mut bytes = datagram.clone();
        let disposition = world.endpoint.handle_datagram(world.now, elsewhere(1), &mut bytes);
        assert_eq!((disposition, &bytes), (Disposition::Forward(place), &datagram));
    }
    assert_eq!(world.endpoint.counters().forwarded, 3);
    assert_eq!(world.endpoint.counters().datagrams_received, 0);
}
