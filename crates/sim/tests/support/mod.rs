//! A minimal server for devices in virtual time: it completes handshakes, acknowledges what a test
//! lets it acknowledge, says what a test wants said, and remembers everything it heard.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Mono;
use protocol::coap::{Builder, Code, Header, Packet, Token, Type};
use secure::dtls::codec::split_record;
use secure::dtls::{
    Class, ContentType, Cookies, FinalFlight, Handshake, HandshakeConfig, HandshakeOutput,
    HelloOutcome, IdentityKey, ServerIdentity, Session, classify,
};
use secure::p256::{OpensslP256, Point, SigningKey};
use sim::device::profile::Generation;
use sim::device::{Device, Setup, Trust};
use sim::harness::{Harness, Server};
use sim::identity::Identity;
use sim::network::Conditions;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One authentic application record.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) at: Mono,
    pub(crate) from: SocketAddr,
    /// The first byte of the datagram: 23, 25, 253 or 254.
    pub(crate) marker: u8,
    pub(crate) record: u64,
    pub(crate) bytes: Vec<u8>,
}

/// How a confirmable request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// An empty ACK, or the time.
    Usual,
    /// An ACK with this code.
    Coded(Code),
    Reset,
    Silence,
}

pub(crate) struct Script {
    cookies: Cookies,
    identity: ServerIdentity,
    curve: OpensslP256,
    handshakes: BTreeMap<SocketAddr, Handshake>,
    sessions: Vec<Open>,
    /// Decides about each request of a device.
    pub(crate) reply: Box<dyn FnMut(&Heard) -> Reply>,
    pub(crate) heard: Vec<Heard>,
    /// ClientHello datagrams with their time and sender.
    pub(crate) hellos: Vec<(Mono, SocketAddr)>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    random: u64,
    next_id: u16,
}

struct Open {
    session: Session,
    peer: SocketAddr,
    device: Option<[u8; 12]>,
    final_flight: FinalFlight,
}

impl Open {
    /// Answers a flight that the device repeats.
    fn finish_again(&mut self, mut datagram: &mut [u8]) -> Option<Vec<u8>> {
        let mut answer = None;
        while let Some((header, record, rest)) = split_record(datagram) {
            let opened = (header.epoch != 0).then(|| self.session.open(record));
            if let Some(Ok(opened)) = opened
                && opened.content_type == ContentType::Handshake
            {
                let bytes = answer.get_or_insert_default();
                self.final_flight.repeat(&mut self.session, bytes).expect("numbers are left");
            }
            datagram = rest;
        }
        answer
    }
}

