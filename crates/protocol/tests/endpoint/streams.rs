//! Devices over TCP.

use model::link::{Command, ExchangeId, LinkEvent, Transport, Verdict};
use model::{Answer, CloudMessage, DeviceId, LinkId};
use secure::tcp::{FrameKeys, FrameOpener, FrameSealer};

use crate::support::*;

struct Photon {
    opener: FrameOpener,
    sealer: FrameSealer,
    link: LinkId,
    id: DeviceId,
}

impl Photon {
    /// A device after its key exchange.
    fn accepted(world: &mut World) -> Self {
        let keys = FrameKeys { key: [1; 16], iv: [2; 16] };
        let id = DeviceId([3; 12]);
        let link = world.accept_stream(id, &keys);
        let (opener, sealer) = (FrameOpener::new(&keys), FrameSealer::new(&keys));
        Self { opener, sealer, link, id }
    }

    fn connected(world: &mut World) -> Self {
        let mut photon = Self::accepted(world);
        photon.say(world, HELLO);
        world.take_events();
        photon
    }

    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.sealer.seal(message, &mut bytes).unwrap();
        bytes
    }

    fn say(&mut self, world: &mut World, message: &[u8]) -> Vec<Vec<u8>> {
        let bytes = self.seal(message);
        world.endpoint.handle_stream(world.now, self.link, &bytes);
        self.answers(world)
    }

    fn answers(&mut self, world: &mut World) -> Vec<Vec<u8>> {
        assert!(world.drain().is_empty());
        let mut messages = Vec::new();
        for (link, bytes) in std::mem::take(&mut world.streams) {
            assert_eq!(link, self.link);
            let mut input = bytes.as_slice();
            while let Some(message) = self.opener.open(&mut input).unwrap() {
                messages.push(message.to_vec());
            }
        }
        messages
    }

    fn receive(&mut self, world: &mut World, exchange: u64, message: CloudMessage) -> Vec<Vec<u8>> {
        let exchange = ExchangeId(exchange);
        let command = Command::Send { exchange, message };
        world.endpoint.handle_command(world.now, self.link, command);
        self.answers(world)
    }
}

/// Hello of a Photon on Device OS 1.x.
const HELLO: &[u8] = &[0x50, 2, 0x58, 0x49, 0xb1, b'h', 0xff, 0, 6, 0, 1, 0, 2, 0, 6];

#[test]
fn a_hello_is_answered_with_ours_at_once_and_told_without_receipt() {
    let mut world = World::new();
    let mut photon = Photon::accepted(&mut world);
    let ours = photon.say(&mut world, HELLO);
    assert_eq!(ours.len(), 1);
    assert_eq!((&ours[0][..2], &ours[0][4..]), (&[0x50, 2][..], &[0xb1, b'h'][..]));
    let opened = opened(world.event());
    assert_eq!((opened.device, opened.transport), (photon.id, Transport::Tcp));
    assert_eq!((opened.receipt, opened.snapshot.len()), (None, 0));
    assert!(opened.full_handshake);
}

#[test]
fn frames_may_be_cut_anywhere() {
    let mut world = World::new();
    let mut photon = Photon::accepted(&mut world);
    let bytes = [photon.seal(HELLO), photon.seal(&publish(9)), photon.seal(&ping(10))].concat();
    for byte in bytes {
        world.endpoint.handle_stream(world.now, photon.link, &[byte]);
    }
    let answers = photon.answers(&mut world);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1], empty_ack(10));
    let events = world.take_events();
    assert!(matches!(events[..], [LinkEvent::Opened(_), LinkEvent::Message { .. }]), "{events:?}");
}

#[test]
fn anything_but_a_hello_first_closes_the_stream_and_nobody_hears_of_it() {
    let mut world = World::new();
    let mut photon = Photon::accepted(&mut world);
    photon.say(&mut world, &publish(1));
    assert_eq!(world.closed_streams, [photon.link]);
    assert!(world.take_events().is_empty());
}

#[test]
fn bytes_of_another_key_close_the_stream() {
    let mut world = World::new();
    let photon = Photon::connected(&mut world);
    world.endpoint.handle_stream(world.now, photon.link, &[0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    world.endpoint.handle_stream(world.now, photon.link, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    world.drain();
    assert_eq!(world.event(), LinkEvent::Closed { link: photon.link, forget: false });
    assert_eq!(world.closed_streams, [photon.link]);
}

#[test]
fn an_event_is_one_attempt_and_nothing_says_that_the_device_heard_it() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    let sent = photon.receive(&mut world, 1, event(b"x"));
    assert_eq!((sent.len(), sent[0][0]), (1, 0x50));
    let (link, exchange) = (photon.link, ExchangeId(1));
    assert_eq!(world.take_events(), [LinkEvent::Attempt { link, exchange }]);
}

#[test]
fn a_call_is_one_attempt_and_answered_without_confirmation() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    let sent = photon.receive(&mut world, 1, call("on"));
    photon.say(&mut world, &ping(9));
    world.pass(20 * SECOND);
    let answer = [0x51, 0x44, 1, 0, sent[0][4], 0xff, 0, 0, 0, 7];
    assert!(photon.say(&mut world, &answer).is_empty());
    let (link, exchange) = (photon.link, ExchangeId(1));
    let returned = Answer::Returned(7);
    assert_eq!(
        world.take_events(),
        [
            LinkEvent::Attempt { link, exchange },
            LinkEvent::Answered { link, exchange, answer: returned }
        ]
    );
}

#[test]
fn there_are_no_copies() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    for _ in 0..2 {
        photon.say(&mut world, &publish(9));
        let (_, receipt) = message(world.event());
        let (receipt, verdict) = (receipt.unwrap(), Verdict::Accepted);
        let command = Command::Acknowledge { receipt, verdict };
        world.endpoint.handle_command(world.now, photon.link, command);
        assert_eq!(photon.answers(&mut world), [empty_ack(9)]);
    }
}

