//! The DTLS handshake from the device's side, with the habits of the vendor's library
//! (`dtls-session.md` §3–8): its exact ClientHello, no server certificate taken, raw public keys
//! under one length, whole flights repeated after 3, 6, 12 and 24 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::Mono;
use openssl::sha::Sha256;
use secure::dtls::codec::{
    self, CIPHER_SUITE, CURVE_SECP256R1, ConnectionId, ContentType, ECDSA_SHA256, HandshakeHeader,
    RAW_PUBLIC_KEY, Reader, VERSION_1_0, VERSION_1_2, alert, extension, handshake_type,
};
use secure::dtls::prf::{self, MasterSecret, Sender};
use secure::dtls::{CidMode, Role, Session, SessionKeys};
use secure::p256::{P256, Point, Scalar, SigningKey, spki_of_point};

use super::client_hello::client_hello;

/// What a handshake needs from outside.
pub(crate) struct Parameters {
    /// Whether extension 254 is offered.
    pub(crate) offers_cid: bool,
    pub(crate) client_random: [u8; 32],
    pub(crate) ephemeral: Scalar,
    pub(crate) curve: Arc<dyn P256>,
    /// The server key in the device's memory.
    pub(crate) server_key: Point,
    pub(crate) device_key: Arc<SigningKey>,
}

/// Why a handshake did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The server sent this fatal alert.
    Alert(u8),
    /// A message the device does not take at this place: a Certificate, for example.
    Unexpected(u8),
    /// A field of a message is not what the device accepts.
    Illegal,
    /// The server's signature or Finished does not fit the server key in the device's memory.
    BadServer,
    /// The server gave no connection id of 8 bytes.
    NoConnectionId,
    /// The last transmission stayed unanswered.
    Timeout,
    /// The cryptographic library failed.
    Library,
}

/// What comes out of a handshake that was fed.
pub(crate) enum Progress {
    Waiting,
    Established(Session),
    Failed(HandshakeFailure),
}

/// One attempt. Feed it datagrams and the time; send what it puts into `out`.
pub(crate) struct ClientHandshake {
    parameters: Parameters,
    state: State,
    transcript: Sha256,
    send_seq: u16,
    receive_seq: u16,
    /// Message numbers below this one belong to the flight that ours answers.
    flight_start: u16,
    record_number: u64,
    flight: Vec<Part>,
    timeout: Duration,
    due: Mono,
    partial: BTreeMap<u16, Partial>,
    early: Option<Vec<u8>>,
    server: Server,
    session: Option<Session>,
    master: MasterSecret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ServerHello,
    KeyExchange,
    RequestOrDone,
    Done,
    ChangeCipherSpec,
    Finished,
}

/// A piece of the flight sent last.
enum Part {
    Plain(Vec<u8>),
    ChangeCipherSpec,
    Finished(Vec<u8>),
}

/// A message that has not arrived whole, or not in its turn.
struct Partial {
    message_type: u8,
    body: Vec<u8>,
    arrived: Vec<bool>,
}

/// What the server's flight told.
#[derive(Default)]
struct Server {
    random: [u8; 32],
    cid: Option<ConnectionId>,
    raw_public_key: bool,
    wants_certificate: bool,
    point: Option<Point>,
}

