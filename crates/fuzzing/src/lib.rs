//! The bodies of the fuzz targets: each takes any bytes and must come back, whatever they are.
//!
//! `tests/fuzz` makes a program for libFuzzer of each (`cargo xtask fuzz`), and `tests/replay.rs`
//! gives them the committed corpus as an ordinary test. A finding is a panic: one in the code under
//! test, or in a body that found something untrue.

mod coap;
#[cfg(feature = "server")]
mod config;
mod datagram;
mod firmware;
mod handshake;
#[cfg(feature = "server")]
mod http;
mod message;
mod record;
mod script;
mod tcp;
#[cfg(feature = "server")]
mod webhook;

/// A body with its name, which is that of its program and of its corpus.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As `cargo xtask fuzz NAME` takes it.
    pub name: &'static str,
    /// Takes an input; panics if something is untrue.
    pub run: fn(&[u8]),
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "coap", run: coap::run },
    #[cfg(feature = "server")]
    Target { name: "config", run: config::run },
    Target { name: "datagram", run: datagram::run },
    Target { name: "firmware", run: firmware::run },
    Target { name: "handshake", run: handshake::run },
    #[cfg(feature = "server")]
    Target { name: "http", run: http::run },
    Target { name: "message", run: message::run },
    Target { name: "record", run: record::run },
    Target { name: "tcp_frames", run: tcp::frames },
    Target { name: "tcp_handshake", run: tcp::handshake },
    #[cfg(feature = "server")]
    Target { name: "webhook", run: webhook::run },
];

/// Runs the target of this name.
///
/// # Panics
/// If there is none, and with whatever the target finds.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a known target");
    (target.run)(input);
}
