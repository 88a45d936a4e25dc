//! What a connection costs on the wire, measured between a device and the real server.

mod support;

use std::time::Duration;

use sim::device::profile::Generation;
use sim::device::{How, Observation};
use sim::live::Live;
use support::Server;
use support::folder::{Folder, Ports, identity};
use support::live::{await_observation, connect, finish};
use support::relay::{Datagram, From, HEADERS, Relay, records};

/// A server and a device that never connected, with a relay between them.
struct Wire {
    _folder: Folder,
    _server: Server,
    relay: Relay,
    live: Live,
}

impl Wire {
    fn new(generation: Generation) -> Self {
        let folder = Folder::new();
        folder.register(&[identity(generation, 1)]);
        let server = folder.serve();
        let relay = Relay::new(Ports::of(&server).udp());
        let live = folder.device(generation, 1, relay.address);
        Self { _folder: folder, _server: server, relay, live }
    }

    fn sizes(&self, from: From) -> Vec<usize> {
        let passed = self.relay.passed();
        passed.iter().filter(|d| d.from == from).map(|d| d.bytes.len()).collect()
    }
}

/// `session-resume.md` §8: 53 + 33 bytes and their headers.
#[test]
fn a_device_of_6_2_resumes_with_142_bytes() {
    assert_eq!(resume_bytes(Generation::Os6), (253, 142));
}

/// `session-resume.md` §8: 46 + 33 bytes and their headers.
#[test]
fn a_device_of_3_0_resumes_with_135_bytes() {
    assert_eq!(resume_bytes(Generation::Os3), (254, 135));
}

/// First byte of the ping, and the bytes of ping and acknowledgement with IPv4 and UDP headers. The
/// firmware publishes two events right behind the ping; they are no part of the resume, and the server
/// adds nothing of its own.
fn resume_bytes(generation: Generation) -> (u8, usize) {
    let mut wire = Wire::new(generation);
    connect(&mut wire.live);
    wire.live.run(Duration::from_secs(1));
    wire.relay.forget();
    wire.live.reset();
    await_observation(&mut wire.live, |seen| *seen == Observation::Connected(How::Resumed));
    finish(&mut wire.live);
    wire.live.run(Duration::from_secs(1));

    let passed = wire.relay.passed();
    let said: Vec<&Datagram> = passed.iter().filter(|d| d.from == From::Device).collect();
    let answers = wire.sizes(From::Server);
    let acknowledgement = answers[0];
    assert_eq!(answers, vec![acknowledgement; said.len()], "one acknowledgement each, and no more");
    assert_eq!(said.len(), 3, "a ping and two events");
    let ping = said[0];
    assert!(said[1..].iter().all(|event| event.bytes.len() > ping.bytes.len()));
    (ping.bytes[0], ping.bytes.len() + HEADERS + acknowledgement + HEADERS)
}

/// `session-resume.md` §8: 1,100 bytes in 6 datagrams; the signatures vary by a few bytes.
#[test]
fn a_full_handshake_of_6_2_costs_no_more_than_documented() {
    handshake_bytes(Generation::Os6, [60, 316, 67], 1268);
}

/// `session-resume.md` §8: the same without the connection id.
#[test]
fn a_full_handshake_of_3_0_costs_no_more_than_documented() {
    handshake_bytes(Generation::Os3, [60, 303, 67], 1229);
}

fn handshake_bytes(generation: Generation, flights: [usize; 3], total: usize) {
    let mut wire = Wire::new(generation);
    wire.live.power_on();
    await_observation(&mut wire.live, |seen| *seen == Observation::Connected(How::Handshake));
    let passed = wire.relay.passed();
    // The fourth datagram of each is the Hello and its acknowledgement.
    let sent: Vec<usize> = wire.sizes(From::Server);
    assert!(sent.len() >= 4, "{sent:?}");
    for (found, wanted) in sent.iter().zip(flights) {
        assert!(*found <= wanted + SIGNATURE_SLACK, "{sent:?} against {flights:?}");
    }
    let said = wire.sizes(From::Device);
    let bytes: usize = sent[..3].iter().chain(&said[..3]).map(|size| size + HEADERS).sum();
    assert!(bytes <= total + 2 * SIGNATURE_SLACK, "{bytes} bytes, not {total}");
    let finished = passed.iter().filter(|d| d.from == From::Server).nth(2).expect("a flight");
    let kinds: Vec<u8> = records(&finished.bytes).iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [20, 22]);
}

/// An ECDSA signature on P-256 has 68 to 72 bytes, nearly always 70 to 72.
const SIGNATURE_SLACK: usize = 4;
