//! An endpoint with a clock, a shell that answers its needs, and a device to talk to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use model::event::Origin;
use model::link::{Command, ExchangeId, LinkEvent, Opened, Receipt, Verdict};
use model::message::SubscriptionContent;
use model::{
    AccountId, CloudMessage, DeviceId, DeviceMessage, Event, EventData, EventId, EventName, LinkId,
    Mono, Now, Timestamp, Traffic,
};
use protocol::endpoint::{Disposition, Need, NeedAnswer, Output};
use protocol::{Endpoint, EndpointConfig};
use secure::dtls::{ContentType, ServerIdentity};
use secure::keys::{KeyKind, PrivateKey};
use secure::p256::{OpensslP256, P256, P256Error, Point, Scalar, SharedSecret, SigningKey};
use secure::tcp::FrameKeys;

use crate::client::{Client, Kind};

pub(crate) const SECOND: u64 = 1_000_000;

/// The arithmetic that the DTLS client wants.
pub(crate) struct DeterministicP256(OpensslP256);

impl DeterministicP256 {
    pub(crate) fn new() -> Self {
        Self(OpensslP256::new().unwrap())
    }
}

impl P256 for DeterministicP256 {
    fn public_point(&self, secret: &Scalar) -> Result<Point, P256Error> {
        self.0.public_point(secret)
    }

    fn agree(&self, secret: &Scalar, peer: &Point) -> Result<SharedSecret, P256Error> {
        self.0.agree(secret, peer)
    }

    fn sign(&self, key: &SigningKey, digest: &[u8; 32]) -> Result<Vec<u8>, P256Error> {
        self.0.sign(key, digest)
    }

    fn verify(&self, key: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), P256Error> {
        self.0.verify(key, digest, signature)
    }
}

