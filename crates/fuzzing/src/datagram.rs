//! An endpoint with live sessions of every kind, and peers who say anything: within the sessions with
//! good keys, from outside without, and a shard that commands anything.
//!
//! What must be true whatever they say: each record that leaves opens at the device it is for, once,
//! and holds a message; a stranger gets no more than it sent; nothing is told without end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use model::link::{
    Command, ExchangeId, LinkEvent, Receipt, RestoredSession, Transfer, TransferProtocol, Verdict,
};
use model::message::SubscriptionContent;
use model::update::{Image, UpdateId};
use model::{
    AccountId, CloudMessage, DeviceId, Event, EventData, EventId, EventName, LinkId, Mono, Now,
    Origin, Timestamp,
};
use protocol::coap::Packet;
use protocol::endpoint::{Disposition, Need, NeedAnswer, Output};
use protocol::{Endpoint, EndpointConfig};
use secure::dtls::codec::split_record;
use secure::dtls::record::{mark_moved, mark_moved_cid};
use secure::dtls::{
    CidMode, ContentType, RecordNumbers, Role, ServerIdentity, Session, SessionKeys,
};
use secure::keys::{KeyKind, PrivateKey};
use secure::p256::{OpensslP256, SigningKey};
use secure::tcp::{FrameKeys, FrameOpener, FrameSealer};

use crate::script::Script;

pub(crate) fn run(input: &[u8]) {
    let mut script = Script(input);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if script.is_done() {
            break;
        }
        world.step(&mut script);
    }
    world.pass(200_000);
}

struct World {
    endpoint: Endpoint,
    now: Now,
    devices: Vec<Device>,
    stream: Stream,
    receipts: Vec<(LinkId, Receipt)>,
    exchanges: u64,
    strangers_sent: usize,
    strangers_got: usize,
}

/// A device over UDP.
struct Device {
    session: Session,
    peer: SocketAddr,
    link: LinkId,
}

/// A device over TCP.
struct Stream {
    link: Option<LinkId>,
    sealer: FrameSealer,
    opener: FrameOpener,
}

impl World {
    fn new() -> Self {
        let shared = Shared::get();
        let mut endpoint = Endpoint::new(EndpointConfig::new(0, 1, [7; 32], [8; 32]));
        let now = Now { mono: Mono(1_000_000_000), utc: Timestamp(1_700_000_000_000) };
        let modes = [CidMode::Draft05, CidMode::Rfc9146, CidMode::None];
        let devices = (0..).zip(modes).map(|(n, mode)| restore(&mut endpoint, now, n, mode));
        let devices = devices.collect();
        let keys = FrameKeys { key: [3; 16], iv: [4; 16] };
        let peer = SocketAddr::from(([192, 0, 2, 9], 9));
        let key = shared.device.public_key();
        let link = endpoint.accept_stream(now, DeviceId([9; 12]), key, &keys, peer);
        let stream =
            Stream { link, sealer: FrameSealer::new(&keys), opener: FrameOpener::new(&keys) };
        let mut world = Self {
            endpoint,
            now,
            devices,
            stream,
            receipts: Vec::new(),
            exchanges: 0,
            strangers_sent: 0,
            strangers_got: 0,
        };
        world.drain();
        world
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 12 {
            0 => self.raw(script),
            1..=3 => self.say(script, false),
            4 => self.say(script, true),
            5 => self.pass(u64::from(script.number())),
            6 | 7 => self.send(script),
            8 => self.acknowledge(script),
            9 => self.frame(script),
            10 => self.transfer(script),
            _ => self.rare(script),
        }
        self.drain();
    }

    /// Bytes of nobody in particular, or from the address of a device.
    fn raw(&mut self, script: &mut Script<'_>) {
        let from = script.byte();
        let bytes = script.bytes();
        let peer = self.devices.get(usize::from(from)).map(|device| device.peer);
        let from = peer.unwrap_or_else(|| SocketAddr::from(([198, 51, 100, from], 7)));
        if peer.is_none() {
            self.strangers_sent += bytes.len();
        }
        self.arrive(from, bytes.to_vec());
    }

