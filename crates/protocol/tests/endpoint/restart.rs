//! Sessions over the end of the process, and the record numbers they use.

use std::collections::BTreeSet;

use model::link::{Command, LinkEvent, RestoredSession, Source};
use secure::dtls::codec::{Reader, RecordHeader};

use crate::client::Kind;
use crate::support::*;

/// What a store would hold of a device that just opened.
fn stored(world: &mut World, device: &mut Device) -> RestoredSession {
    let again = hello(900, device.id);
    device.say(world, &again);
    let opened = opened(world.take_events().pop().unwrap());
    RestoredSession {
        device: device.id,
        snapshot: opened.snapshot,
        peer: device.peer,
        record_limit: 1024,
        record_seen: opened.source.record,
        recent: vec![opened.source],
        online: true,
    }
}

fn numbers(datagrams: &[(std::net::SocketAddr, Vec<u8>)]) -> Vec<u64> {
    datagrams
        .iter()
        .map(|(_, bytes)| RecordHeader::read(&mut Reader::new(bytes)).unwrap().number)
        .collect()
}

/// Hands a record in and grants the reservation that it causes.
fn deliver(world: &mut World, device: &mut Device, message: &[u8]) -> Vec<Vec<u8>> {
    let datagram = device.seal(message);
    let mut bytes = datagram;
    world.endpoint.handle_datagram(world.now, device.peer, &mut bytes);
    let mut sent = world.drain();
    let reserve = world.events.iter().find_map(|event| match event {
        LinkEvent::Reserve { link, record_limit } => Some((*link, *record_limit)),
        _ => None,
    });
    if let Some((link, record_limit)) = reserve {
        assert!(sent.is_empty(), "no number may be used before the reservation is durable");
        sent = world.command(link, Command::Reserved { record_limit });
    }
    assert!(numbers(&sent).iter().all(|number| *number >= 1024));
    device.open_all(world, sent)
}

#[test]
fn a_restored_session_goes_on_without_a_handshake_and_without_its_old_numbers() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let mut before = World::new();
        let mut device = Device::connected_as(&mut before, 1, kind);
        let session = stored(&mut before, &mut device);

        let mut world = World::new();
        let link = world.endpoint.restore(world.now, session).expect("restored");
        device.link = link;
        let answers = deliver(&mut world, &mut device, &ping(901));
        assert_eq!(answers, [empty_ack(901)]);
        let events = world.take_events();
        assert!(
            matches!(events[..], [LinkEvent::Alive { link: l }, LinkEvent::Reserve { record_limit: 2048, .. }] if l == link),
            "{events:?}"
        );
        assert_eq!(world.endpoint.counters().resumes, 1);
        assert_eq!(world.endpoint.counters().handshakes_completed, 0);
        assert_eq!(device.receive(&mut world, 1, event(b"x"))[0][2..4], [4, 1], "1024 and one ACK");
    }
}

#[test]
fn messages_durable_before_the_crash_are_known_after_it() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let mut session = stored(&mut before, &mut device);
    session.recent.push(Source { record: 40, message_id: 905, confirmable: true });

    let mut world = World::new();
    device.link = world.endpoint.restore(world.now, session).expect("restored");
    let again = hello(900, device.id);
    assert_eq!(deliver(&mut world, &mut device, &again), [empty_ack(900)]);
    let link = device.link;
    assert!(matches!(world.take_events()[..], [LinkEvent::Reserve { .. }]), "a copy is no news");
    device.say(&mut world, &publish(905));
    assert!(matches!(world.take_events()[..], [LinkEvent::Copy { link: l, .. }] if l == link));
    device.say(&mut world, &publish(906));
    let events = world.take_events();
    assert!(
        matches!(events[..], [LinkEvent::Alive { .. }, LinkEvent::Message { .. }]),
        "{events:?}"
    );
}

#[test]
fn records_the_journal_knows_are_refused_after_a_restart() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let mut session = stored(&mut before, &mut device);
    let old = device.seal(&publish(902));
    let known = device.seal(&publish(903));
    session.record_seen += 2;

    let mut world = World::new();
    world.endpoint.restore(world.now, session).expect("restored");
    for datagram in [old, known] {
        world.deliver(device.peer, &datagram);
    }
    assert!(world.take_events().is_empty());
    assert_eq!(world.endpoint.counters().dropped_replayed, 2);
}

#[test]
fn what_was_only_heard_is_told_within_60_seconds_and_refused_after_a_restart() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let mut session = stored(&mut before, &mut device);
    let heard_at = before.now.utc;
    let captured = device.seal(&ping(901));
    before.deliver(device.peer, &captured);
    before.pass(59 * SECOND);
    assert!(before.heard.is_empty());
    before.pass(SECOND);
    assert_eq!(before.heard, [(heard_at, device.last_record())]);
    before.pass(3600 * SECOND);
    assert_eq!(before.heard.len(), 1, "an idle session costs nothing");

    session.record_seen = device.last_record();
    let mut world = World::new();
    world.endpoint.restore(world.now, session).expect("restored");
    let stranger = "198.51.100.66:6".parse().unwrap();
    assert!(world.deliver(stranger, &captured).is_empty());
    assert_eq!(world.endpoint.counters().dropped_replayed, 1);
}

#[test]
fn a_burst_of_pings_is_told_once_a_minute_and_the_last_one_at_the_end() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    for id in 0..240 {
        world.pass(SECOND);
        device.say(&mut world, &ping(1000 + id));
    }
    assert_eq!(world.heard.len(), 4);
    world.endpoint.tell_all(world.now);
    world.drain();
    assert_eq!(world.heard.last(), Some(&(world.now.utc, device.last_record())));
    world.endpoint.tell_all(world.now);
    world.drain();
    assert_eq!(world.heard.len(), 5, "nothing new");
}

