//! Every queue has a bound and an answer to being full.

use model::link::LinkEvent;

use crate::client::Kind;
use crate::support::*;

#[test]
fn messages_beyond_32_that_wait_for_a_device_are_unsendable() {
    let mut world = World::new();
    let mut device = Device::greeted(&mut world, 1, Kind::DeviceWithCid);
    for exchange in 0..33 {
        device.receive(&mut world, exchange, event(b"x"));
    }
    assert!(matches!(world.event(), LinkEvent::Unsendable { .. }));
    assert_eq!(device.say(&mut world, &ping(9)).len(), 1 + 15, "15 are open at once");
}

#[test]
fn a_full_room_lets_the_next_message_in_when_one_is_answered() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut sent = Vec::new();
    for exchange in 0..20 {
        sent.extend(device.receive(&mut world, exchange, event(b"x")));
    }
    assert_eq!(sent.len(), 15);
    let ack = empty_ack(u16::from_be_bytes([sent[3][2], sent[3][3]]));
    assert_eq!(device.say(&mut world, &ack).len(), 1);
}

#[test]
fn an_idle_session_holds_no_timer_but_its_silence() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    device.say(&mut world, &publish(9));
    let (_, receipt) = message(world.event());
    world.accept(device.link, receipt.unwrap());
    world.pass(91 * SECOND);
    let silent_at = world.endpoint.next_timeout().unwrap();
    assert_eq!(silent_at.since(world.now.mono).as_secs(), 46 * 60 - 91);
}

#[test]
fn many_sessions_do_not_slow_each_other_down() {
    let mut world = World::new();
    let mut devices: Vec<_> = (1..=100).map(|n| Device::connected(&mut world, n)).collect();
    for (index, device) in devices.iter_mut().enumerate() {
        let id = 100 + index as u16;
        assert_eq!(device.say(&mut world, &ping(id)), [empty_ack(id)]);
    }
    assert_eq!(world.endpoint.counters().sessions_opened, 100);
}

#[test]
fn no_bytes_of_a_peer_panic_the_endpoint() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut state = 1_u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for length in 0..400_usize {
        let mut noise: Vec<u8> = (0..length % 120).map(|_| random()).collect();
        let from = device.peer;
        world.endpoint.handle_datagram(world.now, from, &mut noise.clone());
        world.drain();
        // Authentic, but no message anybody understands.
        for (at, byte) in [0x40, 2, 0, 1, 0xb1, b"ehEdLxtm"[length % 8]].into_iter().enumerate() {
            if let Some(place) = noise.get_mut(at) {
                *place = byte;
            }
        }
        device.say(&mut world, &noise);
    }
    let id = device.id;
    world.take_events();
    device.say(&mut world, &hello(0xfff0, id));
    assert!(world.take_events().iter().any(|event| matches!(event, LinkEvent::Opened(_))));
}

#[test]
fn a_device_that_claims_to_take_65_535_bytes_is_not_believed() {
    let mut world = World::new();
    let mut device = Device::handshaken(&mut world, 1, Kind::DeviceWithCid);
    let mut greeting = hello(1, device.id);
    let size = greeting.len() - 8;
    greeting[size..size + 2].copy_from_slice(&[0xff, 0xff]);
    device.say(&mut world, &greeting);
    device.link = opened(world.event()).link;
    device.say(&mut world, &ping(2));
    let message = model::CloudMessage::VariableRequest { name: "n".repeat(20_000).into() };
    assert!(device.receive(&mut world, 1, message).is_empty());
    assert!(matches!(world.event(), LinkEvent::Unsendable { .. }));
}
