//! DTLS against bytes from elsewhere, against a client in virtual time, and against hostile peers.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod client;
mod hostile;
mod loss;
mod nonces;
mod order;
mod recordings;
mod support;
mod vectors;
