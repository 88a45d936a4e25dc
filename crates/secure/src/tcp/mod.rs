//! The secure channel of TCP devices (`tcp-session.md`): an RSA handshake, then AES-128-CBC frames.
//!
//! ```text
//! device                                         server
//!   |<------------------ 40 bytes -----------------|  nonce, in the clear
//!   |------------------ 256 bytes ---------------->|  RSA(server): nonce, device id, public key
//!   |<------------------ 384 bytes ----------------|  RSA(device): credentials; signature (server)
//!   |<================== frames ==================>|
//! ```
//!
//! [`ServerHandshake`] takes bytes and gives bytes; its two private-key operations leave it as
//! [`Job`]s that run wherever the caller likes. [`FrameOpener`] and [`FrameSealer`] carry one message
//! a frame, in either direction. [`device`] has the device's half of the handshake.
//!
//! Every failure is the same for the peer: the connection is closed. There is no alert.

pub mod device;
mod frame;
mod handshake;
mod job;
mod rsa;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use frame::{FRAME_MESSAGE_BYTES_MAX, FrameError, FrameOpener, FrameSealer, SealError};
pub use handshake::{HandshakeOutput, Refused, ServerHandshake};
pub use job::{Job, JobDone, RsaServerKeys};

/// Length of the server's nonce in bytes.
pub const NONCE_BYTES: usize = 40;
/// Length of the device's message in bytes.
pub const DEVICE_CREDENTIALS_BYTES: usize = 256;
/// Length of the server's answer in bytes.
pub const SESSION_KEY_BYTES: usize = 384;

/// The 40 secret bytes of one connection (`tcp-session.md` §2, step 3).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SessionCredentials([u8; 40]);

impl SessionCredentials {
    /// Takes `key[16] || iv[16] || salt[8]`.
    pub const fn new(bytes: [u8; 40]) -> Self {
        Self(bytes)
    }

    /// What both directions of the frame stream start from.
    pub fn frame_keys(&self) -> FrameKeys {
        let (key, rest) = self.0.split_at(16);
        FrameKeys {
            key: key.try_into().expect("16 of 40 bytes"),
            iv: rest[..16].try_into().expect("16 of 24 bytes"),
        }
    }

    /// The last eight bytes; the first two, read as little-endian, come before the device's first
    /// message id (`tcp-session.md` §8).
    pub fn salt(&self) -> [u8; 8] {
        self.0[32..].try_into().expect("8 of 40 bytes")
    }

    fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    fn as_bytes_mut(&mut self) -> &mut [u8; 40] {
        &mut self.0
    }
}

impl fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionCredentials(secret)")
    }
}

/// AES key and first initialisation vector; the same for both directions.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct FrameKeys {
    /// The AES-128 key.
    pub key: [u8; 16],
    /// The initialisation vector of the first frame in each direction.
    pub iv: [u8; 16],
}

impl fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKeys(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_keys_are_overwritten_when_they_are_dropped() {
        fn is_overwritten<T: ZeroizeOnDrop>() {}
        is_overwritten::<SessionCredentials>();
        is_overwritten::<FrameKeys>();
        is_overwritten::<aes::Aes128Enc>();
        is_overwritten::<aes::Aes128Dec>();
        let mut credentials = SessionCredentials::new([7; 40]);
        credentials.zeroize();
        assert_eq!(credentials.as_bytes(), &[0; 40]);
    }
}
