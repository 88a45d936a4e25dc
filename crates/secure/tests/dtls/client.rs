//! A small DTLS client with the timers of the firmware: 3 s, doubling, every flight whole.

use std::collections::{BTreeMap, BTreeSet};

use secure::dtls::codec::{
    ContentType, HANDSHAKE_HEADER_BYTES, HandshakeHeader, Reader, RecordHeader, extension,
    handshake_type, split_record, write_handshake, write_plain_record,
};
use secure::dtls::prf::{self, Sender};
use secure::dtls::{CidMode, Role, Session, SessionKeys};
use secure::p256::{P256, SigningKey, spki_of_point};
use sha2::{Digest, Sha256};

use crate::support::DeterministicP256;

const FIRST_WAIT_US: u64 = 3_000_000;

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Device OS up to 3.0.
    Device,
    /// Device OS from 3.1 on.
    DeviceWithCid,
    /// A client that follows the RFCs: wants a Certificate, extended master secret, RFC 9146.
    Standard,
}

pub(crate) struct Client {
    kind: Kind,
    random: [u8; 32],
    ephemeral: [u8; 32],
    key: SigningKey,
    p256: DeterministicP256,
    transcript: Sha256,
    hello_seq: u16,
    record_number: u64,
    /// Records of epoch 0 that came: a second one of the same number is a replay.
    seen: BTreeSet<u64>,
    /// Without it the Finished is of an epoch that has not begun.
    saw_change_cipher_spec: bool,
    /// Messages of the server by number.
    received: BTreeMap<u16, Vec<u8>>,
    flight: Vec<Vec<u8>>,
    /// Sealed anew each time it is sent.
    finished: Vec<u8>,
    master: [u8; 48],
    server_random: [u8; 32],
    pub(crate) session: Option<Session>,
    pub(crate) is_done: bool,
    pub(crate) alert: Option<u8>,
    pub(crate) saw_certificate: bool,
    /// Sends a point that is not on the curve.
    pub(crate) spoils_its_share: bool,
    pub(crate) outputs: Vec<Vec<u8>>,
    wait: u64,
    due: Option<u64>,
}

impl Client {
    pub(crate) fn new(kind: Kind, seed: u8) -> Self {
        Self {
            kind,
            random: [seed; 32],
            ephemeral: [seed | 1; 32],
            key: SigningKey::from_scalar(&[seed | 1; 32]).unwrap(),
            p256: DeterministicP256::new(),
            transcript: Sha256::new(),
            hello_seq: 0,
            record_number: 0,
            seen: BTreeSet::new(),
            saw_change_cipher_spec: false,
            received: BTreeMap::new(),
            flight: Vec::new(),
            finished: Vec::new(),
            master: [0; 48],
            server_random: [0; 32],
            session: None,
            is_done: false,
            alert: None,
            saw_certificate: false,
            spoils_its_share: false,
            outputs: Vec::new(),
            wait: FIRST_WAIT_US,
            due: None,
        }
    }

    pub(crate) fn key_hash(&self) -> [u8; 32] {
        Sha256::digest(spki_of_point(self.key.point())).into()
    }

    pub(crate) fn start(&mut self, now: u64) {
        self.send_hello(now, &[]);
    }

    pub(crate) fn due(&self) -> Option<u64> {
        self.due.filter(|_| !self.is_done)
    }

    pub(crate) fn handle_timeout(&mut self, now: u64) {
        if self.due().is_some_and(|due| now >= due) {
            self.wait = (self.wait * 2).min(24_000_000);
            self.send(now);
        }
    }

    /// Plays a flight again, as a client does that did not hear the answer.
    pub(crate) fn send(&mut self, now: u64) {
        self.due = Some(now + self.wait);
        let mut datagram = Vec::new();
        for message in &self.flight {
            let content = if message == &[1] {
                ContentType::ChangeCipherSpec
            } else {
                ContentType::Handshake
            };
            write_plain_record(content, self.record_number, message, &mut datagram);
            self.record_number += 1;
        }
        if let Some(session) = &mut self.session {
            session.seal(ContentType::Handshake, &self.finished, &mut datagram).unwrap();
        }
        self.outputs.push(datagram);
    }

    /// Takes a datagram; gives the application data in it.
    pub(crate) fn handle(&mut self, now: u64, mut datagram: &mut [u8]) -> Vec<Vec<u8>> {
        let mut application = Vec::new();
        while let Some((header, record, rest)) = split_record(datagram) {
            if header.epoch == 0 {
                if self.seen.insert(header.number) {
                    self.handle_plain(now, &header, &record[header.header_bytes()..]);
                }
            } else if self.saw_change_cipher_spec
                && let Some(session) = &mut self.session
                && let Ok(opened) = session.open(record)
            {
                let plaintext = opened.plaintext.to_vec();
                if opened.content_type == ContentType::ApplicationData {
                    application.push(plaintext);
                } else if opened.content_type == ContentType::Handshake && !self.is_done {
                    self.check_finished(&plaintext);
                }
            }
            datagram = rest;
        }
        application
    }

    fn handle_plain(&mut self, now: u64, header: &RecordHeader, fragment: &[u8]) {
        if header.first_byte == ContentType::Alert as u8 && self.session.is_none() {
            self.alert = Some(fragment[1]);
            self.due = None;
        }
        if header.first_byte != ContentType::Handshake as u8 {
            self.saw_change_cipher_spec |= header.first_byte == 20 && self.session.is_some();
            return;
        }
        let of = HandshakeHeader::read(&mut Reader::new(fragment)).unwrap();
        let body = &fragment[HANDSHAKE_HEADER_BYTES..];
        if of.message_type == handshake_type::HELLO_VERIFY_REQUEST {
            if self.hello_seq == 0 {
                self.hello_seq = 1;
                self.send_hello(now, &body[3..]);
            }
        } else if self.session.is_none() {
            self.received.insert(of.message_seq, fragment.to_vec());
            self.answer_flight(now);
        }
    }

