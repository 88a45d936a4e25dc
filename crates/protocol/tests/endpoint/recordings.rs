//! What real Device OS clients said, said again to the endpoint. The sessions are brought in with
//! their recorded secrets, as if the server had been restarted right after the handshake.

use std::net::SocketAddr;
use std::path::PathBuf;

use model::link::{Command, LinkEvent, RestoredSession, Verdict};
use model::{DeviceId, DeviceMessage, LinkId};
use protocol::coap::{Code, Packet, Type};
use secure::dtls::{CidMode, ContentType, RecordNumbers, Role, Session, SessionKeys};
use secure::tcp::{FrameKeys, FrameOpener};
use serde_json::Value;

use crate::support::*;

pub(crate) struct Recording {
    pub(crate) header: Value,
    pub(crate) lines: Vec<Value>,
}

impl Recording {
    pub(crate) fn read(name: &str) -> Self {
        let path = folder().join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self { header: lines.next().unwrap(), lines: lines.collect() }
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.header["device_id"].as_str().unwrap().parse().unwrap()
    }

    /// The lines of the device under the protection of a session.
    fn protected(&self, session: u64) -> Vec<&Value> {
        let is_protected = |line: &&Value| {
            line["dir"] == "device"
                && line["session"] == session
                && line["records"][0]["epoch"] == 1
        };
        self.lines.iter().filter(is_protected).collect()
    }

    fn marked_at(&self) -> Option<f64> {
        self.lines.iter().find(|line| line.get("mark").is_some())?["t"].as_f64()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/recordings")
}

fn names(prefix: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub(crate) fn keys(session: &Value) -> SessionKeys {
    let array = |name: &str| -> [u8; 32] { hex(&session[name]).try_into().unwrap() };
    let cid = session["cid"]
        .as_str()
        .map(|cid| (CidMode::Draft05, hex::decode(cid).unwrap().try_into().unwrap()));
    let master = hex(&session["master_secret"]).try_into().unwrap();
    SessionKeys::derive(&master, &array("client_random"), &array("server_random"), cid)
}

pub(crate) fn frame_keys(session: &Value) -> FrameKeys {
    FrameKeys {
        key: hex(&session["aes_key"]).try_into().unwrap(),
        iv: hex(&session["aes_iv"]).try_into().unwrap(),
    }
}

pub(crate) fn peer(line: &Value) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000 + line["peer"].as_u64().unwrap() as u16))
}

/// A session right after its handshake, as the store would give it back.
pub(crate) fn restored(recording: &Recording, session: &Value) -> RestoredSession {
    let server = Session::new(Role::Server, &keys(session), 0);
    let mut snapshot = vec![1, 4, 0x70, 4, 0, 4, 0, 1];
    snapshot.extend_from_slice(&*server.to_snapshot());
    RestoredSession {
        device: recording.device(),
        snapshot: snapshot.into_boxed_slice().into(),
        peer: peer(recording.protected(session["session"].as_u64().unwrap())[0]),
        record_limit: 1,
        record_seen: 0,
        recent: Vec::new(),
        online: true,
    }
}

/// A server half that plays shard: it accepts everything and grants every reservation.
struct Replay {
    world: World,
    /// The device's half, to read what the endpoint sends.
    device: Session,
    publishes: Vec<(String, Vec<u8>, bool)>,
    descriptions: usize,
    subscriptions: usize,
    copies: usize,
    hellos: usize,
    moves: Vec<SocketAddr>,
}

impl Replay {
    fn of(recording: &Recording, session: &Value) -> Self {
        let mut world = World::new();
        world.endpoint.restore(world.now, restored(recording, session)).expect("restored");
        let numbers = RecordNumbers { next: 1, limit: Session::UNLIMITED, seen: 0 };
        let device = Session::resume(Role::Client, &keys(session), numbers);
        Self {
            world,
            device,
            publishes: Vec::new(),
            descriptions: 0,
            subscriptions: 0,
            copies: 0,
            hellos: 0,
            moves: Vec::new(),
        }
    }

