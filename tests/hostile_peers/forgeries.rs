//! What somebody in the path can do to a session whose keys it does not have.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use secure::dtls::ContentType;
use sim::device::Device;
use sim::device::profile::Generation;
use sim::live::Live;

use crate::messages::{ACK, RST, empty};
use crate::rogue::Rogue;
use crate::scene::{Case, Pace, Place, Scene, rate};
use crate::support::folder::{Folder, Ports, identity};
use crate::support::live::{await_acknowledgement, connect, handshakes, publish};
use crate::support::relay::{From, Relay};

/// Where the connection id is in a record that has one.
const CID: std::ops::Range<usize> = 11..19;
/// A record of a connection id.
const TYPE_CID: u8 = 25;
/// The victim publishes behind so many datagrams.
const PUBLISHES_EACH: u64 = 500;
const DROPPED: (&str, &str) = ("cloudchamber_datagrams_dropped_total", "");

/// A device whose datagrams all pass through other hands.
struct Victim {
    live: Live,
    relay: Relay,
}

impl Victim {
    /// Device 2 of a generation, connected, with some publishes behind it.
    fn connect(folder: &Folder, ports: &Ports, generation: Generation) -> Self {
        let relay = Relay::new(ports.udp());
        let mut setup = folder.setup(generation);
        setup.limits_publishes = false;
        let device = Device::new(identity(generation, 2), Arc::new(setup), 2);
        let live = Live::new(device, relay.address);
        let mut victim = Self { live, relay };
        connect(&mut victim.live);
        for _ in 0..4 {
            victim.publishes();
        }
        victim
    }

    fn publishes(&mut self) {
        let number = publish(&mut self.live, "victim", "21");
        await_acknowledgement(&mut self.live, number);
        self.live.run(Duration::from_millis(50));
    }

    /// Every datagram of its.
    fn said(&self) -> Vec<Vec<u8>> {
        let passed = self.relay.passed().into_iter();
        passed
            .filter(|datagram| datagram.from == From::Device)
            .map(|datagram| datagram.bytes)
            .collect()
    }

    fn records_with_cid(&self) -> Vec<Vec<u8>> {
        let said = self.said().into_iter();
        said.filter(|datagram| datagram[0] == TYPE_CID).collect()
    }

    /// Its session is the first one it had.
    fn still_there(&mut self) {
        self.publishes();
        assert_eq!(handshakes(self.live.observations()), (1, 1));
    }
}

/// Sends from the victim's own address and from elsewhere in turns.
fn send(victims: &[Victim], at: u64, elsewhere: &UdpSocket, server: &str, datagram: &[u8]) {
    let victim = &victims[at as usize % victims.len()];
    if (at / 2).is_multiple_of(2) {
        victim.relay.forge(datagram);
    } else {
        elsewhere.send_to(datagram, server).expect("sent");
    }
}

fn replay(scene: &Scene, name: &'static str, victims: &mut [Victim]) {
    let case = Case { name, memory_mib: 8, counter: DROPPED, counted_percent: 50 };
    let heard: Vec<_> = victims.iter().map(Victim::said).collect();
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let count = victims.len() as u64;
    scene.run(&case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(10_000), span) {
            let heard = &heard[(number % count) as usize];
            let datagram = &heard[(number / 4) as usize % heard.len()];
            send(victims, number, &elsewhere, &scene.ports.udp, datagram);
            sent += 1;
            if number.is_multiple_of(PUBLISHES_EACH) {
                victims[(number / PUBLISHES_EACH % count) as usize].publishes();
            }
        }
        sent
    });
    victims.iter_mut().for_each(Victim::still_there);
}

#[test]
fn what_was_recorded_is_refused_from_any_address() {
    let scene = Scene::new();
    let mut victims = [Generation::Os6, Generation::Os3]
        .map(|generation| Victim::connect(&scene.folder, &scene.ports, generation));
    replay(&scene, "replays", &mut victims);
    scene.end();
}