#[test]
fn a_session_given_out_by_more_or_other_shards_is_found_all_the_same() {
    let mut before = World::with(|config| {
        config.shard = 5;
        config.shards = 6;
    });
    let mut first = Device::connected(&mut before, 1);
    let session = stored(&mut before, &mut first);
    assert_eq!(protocol::endpoint::shard_of(&session.snapshot, 6), Some(5));
    assert_eq!(protocol::endpoint::shard_of(&session.snapshot, 1), Some(0));

    let mut world = World::new();
    // Has the slot that the other one's connection id names.
    let mut second = Device::connected(&mut world, 2);
    first.link = world.endpoint.restore(world.now, session).expect("restored");
    first.peer = "10.0.0.1:1".parse().unwrap();
    let answers = deliver(&mut world, &mut first, &ping(901));
    assert_eq!(answers, [empty_ack(901)]);
    assert_eq!(second.say(&mut world, &ping(9)), [empty_ack(9)]);
}

#[test]
fn snapshots_that_cannot_be_read_and_tcp_ones_are_not_restored() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let session = stored(&mut before, &mut device);
    let mut world = World::new();
    for len in 0..session.snapshot.len() {
        let snapshot = Box::<[u8]>::from(&session.snapshot[..len]).into();
        let cut = RestoredSession { snapshot, ..session.clone() };
        assert_eq!(world.endpoint.restore(world.now, cut), None);
    }
    let mut newer = session.clone();
    newer.snapshot[0] += 1;
    assert_eq!(world.endpoint.restore(world.now, newer), None);
    assert!(world.endpoint.restore(world.now, session.clone()).is_some());
    assert_eq!(world.endpoint.restore(world.now, session), None, "only once");
}

#[test]
fn numbers_are_reserved_in_time_asked_for_once_and_never_used_beyond() {
    let mut world = World::new();
    let mut device = Device::connected(&mut world, 1);
    let mut used = BTreeSet::new();
    let mut asked = Vec::new();
    for id in 3..1500_u16 {
        let datagram = device.seal(&ping(id));
        let mut bytes = datagram;
        world.endpoint.handle_datagram(world.now, device.peer, &mut bytes);
        let sent = world.drain();
        for number in numbers(&sent) {
            assert!(number < 1024 && used.insert(number), "{number}");
        }
        asked.extend(world.take_events());
    }
    let (link, record_limit) = (device.link, 5120);
    assert_eq!(asked, [LinkEvent::Reserve { link, record_limit }]);
    assert_eq!(used.last(), Some(&1023));
    assert!(
        world.endpoint.counters().dropped_queue_full > 400,
        "answers beyond a bound are dropped"
    );

    let sent = world.command(link, Command::Reserved { record_limit });
    assert_eq!(sent.len(), 16, "what was kept goes");
    assert!(numbers(&sent).iter().all(|number| used.insert(*number)));
    assert_eq!(device.say(&mut world, &ping(1600)), [empty_ack(1600)]);
}

#[test]
fn a_reservation_that_is_not_granted_is_asked_for_again() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let session = stored(&mut before, &mut device);
    let mut world = World::new();
    device.link = world.endpoint.restore(world.now, session).expect("restored");
    device.say(&mut world, &ping(901));
    assert!(matches!(
        world.take_events()[..],
        [LinkEvent::Alive { .. }, LinkEvent::Reserve { .. }]
    ));
    world.pass(10 * SECOND);
    assert!(matches!(world.event(), LinkEvent::Reserve { .. }));
}

#[test]
fn messages_wait_for_numbers_too() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let session = stored(&mut before, &mut device);
    let mut world = World::new();
    let link = world.endpoint.restore(world.now, session).expect("restored");
    device.link = link;
    assert!(device.receive(&mut world, 1, event(b"x")).is_empty());
    let record_limit = 2048;
    assert_eq!(world.event(), LinkEvent::Reserve { link, record_limit });
    let sent = world.command(link, Command::Reserved { record_limit });
    assert_eq!(numbers(&sent), [1024]);
    assert_eq!(device.open_all(&world, sent)[0][2..4], [4, 0]);
    assert!(matches!(world.event(), LinkEvent::Attempt { .. }));
}

#[test]
fn a_late_answer_to_a_call_of_the_process_before_is_nobodys() {
    let mut before = World::new();
    let mut device = Device::connected(&mut before, 1);
    let mut session = stored(&mut before, &mut device);
    device.say(&mut before, &ping(901));
    let mut answers = Vec::new();
    for exchange in 1..=4 {
        let asked = device.receive(&mut before, exchange, call("on"));
        let (id, token) = ([asked[0][2], asked[0][3]], asked[0][4]);
        device.say(&mut before, &[0x60, 0, id[0], id[1]]);
        answers.push([0x41, 0x44, 9, exchange as u8, token, 0xff, 0, 0, 0, 42]);
    }

    for restart in 1..=3 {
        let mut world = World::new();
        device.link = world.endpoint.restore(world.now, session.clone()).expect("restored");
        device.receive(&mut world, 1, call("on"));
        let Some(LinkEvent::Reserve { link, record_limit }) = world.take_events().pop() else {
            panic!("no reservation")
        };
        session.record_limit = record_limit;
        let sent = world.command(link, Command::Reserved { record_limit });
        device.open_all(&world, sent);
        world.take_events();
        for answer in &answers {
            device.say(&mut world, answer);
        }
        let told = world.take_events();
        let is_answered = |event: &LinkEvent| matches!(event, LinkEvent::Answered { .. });
        assert!(!told.iter().any(is_answered), "restart {restart}: {told:?}");
    }
}
