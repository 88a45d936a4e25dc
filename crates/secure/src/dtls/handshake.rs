//! The handshake of one client, after its cookie was found good.
//!
//! ```text
//! client                                   server                     State
//! ClientHello(cookie) ──────────────────▶                             Signing      job: flight 4
//!                      ◀────────────────── ServerHello, [Certificate],
//!                                          ServerKeyExchange,
//!                                          CertificateRequest,
//!                                          ServerHelloDone            AwaitCertificate
//! Certificate ──────────────────────────▶  NeedKey                    AwaitKeyExchange
//! ClientKeyExchange ────────────────────▶                             AwaitVerify
//! CertificateVerify ────────────────────▶                             AwaitKey, Verifying  job: flight 5
//! [ChangeCipherSpec], Finished ─────────▶                             AwaitFinished
//!                      ◀────────────────── [ChangeCipherSpec], Finished   Closed
//! ```
//!
//! ChangeCipherSpec needs no attention: the epoch in each record says the same.

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::codec::{
    ConnectionId, ContentType, HANDSHAKE_HEADER_BYTES, HandshakeHeader, Reader, RecordHeader,
    alert, handshake_type, split_record, write_plain_record,
};
use super::flight::{FinalFlight, ServerFlight};
use super::hello::{ClientHello, Offer};
use super::job::{AnswerTask, Done, IdentityKey, Job, JobDone, Secrets, Task, VerifyTask};
use super::messages;
use super::prf::{self, MasterSecret, Sender};
use super::reassembly::Reassembly;
use super::retransmission::Retransmission;
use super::session::{Role, Session, SessionKeys};
use crate::p256::{P256Error, Point, SPKI_BYTES, Scalar, point_of_spki};

/// A client that takes longer than this has given up: the firmware does after 45 s.
const LIFE_US: u64 = 60_000_000;
/// Longest protected Finished: header, connection id, nonce, three blocks of inner text, tag; with
/// room for other paddings.
const SEALED_FINISHED_BYTES_MAX: usize = 160;

/// What the surroundings give to a handshake.
#[derive(Clone)]
pub struct HandshakeConfig {
    /// Random.
    pub server_random: [u8; 32],
    /// Random; one value of 2^32 is out of range and fails the handshake.
    pub ephemeral_secret: Zeroizing<Scalar>,
    /// For the client's records, if it takes one. Of no other live session.
    pub cid: ConnectionId,
    /// The key that signs.
    pub identity: IdentityKey,
    /// The new session may seal records below this number without a reservation of its own.
    pub record_limit: u64,
    /// The messages ServerHello to ServerHelloDone with their headers, to be sent in place of our
    /// own: how a recorded handshake is replayed, whose client signed just these bytes. `None`
    /// otherwise.
    pub recorded_flight: Option<Vec<u8>>,
}

/// What a handshake wants done. Poll after every call until there is nothing.
pub enum HandshakeOutput {
    /// Send this datagram to the client.
    Send(Vec<u8>),
    /// Is this key registered? Answer with [`Handshake::key_known`].
    NeedKey {
        /// SHA-256 of `spki`.
        hash: [u8; 32],
        /// The client's key, SubjectPublicKeyInfo in DER.
        spki: [u8; SPKI_BYTES],
    },
    /// Run this elsewhere and answer with [`Handshake::job_done`].
    Job(Job),
    /// The session is there; the handshake is over.
    Established(Box<Established>),
    /// The handshake is over.
    Failed(HandshakeFailure),
}

/// The result of a handshake.
#[derive(Debug)]
pub struct Established {
    /// Open for records of both sides.
    pub session: Session,
    /// SHA-256 of `spki`.
    pub key_hash: [u8; 32],
    /// The key that the client proved to hold.
    pub spki: [u8; SPKI_BYTES],
    /// Answers a client that missed the end of the handshake.
    pub final_flight: FinalFlight,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// No progress for 60 s: the client is gone.
    #[error("the client fell silent")]
    TimedOut,
    /// The client sent this alert (not authenticated). 51: it does not take the server's signature,
    /// and may hold the previous key.
    #[error("the client sent alert {0}")]
    Alert(u8),
    /// The key is not registered; the client was sent alert 49.
    #[error("the key is not registered")]
    UnknownKey([u8; 32]),
    /// Not a raw public key on P-256.
    #[error("the Certificate message holds no P-256 key")]
    BadCertificate,
    /// The client's share is not a point of the curve.
    #[error("the ClientKeyExchange message holds no point of the curve")]
    BadKeyExchange,
    /// The client does not hold the private half of the key it shows.
    #[error("the CertificateVerify message is wrong")]
    BadSignature,
    /// The client saw another handshake than we did.
    #[error("the Finished message is wrong")]
    BadFinished,
    /// A message came that the order does not allow.
    #[error("an unexpected message came")]
    UnexpectedMessage,
    /// Ours: unusable randomness, or the library failed.
    #[error("the server failed")]
    Internal,
}

