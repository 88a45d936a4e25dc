//! From a ClientHello to a Hello that is accepted.

use std::net::SocketAddr;

use model::DeviceId;
use model::link::{LinkEvent, Transport};
use protocol::endpoint::{Need, NeedAnswer};
use secure::dtls::ContentType;
use secure::dtls::codec::write_plain_record;

use crate::client::{Client, Kind};
use crate::support::*;

#[test]
fn a_session_belongs_to_nobody_until_its_hello() {
    for kind in [Kind::Device, Kind::DeviceWithCid, Kind::Standard] {
        let mut world = World::new();
        let mut device = Device::handshaken(&mut world, 1, kind);
        assert!(world.take_events().is_empty());
        assert!(device.say(&mut world, &ping(1)).is_empty(), "nothing but a Hello is taken");
        assert!(world.take_events().is_empty());
        device.say(&mut world, &hello(2, device.id));
        let opened = opened(world.event());
        assert_eq!(opened.device, device.id);
        assert_eq!((opened.transport, opened.full_handshake), (Transport::Udp, true));
        assert_eq!(opened.peer, device.peer);
        assert_eq!(opened.receipt.map(|receipt| receipt.message_id), Some(2));
        assert!(!opened.snapshot.is_empty());
        assert_eq!(world.endpoint.counters().handshakes_completed, 1);
    }
}

#[test]
fn a_hello_with_an_id_the_key_is_not_registered_for_ends_the_session() {
    let mut world = World::new();
    let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    let datagram = device.seal(&hello(1, DeviceId([9; 12])));
    let mut alerts = world.deliver(device.peer, &datagram);
    let session = device.client.session.as_mut().unwrap();
    let alert = session.open(&mut alerts[0]).unwrap();
    assert_eq!(alert.plaintext, [2, 49]);
    assert!(world.take_events().is_empty());
    assert!(device.say(&mut world, &hello(2, device.id)).is_empty(), "gone");
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.counters().hellos_refused, 1);
}

#[test]
fn a_key_registered_for_several_ids_may_be_any_of_them() {
    let mut world = World::new();
    let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    let clone = DeviceId([7; 12]);
    world.keys.insert(device.client.key_hash(), vec![device.id, clone]);
    device.client = Client::new(Kind::DeviceWithCid, 1);
    device.peer.set_port(9);
    device.shake_hands(&mut world);
    device.say(&mut world, &hello(1, clone));
    assert_eq!(opened(world.event()).device, clone);
}

#[test]
fn an_unknown_key_gets_alert_49() {
    let mut world = World::new();
    let mut client = Client::new(Kind::DeviceWithCid, 5);
    client.start(world.now.mono.0);
    let peer = "127.0.0.1:9".parse().unwrap();
    let mut last = Vec::new();
    while let Some(datagram) = client.outputs.pop() {
        for mut answer in world.deliver(peer, &datagram) {
            last = answer.clone();
            client.handle(world.now.mono.0, &mut answer);
        }
    }
    assert_eq!((last[0], &last[13..]), (21, &[2, 49][..]));
    assert!(!client.is_done);
    assert_eq!(world.endpoint.counters().handshakes_unknown_key, 1);
}

#[test]
fn the_older_session_is_closed_only_when_the_hello_of_the_newer_one_is_accepted() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let older = device.link;
    let mut newer = Device {
        client: Client::new(Kind::DeviceWithCid, 1),
        peer: device.peer,
        id: device.id,
        link: older,
    };
    newer.shake_hands(&mut world);
    assert!(world.take_events().is_empty());
    assert_eq!(device.say(&mut world, &ping(9)), [empty_ack(9)], "the older one still lives");
    newer.say(&mut world, &hello(1, newer.id));
    let events = world.take_events();
    let [LinkEvent::Closed { link, forget: false }, LinkEvent::Opened(opened)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*link, older);
    assert_ne!(opened.link, older);
    assert!(device.say(&mut world, &ping(10)).is_empty());
}

#[test]
fn a_client_hello_on_the_address_of_a_session_does_not_harm_it() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let mut world = World::new();
        let mut device = Device::connected_as(&mut world, 1, kind);
        let mut stranger = Client::new(Kind::Device, 99);
        stranger.start(world.now.mono.0);
        for _ in 0..2 {
            let datagram = stranger.outputs.pop().unwrap();
            for mut answer in world.deliver(device.peer, &datagram) {
                stranger.handle(world.now.mono.0, &mut answer);
            }
            assert_eq!(device.say(&mut world, &ping(9)), [empty_ack(9)]);
        }
        // Unprotected alerts and noise of the same address neither.
        world.deliver(device.peer, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 0]);
        assert_eq!(device.say(&mut world, &ping(10)), [empty_ack(10)]);
        assert!(world.take_events().is_empty());
    }
}

#[test]
fn a_client_that_missed_the_end_of_the_handshake_gets_it_again() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let mut world = World::new();
        let mut device = Device::handshaken(&mut world, 1, kind);
        device.client.is_done = false;
        device.client.send(world.now.mono.0);
        device.exchange(&mut world);
        assert!(device.client.is_done);
        device.say(&mut world, &hello(1, device.id));
        opened(world.event());
    }
}

#[test]
fn a_message_behind_unprotected_records_is_taken() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let mut world = World::new();
        let mut device = Device::handshaken(&mut world, 1, kind);
        let mut datagram = Vec::new();
        write_plain_record(ContentType::ChangeCipherSpec, 9, &[1], &mut datagram);
        datagram.extend(device.seal(&hello(1, device.id)));
        world.deliver(device.peer, &datagram);
        opened(world.event());
    }
}

