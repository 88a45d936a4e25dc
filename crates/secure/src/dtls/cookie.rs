//! The stateless cookie (RFC 6347 §4.2.1): an address proves that it receives before it costs memory.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::codec::{
    ContentType, RecordHeader, VERSION_1_0, alert, handshake_type, write_handshake,
    write_plain_record,
};
use super::hello::{ClientHello, RawHello};

/// Long enough not to be guessed, short enough not to amplify.
pub const COOKIE_BYTES: usize = 20;
/// A HelloVerifyRequest with its record: headers of 13 and 12 bytes, version, length and cookie.
pub const HELLO_VERIFY_REQUEST_BYTES: usize = 13 + 12 + 2 + 1 + COOKIE_BYTES;
/// A cookie is good for at least one slot and at most two. A device repeats its second hello for
/// 21 s and gives up after 45 s (`dtls-session.md` §8).
const SLOT_US: u64 = 60_000_000;

/// Gives out cookies and recognises them, without remembering any.
#[derive(Clone)]
pub struct Cookies {
    keyed: Hmac<Sha256>,
}

/// What to do with a ClientHello.
#[derive(Clone)]
pub enum HelloOutcome {
    /// Send this HelloVerifyRequest; nothing is to be remembered.
    Verify(Vec<u8>),
    /// The address is the client's: begin a handshake, or go on with the one that this address
    /// already has with the same random.
    Accepted(Box<ClientHello>),
    /// The address is the client's, but it offers nothing the cloud can do: send this alert.
    Refused(Vec<u8>),
    /// Not a ClientHello.
    Noise,
}

impl Cookies {
    /// `secret` is random and lives at least as long as a handshake takes.
    pub fn new(secret: [u8; 32]) -> Self {
        let keyed = Hmac::new_from_slice(&secret).expect("HMAC takes keys of every length");
        Self { keyed }
    }

    /// Judges a datagram of class [`super::Class::ClientHello`] that came from `peer`. `now` is in
    /// microseconds.
    pub fn answer(&self, now: u64, peer: SocketAddr, datagram: &[u8]) -> HelloOutcome {
        let Some(hello) = RawHello::parse(datagram) else { return HelloOutcome::Noise };
        let slot = now / SLOT_US;
        if !self.is_good(slot, peer, &hello) {
            let cookie = self.cookie(slot, peer, &hello.random);
            return HelloOutcome::Verify(hello_verify_request(hello.record_number, &cookie));
        }
        match hello.accept() {
            Some(hello) => HelloOutcome::Accepted(Box::new(hello)),
            None => HelloOutcome::Refused(handshake_failure(hello.record_number)),
        }
    }

    fn is_good(&self, slot: u64, peer: SocketAddr, hello: &RawHello<'_>) -> bool {
        if hello.cookie.len() != COOKIE_BYTES {
            return false;
        }
        [Some(slot), slot.checked_sub(1)].into_iter().flatten().any(|slot| {
            let cookie = self.cookie(slot, peer, &hello.random);
            hello.cookie.ct_eq(&cookie).into()
        })
    }

    fn cookie(&self, slot: u64, peer: SocketAddr, random: &[u8; 32]) -> [u8; COOKIE_BYTES] {
        let mut mac = self.keyed.clone();
        match peer.ip() {
            IpAddr::V4(ip) => mac.update(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&peer.port().to_be_bytes());
        mac.update(random);
        mac.update(&slot.to_be_bytes());
        let tag = mac.finalize().into_bytes();
        *tag.first_chunk().expect("a SHA-256 tag has 32 bytes")
    }
}

/// Under the number of the hello it answers, so that nothing has to be remembered.
fn hello_verify_request(record_number: u64, cookie: &[u8; COOKIE_BYTES]) -> Vec<u8> {
    let mut body = Vec::with_capacity(3 + COOKIE_BYTES);
    body.extend_from_slice(&VERSION_1_0);
    body.push(COOKIE_BYTES as u8);
    body.extend_from_slice(cookie);
    let mut message = Vec::with_capacity(48);
    write_handshake(handshake_type::HELLO_VERIFY_REQUEST, 0, &body, &mut message);

    let mut datagram = Vec::with_capacity(64);
    let header = RecordHeader {
        first_byte: ContentType::Handshake as u8,
        epoch: 0,
        number: record_number,
        cid: None,
        length: message.len(),
    };
    header.write(&mut datagram);
    datagram[1..3].copy_from_slice(&VERSION_1_0);
    datagram.extend_from_slice(&message);
    datagram
}

fn handshake_failure(record_number: u64) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(16);
    let alert = [alert::FATAL, alert::HANDSHAKE_FAILURE];
    write_plain_record(ContentType::Alert, record_number, &alert, &mut datagram);
    datagram
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}
