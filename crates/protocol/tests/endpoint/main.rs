//! The endpoint and devices, back to back in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod addresses;
mod blocks;
mod bounds;
#[path = "../../../secure/tests/dtls/client.rs"]
#[expect(dead_code, reason = "the DTLS tests use more of it")]
mod client;
mod duplicates;
mod handshakes;
mod lossy;
mod presence;
mod recorded_updates;
mod recordings;
mod restart;
mod schedule;
mod streams;
mod support;
mod traffic;