#[test]
fn while_handshakes_are_not_admitted_a_proven_client_hello_is_dropped_without_a_word() {
    let mut world = World::new();
    world.endpoint.set_admission(false);
    let mut client = Client::new(Kind::Device, 1);
    let peer = "127.0.0.1:9".parse().unwrap();
    client.start(world.now.mono.0);
    let first = client.outputs.pop().unwrap();
    let mut verify = world.deliver(peer, &first).remove(0);
    client.handle(world.now.mono.0, &mut verify);
    let second = client.outputs.pop().unwrap();
    assert!(world.deliver(peer, &second).is_empty());
    assert_eq!(world.endpoint.counters().dropped_not_admitted, 1);
    world.endpoint.set_admission(true);
    assert_eq!(world.deliver(peer, &second).len(), 1);
}

/// Begins a handshake up to the answer to its second hello.
fn begin(world: &mut World, peer: &str) -> (Client, SocketAddr) {
    let peer: SocketAddr = peer.parse().unwrap();
    let mut client = Client::new(Kind::Device, 1);
    client.start(world.now.mono.0);
    for _ in 0..2 {
        let hello = client.outputs.pop().unwrap();
        for mut answer in world.deliver(peer, &hello) {
            client.handle(world.now.mono.0, &mut answer);
        }
    }
    (client, peer)
}

#[test]
fn open_handshakes_are_bounded_per_address_and_network_and_in_total_and_end_after_60_seconds() {
    let mut world = World::with(|config| {
        config.handshakes_max = 5;
        config.handshakes_per_address_max = 2;
    });
    world.answers = false;
    let mut begun = |peer: &str| {
        let before = world.needs.len();
        begin(&mut world, peer);
        world.needs.len() > before
    };
    assert!(begun("192.0.2.1:1") && begun("192.0.2.1:2"));
    assert!(!begun("192.0.2.1:3"), "two from one address");
    assert!(begun("[2001:db8::1]:1") && begun("[2001:db8::2]:1"));
    assert!(!begun("[2001:db8::aaaa:3]:1"), "two from one network");
    assert!(begun("[2001:db8:0:1::1]:1"));
    assert!(!begun("192.0.2.2:1"), "five in all, and all of them wait for us");
    assert_eq!(world.endpoint.counters().dropped_handshakes_full, 3);
    world.pass(60 * SECOND);
    let before = world.needs.len();
    begin(&mut world, "192.0.2.1:1");
    assert_eq!(world.needs.len(), before + 1);
}

#[test]
fn the_oldest_handshake_whose_client_is_not_heard_makes_room() {
    let mut world = World::with(|config| config.handshakes_max = 3);
    let device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    let (_, gone) = begin(&mut world, "192.0.2.1:1");
    let (mut slow, slow_peer) = begin(&mut world, "192.0.2.2:1");
    for last in 3..=4 {
        begin(&mut world, &format!("192.0.2.{last}:1"));
        if last == 3 {
            assert!(
                world.deliver(gone, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]).is_empty()
            );
            assert_eq!(world.endpoint.counters().dropped_unknown_session, 1, "the oldest went");
            world.keys.insert(slow.key_hash(), vec![DeviceId([2; 12])]);
            world.answers = false;
            for datagram in std::mem::take(&mut slow.outputs) {
                world.deliver(slow_peer, &datagram);
            }
            world.answers = true;
        }
    }
    assert_eq!(world.endpoint.counters().handshakes_failed, 2);
    assert_eq!(world.endpoint.counters().dropped_handshakes_full, 0);
    for need in std::mem::take(&mut world.needs) {
        let Need::Key { handshake, .. } = need else { continue };
        let ids = vec![DeviceId([2; 12])];
        world.endpoint.handle_answer(world.now, NeedAnswer::Key { handshake, ids });
    }
    assert!(!world.drain().is_empty(), "one that answered stays");
    drop(device);
}

#[test]
fn a_session_without_hello_goes_after_60_seconds() {
    let mut world = World::new();
    let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    world.pass(60 * SECOND);
    assert!(world.take_events().is_empty());
    assert!(device.say(&mut world, &hello(1, device.id)).is_empty());
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.next_timeout(), None);
}

#[test]
fn a_key_that_was_taken_from_its_device_since_the_handshake_opens_no_session() {
    for others in [vec![], vec![model::DeviceId([9; 12])]] {
        let mut world = World::new();
        let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
        world.keys.insert(device.client.key_hash(), others);
        device.say(&mut world, &hello(1, device.id));
        assert!(world.take_events().is_empty());
        assert_eq!(world.endpoint.counters().hellos_refused, 1);
        assert!(device.say(&mut world, &hello(2, device.id)).is_empty(), "it is gone");
    }
}

#[test]
fn a_strange_key_is_bound_to_its_first_hello_when_the_shell_agrees() {
    for bound in [true, false] {
        let mut world = World::with(|config| config.trust_on_first_use = true);
        let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
        world.keys.clear();
        device.client = Client::new(Kind::DeviceWithCid, 1);
        device.peer.set_port(9);
        device.shake_hands(&mut world);
        device.say(&mut world, &hello(1, device.id));
        assert!(world.take_events().is_empty());
        let Need::Bind { link, device: id, public_key } = world.needs.pop().unwrap() else {
            panic!()
        };
        assert_eq!((id, public_key.len()), (device.id, 91));
        world.endpoint.handle_answer(world.now, NeedAnswer::Bind { link, bound });
        world.drain();
        match bound {
            true => assert_eq!(opened(world.event()).device, device.id),
            false => assert!(world.take_events().is_empty()),
        }
    }
}