pub(crate) struct World {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Now,
    pub(crate) events: Vec<LinkEvent>,
    /// Of them those that only tell a record number: when, and which.
    pub(crate) heard: Vec<(Timestamp, u64)>,
    /// What connections carried, as it is told.
    pub(crate) carried: Vec<(DeviceId, Traffic)>,
    /// What all datagrams took on the wire.
    pub(crate) wire: Traffic,
    /// Frames for streams.
    pub(crate) streams: Vec<(LinkId, Vec<u8>)>,
    pub(crate) closed_streams: Vec<LinkId>,
    /// Needs that are not answered by themselves.
    pub(crate) needs: Vec<Need>,
    pub(crate) keys: BTreeMap<[u8; 32], Vec<DeviceId>>,
    /// Whether jobs and look-ups are answered at once.
    pub(crate) answers: bool,
    p256: OpensslP256,
    identity: ServerIdentity,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut EndpointConfig)) -> Self {
        let mut config = EndpointConfig::new(0, 1, [7; 32], [8; 32]);
        change(&mut config);
        let key = SigningKey::from_scalar(&[3; 32]).unwrap();
        Self {
            endpoint: Endpoint::new(config),
            now: Now { mono: Mono(1000 * SECOND), utc: Timestamp(1_700_000_000_000) },
            events: Vec::new(),
            heard: Vec::new(),
            carried: Vec::new(),
            wire: Traffic::default(),
            streams: Vec::new(),
            closed_streams: Vec::new(),
            needs: Vec::new(),
            keys: BTreeMap::new(),
            answers: true,
            p256: OpensslP256::new().unwrap(),
            identity: ServerIdentity::new(key, None),
        }
    }

    /// A stream after its key exchange, with a key that is the device's.
    pub(crate) fn accept_stream(&mut self, device: DeviceId, keys: &FrameKeys) -> LinkId {
        let key = PrivateKey::generate(KeyKind::Rsa1024).unwrap();
        self.keys.insert(key.public_key().hash(), vec![device]);
        let peer = SocketAddr::from(([127, 0, 0, 1], 5));
        let link = self.endpoint.accept_stream(self.now, device, key.public_key(), keys, peer);
        link.expect("room")
    }

    /// Hands a datagram in; gives what comes out for the same address.
    pub(crate) fn deliver(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut bytes = datagram.to_vec();
        self.wire += Traffic { received: on_the_wire(datagram), sent: 0 };
        let disposition = self.endpoint.handle_datagram(self.now, from, &mut bytes);
        assert_eq!(disposition, Disposition::Taken);
        let out = self.drain();
        assert!(out.iter().all(|(to, _)| *to == from), "{out:?}");
        out.into_iter().map(|(_, datagram)| datagram).collect()
    }

    /// Takes everything out of the endpoint; gives the datagrams.
    pub(crate) fn drain(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        loop {
            let mut quiet = true;
            while let Some(output) = self.endpoint.poll_output() {
                quiet = false;
                self.take(output);
            }
            let transmits = self.endpoint.transmits();
            for (_, datagram) in transmits.iter() {
                self.wire += Traffic { received: 0, sent: on_the_wire(datagram) };
            }
            datagrams.extend(transmits.iter().map(|(to, bytes)| (to, bytes.to_vec())));
            transmits.clear();
            if quiet {
                return datagrams;
            }
        }
    }

    fn take(&mut self, output: Output) {
        let answer = match output {
            Output::Event(LinkEvent::Heard { at, record, .. }) => {
                return self.heard.push((at, record));
            }
            Output::Event(LinkEvent::Traffic { device, traffic, .. }) => {
                return self.carried.push((device, traffic));
            }
            Output::Event(event) => return self.events.push(event),
            Output::Stream { link, bytes } => return self.streams.push((link, bytes)),
            Output::CloseStream { link } => return self.closed_streams.push(link),
            Output::Need(need) if !self.answers => return self.needs.push(need),
            Output::Need(Need::Key { handshake, hash }) => {
                let ids = self.keys.get(&hash.0).cloned().unwrap_or_default();
                NeedAnswer::Key { handshake, ids }
            }
            Output::Need(Need::Room { link }) => NeedAnswer::Room { link, frames: 256 },
            Output::Need(Need::Owner { link, hash }) => {
                let ids = self.keys.get(&hash.0).cloned().unwrap_or_default();
                NeedAnswer::Owner { link, ids }
            }
            Output::Need(Need::Job { handshake, job }) => {
                NeedAnswer::Job { handshake, done: job.run(&self.p256, &self.identity) }
            }
            Output::Need(need @ Need::Bind { .. }) => return self.needs.push(need),
        };
        self.endpoint.handle_answer(self.now, answer);
    }

    pub(crate) fn command(&mut self, link: LinkId, command: Command) -> Vec<(SocketAddr, Vec<u8>)> {
        self.endpoint.handle_command(self.now, link, command);
        self.drain()
    }

    pub(crate) fn accept(&mut self, link: LinkId, receipt: Receipt) -> Vec<(SocketAddr, Vec<u8>)> {
        self.command(link, Command::Acknowledge { receipt, verdict: Verdict::Accepted })
    }

    /// Lets time pass without letting the endpoint know.
    pub(crate) fn skip(&mut self, micros: u64) {
        self.now.mono.0 += micros;
        self.now.utc.0 += (micros / 1000) as i64;
    }

    /// Lets time pass; gives the datagrams with the time they left, in microseconds from the start.
    pub(crate) fn pass(&mut self, micros: u64) -> Vec<(u64, SocketAddr, Vec<u8>)> {
        let start = self.now.mono.0;
        let end = start + micros;
        let mut sent = Vec::new();
        while let Some(at) = self.endpoint.next_timeout()
            && at.0 <= end
        {
            self.skip(at.0.saturating_sub(self.now.mono.0));
            self.endpoint.handle_timeout(self.now);
            let elapsed = self.now.mono.0 - start;
            sent.extend(self.drain().into_iter().map(|(to, bytes)| (elapsed, to, bytes)));
        }
        self.skip(end - self.now.mono.0);
        sent
    }

    pub(crate) fn take_events(&mut self) -> Vec<LinkEvent> {
        std::mem::take(&mut self.events)
    }

    /// The only event there is.
    pub(crate) fn event(&mut self) -> LinkEvent {
        let mut events = self.take_events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

/// With the headers of IPv4 and UDP.
fn on_the_wire(datagram: &[u8]) -> u32 {
    datagram.len() as u32 + 28
}

/// A device over UDP.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) peer: SocketAddr,
    pub(crate) id: DeviceId,
    pub(crate) link: LinkId,
}