impl ClientHandshake {
    /// Begins with a ClientHello without a cookie.
    pub(crate) fn start(now: Mono, parameters: Parameters, out: &mut Vec<u8>) -> Self {
        let mut handshake = Self {
            parameters,
            state: State::ServerHello,
            transcript: Sha256::new(),
            send_seq: 0,
            receive_seq: 0,
            flight_start: 0,
            record_number: 0,
            flight: Vec::new(),
            timeout: FIRST_TIMEOUT,
            due: now,
            partial: BTreeMap::new(),
            early: None,
            server: Server::default(),
            session: None,
            master: [0; 48],
        };
        handshake.send_client_hello(now, &[], out);
        handshake
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn next_timeout(&self) -> Mono {
        self.due
    }

    /// Repeats the flight, or gives up after the longest wait.
    pub(crate) fn handle_timeout(&mut self, now: Mono, out: &mut Vec<u8>) -> Progress {
        if now < self.due {
            return Progress::Waiting;
        }
        if self.timeout >= LAST_TIMEOUT {
            return Progress::Failed(HandshakeFailure::Timeout);
        }
        self.timeout *= 2;
        self.transmit(now, out);
        Progress::Waiting
    }

    /// Takes a datagram; what must be sent in answer is appended to `out` as one datagram.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Mono,
        datagram: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Progress {
        let mut rest = datagram;
        while let Some((header, record, more)) = codec::split_record(rest) {
            let result = match header.epoch {
                0 => {
                    let fragment = &record[header.header_bytes()..];
                    self.handle_plain(now, header.first_byte, fragment, out)
                }
                _ => self.handle_protected(record),
            };
            match result {
                Ok(None) => {}
                Ok(Some(session)) => return Progress::Established(session),
                Err(failure) => {
                    self.write_alert(failure, out);
                    return Progress::Failed(failure);
                }
            }
            rest = more;
        }
        Progress::Waiting
    }

    fn handle_plain(&mut self, now: Mono, content: u8, fragment: &[u8], out: &mut Vec<u8>) -> Step {
        match ContentType::from_byte(content) {
            Some(ContentType::Alert) => match fragment {
                [alert::FATAL, description] => Err(HandshakeFailure::Alert(*description)),
                _ => Ok(None),
            },
            Some(ContentType::ChangeCipherSpec) => self.change_cipher_spec(),
            Some(ContentType::Handshake) => self.handle_fragments(now, fragment, out),
            _ => Ok(None),
        }
    }

    fn change_cipher_spec(&mut self) -> Step {
        if self.state != State::ChangeCipherSpec {
            return Ok(None);
        }
        self.state = State::Finished;
        match self.early.take() {
            Some(mut record) => self.handle_protected(&mut record),
            None => Ok(None),
        }
    }

    /// A record under the new keys; one that overtook the ChangeCipherSpec is kept.
    fn handle_protected(&mut self, record: &mut [u8]) -> Step {
        if self.state == State::ChangeCipherSpec {
            self.early = Some(record.to_vec());
        }
        if self.state != State::Finished {
            return Ok(None);
        }
        let Some(session) = &mut self.session else { return Ok(None) };
        let opened = session.open(record).map_err(|_| HandshakeFailure::BadServer)?;
        let plaintext = opened.plaintext;
        let digest = self.transcript.clone().finish();
        let expected = prf::verify_data(&self.master, Sender::Server, &digest);
        let mut reader = Reader::new(plaintext);
        let header = HandshakeHeader::read(&mut reader).ok_or(HandshakeFailure::Illegal)?;
        if header.message_type != handshake_type::FINISHED || reader.rest() != expected {
            return Err(HandshakeFailure::BadServer);
        }
        if self.parameters.offers_cid && self.server.cid.is_none() {
            return Err(HandshakeFailure::NoConnectionId);
        }
        Ok(self.session.take())
    }

    fn handle_fragments(&mut self, now: Mono, fragment: &[u8], out: &mut Vec<u8>) -> Step {
        let mut reader = Reader::new(fragment);
        while let Some(header) = HandshakeHeader::read(&mut reader) {
            let Some(bytes) = reader.bytes(header.fragment_length) else { break };
            if header.message_seq < self.receive_seq {
                self.handle_repeated(now, &header, out);
            } else if header.message_seq - self.receive_seq < MESSAGES_AHEAD_MAX {
                self.keep(&header, bytes)?;
            }
        }
        while let Some((message_type, message)) = self.next_message() {
            self.handle_message(now, message_type, &message, out)?;
        }
        Ok(None)
    }

    /// The last message of the flight we answered came again: our answer was lost.
    fn handle_repeated(&mut self, now: Mono, header: &HandshakeHeader, out: &mut Vec<u8>) {
        let last_of_flight = header.message_seq + 1 == self.flight_start;
        if last_of_flight && header.message_type != handshake_type::HELLO_VERIFY_REQUEST {
            self.transmit(now, out);
        }
    }

    fn keep(&mut self, header: &HandshakeHeader, bytes: &[u8]) -> Result<(), HandshakeFailure> {
        if header.length > MESSAGE_BYTES_MAX {
            return Err(HandshakeFailure::Illegal);
        }
        let partial = self.partial.entry(header.message_seq).or_insert_with(|| Partial {
            message_type: header.message_type,
            body: vec![0; header.length],
            arrived: vec![false; header.length],
        });
        if partial.body.len() != header.length {
            return Err(HandshakeFailure::Illegal);
        }
        let range = header.fragment_offset..header.fragment_offset + header.fragment_length;
        partial.body[range.clone()].copy_from_slice(bytes);
        partial.arrived[range].fill(true);
        Ok(())
    }

    /// The message whose turn it is, with its header as if unfragmented.
    fn next_message(&mut self) -> Option<(u8, Vec<u8>)> {
        let partial = self.partial.get(&self.receive_seq)?;
        if !partial.arrived.iter().all(|arrived| *arrived) {
            return None;
        }
        let partial = self.partial.remove(&self.receive_seq)?;
        let mut message = Vec::with_capacity(12 + partial.body.len());
        codec::write_handshake(partial.message_type, self.receive_seq, &partial.body, &mut message);
        self.receive_seq += 1;
        Some((partial.message_type, message))
    }

    fn handle_message(
        &mut self,
        now: Mono,
        message_type: u8,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeFailure> {
        use handshake_type as ty;
        let body = &message[codec::HANDSHAKE_HEADER_BYTES..];
        if (self.state, message_type) == (State::ServerHello, ty::HELLO_VERIFY_REQUEST) {
            return self.hello_verify_request(now, body, out);
        }
        self.transcript.update(message);
        match (self.state, message_type) {
            (State::ServerHello, ty::SERVER_HELLO) => self.server_hello(body),
            (State::KeyExchange, ty::SERVER_KEY_EXCHANGE) => self.server_key_exchange(body),
            (State::RequestOrDone, ty::CERTIFICATE_REQUEST) => self.certificate_request(body),
            (State::RequestOrDone | State::Done, ty::SERVER_HELLO_DONE) if body.is_empty() => {
                self.send_second_flight(now, out)
            }
            _ => Err(HandshakeFailure::Unexpected(message_type)),
        }
    }

    fn hello_verify_request(
        &mut self,
        now: Mono,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeFailure> {
        let mut reader = Reader::new(body);
        let version: [u8; 2] = reader.array().ok_or(HandshakeFailure::Illegal)?;
        if version != VERSION_1_0 && version != VERSION_1_2 {
            return Err(HandshakeFailure::Illegal);
        }
        let cookie = reader.vec8().ok_or(HandshakeFailure::Illegal)?;
        self.send_client_hello(now, cookie, out);
        Ok(())
    }

    fn server_hello(&mut self, body: &[u8]) -> Result<(), HandshakeFailure> {
        self.state = State::KeyExchange;
        self.read_server_hello(&mut Reader::new(body)).ok_or(HandshakeFailure::Illegal)
    }

    fn read_server_hello(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        if reader.array()? != VERSION_1_2 {
            return None;
        }
        self.server.random = reader.array()?;
        if reader.vec8()?.len() > 32 || reader.u16()? != CIPHER_SUITE || reader.u8()? != 0 {
            return None;
        }
        if reader.is_empty() {
            return Some(());
        }
        let mut extensions = Reader::new(reader.vec16()?);
        if !reader.is_empty() {
            return None;
        }
        while !extensions.is_empty() {
            let number = extensions.u16()?;
            self.read_extension(number, extensions.vec16()?)?;
        }
        Some(())
    }

    fn read_extension(&mut self, number: u16, body: &[u8]) -> Option<()> {
        match number {
            extension::CLIENT_CERTIFICATE_TYPE => {
                self.server.raw_public_key = body.len() == 1 && body[0] == RAW_PUBLIC_KEY;
                (body.len() == 1).then_some(())
            }
            extension::SERVER_CERTIFICATE_TYPE => (body.len() == 1).then_some(()),
            extension::CONNECTION_ID_DRAFT_05 => self.read_cid(body),
            _ => Some(()),
        }
    }

    fn read_cid(&mut self, body: &[u8]) -> Option<()> {
        let (&length, cid) = body.split_first()?;
        if !self.parameters.offers_cid || usize::from(length) != cid.len() || cid.len() > 8 {
            return None;
        }
        self.server.cid = cid.try_into().ok();
        Some(())
    }

    fn server_key_exchange(&mut self, body: &[u8]) -> Result<(), HandshakeFailure> {
        let (point, parameters, signature) =
            read_key_exchange(body).ok_or(HandshakeFailure::Illegal)?;
        let mut hash = Sha256::new();
        hash.update(&self.parameters.client_random);
        hash.update(&self.server.random);
        hash.update(parameters);
        self.parameters
            .curve
            .verify(&self.parameters.server_key, &hash.finish(), signature)
            .map_err(|_| HandshakeFailure::BadServer)?;
        self.server.point = Some(point);
        self.state = State::RequestOrDone;
        Ok(())
    }

    fn certificate_request(&mut self, body: &[u8]) -> Result<(), HandshakeFailure> {
        let mut reader = Reader::new(body);
        let whole = reader.vec8().is_some() && reader.vec16().is_some() && reader.vec16().is_some();
        if !whole || !reader.is_empty() {
            return Err(HandshakeFailure::Illegal);
        }
        self.server.wants_certificate = true;
        self.state = State::Done;
        Ok(())
    }

    fn send_client_hello(&mut self, now: Mono, cookie: &[u8], out: &mut Vec<u8>) {
        let body = client_hello(self.parameters.offers_cid, &self.parameters.client_random, cookie);
        self.transcript = Sha256::new();
        self.flight.clear();
        self.add_message(handshake_type::CLIENT_HELLO, &body);
        self.send_new_flight(now, out);
    }

    /// Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec and Finished. Without
    /// a CertificateRequest the device sends neither the first nor the third.
    fn send_second_flight(&mut self, now: Mono, out: &mut Vec<u8>) -> Result<(), HandshakeFailure> {
        self.flight.clear();
        let ephemeral = self.ephemeral_point()?;
        if self.server.wants_certificate {
            let certificate = self.certificate();
            self.add_message(handshake_type::CERTIFICATE, &certificate);
        }
        let exchange: Vec<u8> = std::iter::once(65).chain(ephemeral).collect();
        self.add_message(handshake_type::CLIENT_KEY_EXCHANGE, &exchange);
        if self.server.wants_certificate && self.server.raw_public_key {
            let verify = self.certificate_verify()?;
            self.add_message(handshake_type::CERTIFICATE_VERIFY, &verify);
        }
        self.make_session()?;
        self.flight.push(Part::ChangeCipherSpec);
        self.add_finished();
        self.state = State::ChangeCipherSpec;
        self.send_new_flight(now, out);
        Ok(())
    }

    fn ephemeral_point(&self) -> Result<Point, HandshakeFailure> {
        self.parameters
            .curve
            .public_point(&self.parameters.ephemeral)
            .map_err(|_| HandshakeFailure::Library)
    }

    /// The raw key under a single length; a list with one empty certificate if the server did not
    /// agree to raw keys.
    fn certificate(&self) -> Vec<u8> {
        if !self.server.raw_public_key {
            return vec![0, 0, 3, 0, 0, 0];
        }
        let spki = spki_of_point(self.parameters.device_key.point());
        [0, 0, spki.len() as u8].into_iter().chain(spki).collect()
    }

    fn certificate_verify(&self) -> Result<Vec<u8>, HandshakeFailure> {
        let digest = self.transcript.clone().finish();
        let signature = self
            .parameters
            .curve
            .sign(&self.parameters.device_key, &digest)
            .map_err(|_| HandshakeFailure::Library)?;
        let mut body = ECDSA_SHA256.to_be_bytes().to_vec();
        body.extend((signature.len() as u16).to_be_bytes());
        body.extend(signature);
        Ok(body)
    }

    fn make_session(&mut self) -> Result<(), HandshakeFailure> {
        let point = self.server.point.ok_or(HandshakeFailure::Illegal)?;
        let premaster = self
            .parameters
            .curve
            .agree(&self.parameters.ephemeral, &point)
            .map_err(|_| HandshakeFailure::Illegal)?;
        let client_random = self.parameters.client_random;
        self.master = *prf::master_secret(&premaster, &client_random, &self.server.random);
        let cid = self.server.cid.map(|cid| (CidMode::Draft05, cid));
        let keys = SessionKeys::derive(&self.master, &client_random, &self.server.random, cid);
        self.session = Some(Session::new(Role::Client, &keys, Session::UNLIMITED));
        Ok(())
    }

    fn add_finished(&mut self) {
        let digest = self.transcript.clone().finish();
        let data = prf::verify_data(&self.master, Sender::Client, &digest);
        let mut message = Vec::with_capacity(24);
        codec::write_handshake(handshake_type::FINISHED, self.send_seq, &data, &mut message);
        self.send_seq += 1;
        self.transcript.update(&message);
        self.flight.push(Part::Finished(message));
    }

    fn add_message(&mut self, message_type: u8, body: &[u8]) {
        let mut message = Vec::with_capacity(12 + body.len());
        codec::write_handshake(message_type, self.send_seq, body, &mut message);
        self.send_seq += 1;
        self.transcript.update(&message);
        self.flight.push(Part::Plain(message));
    }

    fn send_new_flight(&mut self, now: Mono, out: &mut Vec<u8>) {
        self.flight_start = self.receive_seq;
        self.timeout = FIRST_TIMEOUT;
        self.transmit(now, out);
    }

    /// The flight in one datagram, every record under a new number.
    fn transmit(&mut self, now: Mono, out: &mut Vec<u8>) {
        for part in &self.flight {
            match (part, &mut self.session) {
                (Part::Plain(message), _) => {
                    let number = next(&mut self.record_number);
                    codec::write_plain_record(ContentType::Handshake, number, message, out);
                }
                (Part::ChangeCipherSpec, _) => {
                    let number = next(&mut self.record_number);
                    codec::write_plain_record(ContentType::ChangeCipherSpec, number, &[1], out);
                }
                (Part::Finished(message), Some(session)) => {
                    // Nothing is reserved on a device, so the numbers last.
                    let _ = session.seal(ContentType::Handshake, message, out);
                }
                (Part::Finished(_), None) => {}
            }
        }
        self.due = now.after(self.timeout);
    }

    fn write_alert(&mut self, failure: HandshakeFailure, out: &mut Vec<u8>) {
        let description = match failure {
            HandshakeFailure::BadServer => alert::DECRYPT_ERROR,
            HandshakeFailure::Illegal => alert::ILLEGAL_PARAMETER,
            HandshakeFailure::Unexpected(_) => alert::UNEXPECTED_MESSAGE,
            _ => return,
        };
        let number = next(&mut self.record_number);
        codec::write_plain_record(ContentType::Alert, number, &[alert::FATAL, description], out);
    }
}

type Step = Result<Option<Session>, HandshakeFailure>;

/// First and last wait of a flight (`dtls-session.md` §8, since 1.4.1).
const FIRST_TIMEOUT: Duration = Duration::from_secs(3);
const LAST_TIMEOUT: Duration = Duration::from_secs(24);
/// Longest handshake message taken.
const MESSAGE_BYTES_MAX: usize = 1152;
/// Messages kept that arrived before their turn.
const MESSAGES_AHEAD_MAX: u16 = 8;

fn next(number: &mut u64) -> u64 {
    let this = *number;
    *number += 1;
    this
}

/// `(point, the signed parameters, signature)`.
fn read_key_exchange(body: &[u8]) -> Option<(Point, &[u8], &[u8])> {
    let mut reader = Reader::new(body);
    let named_curve = reader.u8()? == 3;
    if !named_curve || reader.u16()? != CURVE_SECP256R1 {
        return None;
    }
    let point = reader.vec8()?.try_into().ok()?;
    let parameters = &body[..body.len() - reader.rest().len()];
    if reader.u16()? != ECDSA_SHA256 {
        return None;
    }
    let signature = reader.vec16()?;
    reader.is_empty().then_some((point, parameters, signature))
}