impl Heard {
    pub(crate) fn packet(&self) -> Packet<'_> {
        Packet::decode(&self.bytes).expect("the device spells CoAP")
    }

    /// `h`, `d`, `t`, `e`, `E/name`, `ping`, `ack`, `2.04` and so on.
    pub(crate) fn what(&self) -> String {
        let packet = self.packet();
        let path: Vec<_> = packet.path().map(String::from_utf8_lossy).collect();
        match (packet.message_type(), packet.code()) {
            (Type::Acknowledgement, Code::EMPTY) => "ack".into(),
            (Type::Acknowledgement, code) => format!("ack {code}"),
            (_, Code::EMPTY) => "ping".into(),
            (_, code) if code.is_response() => code.to_string(),
            _ => path.join("/"),
        }
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        let key = SigningKey::from_scalar(&[5; 32]).expect("a key");
        Self {
            cookies: Cookies::new([1; 32]),
            identity: ServerIdentity::new(key, None),
            curve: OpensslP256::new().expect("the curve"),
            handshakes: BTreeMap::new(),
            sessions: Vec::new(),
            reply: Box::new(|_| Reply::Usual),
            heard: Vec::new(),
            hellos: Vec::new(),
            out: VecDeque::new(),
            random: 0,
            next_id: 100,
        }
    }

    pub(crate) fn point() -> Point {
        *SigningKey::from_scalar(&[5; 32]).expect("a key").point()
    }

    /// Loses every session.
    pub(crate) fn forget(&mut self) {
        self.sessions.clear();
        self.handshakes.clear();
    }

    /// Sends a CoAP message over the newest session.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.seal(self.newest(), ContentType::ApplicationData, bytes);
    }

    pub(crate) fn alert(&mut self, level: u8, description: u8) {
        self.seal(self.newest(), ContentType::Alert, &[level, description]);
    }

    fn newest(&self) -> usize {
        self.sessions.len() - 1
    }

    /// Sends a confirmable request built from a path letter, a name and a query; gives its id.
    pub(crate) fn ask(
        &mut self,
        code: Code,
        token: u8,
        options: &[(u16, &[u8])],
        payload: &[u8],
    ) -> u16 {
        self.next_id += 1;
        let header = Header::confirmable(code, self.next_id, Token::one(token));
        self.say(&message(header, options, payload));
        self.next_id
    }

    /// Everything heard that is this.
    pub(crate) fn all(&self, what: &str) -> Vec<&Heard> {
        self.heard.iter().filter(|heard| heard.what() == what).collect()
    }

    /// What was heard since `at`, in order.
    pub(crate) fn since(&self, at: Mono) -> Vec<String> {
        self.heard.iter().filter(|heard| heard.at >= at).map(Heard::what).collect()
    }

    fn seal(&mut self, session: usize, content: ContentType, bytes: &[u8]) {
        let open = &mut self.sessions[session];
        let mut record = Vec::new();
        open.session.seal(content, bytes, &mut record).expect("numbers last");
        self.out.push_back((open.peer, record));
    }

    fn client_hello(&mut self, now: Mono, from: SocketAddr, datagram: &mut [u8]) {
        self.hellos.push((now, from));
        match self.cookies.answer(now.0, from, datagram) {
            HelloOutcome::Verify(answer) | HelloOutcome::Refused(answer) => {
                self.out.push_back((from, answer));
            }
            HelloOutcome::Noise => {}
            HelloOutcome::Accepted(hello) => {
                let known = self.handshakes.get(&from);
                if known.is_some_and(|open| *open.client_random() == hello.random) {
                    return self.handshake(now, from, |h| h.handle_datagram(now.0, datagram));
                }
                self.random = self.random.wrapping_add(1);
                let config = HandshakeConfig {
                    server_random: spread(self.random),
                    ephemeral_secret: spread(self.random).into(),
                    cid: self.random.to_be_bytes(),
                    identity: IdentityKey::Current,
                    record_limit: Session::UNLIMITED,
                    recorded_flight: None,
                };
                self.handshakes.insert(from, Handshake::new(now.0, &hello, config));
                self.handshake(now, from, |_| {});
            }
        }
    }

    fn handshake(&mut self, now: Mono, from: SocketAddr, act: impl FnOnce(&mut Handshake)) {
        let Some(handshake) = self.handshakes.get_mut(&from) else { return };
        act(handshake);
        while let Some(output) = handshake.poll() {
            match output {
                HandshakeOutput::Send(bytes) => self.out.push_back((from, bytes)),
                HandshakeOutput::NeedKey { .. } => handshake.key_known(true),
                HandshakeOutput::Job(job) => {
                    let done = job.run(&self.curve, &self.identity);
                    handshake.job_done(now.0, done);
                }
                HandshakeOutput::Established(done) => {
                    self.sessions.push(Open {
                        session: done.session,
                        peer: from,
                        device: None,
                        final_flight: done.final_flight,
                    });
                }
                HandshakeOutput::Failed(_) => {}
            }
        }
    }

    fn record(&mut self, now: Mono, from: SocketAddr, class: Class, datagram: &mut [u8]) {
        let marker = datagram[0];
        let wanted = |open: &Open| match class {
            Class::Cid(cid) => open.session.cid() == Some(cid),
            Class::Moved(id) => open.device == Some(id),
            _ => open.peer == from,
        };
        let Some(index) = self.sessions.iter().rposition(wanted) else {
            return self.handshake(now, from, |h| h.handle_datagram(now.0, datagram));
        };
        let open = &mut self.sessions[index];
        if class == Class::Plain && datagram[3..5] == [0, 0] {
            return self.out.extend(open.finish_again(datagram).map(|answer| (from, answer)));
        }
        let Ok(opened) = open.session.open(datagram) else { return };
        if opened.content_type != ContentType::ApplicationData {
            return;
        }
        if opened.newest {
            open.peer = from;
        }
        let (record, bytes) = (opened.record_number, opened.plaintext.to_vec());
        if bytes.get(5) == Some(&b'h') {
            open.device = bytes.get(17..29).and_then(|id| id.try_into().ok());
        }
        self.take(index, Heard { at: now, from, marker, record, bytes });
    }

    fn take(&mut self, session: usize, heard: Heard) {
        let packet = heard.packet();
        let (id, token) = (packet.message_id(), packet.token());
        let is_time = packet.path().next() == Some(b"t");
        let answer = match (packet.is_confirmable(), (self.reply)(&heard)) {
            (false, _) | (_, Reply::Silence) => None,
            (_, Reply::Usual) if is_time => Some(time_answer(id, token)),
            (_, Reply::Usual) => {
                Some(message(Header::acknowledgement(Code::EMPTY, id, Token::EMPTY), &[], &[]))
            }
            (_, Reply::Coded(code)) => {
                Some(message(Header::acknowledgement(code, id, token), &[], &[]))
            }
            (_, Reply::Reset) => Some(vec![0x70, 0, (id >> 8) as u8, id as u8]),
        };
        self.heard.push(heard);
        if let Some(answer) = answer {
            self.seal(session, ContentType::ApplicationData, &answer);
        }
    }
}