#[test]
fn what_was_recorded_is_refused_after_a_crash_too() {
    let place = Place::new();
    let server = place.folder.serve_with(&Place::environment());
    let ports = Ports::of(&server);
    let mut victims = [Generation::Os6, Generation::Os3]
        .map(|generation| Victim::connect(&place.folder, &ports, generation));
    server.kill();
    let server = place.folder.serve_again(&ports, &Place::environment());
    let scene = Scene::on(place, server);
    replay(&scene, "replays after a crash", &mut victims);
    scene.end();
}

#[test]
fn records_of_one_session_are_nothing_in_another() {
    let scene = Scene::new();
    let case = Case {
        name: "records under another connection id",
        memory_mib: 4,
        counter: DROPPED,
        counted_percent: 95,
    };
    let mut victim = Victim::connect(&scene.folder, &scene.ports, Generation::Os6);
    let records = victim.records_with_cid();
    let cid = records[0][CID].to_vec();
    let mut rogue = Rogue::connect(&scene.folder, 3, scene.ports.udp());
    scene.run(&case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(10_000), span) {
            // A good record of the rogue's as the victim's, or one of the victim's as the rogue's.
            let record = if number.is_multiple_of(2) {
                let id = rogue.id();
                let mut record = rogue.seal(ContentType::ApplicationData, &empty(RST, id));
                record[CID].copy_from_slice(&cid);
                record
            } else {
                let mut record = records[number as usize / 2 % records.len()].clone();
                record[CID].copy_from_slice(&rogue.session.cid().expect("it has one")[..]);
                record
            };
            if (number / 2).is_multiple_of(2) {
                victim.relay.forge(&record);
            } else {
                rogue.socket.send(&record).expect("sent");
            }
            sent += 1;
            if number.is_multiple_of(PUBLISHES_EACH) {
                victim.publishes();
            }
        }
        sent
    });
    victim.still_there();
    scene.end();
}

#[test]
fn forged_alerts_and_resets_from_a_sessions_own_address_end_nothing() {
    let scene = Scene::new();
    let case = Case {
        name: "forged alerts and resets",
        memory_mib: 4,
        counter: DROPPED,
        counted_percent: 95,
    };
    let mut victims = [Generation::Os6, Generation::Os3]
        .map(|generation| Victim::connect(&scene.folder, &scene.ports, generation));
    let cid = victims[0].records_with_cid()[0][CID].to_vec();
    let mut rogue = Rogue::connect(&scene.folder, 3, scene.ports.udp());
    let before = scene.count(("cloudchamber_connections_closed_total", ""));
    scene.run(&case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(10_000), span) {
            let victim = &victims[(number % 2) as usize];
            victim.relay.forge(&forged(number / 2, &cid, &mut rogue));
            sent += 1;
            if number.is_multiple_of(PUBLISHES_EACH) {
                victims[(number / PUBLISHES_EACH % 2) as usize].publishes();
            }
        }
        sent
    });
    victims.iter_mut().for_each(Victim::still_there);
    assert_eq!(scene.count(("cloudchamber_connections_closed_total", "")), before);
    scene.end();
}

/// Alerts in the clear, protected by nothing or by keys of others; CoAP without a record around it.
fn forged(number: u64, cid: &[u8], rogue: &mut Rogue) -> Vec<u8> {
    let alert = if number.is_multiple_of(2) { [1, 0] } else { [2, 40] };
    let id = (number / 6) as u16;
    let sequence = &number.to_be_bytes()[2..];
    match number / 2 % 6 {
        0 => [&[21, 0xFE, 0xFD, 0, 0][..], sequence, &[0, 2], &alert].concat(),
        1 => [&[21, 0xFE, 0xFD, 0, 1][..], sequence, &[0, 2], &alert].concat(),
        2 => [&[21, 0xFE, 0xFD, 0, 1][..], sequence, &[0, 18], &[0, 1], sequence, &alert, &[0; 8]]
            .concat(),
        3 => [
            &[25, 0xFE, 0xFD, 0, 1][..],
            sequence,
            cid,
            &[0, 24],
            &[0, 1],
            sequence,
            &alert,
            &[0; 14],
        ]
        .concat(),
        4 => empty(if number.is_multiple_of(2) { RST } else { ACK }, id),
        _ => {
            let mut record = rogue.seal(ContentType::Alert, &alert);
            record[CID].copy_from_slice(cid);
            record
        }
    }
}
