//! A device over TCP, in virtual time: against bytes of the recordings where they decide.

mod support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Mono;
use protocol::coap::{Code, Header, Packet, Token, Type};
use secure::keys::{KeyKind, PrivateKey};
use secure::tcp::{FrameOpener, FrameSealer, HandshakeOutput, RsaServerKeys, ServerHandshake};
use sim::device::profile::Generation;
use sim::device::{Device, Loss, Observation, Publish, Setup, Trust};
use sim::harness::{Harness, Server, StreamId, StreamOutput};
use sim::identity::Identity;
use sim::network::Conditions;
use support::{SECOND, message};

/// A server that completes the handshake and says Hello if it is told to.
struct Cloud {
    keys: RsaServerKeys,
    device: PrivateKey,
    says_hello: bool,
    answers: bool,
    handshake: Option<ServerHandshake>,
    frames: Option<(FrameOpener, FrameSealer)>,
    salt: [u8; 8],
    heard: Vec<(Mono, Vec<u8>)>,
    out: VecDeque<(StreamId, StreamOutput)>,
    streams: u32,
    random: u8,
}

impl Cloud {
    fn say(&mut self, stream: StreamId, bytes: &[u8]) {
        let (_, sealer) = self.frames.as_mut().expect("a session");
        let mut frame = Vec::new();
        sealer.seal(bytes, &mut frame).expect("it fits");
        self.out.push_back((stream, StreamOutput::Bytes(frame)));
    }

    fn advance(&mut self, stream: StreamId) {
        while let Some(output) = self.handshake.as_mut().and_then(ServerHandshake::poll) {
            self.obey(stream, output);
        }
    }

    fn obey(&mut self, stream: StreamId, output: HandshakeOutput) {
        let handshake = self.handshake.as_mut().expect("it runs");
        match output {
            HandshakeOutput::Send(bytes) => {
                self.out.push_back((stream, StreamOutput::Bytes(bytes.to_vec())));
            }
            HandshakeOutput::NeedKey { .. } => {
                handshake.key_known(Some(self.device.public_key().clone()));
            }
            HandshakeOutput::Job(job) => {
                let done = job.run(&self.keys);
                handshake.job_done(done);
            }
            HandshakeOutput::Established { keys, salt, .. } => {
                self.salt = salt;
                self.frames = Some((FrameOpener::new(&keys), FrameSealer::new(&keys)));
            }
            HandshakeOutput::Failed(why) => panic!("{why:?}"),
        }
    }

    fn take(&mut self, now: Mono, stream: StreamId, bytes: Vec<u8>) {
        let packet = Packet::decode(&bytes).expect("the device spells CoAP");
        let is_hello = packet.path().next() == Some(b"h");
        let ping = (packet.code() == Code::EMPTY).then(|| packet.message_id());
        self.heard.push((now, bytes));
        if is_hello && self.says_hello {
            let header = Header::non_confirmable(Code::POST, 1, Token::EMPTY);
            self.say(stream, &message(header, &[(11, b"h")], &[]));
        }
        if let (Some(id), true) = (ping, self.answers) {
            let header = Header::acknowledgement(Code::EMPTY, id, Token::EMPTY);
            self.say(stream, &message(header, &[], &[]));
        }
    }

    fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.heard.iter().map(|(_, bytes)| Packet::decode(bytes).expect("CoAP"))
    }
}

impl Server for Cloud {
    fn handle_datagram(&mut self, _: Mono, _: SocketAddr, _: &mut [u8]) {}

    fn handle_timeout(&mut self, _: Mono) {}

    fn next_timeout(&self) -> Option<Mono> {
        None
    }

    fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        None
    }

    fn open_stream(&mut self, _: Mono, stream: StreamId) {
        self.streams += 1;
        self.frames = None;
        self.random = self.random.wrapping_add(17);
        let mut next = self.random;
        self.handshake = Some(ServerHandshake::new(&mut |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(5).wrapping_add(3);
                *byte = next.max(1);
            }
        }));
        self.advance(stream);
    }

    fn handle_stream(&mut self, now: Mono, stream: StreamId, bytes: &[u8]) {
        let Some((opener, _)) = &mut self.frames else {
            self.handshake.as_mut().expect("it runs").handle(bytes);
            return self.advance(stream);
        };
        let (mut rest, mut messages) = (bytes, Vec::new());
        while let Some(message) = opener.open(&mut rest).expect("a frame") {
            messages.push(message.to_vec());
        }
        messages.into_iter().for_each(|message| self.take(now, stream, message));
    }

    fn poll_stream(&mut self) -> Option<(StreamId, StreamOutput)> {
        self.out.pop_front()
    }
}

fn harness() -> Harness<Cloud> {
    let server = PrivateKey::generate(KeyKind::Rsa2048).expect("a key");
    let identity = Identity::of_fleet("33", 1, 1, true);
    let trust = Trust::new([server.public_key().clone()]).expect("arithmetic");
    let device = (*identity.key.private_key().expect("a key")).clone();
    let cloud = Cloud {
        keys: RsaServerKeys::new(&server, None).expect("a key"),
        device,
        says_hello: true,
        answers: true,
        handshake: None,
        frames: None,
        salt: [0; 8],
        heard: Vec::new(),
        out: VecDeque::new(),
        streams: 0,
        random: 0,
    };
    let mut harness = Harness::new(cloud, 1, Conditions::perfect());
    harness.add(Device::new(identity, Arc::new(Setup::new(Generation::Tcp, trust)), 3));
    harness
}