    fn send_hello(&mut self, now: u64, cookie: &[u8]) {
        let mut message = Vec::new();
        let body = self.hello_body(cookie);
        write_handshake(handshake_type::CLIENT_HELLO, self.hello_seq, &body, &mut message);
        self.transcript = Sha256::new_with_prefix(&message);
        self.flight = vec![message];
        self.wait = FIRST_WAIT_US;
        self.send(now);
    }

    fn hello_body(&self, cookie: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&self.random);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend_from_slice(cookie);
        body.extend_from_slice(&[0, 4, 0xc0, 0xae, 0, 0xff, 1, 0]);
        let extensions = self.extensions();
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn extensions(&self) -> Vec<u8> {
        let mut out =
            hex::decode("000d000a00080403040103030301000a000400020017000b00020100").unwrap();
        match self.kind {
            Kind::Device => {}
            Kind::DeviceWithCid => out.extend_from_slice(&[0, 254, 0, 1, 0]),
            Kind::Standard => out.extend_from_slice(&[0, 23, 0, 0, 0, 54, 0, 1, 0]),
        }
        out.extend_from_slice(&[0, 19, 0, 2, 1, 2, 0, 20, 0, 2, 1, 2]);
        out
    }

    /// Once ServerHelloDone and all before it are there.
    fn answer_flight(&mut self, now: u64) {
        let last = self.received.iter().find(|(_, message)| message[0] == 14).map(|(seq, _)| *seq);
        let Some(last) = last else { return };
        if self.received.len() != usize::from(last - self.hello_seq) + 1 {
            return;
        }
        let mut cid = None;
        let mut server_point = [0; 65];
        for message in self.received.values() {
            self.transcript.update(message);
            let body = &message[HANDSHAKE_HEADER_BYTES..];
            match message[0] {
                handshake_type::SERVER_HELLO => {
                    self.server_random = body[2..34].try_into().unwrap();
                    cid = cid_in(body);
                }
                handshake_type::CERTIFICATE => self.saw_certificate = true,
                handshake_type::SERVER_KEY_EXCHANGE => {
                    server_point = body[4..69].try_into().unwrap();
                }
                _ => {}
            }
        }
        self.write_flight(now, &server_point, cid);
    }

    fn write_flight(&mut self, now: u64, server_point: &[u8; 65], cid: Option<(CidMode, [u8; 8])>) {
        let seq = self.hello_seq + 1;
        let mut certificate = vec![0, 0, 91];
        certificate.extend_from_slice(&spki_of_point(self.key.point()));
        let mut exchange = vec![65];
        exchange.extend_from_slice(&self.p256.public_point(&self.ephemeral).unwrap());
        exchange[40] ^= u8::from(self.spoils_its_share);
        let certificate = self.message(handshake_type::CERTIFICATE, seq, &certificate);
        let exchange = self.message(handshake_type::CLIENT_KEY_EXCHANGE, seq + 1, &exchange);
        let session_hash: [u8; 32] = self.transcript.clone().finalize().into();
        let verify =
            self.message(handshake_type::CERTIFICATE_VERIFY, seq + 2, &self.verify(&session_hash));

        let premaster = self.p256.agree(&self.ephemeral, server_point).unwrap();
        self.master = match self.kind {
            Kind::Standard => *prf::extended_master_secret(&premaster, &session_hash),
            _ => *prf::master_secret(&premaster, &self.random, &self.server_random),
        };
        let hash = self.transcript.clone().finalize().into();
        let data = prf::verify_data(&self.master, Sender::Client, &hash);
        self.finished = self.message(handshake_type::FINISHED, seq + 3, &data);
        let keys = SessionKeys::derive(&self.master, &self.random, &self.server_random, cid);
        self.session = Some(Session::new(Role::Client, &keys, Session::UNLIMITED));
        self.flight = vec![certificate, exchange, verify, vec![1]];
        self.wait = FIRST_WAIT_US;
        self.send(now);
    }

    fn verify(&self, session_hash: &[u8; 32]) -> Vec<u8> {
        let signature = self.p256.sign(&self.key, session_hash).unwrap();
        let mut body = vec![4, 3, 0, signature.len() as u8];
        body.extend_from_slice(&signature);
        body
    }

    fn message(&mut self, message_type: u8, seq: u16, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        write_handshake(message_type, seq, body, &mut message);
        self.transcript.update(&message);
        message
    }

    fn check_finished(&mut self, message: &[u8]) {
        let hash = self.transcript.clone().finalize().into();
        let expected = prf::verify_data(&self.master, Sender::Server, &hash);
        assert_eq!(message[HANDSHAKE_HEADER_BYTES..], expected);
        self.is_done = true;
    }
}

fn cid_in(server_hello: &[u8]) -> Option<(CidMode, [u8; 8])> {
    let mut reader = Reader::new(&server_hello[34..]);
    reader.vec8().unwrap();
    reader.bytes(3).unwrap();
    let mut extensions = Reader::new(reader.vec16().unwrap());
    while let Some(number) = extensions.u16() {
        let content = extensions.vec16().unwrap();
        let mode = match number {
            extension::CONNECTION_ID_DRAFT_05 => CidMode::Draft05,
            extension::CONNECTION_ID => CidMode::Rfc9146,
            _ => continue,
        };
        return Some((mode, content[1..].try_into().unwrap()));
    }
    None
}
