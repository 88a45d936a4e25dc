//! A connection that nobody said Hello on: what its handshake left behind.

use std::net::IpAddr;

use model::{DeviceId, KeyHash, Mono};
use secure::dtls::FinalFlight;

use super::Greeting;

/// What is kept from the handshake until the Hello.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// The id that the handshake told (TCP).
    pub(crate) told: Option<DeviceId>,
    /// The key that was proven (UDP) or is proven by the first frame (TCP). Whose it is is asked at the
    /// Hello: in the time since the handshake it may have been taken from its device.
    pub(crate) key: KeyHash,
    /// When the connection goes if no Hello came.
    pub(crate) expires_at: Mono,
    /// The network whose share of open handshakes this one takes (UDP).
    pub(crate) counted_network: Option<IpAddr>,
    /// Names the handshake: a late copy of its ClientHello begins no other one.
    pub(crate) client_random: [u8; 32],
    /// The key in SubjectPublicKeyInfo.
    pub(crate) public_key: Box<[u8]>,
    /// For a client that missed the end of the handshake (UDP).
    pub(crate) final_flight: Option<FinalFlight>,
    /// A Hello that waits to know whose key it is, or for the key to be bound.
    pub(crate) greeting: Option<Box<Greeting>>,
    /// What came behind that Hello (TCP).
    pub(crate) unread: Vec<u8>,
}

/// A device waits for our Hello before it says more, so hardly anything is ever unread.
const UNREAD_BYTES_MAX: usize = 4096;

impl Newcomer {
    /// Keeps bytes of a stream until its Hello is taken; whether there is room for them.
    pub(crate) fn keep_unread(&mut self, bytes: &[u8]) -> bool {
        let has_room = self.unread.len() + bytes.len() <= UNREAD_BYTES_MAX;
        if has_room {
            self.unread.extend_from_slice(bytes);
        }
        has_room
    }
}