#[test]
fn everything_is_told_in_the_recorded_order_with_ids_from_the_salt() {
    let mut harness = harness();
    harness.with(0, Device::power_on);
    harness.run(SECOND);
    assert!(harness.device(0).is_online());

    // tcp-v3-basic.jsonl: type and path of each message.
    let recorded = [
        (Type::NonConfirmable, "h"),
        (Type::Confirmable, "d"),
        (Type::NonConfirmable, "E/particle/device/updates/enabled"),
        (Type::NonConfirmable, "E/particle/device/updates/forced"),
        (Type::Confirmable, "t"),
        (Type::Confirmable, "d"),
        (Type::Confirmable, "e/spark"),
        (Type::Confirmable, "e/particle"),
        (Type::Confirmable, "e/test/"),
        (Type::Confirmable, "e/mine"),
    ];
    let path = |packet: &Packet<'_>| {
        packet.path().map(String::from_utf8_lossy).collect::<Vec<_>>().join("/")
    };
    let said: Vec<_> = harness.server.packets().map(|p| (p.message_type(), path(&p))).collect();
    let expected: Vec<_> = recorded.map(|(kind, path)| (kind, path.to_owned())).into();
    assert_eq!(said, expected);

    let [low, high, ..] = harness.server.salt;
    let first = u16::from_le_bytes([low, high]);
    let ids: Vec<u16> = harness.server.packets().map(|packet| packet.message_id()).collect();
    assert_eq!(ids, (1..=10).map(|n| first.wrapping_add(n)).collect::<Vec<_>>());
}

#[test]
fn a_server_that_says_no_hello_within_4_seconds_is_left() {
    let mut harness = harness();
    harness.server.says_hello = false;
    harness.with(0, Device::power_on);
    harness.run(Duration::from_millis(4500));
    assert!(
        harness.observations(0).iter().any(|(_, o)| *o == Observation::Disconnected(Loss::NoHello))
    );
    harness.run(2 * SECOND);
    assert_eq!(harness.server.streams, 2, "another attempt after a second");
}

#[test]
fn a_quiet_device_pings_after_15_seconds_and_leaves_10_seconds_later() {
    let mut harness = harness();
    harness.with(0, Device::power_on);
    harness.run(Duration::from_secs(46));
    let pings = |harness: &Harness<Cloud>| {
        harness.server.packets().filter(|packet| packet.code() == Code::EMPTY).count()
    };
    assert_eq!(pings(&harness), 3);
    harness.server.answers = false;
    harness.run(Duration::from_secs(26));
    let lost = Observation::Disconnected(Loss::PingTimeout);
    assert!(harness.observations(0).iter().any(|(_, observation)| *observation == lost));
    assert_eq!(harness.server.streams, 2, "a full handshake: nothing is resumed over TCP");
}

#[test]
fn publishes_are_not_confirmable_and_nothing_is_sent_twice() {
    let mut harness = harness();
    harness.with(0, Device::power_on);
    harness.run(SECOND);
    let before = harness.server.heard.len();
    harness.with(0, |device, now| device.publish(now, &Publish::text("temp", "20")).is_ok());
    harness.run(Duration::from_secs(300));
    let events: Vec<_> = harness
        .server
        .packets()
        .skip(before)
        .filter(|packet| packet.path().nth(1) == Some(b"temp"))
        .map(|packet| packet.message_type())
        .collect();
    assert_eq!(events, [Type::NonConfirmable]);
}

#[test]
fn requests_are_answered_without_confirmation_and_signals_with_a_fresh_id() {
    let mut harness = harness();
    harness.with(0, Device::power_on);
    harness.run(SECOND);
    let before = harness.server.heard.len();
    let call = Header::confirmable(Code::POST, 500, Token::one(7));
    harness.server.say(StreamId(1), &message(call, &[(11, b"f"), (11, b"neg"), (15, b"")], &[]));
    let signal = Header::confirmable(Code::PUT, 501, Token::one(8));
    harness.server.say(StreamId(1), &message(signal, &[(11, b"s"), (15, &[1])], &[]));
    harness.run(SECOND);

    let answers: Vec<_> = harness.server.packets().skip(before).collect();
    let heads: Vec<_> = answers.iter().map(|p| (p.message_type(), p.code())).collect();
    assert_eq!(
        heads,
        [
            (Type::Acknowledgement, Code::EMPTY),
            (Type::NonConfirmable, Code::CHANGED),
            (Type::Acknowledgement, Code::CHANGED),
        ]
    );
    assert_eq!((answers[0].message_id(), answers[1].payload), (500, &[0xFF; 4][..]));
    assert_ne!(answers[2].message_id(), 501, "as recorded");
    assert!(harness.observations(0).iter().any(|(_, o)| *o == Observation::Signal(true)));
}