/// The server's side of one handshake.
///
/// After each call, [`poll`](Self::poll) until `None`; call [`handle_timeout`](Self::handle_timeout)
/// at [`next_timeout`](Self::next_timeout). Times are microseconds. Noise is swallowed; whatever ends
/// the handshake comes out as [`HandshakeOutput::Failed`].
pub struct Handshake {
    client_random: [u8; 32],
    offer: Offer,
    config: HandshakeConfig,
    state: State,
    transcript: Sha256,
    flight: Option<ServerFlight>,
    /// Our next record of epoch 0.
    record_number: u64,
    /// Our next message.
    message_seq: u16,
    reassembly: Reassembly,
    /// A Finished that came before its keys were there.
    sealed_finished: Option<Vec<u8>>,
    key_is_known: bool,
    retransmission: Retransmission,
    deadline: u64,
    outputs: VecDeque<HandshakeOutput>,
}

enum State {
    Signing,
    AwaitCertificate,
    AwaitKeyExchange(ClientKey),
    AwaitVerify {
        client: ClientKey,
        peer_point: Point,
        session_hash: [u8; 32],
    },
    AwaitKey {
        client: ClientKey,
        task: Box<VerifyTask>,
    },
    Verifying(ClientKey),
    /// In a box, which is overwritten when it is freed: a state that is moved leaves its bytes behind.
    AwaitFinished(Box<Unfinished>),
    Closed,
}

/// All but the client's Finished message.
struct Unfinished {
    client: ClientKey,
    master: Zeroizing<MasterSecret>,
    session: Session,
}

#[derive(Clone, Copy)]
struct ClientKey {
    spki: [u8; SPKI_BYTES],
    hash: [u8; 32],
    point: Point,
}

impl Handshake {
    /// Begins with a hello whose cookie is good.
    pub fn new(now: u64, hello: &ClientHello, mut config: HandshakeConfig) -> Self {
        let recorded = config.recorded_flight.take().and_then(ServerFlight::from_messages);
        let mut handshake = Self {
            client_random: hello.random,
            offer: hello.offer,
            config,
            state: State::Signing,
            transcript: hello.transcript.clone(),
            flight: None,
            record_number: hello.record_number,
            message_seq: hello.message_seq,
            reassembly: Reassembly::new(hello.message_seq + 1),
            sealed_finished: None,
            key_is_known: false,
            retransmission: Retransmission::new(),
            deadline: now.saturating_add(LIFE_US),
            outputs: VecDeque::new(),
        };
        match recorded {
            Some(flight) => handshake.begin_flight(now, flight),
            None => handshake.ask_for_signature(),
        }
        handshake
    }

    /// The random of the hello it began with: a hello from the same address with the same random is
    /// a repetition, to be given to [`handle_datagram`](Self::handle_datagram).
    pub fn client_random(&self) -> &[u8; 32] {
        &self.client_random
    }

    /// Whether the client has not answered the server's first flight yet: nothing but its address is
    /// proven, and little is lost if it has to begin again.
    pub fn awaits_certificate(&self) -> bool {
        matches!(self.state, State::AwaitCertificate)
    }

    /// Takes a datagram from the client's address. Its bytes are lost.
    pub fn handle_datagram(&mut self, now: u64, mut datagram: &mut [u8]) {
        while let Some((header, record, rest)) = split_record(datagram) {
            if matches!(self.state, State::Closed) {
                return;
            }
            match header.epoch {
                0 => self.handle_plain(now, &header, &record[header.header_bytes()..]),
                1 => self.handle_protected(record),
                _ => {}
            }
            datagram = rest;
        }
    }