    /// A message under good keys; `moved` is as a device marks it after a resume, from a new address.
    fn say(&mut self, script: &mut Script<'_>, moved: bool) {
        let who = script.byte();
        let text = script.bytes();
        let index = usize::from(who & 3) % self.devices.len();
        let device = &mut self.devices[index];
        let content =
            if who & 0x80 == 0 { ContentType::ApplicationData } else { ContentType::Alert };
        let mut datagram = Vec::new();
        let text = &text[..text.len().min(TEXT_BYTES_MAX)];
        device.session.seal(content, text, &mut datagram).expect("unlimited");
        if moved && content == ContentType::ApplicationData {
            match device.session.cid_mode() {
                CidMode::None => mark_moved(&mut datagram, &[id_byte(index); 12]),
                CidMode::Draft05 | CidMode::Rfc9146 => mark_moved_cid(&mut datagram),
            }
            device.peer = SocketAddr::from(([192, 0, 2, who], 1000 + u16::from(id_byte(index))));
        }
        let from = device.peer;
        let is_twice = who & 0x40 != 0;
        if is_twice {
            self.arrive(from, datagram.clone());
            self.drain();
        }
        self.arrive(from, datagram);
    }

    fn arrive(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        let disposition = self.endpoint.handle_datagram(self.now, from, &mut datagram);
        let is_elsewhere = matches!(disposition, Disposition::Forward(_));
        assert!(!is_elsewhere || self.endpoint.transmits().is_empty(), "forwarded and answered");
    }