impl Server for Script {
    fn handle_datagram(&mut self, now: Mono, from: SocketAddr, datagram: &mut [u8]) {
        match classify(datagram) {
            Class::Noise => {}
            Class::ClientHello => self.client_hello(now, from, datagram),
            class => self.record(now, from, class, datagram),
        }
    }

    fn handle_timeout(&mut self, now: Mono) {
        let peers: Vec<_> = self.handshakes.keys().copied().collect();
        for peer in peers {
            self.handshake(now, peer, |handshake| handshake.handle_timeout(now.0));
        }
    }

    fn next_timeout(&self) -> Option<Mono> {
        self.handshakes.values().filter_map(Handshake::next_timeout).min().map(Mono)
    }

    fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }
}

fn spread(number: u64) -> [u8; 32] {
    let mut bytes = [1; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn message(header: Header, options: &[(u16, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut builder = Builder::new(header, &mut bytes);
    for (number, value) in options {
        builder = builder.option(*number, value);
    }
    builder.payload(payload);
    bytes
}

fn time_answer(id: u16, token: Token) -> Vec<u8> {
    let seconds = 1_790_000_000u32.to_be_bytes();
    message(Header::acknowledgement(Code::CONTENT, id, token), &[], &seconds)
}

pub(crate) fn setup(generation: Generation) -> Setup {
    let mut trust = Trust::new([]).expect("arithmetic");
    trust.p256 = Some(Script::point());
    Setup::new(generation, trust)
}

/// A device of this setup, not switched on, behind a network without faults.
pub(crate) fn harness(setup: Setup) -> Harness<Script> {
    let mut harness = Harness::new(Script::new(), 1, Conditions::perfect());
    let identity = Identity::of_fleet("e00fce68", 1, 7, false);
    harness.add(Device::new(identity, Arc::new(setup), 3));
    harness
}

/// The same, connected and settled.
pub(crate) fn connected(generation: Generation) -> Harness<Script> {
    let mut harness = harness(setup(generation));
    harness.with(0, Device::power_on);
    harness.run(5 * SECOND);
    assert!(harness.device(0).is_online());
    harness
}