    /// Answers [`HandshakeOutput::NeedKey`].
    pub fn key_known(&mut self, known: bool) {
        self.key_is_known = known;
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed => {}
            State::AwaitKeyExchange(client)
            | State::AwaitVerify { client, .. }
            | State::AwaitKey { client, .. }
                if !known =>
            {
                self.fail(HandshakeFailure::UnknownKey(client.hash), Some(alert::ACCESS_DENIED));
            }
            State::AwaitKey { client, task } => self.ask_for_verification(client, task),
            other => self.state = other,
        }
    }

    /// Answers [`HandshakeOutput::Job`].
    pub fn job_done(&mut self, now: u64, done: JobDone) {
        match (mem::replace(&mut self.state, State::Closed), done.0) {
            (State::Signing, Done::Answered(Ok(key))) => {
                let flight = ServerFlight::new(
                    &self.offer,
                    self.message_seq,
                    &self.config.server_random,
                    &self.config.cid,
                    &key,
                );
                self.begin_flight(now, flight);
            }
            (State::Verifying(client), Done::Verified(Ok(secrets))) => {
                self.begin_session(now, client, &secrets);
            }
            (State::Signing, Done::Answered(Err(error)))
            | (State::Verifying(_), Done::Verified(Err(error))) => self.fail_arithmetic(error),
            (other, _) => self.state = other,
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: u64) {
        if matches!(self.state, State::Closed) {
            return;
        }
        if now >= self.deadline {
            self.fail(HandshakeFailure::TimedOut, None);
        } else if self.waits_for_client() && self.retransmission.take_due(now) {
            self.send_flight();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once it is over.
    pub fn next_timeout(&self) -> Option<u64> {
        if matches!(self.state, State::Closed) {
            return None;
        }
        let due = self.retransmission.due().filter(|_| self.waits_for_client());
        Some(due.map_or(self.deadline, |due| due.min(self.deadline)))
    }

    /// The next thing to do, oldest first.
    pub fn poll(&mut self) -> Option<HandshakeOutput> {
        self.outputs.pop_front()
    }

    fn handle_plain(&mut self, now: u64, header: &RecordHeader, fragment: &[u8]) {
        match ContentType::from_byte(header.first_byte) {
            Some(ContentType::Handshake) => self.handle_messages(now, fragment),
            Some(ContentType::Alert) => self.handle_alert(fragment),
            Some(ContentType::ChangeCipherSpec | ContentType::ApplicationData) | None => {}
        }
    }

    /// An alert of epoch 0 is not authenticated: it may end a handshake, never a session.
    fn handle_alert(&mut self, fragment: &[u8]) {
        let [level, description] = *fragment else { return };
        if level == alert::FATAL || description == alert::CLOSE_NOTIFY {
            self.fail(HandshakeFailure::Alert(description), None);
        }
    }

    /// A record may hold several messages (RFC 6347 §4.2.3).
    fn handle_messages(&mut self, now: u64, fragment: &[u8]) {
        let mut reader = Reader::new(fragment);
        while let Some(header) = HandshakeHeader::read(&mut reader) {
            let Some(body) = reader.bytes(header.fragment_length) else { return };
            if header.message_type == handshake_type::CLIENT_HELLO {
                self.handle_repeated_hello(now, body);
            } else if self.waits_for_plain_message() {
                self.handle_fragment(&header, body);
            }
        }
    }

    /// The client did not get our flight. (While it is being signed there is none yet.)
    fn handle_repeated_hello(&mut self, now: u64, body: &[u8]) {
        let is_ours = body.get(2..34) == Some(self.client_random.as_slice());
        if is_ours && self.waits_for_client() && self.retransmission.take_asked(now) {
            self.send_flight();
        }
    }

    fn handle_fragment(&mut self, header: &HandshakeHeader, body: &[u8]) {
        if self.reassembly.take_in_order(header) {
            self.handle_message(header, body);
        } else {
            self.reassembly.add(header, body);
        }
        while self.waits_for_plain_message() {
            let Some((header, body)) = self.reassembly.take_next() else { return };
            self.handle_message(&header, &body);
        }
    }

    fn handle_message(&mut self, header: &HandshakeHeader, body: &[u8]) {
        match (mem::replace(&mut self.state, State::Closed), header.message_type) {
            (State::AwaitCertificate, handshake_type::CERTIFICATE) => {
                self.add_to_transcript(header, body);
                self.handle_certificate(body);
            }
            (State::AwaitKeyExchange(client), handshake_type::CLIENT_KEY_EXCHANGE) => {
                self.add_to_transcript(header, body);
                self.handle_key_exchange(client, body);
            }
            (
                State::AwaitVerify { client, peer_point, session_hash },
                handshake_type::CERTIFICATE_VERIFY,
            ) => {
                self.add_to_transcript(header, body);
                self.handle_certificate_verify(client, peer_point, session_hash, body);
            }
            _ => self.fail(HandshakeFailure::UnexpectedMessage, Some(alert::UNEXPECTED_MESSAGE)),
        }
    }

    /// Strangers are stopped here, before any arithmetic.
    fn handle_certificate(&mut self, body: &[u8]) {
        let spki = messages::raw_public_key(body);
        let Some((spki, point)) = spki.and_then(|spki| Some((spki, point_of_spki(&spki)?))) else {
            let alert = Some(alert::HANDSHAKE_FAILURE);
            return self.fail(HandshakeFailure::BadCertificate, alert);
        };
        let hash = Sha256::digest(spki).into();
        self.outputs.push_back(HandshakeOutput::NeedKey { hash, spki });
        self.state = State::AwaitKeyExchange(ClientKey { spki, hash, point });
    }

    fn handle_key_exchange(&mut self, client: ClientKey, body: &[u8]) {
        let Some(peer_point) = messages::key_exchange_point(body) else {
            return self.fail(HandshakeFailure::BadKeyExchange, Some(alert::ILLEGAL_PARAMETER));
        };
        let session_hash = self.transcript_hash();
        self.state = State::AwaitVerify { client, peer_point, session_hash };
    }

    fn handle_certificate_verify(
        &mut self,
        client: ClientKey,
        peer_point: Point,
        session_hash: [u8; 32],
        body: &[u8],
    ) {
        let Some(signature) = messages::signature(body) else {
            return self.fail(HandshakeFailure::BadSignature, Some(alert::DECRYPT_ERROR));
        };
        let task = Box::new(VerifyTask {
            client_key: client.point,
            signature: signature.to_vec(),
            session_hash,
            ephemeral_secret: self.config.ephemeral_secret.clone(),
            peer_point,
            extended_master_secret: self.offer.extended_master_secret,
            client_random: self.client_random,
            server_random: self.config.server_random,
        });
        if self.key_is_known {
            self.ask_for_verification(client, task);
        } else {
            self.state = State::AwaitKey { client, task };
        }
    }

    fn handle_protected(&mut self, record: &mut [u8]) {
        match mem::replace(&mut self.state, State::Closed) {
            State::AwaitFinished(unfinished) => self.handle_finished(unfinished, record),
            other => {
                self.state = other;
                if record.len() <= SEALED_FINISHED_BYTES_MAX {
                    self.sealed_finished = Some(record.to_vec());
                }
            }
        }
    }

    /// What does not open may come from anybody, and changes nothing.
    fn handle_finished(&mut self, mut unfinished: Box<Unfinished>, record: &mut [u8]) {
        let message = match unfinished.session.open(record) {
            Ok(opened) if opened.content_type == ContentType::Handshake => opened.plaintext,
            Ok(_) | Err(_) => {
                self.state = State::AwaitFinished(unfinished);
                return;
            }
        };
        let expected =
            prf::verify_data(&unfinished.master, Sender::Client, &self.transcript_hash());
        if !messages::finished(message).is_some_and(|data| data.ct_eq(&expected).into()) {
            return self.fail(HandshakeFailure::BadFinished, Some(alert::DECRYPT_ERROR));
        }
        self.transcript.update(message);
        self.finish(&mut unfinished);
    }

    fn finish(&mut self, unfinished: &mut Unfinished) {
        let Unfinished { client, master, session } = unfinished;
        let verify_data = prf::verify_data(master, Sender::Server, &self.transcript_hash());
        let mut final_flight = FinalFlight::new(self.record_number, self.message_seq, &verify_data);
        let mut datagram = Vec::with_capacity(80);
        if final_flight.repeat(session, &mut datagram).is_err() {
            return self.fail(HandshakeFailure::Internal, Some(alert::INTERNAL_ERROR));
        }
        self.outputs.push_back(HandshakeOutput::Send(datagram));
        self.outputs.push_back(HandshakeOutput::Established(Box::new(Established {
            session: session.take(),
            key_hash: client.hash,
            spki: client.spki,
            final_flight,
        })));
    }

    fn ask_for_signature(&mut self) {
        self.outputs.push_back(HandshakeOutput::Job(Job(Task::Answer(AnswerTask {
            identity: self.config.identity,
            ephemeral_secret: self.config.ephemeral_secret.clone(),
            client_random: self.client_random,
            server_random: self.config.server_random,
        }))));
    }

    fn ask_for_verification(&mut self, client: ClientKey, task: Box<VerifyTask>) {
        self.outputs.push_back(HandshakeOutput::Job(Job(Task::Verify(task))));
        self.state = State::Verifying(client);
    }

    fn begin_flight(&mut self, now: u64, flight: ServerFlight) {
        self.transcript.update(flight.transcript());
        self.message_seq += flight.message_count();
        self.flight = Some(flight);
        self.state = State::AwaitCertificate;
        self.retransmission.begin(now);
        self.send_flight();
    }

    fn send_flight(&mut self) {
        if let Some(flight) = &self.flight {
            let datagram = flight.to_datagram(&mut self.record_number);
            self.outputs.push_back(HandshakeOutput::Send(datagram));
        }
    }

    fn begin_session(&mut self, now: u64, client: ClientKey, secrets: &Secrets) {
        let keys = SessionKeys {
            key_block: secrets.key_block.clone(),
            cid_mode: self.offer.cid_mode,
            cid: self.config.cid,
        };
        let session = Session::new(Role::Server, &keys, self.config.record_limit);
        let master = secrets.master.clone();
        self.state = State::AwaitFinished(Box::new(Unfinished { client, master, session }));
        self.retransmission.rest(now);
        if let Some(mut record) = self.sealed_finished.take() {
            self.handle_protected(&mut record);
        }
    }

    fn add_to_transcript(&mut self, header: &HandshakeHeader, body: &[u8]) {
        let header: [u8; HANDSHAKE_HEADER_BYTES] = header.to_bytes();
        self.transcript.update(header);
        self.transcript.update(body);
    }

    fn transcript_hash(&self) -> [u8; 32] {
        self.transcript.clone().finalize().into()
    }

    fn waits_for_client(&self) -> bool {
        self.waits_for_plain_message() || matches!(self.state, State::AwaitFinished(_))
    }

    fn waits_for_plain_message(&self) -> bool {
        matches!(
            self.state,
            State::AwaitCertificate | State::AwaitKeyExchange(_) | State::AwaitVerify { .. }
        )
    }

    fn fail_arithmetic(&mut self, error: P256Error) {
        match error {
            P256Error::BadPoint => {
                self.fail(HandshakeFailure::BadKeyExchange, Some(alert::ILLEGAL_PARAMETER));
            }
            P256Error::BadSignature => {
                self.fail(HandshakeFailure::BadSignature, Some(alert::DECRYPT_ERROR));
            }
            P256Error::BadKey | P256Error::Library => {
                self.fail(HandshakeFailure::Internal, Some(alert::INTERNAL_ERROR));
            }
        }
    }

    fn fail(&mut self, failure: HandshakeFailure, alert: Option<u8>) {
        if let Some(description) = alert {
            let mut datagram = Vec::with_capacity(16);
            let content = [alert::FATAL, description];
            write_plain_record(ContentType::Alert, self.record_number, &content, &mut datagram);
            self.outputs.push_back(HandshakeOutput::Send(datagram));
        }
        self.outputs.push_back(HandshakeOutput::Failed(failure));
        self.state = State::Closed;
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Signing => "signing",
            State::AwaitCertificate => "awaiting Certificate",
            State::AwaitKeyExchange(_) => "awaiting ClientKeyExchange",
            State::AwaitVerify { .. } => "awaiting CertificateVerify",
            State::AwaitKey { .. } => "awaiting the registry",
            State::Verifying(_) => "verifying",
            State::AwaitFinished(_) => "awaiting Finished",
            State::Closed => "closed",
        };
        f.debug_struct("Handshake").field("state", &state).finish_non_exhaustive()
    }
}
