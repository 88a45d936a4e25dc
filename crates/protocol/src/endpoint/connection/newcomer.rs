//! A connection that nobody said Hello on: what its handshake left behind.

use std::net::IpAddr;

use model::{DeviceId, Mono};
use secure::dtls::FinalFlight;

use super::Greeting;

/// What is kept from the handshake until the Hello.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// The ids the key is registered for; none if it is unknown and trusted on first use.
    pub(crate) ids: Vec<DeviceId>,
    /// When the connection goes if no Hello came.
    pub(crate) expires_at: Mono,
    /// The address whose share of open handshakes this one takes (UDP).
    pub(crate) counted_ip: Option<IpAddr>,
    /// Names the handshake: a late copy of its ClientHello begins no other one.
    pub(crate) client_random: [u8; 32],
    /// The key in SubjectPublicKeyInfo; empty over TCP.
    pub(crate) public_key: Box<[u8]>,
    /// For a client that missed the end of the handshake (UDP).
    pub(crate) final_flight: Option<FinalFlight>,
    /// A Hello that waits for its key to be bound.
    pub(crate) greeting: Option<Box<Greeting>>,
}
