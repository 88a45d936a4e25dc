//! The two secure channels of a device: DTLS 1.2 over UDP, and RSA with AES over TCP.
//!
//! Pure machines and arithmetic: no sockets, no clock, no threads; randomness is handed in. They
//! know nothing of CoAP or accounts. Begin with [`dtls::Session`] and [`p256::P256`].

pub mod dtls;
pub mod keys;
pub mod p256;
pub mod tcp;