    fn pass(&mut self, ms: u64) {
        let end = Mono(self.now.mono.0 + ms * 1000);
        for _ in 0..TIMEOUTS_MAX {
            let Some(at) = self.endpoint.next_timeout().filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.mono));
            self.endpoint.handle_timeout(self.now);
            self.drain();
            let again = self.endpoint.next_timeout();
            assert!(again.is_none_or(|again| again > at), "what was due is still due");
        }
        self.set_time(end);
    }

    fn set_time(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono).as_millis();
        self.now.utc.0 += i64::try_from(passed).unwrap_or(0);
        self.now.mono = mono;
    }

    fn link(&self, who: u8) -> LinkId {
        let devices = self.devices.iter().map(|device| Some(device.link));
        let links: Vec<_> = devices.chain([self.stream.link]).flatten().collect();
        links[usize::from(who) % links.len()]
    }

    fn command(&mut self, link: LinkId, command: Command) {
        self.endpoint.handle_command(self.now, link, command);
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let link = self.link(script.byte());
        let message = match script.byte() % 8 {
            0 => CloudMessage::Describe(script.byte() % 8),
            1 | 2 => event(script),
            3 => CloudMessage::FunctionCall {
                name: script.text().into(),
                argument: script.text().into(),
            },
            4 => CloudMessage::KeyChange,
            5 => CloudMessage::Ping,
            6 => CloudMessage::Signal(script.flag()),
            _ => CloudMessage::VariableRequest { name: script.text().into() },
        };
        self.exchanges += 1;
        let exchange = ExchangeId(self.exchanges);
        self.command(link, Command::Send { exchange, message });
    }

    fn acknowledge(&mut self, script: &mut Script<'_>) {
        let verdict = match script.byte() % 6 {
            0 => Verdict::BadRequest,
            1 => Verdict::Forbidden,
            2 => Verdict::Unavailable,
            3 => Verdict::TooManyRequests,
            _ => Verdict::Accepted,
        };
        let which = usize::from(script.byte());
        if self.receipts.is_empty() {
            return;
        }
        let (link, receipt) = self.receipts.remove(which % self.receipts.len());
        self.command(link, Command::Acknowledge { receipt, verdict });
    }

    /// Bytes of the stream: a frame, or anything.
    fn frame(&mut self, script: &mut Script<'_>) {
        let Some(link) = self.stream.link else { return };
        let is_raw = script.byte() == 0xff;
        let bytes = script.bytes();
        let mut frame = Vec::new();
        if is_raw {
            frame.extend_from_slice(bytes);
        } else {
            let _ = self.stream.sealer.seal(bytes, &mut frame);
        }
        self.endpoint.handle_stream(self.now, link, &frame);
    }

    fn transfer(&mut self, script: &mut Script<'_>) {
        let link = self.link(script.byte());
        let flags = script.byte();
        let size = usize::from(script.number()) % IMAGE_BYTES_MAX + 1;
        let image =
            Image { sha256: [1; 32], function: 5, index: 1, bytes: vec![flags; size].into() };
        let is_v3 = flags & 1 == 0;
        let transfer = Transfer {
            update: UpdateId(u64::from(flags >> 4)),
            image: Arc::new(image),
            protocol: if is_v3 { TransferProtocol::V3 } else { TransferProtocol::Legacy },
            chunk_bytes: if flags & 2 == 0 { 512 } else { 1024 },
            cautious: flags & 4 != 0,
            afresh: flags & 8 != 0,
        };
        self.command(link, Command::BeginTransfer(Box::new(transfer)));
    }

    fn rare(&mut self, script: &mut Script<'_>) {
        let link = self.link(script.byte());
        match script.byte() % 4 {
            0 => self.command(link, Command::Close),
            1 => {
                let update = UpdateId(u64::from(script.byte() >> 4));
                self.command(link, Command::EndTransfer { update });
            }
            2 => self.endpoint.tell_all(self.now),
            _ => {
                if let Some((link, receipt)) = self.receipts.pop() {
                    self.command(link, Command::Reset { receipt });
                }
            }
        }
    }

    /// Takes everything out and looks at it.
    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.endpoint.poll_output() else {
                self.look_at_datagrams();
                return;
            };
            self.take(output);
        }
        panic!("the endpoint has always something more to say");
    }

    fn take(&mut self, output: Output) {
        let shared = Shared::get();
        let answer = match output {
            Output::Event(event) => return self.observe(event),
            Output::Stream { bytes, .. } => return self.look_at_frames(&bytes),
            Output::CloseStream { .. } => {
                self.stream.link = None;
                return;
            }
            Output::Need(Need::Bind { link, .. }) => NeedAnswer::Bind { link, bound: true },
            Output::Need(Need::Job { handshake, job }) => {
                NeedAnswer::Job { handshake, done: job.run(&shared.curve, &shared.identity) }
            }
            Output::Need(Need::Key { handshake, .. }) => {
                NeedAnswer::Key { handshake, ids: vec![DeviceId([8; 12])] }
            }
            Output::Need(Need::Owner { link, .. }) => {
                NeedAnswer::Owner { link, ids: vec![DeviceId([9; 12])] }
            }
            Output::Need(Need::Room { link }) => NeedAnswer::Room { link, frames: 16 },
        };
        self.endpoint.handle_answer(self.now, answer);
    }

    fn observe(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Reserve { link, record_limit } => {
                self.command(link, Command::Reserved { record_limit });
            }
            LinkEvent::Opened(opened) => {
                self.receipts.extend(opened.receipt.map(|receipt| (opened.link, receipt)));
            }
            LinkEvent::Copy { link, receipt, .. } | LinkEvent::Message { link, receipt, .. } => {
                self.receipts.extend(receipt.map(|receipt| (link, receipt)));
            }
            LinkEvent::Alive { .. }
            | LinkEvent::Answered { .. }
            | LinkEvent::Attempt { .. }
            | LinkEvent::Closed { .. }
            | LinkEvent::Heard { .. }
            | LinkEvent::Moved { .. }
            | LinkEvent::Silent { .. }
            | LinkEvent::Traffic { .. }
            | LinkEvent::Transfer { .. }
            | LinkEvent::Unanswered { .. }
            | LinkEvent::Unsendable { .. } => {}
        }
        if self.receipts.len() > RECEIPTS_KEPT {
            self.receipts.remove(0);
        }
    }

    fn look_at_datagrams(&mut self) {
        let transmits = self.endpoint.transmits();
        let sent: Vec<_> = transmits.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        transmits.clear();
        for (to, datagram) in sent {
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{} bytes", datagram.len());
            let is_protected = datagram[3..5] != [0, 0];
            match self.devices.iter_mut().find(|device| device.peer == to) {
                Some(device) if is_protected => device.open(datagram),
                Some(_) => {}
                None => self.strangers_got += datagram.len(),
            }
        }
        assert!(self.strangers_got <= self.strangers_sent, "a stranger gets more than it sent");
    }

    fn look_at_frames(&mut self, mut bytes: &[u8]) {
        while let Some(message) = self.stream.opener.open(&mut bytes).expect("sealed by the cloud")
        {
            assert!(Packet::decode(message).is_ok(), "{message:02x?}");
        }
    }
}

