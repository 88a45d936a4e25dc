//! The server's side of a DTLS handshake, against a recorded client whose messages are cut, mixed,
//! repeated and changed: it ends once, in a session only if the client is who it says.

use std::sync::OnceLock;

use secure::dtls::codec::HANDSHAKE_HEADER_BYTES;
use secure::dtls::{
    ClientHello, Handshake, HandshakeConfig, HandshakeOutput, IdentityKey, ServerIdentity,
};
use secure::p256::{OpensslP256, SigningKey};
use serde_json::Value;

use crate::script::Script;

/// More than a handshake and its repetitions need.
const OUTPUTS_MAX: usize = 200;

pub(crate) fn run(input: &[u8]) {
    let recorded = Recorded::shared();
    let mut script = Script(input);
    let config = recorded.config(script.flag());
    let hello = ClientHello::parse(recorded.client(1)).expect("a recorded hello");
    let mut side = Side {
        handshake: Handshake::new(NOW, &hello, config),
        now: NOW,
        outputs: 0,
        is_over: false,
        knows: script.flag(),
    };
    side.drain(recorded);
    for _ in 0..STEPS_MAX {
        if script.is_done() {
            return;
        }
        side.step(recorded, &mut script);
        side.drain(recorded);
    }
}

struct Side {
    handshake: Handshake,
    now: u64,
    outputs: usize,
    is_over: bool,
    /// Whether the client's key is registered.
    knows: bool,
}

impl Side {
    fn step(&mut self, recorded: &Recorded, script: &mut Script<'_>) {
        match script.byte() % 6 {
            0 => self.take(script.bytes().to_vec()),
            1 => {
                let piece = fragment(script);
                self.take(piece);
            }
            2 | 3 => self.take(recorded.client(usize::from(script.byte())).to_vec()),
            4 => {
                let mut datagram = recorded.client(usize::from(script.byte())).to_vec();
                let at = usize::from(script.number()) % datagram.len();
                datagram[at] ^= script.byte();
                self.take(datagram);
            }
            _ => {
                self.now += u64::from(script.number()) * 1000;
                self.handshake.handle_timeout(self.now);
            }
        }
    }

    fn take(&mut self, mut datagram: Vec<u8>) {
        self.handshake.handle_datagram(self.now, &mut datagram);
    }

    fn drain(&mut self, recorded: &Recorded) {
        while let Some(output) = self.handshake.poll() {
            self.outputs += 1;
            assert!(self.outputs <= OUTPUTS_MAX, "it never ends");
            match output {
                HandshakeOutput::Send(datagram) => assert!(datagram.len() <= 1400),
                HandshakeOutput::NeedKey { hash, .. } => {
                    self.handshake.key_known(self.knows && hash == recorded.device);
                }
                HandshakeOutput::Job(job) => {
                    let done = job.run(&recorded.curve, &recorded.identity);
                    self.handshake.job_done(self.now, done);
                }
                HandshakeOutput::Established(established) => {
                    assert!(!self.is_over && self.knows, "a session for a stranger");
                    assert_eq!(established.key_hash, recorded.device);
                    self.is_over = true;
                }
                HandshakeOutput::Failed(_) => {
                    assert!(!self.is_over, "it ends twice");
                    self.is_over = true;
                }
            }
        }
    }
}

/// A record of epoch 0 with one fragment of a handshake message.
fn fragment(script: &mut Script<'_>) -> Vec<u8> {
    let (kind, sequence) = (script.byte(), script.byte());
    let (total, offset) = (script.number(), script.number());
    let body = script.bytes();
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut message = vec![kind, 0];
    message.extend(total.to_be_bytes());
    message.extend([0, sequence, 0]);
    message.extend(offset.to_be_bytes());
    message.push(0);
    message.extend(length.to_be_bytes());
    debug_assert_eq!(message.len(), HANDSHAKE_HEADER_BYTES);
    message.extend(body);
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence];
    record.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(message);
    record
}

/// A handshake of the vectors.
struct Recorded {
    client: Vec<Vec<u8>>,
    flight: Vec<u8>,
    secrets: [[u8; 32]; 2],
    cid: [u8; 8],
    device: [u8; 32],
    identity: ServerIdentity,
    curve: OpensslP256,
}

impl Recorded {
    fn shared() -> &'static Self {
        static RECORDED: OnceLock<Recorded> = OnceLock::new();
        RECORDED.get_or_init(|| Self::read().expect("the vectors are whole"))
    }

    fn read() -> Option<Self> {
        let vector: Value = serde_json::from_str(VECTOR).ok()?;
        let datagrams = vector["datagrams"].as_array()?;
        let of = |direction: &str| -> Vec<Vec<u8>> {
            let from = datagrams.iter().filter(|one| one["direction"] == direction);
            from.filter_map(|one| hex::decode(one["hex"].as_str()?).ok()).collect()
        };
        let key = hex::decode(vector["keys"]["server_private_sec1_der"].as_str()?).ok()?;
        let spki = hex::decode(vector["keys"]["device_public_der"].as_str()?).ok()?;
        let secrets = &vector["secrets"];
        Some(Self {
            client: of("device->server"),
            flight: flight_of(&of("server->device")),
            secrets: [array(&secrets["server_random"])?, array(&secrets["ecdhe_server_private"])?],
            cid: array(&vector["cid"])?,
            device: <sha2::Sha256 as sha2::Digest>::digest(&spki).into(),
            identity: ServerIdentity::new(SigningKey::from_der(&key).ok()?, None),
            curve: OpensslP256::new().ok()?,
        })
    }

    /// One of the client's datagrams; the second is the hello with its cookie.
    fn client(&self, index: usize) -> &[u8] {
        &self.client[index % self.client.len()]
    }

    /// With the recorded flight the recorded client can come to the end; with our own it cannot.
    fn config(&self, is_recorded: bool) -> HandshakeConfig {
        let [server_random, ephemeral_secret] = self.secrets;
        HandshakeConfig {
            server_random,
            ephemeral_secret: ephemeral_secret.into(),
            cid: self.cid,
            identity: IdentityKey::Current,
            record_limit: 1024,
            recorded_flight: is_recorded.then(|| self.flight.clone()),
        }
    }
}

/// The handshake messages from ServerHello to ServerHelloDone.
fn flight_of(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut messages = Vec::new();
    for datagram in datagrams {
        let mut rest = datagram.as_slice();
        while rest.len() > 13 {
            let length = usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            let (record, after) = rest.split_at((13 + length).min(rest.len()));
            let is_of_flight = record[0] == 22 && record[3..5] == [0, 0] && record[13] != 3;
            if is_of_flight {
                messages.extend_from_slice(&record[13..]);
            }
            rest = after;
        }
    }
    messages
}

fn array<const N: usize>(value: &Value) -> Option<[u8; N]> {
    hex::decode(value.as_str()?).ok()?.try_into().ok()
}

const NOW: u64 = 1_000_000_000;
const STEPS_MAX: usize = 60;
const VECTOR: &str = include_str!("../../../tests/vectors/dtls-handshake-cid.json");
