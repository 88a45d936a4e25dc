//! The recorded updates, with the endpoint in the place of the server: the devices say what they said
//! then, in answer to the ids and tokens of today. The endpoint sends what that server sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::link::{
    Command, LinkEvent, Transfer, TransferEnd, TransferNews, TransferProtocol, Verdict,
};
use model::{Image, LinkId, UpdateId};
use protocol::coap::{Code, Packet, Type};
use protocol::message::ota::{OtaCommand, v3};
use secure::dtls::{ContentType, RecordNumbers, Role, Session};
use secure::tcp::{FrameOpener, FrameSealer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::recordings::{Recording, frame_keys, hex, keys, peer, restored};
use crate::support::*;

const MILLISECOND: u64 = 1_000;
/// Ids of messages that a device says once more; no recorded one is so high.
const AGAIN: u16 = 0x7000;

/// The device's half of the channel.
enum Channel {
    Datagrams(Box<Session>),
    Stream(Box<FrameOpener>, Box<FrameSealer>),
}

/// A recorded device in front of an endpoint that sends the recorded image.
struct Replay {
    world: World,
    link: LinkId,
    channel: Channel,
    image: Arc<Image>,
    chunk_bytes: u16,
    protocol: TransferProtocol,
    /// What the endpoint said and nobody looked at yet.
    heard: VecDeque<Vec<u8>>,
    /// Chunks in the order they came, by their place in the file.
    chunks: Vec<(u32, Vec<u8>)>,
    news: Vec<TransferNews>,
    /// Today's message id and token for those of the recorded server.
    ids: BTreeMap<u64, u16>,
    tokens: BTreeMap<String, u8>,
    /// The last UpdateAck of the device.
    last_ack: Option<Vec<u8>>,
    again: u16,
}

impl Replay {
    fn new(recording: &Recording, chunk_bytes: u16) -> Self {
        let session = &recording.header["sessions"][0];
        let mut world = World::new();
        let (link, channel) = if recording.header["transport"] == "tcp" {
            let keys = frame_keys(session);
            let link = world.accept_stream(recording.device(), &keys);
            let (opener, sealer) = (FrameOpener::new(&keys), FrameSealer::new(&keys));
            (link, Channel::Stream(opener.into(), sealer.into()))
        } else {
            let restored = restored(recording, session);
            let link = world.endpoint.restore(world.now, restored).unwrap();
            let numbers = RecordNumbers { next: 1, limit: Session::UNLIMITED, seen: 0 };
            let device = Session::resume(Role::Client, &keys(session), numbers);
            (link, Channel::Datagrams(device.into()))
        };
        let bytes = hex(&recording.header["ota_image_hex"]);
        let image = Image {
            sha256: Sha256::digest(&bytes).into(),
            function: 5,
            index: 1,
            bytes: bytes.into(),
        };
        let is_v3 = recording.header["ota_protocol"] == "v3";
        Self {
            world,
            link,
            channel,
            image: Arc::new(image),
            chunk_bytes,
            protocol: if is_v3 { TransferProtocol::V3 } else { TransferProtocol::Legacy },
            heard: VecDeque::new(),
            chunks: Vec::new(),
            news: Vec::new(),
            ids: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_ack: None,
            again: AGAIN,
        }
    }

    fn play(&mut self, recording: &Recording) {
        for line in recording.lines.iter().filter(|line| line.get("coap").is_some()) {
            let message = plaintext(line);
            if line["dir"] == "device" {
                self.say_as_today(line, message);
            } else if let Some(request) = request(&message) {
                self.expect(line, &message, request);
            }
        }
        self.pass(100 * MILLISECOND);
    }

    /// The server of the recording made a request of the update: so does the endpoint.
    fn expect(&mut self, line: &Value, recorded: &[u8], request: Request) {
        if request == Request::Begin {
            let transfer = Transfer {
                update: UpdateId(1),
                image: self.image.clone(),
                protocol: self.protocol,
                chunk_bytes: self.chunk_bytes,
                cautious: true,
                afresh: false,
            };
            let begin = Command::BeginTransfer(Box::new(transfer));
            let sent = self.world.command(self.link, begin);
            self.hear(sent.into_iter().map(|(_, datagram)| datagram).collect());
        }
        let made = self.await_request(request);
        let (made, recorded) = (Packet::decode(&made).unwrap(), Packet::decode(recorded).unwrap());
        assert_eq!(options(&made), options(&recorded));
        assert_eq!((made.code(), made.payload), (recorded.code(), recorded.payload));
        assert_eq!(made.message_type(), Type::Confirmable);
        self.ids.insert(line["coap"]["id"].as_u64().unwrap(), made.message_id());
        let token = line["coap"]["token"].as_str().unwrap().to_owned();
        self.tokens.insert(token, made.token().byte().unwrap());
    }

    /// The device acknowledges again what it has when it gets it again (`ota.md` §3.3).
    fn await_request(&mut self, wanted: Request) -> Vec<u8> {
        for _ in 0..100 {
            while let Some(message) = self.heard.pop_front() {
                if request(&message) == Some(wanted) {
                    return message;
                }
            }
            let before = self.chunks.len();
            self.pass(50 * MILLISECOND);
            if self.chunks.len() > before
                && let Some(mut ack) = self.last_ack.clone()
            {
                self.again += 1;
                ack[2..4].copy_from_slice(&self.again.to_be_bytes());
                let ack = self.of_what_was_sent(&ack);
                self.say(&ack);
            }
        }
        panic!("the endpoint does not ask {wanted:?}; {:?}", self.news)
    }

    /// What the device said, with ids and tokens of today where it answers; it is acknowledged like then.
    fn say_as_today(&mut self, line: &Value, mut message: Vec<u8>) {
        let coap = &line["coap"];
        let is_answer = matches!(coap["type"].as_str(), Some("ACK" | "RST"));
        let is_response = coap["code"].as_str().is_some_and(|code| !code.starts_with('0'));
        let id = self.ids.get(&coap["id"].as_u64().unwrap());
        if let Some(id) = id.filter(|_| is_answer) {
            message[2..4].copy_from_slice(&id.to_be_bytes());
        }
        let token = self.tokens.get(coap["token"].as_str().unwrap_or_default());
        if let Some(token) = token.filter(|_| is_response) {
            message[4] = *token;
        }
        self.pass(20 * MILLISECOND);
        if message[0] >> 4 == 5 && message.get(4..6) == Some(b"\xb1A") {
            let ack = self.of_what_was_sent(&message);
            self.say(&ack);
            self.last_ack = Some(message);
            return;
        }
        self.say(&message);
        if coap["type"] == "CON" {
            let said = u16::from_be_bytes([message[2], message[3]]);
            let acknowledges = |heard: &Vec<u8>| {
                let packet = Packet::decode(heard).unwrap();
                packet.message_type() == Type::Acknowledgement && packet.message_id() == said
            };
            assert!(self.heard.iter().any(acknowledges), "{line}: {:?}", self.heard);
        }
    }

    /// An UpdateAck, without chunks that the endpoint did not send yet: it goes less far beyond a gap
    /// than the recorded server did.
    fn of_what_was_sent(&self, message: &[u8]) -> Vec<u8> {
        let packet = Packet::decode(message).unwrap();
        let Ok(Some(index)) = packet.uint(v3::number::CHUNK_INDEX) else { panic!("{packet:?}") };
        let told = v3::UpdateAck { index, bitmap: packet.payload };
        let sent: BTreeSet<u32> = self.chunks.iter().map(|(place, _)| place + 1).collect();
        let has =
            |chunk: u32| sent.contains(&chunk) && (chunk <= index || told.has(chunk - index - 1));
        let first_gap = (1..).find(|chunk| !has(*chunk)).unwrap();
        let mut words = vec![0_u32; 2];
        for bit in (0..64).filter(|bit| has(first_gap + bit)) {
            words[bit as usize / 32] |= 1 << (bit % 32);
        }
        let mut bitmap: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        bitmap.truncate(bitmap.iter().rposition(|byte| *byte != 0).map_or(0, |at| at / 4 * 4 + 4));
        let mut out = Vec::new();
        v3::UpdateAck { index: first_gap - 1, bitmap: &bitmap }.emit(packet.message_id(), &mut out);
        out
    }

    fn say(&mut self, message: &[u8]) {
        let mut sealed = Vec::new();
        let now = self.world.now;
        match &mut self.channel {
            Channel::Datagrams(session) => {
                session.seal(ContentType::ApplicationData, message, &mut sealed).unwrap();
                self.world.endpoint.handle_datagram(now, peer_of_all(), &mut sealed);
            }
            Channel::Stream(_, sealer) => {
                sealer.seal(message, &mut sealed).unwrap();
                self.world.endpoint.handle_stream(now, self.link, &sealed);
            }
        }
        let datagrams = self.world.drain();
        self.hear(datagrams.into_iter().map(|(_, datagram)| datagram).collect());
        self.react();
    }

    fn pass(&mut self, micros: u64) {
        let sent = self.world.pass(micros);
        self.hear(sent.into_iter().map(|(_, _, datagram)| datagram).collect());
        self.react();
    }

    /// Takes everything, as the shard does.
    fn react(&mut self) {
        let mut events = VecDeque::from(self.world.take_events());
        while let Some(event) = events.pop_front() {
            let (link, command) = match event {
                LinkEvent::Transfer { news, .. } => {
                    self.news.push(news);
                    continue;
                }
                LinkEvent::Opened(opened) => match opened.receipt {
                    Some(receipt) => (opened.link, accepted(receipt)),
                    None => continue,
                },
                LinkEvent::Message { link, receipt: Some(receipt), .. } => {
                    (link, accepted(receipt))
                }
                LinkEvent::Reserve { link, record_limit } => {
                    (link, Command::Reserved { record_limit })
                }
                _ => continue,
            };
            let sent = self.world.command(link, command);
            self.hear(sent.into_iter().map(|(_, datagram)| datagram).collect());
            events.extend(self.world.take_events());
        }
    }

    fn hear(&mut self, datagrams: Vec<Vec<u8>>) {
        let mut messages = Vec::new();
        match &mut self.channel {
            Channel::Datagrams(session) => messages.extend(
                datagrams
                    .into_iter()
                    .map(|mut it| session.open(&mut it).unwrap().plaintext.to_vec()),
            ),
            Channel::Stream(opener, _) => {
                for (_, bytes) in std::mem::take(&mut self.world.streams) {
                    let mut input = bytes.as_slice();
                    while let Some(message) = opener.open(&mut input).unwrap() {
                        messages.push(message.to_vec());
                    }
                }
            }
        }
        for message in messages {
            match chunk(&message) {
                Some(chunk) => self.chunks.push(chunk),
                None => self.heard.push_back(message),
            }
        }
    }

    /// The endpoint sent the image in the pieces of the recorded server, and knows that it is applied.
    fn check(&self, recording: &Recording) {
        let mut recorded = BTreeMap::new();
        let sent = recording.lines.iter().filter(|line| line["dir"] == "server");
        for line in sent.filter(|line| line.get("coap").is_some()) {
            recorded.extend(chunk(&plaintext(line)));
        }
        let made: BTreeMap<u32, Vec<u8>> = self.chunks.iter().cloned().collect();
        assert_eq!(made.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
        let size = usize::from(self.chunk_bytes);
        let mut file = Vec::new();
        for (place, data) in &made {
            // Whether the last chunk is filled up is the server's choice.
            let used = recorded[place].len().min(data.len());
            assert_eq!(data[..used], recorded[place][..used], "chunk {place}");
            assert!(data[used..].iter().all(|byte| *byte == 0) && data.len() <= size);
            file.extend_from_slice(data);
        }
        assert!(file.starts_with(&self.image.bytes), "the image");
        assert!(file[self.image.bytes.len()..].iter().all(|byte| *byte == 0), "its padding");
        let told = |wanted: &TransferNews| self.news.contains(wanted);
        assert!(told(&TransferNews::Started { offset: 0 }), "{:?}", self.news);
        assert!(told(&TransferNews::Validating), "{:?}", self.news);
        assert!(told(&TransferNews::Ended(TransferEnd::Applied)), "{:?}", self.news);
    }
}

/// What the cloud asks of a device in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Begin,
    Finish,
}

fn request(message: &[u8]) -> Option<Request> {
    let packet = Packet::decode(message).ok()?;
    if !packet.code().is_request() {
        return None;
    }
    match OtaCommand::read(message, &packet)? {
        OtaCommand::Begin(_) | OtaCommand::Start(Some(_)) => Some(Request::Begin),
        OtaCommand::Done | OtaCommand::Finish(Some(_)) => Some(Request::Finish),
        OtaCommand::Start(None) | OtaCommand::Finish(None) => panic!("{packet:?}"),
        OtaCommand::LegacyChunk(_) | OtaCommand::Chunk(_) => None,
    }
}

/// A chunk's place, from 0, and its data, of which the checksum is right.
fn chunk(message: &[u8]) -> Option<(u32, Vec<u8>)> {
    let packet = Packet::decode(message).ok()?;
    if packet.code() != Code::POST {
        return None;
    }
    match OtaCommand::read(message, &packet)? {
        OtaCommand::LegacyChunk(chunk) => {
            assert_eq!(chunk.crc, crc32fast::hash(chunk.data));
            assert_eq!(packet.token().as_slice().len(), 1, "{packet:?}");
            Some((chunk.index?.into(), chunk.data.to_vec()))
        }
        OtaCommand::Chunk(chunk) => {
            assert_eq!(packet.message_type(), Type::NonConfirmable);
            assert!(packet.token().as_slice().is_empty(), "{packet:?}");
            Some((chunk?.index - 1, chunk?.data.to_vec()))
        }
        _ => None,
    }
}

/// The module's function was told by no server before 5.5.
fn options(packet: &Packet<'_>) -> Vec<(u16, Vec<u8>)> {
    let told = packet.options().filter(|option| option.number != v3::number::MODULE_FUNCTION);
    told.map(|option| (option.number, option.value.to_vec())).collect()
}

fn accepted(receipt: model::link::Receipt) -> Command {
    Command::Acknowledge { receipt, verdict: Verdict::Accepted }
}

fn plaintext(line: &Value) -> Vec<u8> {
    let of_stream = line.get("plaintext_hex");
    hex(of_stream.unwrap_or_else(|| &line["records"][0]["plaintext_hex"]))
}

fn peer_of_all() -> std::net::SocketAddr {
    peer(&serde_json::json!({"peer": 1}))
}

#[test]
fn a_device_of_6_2_takes_the_image_from_the_endpoint_as_it_took_it_then() {
    let recording = Recording::read("udp-v6-ota3.jsonl");
    let mut replay = Replay::new(&recording, 512);
    replay.play(&recording);
    replay.check(&recording);
}

#[test]
fn a_device_of_3_0_names_four_missing_chunks_and_gets_those_again() {
    let recording = Recording::read("udp-v3-ota-legacy.jsonl");
    let mut replay = Replay::new(&recording, 512);
    replay.play(&recording);
    replay.check(&recording);
    let places: Vec<u32> = replay.chunks.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (0..59).chain([0x03, 0x11, 0x12, 0x28]).collect::<Vec<_>>());
}

#[test]
fn a_device_of_3_0_takes_the_image_over_a_stream_as_it_took_it_then() {
    let recording = Recording::read("tcp-v3-ota.jsonl");
    let mut replay = Replay::new(&recording, 256);
    replay.play(&recording);
    replay.check(&recording);
    assert_eq!(replay.chunks.len(), 118, "none twice");
}