impl Device {
    fn open(&mut self, mut datagram: Vec<u8>) {
        let mut rest = datagram.as_mut_slice();
        while let Some((_, record, after)) = split_record(rest) {
            let opened = self.session.open(record).expect("sealed for this device, once");
            if opened.content_type == ContentType::ApplicationData {
                assert!(Packet::decode(opened.plaintext).is_ok(), "{:02x?}", opened.plaintext);
            }
            rest = after;
        }
    }
}

fn restore(endpoint: &mut Endpoint, now: Now, number: u8, mode: CidMode) -> Device {
    let cid = [0, 0, 0, number, 1, 2, 3, number];
    let keys = SessionKeys { key_block: [0x40 + number; 40].into(), cid_mode: mode, cid };
    let end = |role, limit| Session::resume(role, &keys, RecordNumbers { next: 1, limit, seen: 0 });
    let server = end(Role::Server, 2);
    let peer = SocketAddr::from(([192, 0, 2, number + 1], 5));
    let snapshot = [&TRAITS[..], &*server.to_snapshot()].concat();
    let restored = RestoredSession {
        device: DeviceId([id_byte(number.into()); 12]),
        snapshot: snapshot.into_boxed_slice().into(),
        peer,
        record_limit: 2,
        record_seen: 0,
        recent: Vec::new(),
        online: true,
    };
    let link = endpoint.restore(now, restored).expect("a good snapshot");
    Device { session: end(Role::Client, Session::UNLIMITED), peer, link }
}

fn id_byte(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

fn event(script: &mut Script<'_>) -> CloudMessage {
    let name = EventName::parse(script.bytes());
    let name = name.or_else(|_| EventName::parse(b"e")).expect("a good name");
    let format = [0, 50, 60, 65_001][usize::from(script.byte() % 4)];
    let content = match script.byte() % 3 {
        0 => SubscriptionContent::Any,
        1 => SubscriptionContent::Cbor,
        _ => SubscriptionContent::Text,
    };
    let event = Event {
        id: EventId(1),
        account: AccountId(1),
        origin: Origin::Api,
        product: None,
        name,
        data: Some(EventData { format, bytes: script.bytes().into() }),
        ttl_s: 60,
        published_at: Timestamp(0),
    };
    CloudMessage::Event { event: Arc::new(event), content }
}

/// What is slow to make.
struct Shared {
    device: PrivateKey,
    curve: OpensslP256,
    identity: ServerIdentity,
}

impl Shared {
    fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let key = SigningKey::from_scalar(&[3; 32]).expect("in range");
            Self {
                device: PrivateKey::generate(KeyKind::Rsa1024).expect("OpenSSL makes RSA keys"),
                curve: OpensslP256::new().expect("the curve is built in"),
                identity: ServerIdentity::new(key, None),
            }
        })
    }
}

/// Version 1, messages of 1,152 bytes, data and arguments of 1,024, typed events (`restore.rs`).
const TRAITS: [u8; 8] = [1, 0x04, 0x80, 4, 0, 4, 0, 1];
const STEPS_MAX: usize = 60;
const TIMEOUTS_MAX: usize = 400;
const OUTPUTS_MAX: usize = 20_000;
const RECEIPTS_KEPT: usize = 64;
const TEXT_BYTES_MAX: usize = 1400;
const IMAGE_BYTES_MAX: usize = 4096;
/// What fits IPv6's smallest packet is never passed by much.
const DATAGRAM_BYTES_MAX: usize = 1500;
