//! The keys of devices and of the server: reading them in every form users have them in, making
//! them in the form devices can use, and the images that go into a device's memory.
//!
//! [`PublicKey`] is what is registered and compared; [`PrivateKey`] is what a server or a simulated
//! device holds. Nothing here touches a file. Making a key asks OpenSSL's generator for randomness.
//!
//! Two kinds of transport, two kinds of key (`keys-and-provisioning.md` §2): elliptic-curve keys on
//! P-256 for UDP, RSA for TCP, 1024 bits on the device and 2048 bits on the server.

mod encoding;
mod image;
mod private;
mod public;
mod server;

pub use image::{Host, HostError, ImageError, ServerAddress, key_image};
pub use private::PrivateKey;
pub use public::PublicKey;
pub use server::ServerKeys;

/// What kind of key it is, and thereby who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Elliptic-curve key on P-256: both ends of UDP.
    P256,
    /// RSA with 1024 bits: a device on TCP.
    Rsa1024,
    /// RSA with 2048 bits: the server on TCP.
    Rsa2048,
}

impl KeyKind {
    /// Length of the canonical SubjectPublicKeyInfo in bytes.
    pub const fn spki_len(self) -> usize {
        match self {
            Self::P256 => 91,
            Self::Rsa1024 => 162,
            Self::Rsa2048 => 294,
        }
    }

    /// Length of the modulus in bytes; `None` for an elliptic-curve key.
    pub const fn modulus_len(self) -> Option<usize> {
        match self {
            Self::P256 => None,
            Self::Rsa1024 => Some(128),
            Self::Rsa2048 => Some(256),
        }
    }

    /// The word users know the algorithm by: `ec` or `rsa`.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::P256 => "ec",
            Self::Rsa1024 | Self::Rsa2048 => "rsa",
        }
    }
}

/// Why some bytes are no key for us, or none could be made. All but the last are about the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The private key is protected by a passphrase; the owner has to remove it.
    #[error("the key is encrypted: remove its passphrase first")]
    Encrypted,
    /// The numbers of the key do not belong together: the file is damaged.
    #[error("the key is damaged: its numbers do not belong together")]
    Inconsistent,
    /// Only the public half was found where the private one is needed.
    #[error("this is a public key, and the private key is needed")]
    NotPrivate,
    /// Neither a PEM block nor a DER structure that holds a key.
    #[error("no key found: PEM or DER is expected, as SPKI, SEC1, PKCS#1 or PKCS#8")]
    Unreadable,
    /// A key, but not P-256, RSA-1024 or RSA-2048 with e = 65537.
    #[error("only P-256 and RSA keys of 1024 or 2048 bits with e = 65537 are supported")]
    Unsupported,
    /// The cryptographic library failed; not the caller's mistake.
    #[error("the cryptographic library failed")]
    Library,
}