#[test]
fn two_answers_may_have_one_id() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    for number in 0..2 {
        let token = photon.receive(&mut world, number, call("on"))[0][4];
        world.take_events();
        photon.say(&mut world, &[0x41, 0x44, 1, 0, token, 0xff, 0, 0, 0, 7]);
        assert!(matches!(world.event(), LinkEvent::Answered { .. }));
    }
}

#[test]
fn a_stream_whose_device_said_goodbye_is_closed_after_31_seconds_without_being_asked_for_a_sign() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    world.pass(5 * SECOND);
    let goodbye = [0x40, 2, 0, 50, 0xb1, b'x', 0xff, 0x01, 0x05];
    assert_eq!(photon.say(&mut world, &goodbye), [empty_ack(50)]);
    message(world.event());
    world.pass(31 * SECOND - 1);
    assert!(photon.answers(&mut world).is_empty());
    assert!(world.take_events().is_empty() && world.closed_streams.is_empty());
    world.pass(1);
    assert_eq!(world.event(), LinkEvent::Closed { link: photon.link, forget: false });
    assert_eq!(world.closed_streams, [photon.link]);
    assert_eq!(world.endpoint.next_timeout(), None);
}

#[test]
fn a_stream_that_is_silent_for_31_seconds_is_closed() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    world.pass(30 * SECOND);
    photon.say(&mut world, &ping(9));
    world.pass(31 * SECOND - 1);
    assert!(world.take_events().is_empty());
    world.pass(1);
    let link = photon.link;
    let closed = LinkEvent::Closed { link, forget: false };
    assert_eq!(world.take_events(), [LinkEvent::Silent { link }, closed]);
    assert_eq!(world.closed_streams, [link]);
}

#[test]
fn a_device_that_only_receives_is_asked_for_a_sign_of_life_and_stays() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    for exchange in 0..30 {
        photon.receive(&mut world, exchange, event(b"x"));
        world.pass(7 * SECOND);
        // It answers requests, acknowledges no event and pings only when it receives nothing.
        for asked in photon.answers(&mut world) {
            assert_eq!(asked[..2], [0x40, 0]);
            photon.say(&mut world, &[0x60, 0, asked[2], asked[3]]);
        }
    }
    assert!(world.closed_streams.is_empty());
    world.pass(31 * SECOND);
    assert_eq!(world.closed_streams, [photon.link]);
}

#[test]
fn a_stream_without_hello_is_closed_after_20_seconds() {
    let mut world = World::new();
    let photon = Photon::accepted(&mut world);
    world.pass(20 * SECOND);
    assert_eq!(world.closed_streams, [photon.link]);
    assert!(world.take_events().is_empty());
}

#[test]
fn a_second_stream_displaces_the_first_and_a_session_over_udp_too() {
    let mut world = World::new();
    let first = Photon::connected(&mut world);
    let mut second = Photon::accepted(&mut world);
    world.drain();
    assert!(world.take_events().is_empty(), "the key exchange alone displaces nobody");
    second.say(&mut world, HELLO);
    let events = world.take_events();
    let closed = LinkEvent::Closed { link: first.link, forget: false };
    assert!(events[0] == closed && matches!(events[1], LinkEvent::Opened(_)), "{events:?}");
    assert_eq!(world.closed_streams, [first.link]);
}

#[test]
fn a_closed_stream_is_told_and_not_closed_again() {
    let mut world = World::new();
    let photon = Photon::connected(&mut world);
    world.endpoint.stream_closed(world.now, photon.link);
    world.drain();
    assert_eq!(world.event(), LinkEvent::Closed { link: photon.link, forget: false });
    assert!(world.closed_streams.is_empty());
    assert_eq!(world.endpoint.next_timeout(), None);
}

#[test]
fn the_two_halves_of_an_old_description_are_put_together() {
    let mut world = World::new();
    let mut photon = Photon::connected(&mut world);
    let sent = photon.receive(&mut world, 1, CloudMessage::Describe(0));
    let [id_high, id_low, token] = [sent[0][2], sent[0][3], sent[0][4]];
    let head = [0x61, 0x45, id_high, id_low, token, 0xff];
    photon.say(&mut world, &[&head[..], br#"{"f":["led"],"v":{}}"#].concat());
    assert_eq!(world.take_events().len(), 1, "the attempt");
    photon.say(&mut world, &[&head[..], br#"{"p":6,"m":[]}"#].concat());
    let answered = world.event();
    let LinkEvent::Answered { answer: Answer::Described(parts), .. } = answered else {
        panic!("{answered:?}")
    };
    assert_eq!(parts.len(), 2);
}

#[test]
fn a_key_that_was_taken_from_its_device_since_the_key_exchange_opens_nothing() {
    for others in [vec![], vec![DeviceId([9; 12])]] {
        let mut world = World::new();
        let mut photon = Photon::accepted(&mut world);
        world.keys.values_mut().for_each(|ids| *ids = others.clone());
        assert!(photon.say(&mut world, HELLO).is_empty());
        assert!(world.take_events().is_empty());
        assert_eq!(world.closed_streams, [photon.link]);
        assert_eq!(world.endpoint.counters().hellos_refused, 1);
    }
}
