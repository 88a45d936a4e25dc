//! The server's flights: the answer to a hello (flight 4), and the end (flight 6).

use super::codec::{
    CIPHER_SUITE, ConnectionId, ContentType, ECDSA_SHA256, HANDSHAKE_HEADER_BYTES, HandshakeHeader,
    RAW_PUBLIC_KEY, Reader, VERSION_1_2, extension, handshake_type, write_handshake,
    write_plain_record,
};
use super::hello::Offer;
use super::job::ServerKey;
use super::prf::VerifyData;
use super::record::CidMode;
use super::session::{ReservationSpent, Session};

/// Types: ecdsa_sign; signatures: ECDSA with SHA-256; no authorities. Without this message a device
/// proves nothing about itself (`dtls-session.md` §4).
const CERTIFICATE_REQUEST: [u8; 8] = [0x01, 0x40, 0x00, 0x02, 0x04, 0x03, 0x00, 0x00];

/// ServerHello to ServerHelloDone, as they enter the transcript.
pub(crate) struct ServerFlight {
    messages: Vec<u8>,
}

impl ServerFlight {
    /// Messages are numbered from `first_seq`.
    pub(crate) fn new(
        offer: &Offer,
        first_seq: u16,
        server_random: &[u8; 32],
        cid: &ConnectionId,
        key: &ServerKey,
    ) -> Self {
        let mut bodies =
            vec![(handshake_type::SERVER_HELLO, server_hello(offer, server_random, cid))];
        if !offer.is_firmware {
            bodies.push((handshake_type::CERTIFICATE, certificate(key)));
        }
        bodies.push((handshake_type::SERVER_KEY_EXCHANGE, server_key_exchange(key)));
        bodies.push((handshake_type::CERTIFICATE_REQUEST, CERTIFICATE_REQUEST.to_vec()));
        bodies.push((handshake_type::SERVER_HELLO_DONE, Vec::new()));
        let mut messages = Vec::with_capacity(512);
        for (seq, (message_type, body)) in (first_seq..).zip(&bodies) {
            write_handshake(*message_type, seq, body, &mut messages);
        }
        Self { messages }
    }

    /// Takes messages made elsewhere, each whole and with its header; `None` if they are not.
    pub(crate) fn from_messages(messages: Vec<u8>) -> Option<Self> {
        let flight = Self { messages };
        let covered: usize = flight.iter().map(<[u8]>::len).sum();
        (covered == flight.messages.len()).then_some(flight)
    }

    /// All messages, one after the other.
    pub(crate) fn transcript(&self) -> &[u8] {
        &self.messages
    }

    /// How many messages there are.
    pub(crate) fn message_count(&self) -> u16 {
        self.iter().count() as u16
    }

    /// One datagram with a record for each message, numbered from `record_number`, which is moved on.
    pub(crate) fn to_datagram(&self, record_number: &mut u64) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(self.messages.len() + 128);
        for message in self.iter() {
            write_plain_record(ContentType::Handshake, *record_number, message, &mut datagram);
            *record_number += 1;
        }
        datagram
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Reader::new(&self.messages);
        std::iter::from_fn(move || {
            let header = HandshakeHeader::read(&mut rest.clone())?;
            rest.bytes(HANDSHAKE_HEADER_BYTES + header.length)
        })
    }
}

fn server_hello(offer: &Offer, random: &[u8; 32], cid: &ConnectionId) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    body.extend_from_slice(&VERSION_1_2);
    body.extend_from_slice(random);
    body.push(0); // no session id: sessions are not resumed by it
    body.extend_from_slice(&CIPHER_SUITE.to_be_bytes());
    body.push(0); // no compression
    let extensions = server_extensions(offer, cid);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    body
}

/// A device gets only what it needs: fewer bytes, and the answer its library was tested with.
fn server_extensions(offer: &Offer, cid: &ConnectionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write_extension(extension::CLIENT_CERTIFICATE_TYPE, &[RAW_PUBLIC_KEY], &mut out);
    write_extension(extension::SERVER_CERTIFICATE_TYPE, &[RAW_PUBLIC_KEY], &mut out);
    if offer.point_formats && !offer.is_firmware {
        write_extension(extension::EC_POINT_FORMATS, &[1, 0], &mut out);
    }
    if offer.secure_renegotiation && !offer.is_firmware {
        write_extension(extension::RENEGOTIATION_INFO, &[0], &mut out);
    }
    if offer.extended_master_secret {
        write_extension(extension::EXTENDED_MASTER_SECRET, &[], &mut out);
    }
    let mut length_and_cid = [cid.len() as u8; 9];
    length_and_cid[1..].copy_from_slice(cid);
    match offer.cid_mode {
        CidMode::None => {}
        CidMode::Draft05 => {
            write_extension(extension::CONNECTION_ID_DRAFT_05, &length_and_cid, &mut out);
        }
        CidMode::Rfc9146 => write_extension(extension::CONNECTION_ID, &length_and_cid, &mut out),
    }
    out
}

fn write_extension(number: u16, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&(content.len() as u16).to_be_bytes());
    out.extend_from_slice(content);
}

/// A raw public key: its length in 24 bits, no list around it (RFC 7250 §3).
fn certificate(key: &ServerKey) -> Vec<u8> {
    let mut body = vec![0, 0, key.spki.len() as u8];
    body.extend_from_slice(&key.spki);
    body
}

fn server_key_exchange(key: &ServerKey) -> Vec<u8> {
    let mut body = Vec::with_capacity(160);
    body.extend_from_slice(&key.params);
    body.extend_from_slice(&ECDSA_SHA256.to_be_bytes());
    body.extend_from_slice(&(key.signature.len() as u16).to_be_bytes());
    body.extend_from_slice(&key.signature);
    body
}

/// `type(1) length(3) seq(2) offset(3) length(3) verify_data(12)`
const FINISHED_BYTES: usize = 24;

/// ChangeCipherSpec and Finished. Kept for a while after the handshake: a client that missed them
/// repeats its own flight, and is answered with them under fresh record numbers.
#[derive(Clone, Debug)]
pub struct FinalFlight {
    /// Next number of epoch 0.
    record_number: u64,
    finished: [u8; FINISHED_BYTES],
}

impl FinalFlight {
    pub(crate) fn new(record_number: u64, message_seq: u16, verify_data: &VerifyData) -> Self {
        let header = HandshakeHeader::whole(handshake_type::FINISHED, message_seq, 12);
        let mut finished = [0; FINISHED_BYTES];
        finished[..HANDSHAKE_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        finished[HANDSHAKE_HEADER_BYTES..].copy_from_slice(verify_data);
        Self { record_number, finished }
    }

    /// Appends the flight to `out`, the Finished message sealed by the session. To be called for
    /// every authentic record of type handshake that the session opens.
    ///
    /// # Errors
    /// [`ReservationSpent`]; nothing was appended.
    pub fn repeat(
        &mut self,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Result<(), ReservationSpent> {
        let start = out.len();
        write_plain_record(ContentType::ChangeCipherSpec, self.record_number, &[1], out);
        if let Err(spent) = session.seal(ContentType::Handshake, &self.finished, out) {
            out.truncate(start);
            return Err(spent);
        }
        self.record_number += 1;
        Ok(())
    }
}