    /// Hands a recorded datagram in; gives the messages that come back to where it came from.
    fn feed(&mut self, line: &Value) -> Vec<Vec<u8>> {
        let mut datagram = hex(&line["hex"]);
        self.world.endpoint.handle_datagram(self.world.now, peer(line), &mut datagram);
        let mut sent = self.world.drain();
        loop {
            let events = self.world.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                if let Some((link, command)) = self.react(event) {
                    sent.extend(self.world.command(link, command));
                }
            }
        }
        sent.into_iter().map(|(to, datagram)| self.open(to, peer(line), datagram)).collect()
    }

    fn open(&mut self, to: SocketAddr, expected: SocketAddr, mut datagram: Vec<u8>) -> Vec<u8> {
        assert_eq!(to, expected);
        let opened = self.device.open(&mut datagram).unwrap();
        assert_eq!(opened.content_type, ContentType::ApplicationData);
        opened.plaintext.to_vec()
    }

    fn react(&mut self, event: LinkEvent) -> Option<(LinkId, Command)> {
        let accept = |receipt| Command::Acknowledge { receipt, verdict: Verdict::Accepted };
        match event {
            LinkEvent::Opened(opened) => {
                self.hellos += 1;
                opened.receipt.map(|receipt| (opened.link, accept(receipt)))
            }
            LinkEvent::Message { link, message, receipt, source } => {
                self.note(message, source.confirmable);
                receipt.map(|receipt| (link, accept(receipt)))
            }
            LinkEvent::Copy { link, receipt, .. } => {
                self.copies += 1;
                receipt.map(|receipt| (link, accept(receipt)))
            }
            LinkEvent::Reserve { link, record_limit } => {
                Some((link, Command::Reserved { record_limit }))
            }
            LinkEvent::Moved { peer, .. } => {
                self.moves.push(peer);
                None
            }
            LinkEvent::Alive { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    fn note(&mut self, message: DeviceMessage, confirmable: bool) {
        match message {
            DeviceMessage::Publish(publish) => {
                let data = publish.data.map(|data| data.bytes.to_vec()).unwrap_or_default();
                self.publishes.push((publish.name.as_str().to_owned(), data, confirmable));
            }
            DeviceMessage::Describe(_) => self.descriptions += 1,
            DeviceMessage::Subscribe(_) => self.subscriptions += 1,
            DeviceMessage::Goodbye(_) => panic!("no recording has one"),
        }
    }
}

/// What the recording says the device published, each message once.
fn published(lines: &[&Value]) -> Vec<(String, Vec<u8>, bool)> {
    let mut seen = Vec::new();
    let mut publishes = Vec::new();
    for line in lines {
        let coap = &line["coap"];
        let options = coap["options"].as_array().unwrap();
        let mut path = options.iter().filter(|option| option[0] == 11).map(|o| hex(&o[1]));
        let resource = path.next().unwrap_or_default();
        if coap["code"] != "0.02" || !matches!(&resource[..], b"E" | b"e") {
            continue;
        }
        let name = String::from_utf8(path.next().unwrap()).unwrap();
        if !seen.contains(&coap["id"]) {
            seen.push(coap["id"].clone());
            publishes.push((name, hex(&coap["payload_hex"]), coap["type"] == "CON"));
        }
    }
    publishes
}

/// Whether the answers acknowledge what the device said, if it waits for that.
fn check_answers(line: &Value, answers: &[Vec<u8>], at: &str) {
    let coap = &line["coap"];
    let packets: Vec<_> = answers.iter().map(|bytes| Packet::decode(bytes).unwrap()).collect();
    if coap["type"] != "CON" {
        assert!(packets.is_empty(), "{at}: only a CON is answered, not with {packets:?}");
        return;
    }
    let [packet] = packets[..] else { panic!("{at}: {packets:?}") };
    assert_eq!(packet.message_type(), Type::Acknowledgement, "{at}");
    assert_eq!(u64::from(packet.message_id()), coap["id"], "{at}");
    let is_ota = coap["options"]
        .as_array()
        .unwrap()
        .iter()
        .any(|o| o == &Value::from(vec![Value::from(11), Value::from("63")]));
    let is_ledger = coap["options"].as_array().unwrap().iter().any(|o| o[1] == "4c");
    if !is_ota && !is_ledger {
        assert!(packet.code() == Code::EMPTY || packet.code().is_success(), "{at}: {packet:?}");
    }
}

#[test]
fn every_recorded_message_is_understood_and_every_confirmable_one_answered() {
    for name in names("udp-") {
        let recording = Recording::read(&name);
        for session in recording.header["sessions"].as_array().unwrap() {
            let number = session["session"].as_u64().unwrap();
            let lines: Vec<_> = recording
                .protected(number)
                .into_iter()
                .filter(|line| line.get("coap").is_some())
                .collect();
            let mut replay = Replay::of(&recording, session);
            let start = replay.world.now.mono.0;
            for line in &lines {
                let at = start + (line["t"].as_f64().unwrap() * 1e6) as u64;
                replay.world.pass(at.saturating_sub(replay.world.now.mono.0));
                let answers = replay.feed(line);
                check_answers(line, &answers, &format!("{name} at {}", line["t"]));
            }
            assert_eq!(replay.publishes, published(&lines), "{name}");
            assert!(replay.hellos >= 1 && replay.descriptions >= 2, "{name}");
            assert!(replay.subscriptions >= 5, "{name}");
        }
    }
}

#[test]
fn an_event_whose_acknowledgement_was_lost_is_published_once_and_copied_once() {
    let recording = Recording::read("udp-v6-retransmit.jsonl");
    let session = &recording.header["sessions"][0];
    let mut replay = Replay::of(&recording, session);
    for line in recording.protected(1).iter().filter(|line| line.get("coap").is_some()) {
        replay.feed(line);
    }
    assert_eq!(replay.hellos, 1);
    assert_eq!(replay.copies, 1);
    let private = replay.publishes.iter().filter(|(name, ..)| name == "holdout/private");
    assert_eq!(private.count(), 3);
}

#[test]
fn resumed_sessions_are_found_from_their_new_addresses() {
    for name in names("udp-v").into_iter().filter(|name| name.contains("resume")) {
        let recording = Recording::read(&name);
        let mut replay = Replay::of(&recording, &recording.header["sessions"][0]);
        for line in recording.protected(1).iter().filter(|line| line.get("coap").is_some()) {
            replay.feed(line);
        }
        let ports: Vec<_> = replay.moves.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [40_002, 40_003], "{name}");
        assert_eq!(
            replay.world.endpoint.counters().resumes,
            3,
            "{name}: the restart and two moves"
        );
        assert_eq!(replay.world.endpoint.counters().dropped_unknown_session, 0);
    }
}

#[test]
fn a_server_without_the_session_says_nothing_until_the_next_handshake() {
    for name in names("udp-v").into_iter().filter(|name| name.contains("stale")) {
        let recording = Recording::read(&name);
        let mark = recording.marked_at().expect("a mark");
        let mut world = World::new();
        let lines = recording.protected(1);
        let after: Vec<_> = lines.iter().filter(|line| line["t"].as_f64() > Some(mark)).collect();
        assert!(after.len() > 3, "{name}");
        for line in &after {
            assert!(world.deliver(peer(line), &hex(&line["hex"])).is_empty());
        }
        assert!(world.take_events().is_empty());
        let dropped = world.endpoint.counters().dropped_unknown_session;
        assert_eq!(dropped, after.len() as u64, "{name}");
    }
}

#[test]
fn a_recorded_stream_is_understood() {
    for name in names("tcp-") {
        let recording = Recording::read(&name);
        let session = &recording.header["sessions"][0];
        let keys = frame_keys(session);
        let mut world = World::new();
        let link = world.accept_stream(recording.device(), &keys);
        let mut opener = FrameOpener::new(&keys);
        let is_device = |line: &&Value| line["dir"] == "device" && line["kind"] == "frame";
        let lines: Vec<_> = recording.lines.iter().filter(is_device).collect();
        for (index, line) in lines.iter().enumerate() {
            world.endpoint.handle_stream(world.now, link, &hex(&line["hex"]));
            world.drain();
            for (_, bytes) in std::mem::take(&mut world.streams) {
                let mut input = bytes.as_slice();
                let message = opener.open(&mut input).unwrap().unwrap().to_vec();
                assert!(index > 0 || message.ends_with(&[0xb1, b'h']), "{name}: our Hello first");
            }
        }
        let events = world.take_events();
        assert!(matches!(events[0], LinkEvent::Opened(_)), "{name}");
        let told: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                LinkEvent::Message { message: DeviceMessage::Publish(p), source, .. } => {
                    let data = p.data.map(|data| data.bytes.to_vec()).unwrap_or_default();
                    Some((p.name.as_str().to_owned(), data, source.confirmable))
                }
                _ => None,
            })
            .collect();
        assert_eq!(told, published(&lines), "{name}");
        assert!(world.closed_streams.is_empty(), "{name}");
    }
}