impl Device {
    /// A device after its handshake, without Hello.
    pub(crate) fn handshaken(world: &mut World, number: u8, kind: Kind) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, number], 40_000));
        let client = Client::new(kind, number);
        let id = DeviceId([number; 12]);
        world.keys.insert(client.key_hash(), vec![id]);
        let mut device = Self { client, peer, id, link: LinkId(0) };
        device.shake_hands(world);
        assert!(device.client.is_done);
        device
    }

    pub(crate) fn shake_hands(&mut self, world: &mut World) {
        self.client.start(world.now.mono.0);
        self.exchange(world);
    }

    /// Carries datagrams to and fro until nobody has any.
    pub(crate) fn exchange(&mut self, world: &mut World) {
        while !self.client.outputs.is_empty() {
            for datagram in std::mem::take(&mut self.client.outputs) {
                for mut answer in world.deliver(self.peer, &datagram) {
                    self.client.handle(world.now.mono.0, &mut answer);
                }
            }
        }
    }

    /// A device that said Hello and has its answer, but has not said anything after it.
    pub(crate) fn greeted(world: &mut World, number: u8, kind: Kind) -> Self {
        let mut device = Self::handshaken(world, number, kind);
        assert!(device.say(world, &hello(1, device.id)).is_empty());
        let opened = opened(world.event());
        device.link = opened.link;
        let answers = world.accept(opened.link, opened.receipt.unwrap());
        assert_eq!(device.open_all(world, answers), [empty_ack(1)]);
        device
    }

    /// A device in full swing.
    pub(crate) fn connected(world: &mut World, number: u8) -> Self {
        Self::connected_as(world, number, Kind::DeviceWithCid)
    }

    pub(crate) fn connected_as(world: &mut World, number: u8, kind: Kind) -> Self {
        let mut device = Self::greeted(world, number, kind);
        assert_eq!(device.say(world, &ping(2)), [empty_ack(2)]);
        assert!(world.take_events().is_empty());
        device
    }

    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        let session = self.client.session.as_mut().unwrap();
        session.seal(ContentType::ApplicationData, message, &mut datagram).unwrap();
        datagram
    }

    /// The number of the last record that was sealed.
    pub(crate) fn last_record(&self) -> u64 {
        self.client.session.as_ref().unwrap().next_record_number() - 1
    }

    /// Sends a message; gives what comes back at once.
    pub(crate) fn say(&mut self, world: &mut World, message: &[u8]) -> Vec<Vec<u8>> {
        let datagram = self.seal(message);
        let answers = world.deliver(self.peer, &datagram);
        answers.into_iter().filter_map(|answer| self.open(world, answer)).collect()
    }

    pub(crate) fn open(&mut self, world: &World, mut datagram: Vec<u8>) -> Option<Vec<u8>> {
        self.client.handle(world.now.mono.0, &mut datagram).pop()
    }

    pub(crate) fn open_all(
        &mut self,
        world: &World,
        datagrams: Vec<(SocketAddr, Vec<u8>)>,
    ) -> Vec<Vec<u8>> {
        datagrams.into_iter().filter_map(|(_, datagram)| self.open(world, datagram)).collect()
    }

    /// Lets the shard send something; gives what arrives.
    pub(crate) fn receive(
        &mut self,
        world: &mut World,
        exchange: u64,
        message: CloudMessage,
    ) -> Vec<Vec<u8>> {
        let exchange = ExchangeId(exchange);
        let sent = world.command(self.link, Command::Send { exchange, message });
        self.open_all(world, sent)
    }

    /// Takes the acknowledgement that the shard lets go.
    pub(crate) fn acknowledged(
        &mut self,
        world: &mut World,
        receipt: Receipt,
        verdict: Verdict,
    ) -> Vec<Vec<u8>> {
        let sent = world.command(self.link, Command::Acknowledge { receipt, verdict });
        self.open_all(world, sent)
    }
}

/// A Hello of Device OS 6.2.
pub(crate) fn hello(message_id: u16, id: DeviceId) -> Vec<u8> {
    let mut bytes = vec![0x40, 2];
    bytes.extend_from_slice(&message_id.to_be_bytes());
    bytes.extend_from_slice(&[0xb1, b'h', 0xff, 0, 9, 0, 1, 0, 0xf6, 0, 13, 0, 12]);
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(&[0x18, 0x38, 0x04, 0x80, 0, 0x0a, 0, 0, 0x02, 0]);
    bytes
}

pub(crate) fn ping(message_id: u16) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    vec![0x40, 0, high, low]
}

pub(crate) fn empty_ack(message_id: u16) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    vec![0x60, 0, high, low]
}

/// A confirmable publish of the event `temp` with the data `21`.
pub(crate) fn publish(message_id: u16) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    [&[0x40, 2, high, low, 0xb1, b'E', 0x04][..], b"temp\xff21"].concat()
}

/// A subscription to `cmd/`.
pub(crate) fn subscribe(message_id: u16) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    [&[0x40, 1, high, low, 0xb1, b'e', 0x04][..], b"cmd/"].concat()
}

pub(crate) fn opened(event: LinkEvent) -> Opened {
    match event {
        LinkEvent::Opened(opened) => *opened,
        other => panic!("{other:?}"),
    }
}

/// The message and receipt of a message event.
pub(crate) fn message(event: LinkEvent) -> (DeviceMessage, Option<Receipt>) {
    match event {
        LinkEvent::Message { message, receipt, .. } => (message, receipt),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn copy(event: LinkEvent) -> (DeviceMessage, Option<Receipt>) {
    match event {
        LinkEvent::Copy { message, receipt, .. } => (message, receipt),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn event(data: &[u8]) -> CloudMessage {
    let event = Event {
        id: EventId(1),
        account: AccountId(1),
        origin: Origin::Api,
        product: None,
        name: EventName::parse(b"cmd/x").unwrap(),
        data: Some(EventData { format: 0, bytes: data.into() }),
        ttl_s: 60,
        published_at: Timestamp(0),
    };
    CloudMessage::Event { event: Arc::new(event), content: SubscriptionContent::Text }
}

pub(crate) fn call(argument: &str) -> CloudMessage {
    CloudMessage::FunctionCall { name: "led".into(), argument: argument.into() }
}
