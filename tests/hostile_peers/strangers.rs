//! Datagrams of peers that are nobody yet.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use model::Mono;
use secure::dtls::codec::{
    HANDSHAKE_HEADER_BYTES, RECORD_HEADER_BYTES, handshake_type, split_record,
};
use sim::device::profile::Generation;
use sim::device::{Device, Output, Setup};

use crate::rogue::send_all;
use crate::scene::{Case, Pace, Scene, rate};
use crate::support::folder::identity;

/// The first datagram of the vectors: a ClientHello without cookie.
fn client_hello() -> Vec<u8> {
    let vector = include_str!("../vectors/dtls-handshake-cid.json");
    let vector: serde_json::Value = serde_json::from_str(vector).expect("JSON");
    hex::decode(vector["datagrams"][0]["hex"].as_str().expect("text")).expect("hex")
}

#[test]
fn a_flood_of_client_hellos_costs_nothing_but_cookies() {
    let scene = Scene::new();
    let case = Case {
        name: "ClientHellos without cookie",
        memory_mib: 4,
        counter: ("cloudchamber_dtls_cookies_sent_total", ""),
        counted_percent: 95,
    };
    let sockets: Vec<_> =
        (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let mut hello = client_hello();
    scene.run(&case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(20_000), span) {
            hello[27..31].copy_from_slice(&(number as u32).to_be_bytes());
            let socket = &sockets[number as usize % sockets.len()];
            socket.send_to(&hello, &*scene.ports.udp).expect("sent");
            sent += 1;
        }
        sent
    });
    scene.end();
}

/// Handshakes of one address; 256 of them may be open.
const OF_ONE_ADDRESS: u64 = 300;
/// One in so many goes on, and leaves out a part of its ClientKeyExchange.
const GOES_ON: u64 = 4;

#[test]
fn handshakes_that_stop_half_way_are_bounded_in_number_and_memory() {
    let scene = Scene::new();
    let case = Case {
        name: "half-open handshakes",
        memory_mib: 48,
        counter: ("cloudchamber_datagrams_dropped_total", "too_many_open"),
        counted_percent: 10,
    };
    let setup = Arc::new(scene.folder.setup(Generation::Os6));
    let mut buffer = [0; 2048];
    scene.run(&case, |span| {
        let mut begun = 0;
        for number in Pace::new(500, span) {
            let address = Ipv4Addr::from_bits(0x7F01_0001 + (number / OF_ONE_ADDRESS) as u32);
            let socket = UdpSocket::bind((address, 0)).expect("a port");
            socket.connect(scene.ports.udp()).expect("an address");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
            half_open(&socket, &setup, number, &mut buffer);
            begun += 1;
        }
        begun
    });
    scene.end();
}

fn half_open(socket: &UdpSocket, setup: &Arc<Setup>, number: u64, buffer: &mut [u8]) {
    let mut device = Device::new(identity(Generation::Os6, 7), Arc::clone(setup), number);
    device.power_on(Mono(0));
    send_all(&mut device, socket);
    let Ok(count) = socket.recv(buffer) else { return };
    device.handle_datagram(Mono(0), &mut buffer[..count]);
    send_all(&mut device, socket);
    if !number.is_multiple_of(GOES_ON) {
        return;
    }
    while let Ok(count) = socket.recv(buffer) {
        device.handle_datagram(Mono(0), &mut buffer[..count]);
        if let Some(Output::Datagram(mut flight)) = device.poll_output() {
            let _ = socket.send(&without_a_part(&mut flight));
            return;
        }
    }
}

/// A flight in which the second half of the ClientKeyExchange is missing.
fn without_a_part(flight: &mut [u8]) -> Vec<u8> {
    let (mut cut, mut rest) = (Vec::new(), flight);
    while let Some((header, record, more)) = split_record(rest) {
        let is_key_exchange =
            header.epoch == 0 && record[RECORD_HEADER_BYTES] == handshake_type::CLIENT_KEY_EXCHANGE;
        if is_key_exchange {
            let (bytes, header_end) = (record.len(), RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES);
            let part = (bytes - header_end) / 2;
            record[11..13].copy_from_slice(&((HANDSHAKE_HEADER_BYTES + part) as u16).to_be_bytes());
            let fragment_length = RECORD_HEADER_BYTES + 9..header_end;
            record[fragment_length].copy_from_slice(&(part as u32).to_be_bytes()[1..]);
            cut.extend_from_slice(&record[..header_end + part]);
        } else {
            cut.extend_from_slice(record);
        }
        rest = more;
    }
    cut
}

/// Longest datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;

#[test]
fn noise_of_every_length_is_counted_and_forgotten() {
    let scene = Scene::new();
    let case = Case {
        name: "noise of 0 to 65,507 bytes",
        memory_mib: 4,
        counter: ("cloudchamber_datagrams_dropped_total", ""),
        counted_percent: 95,
    };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let server: SocketAddr = scene.ports.udp();
    let mut noise = vec![0x5A; DATAGRAM_MAX];
    scene.run(&case, |span| {
        let mut sent = 0;
        for number in Pace::new(rate(5000), span) {
            let first = [0_u8, 20, 21, 22, 23, 25, 253, 254, 0x40, 0x70][number as usize % 10];
            noise[..5].copy_from_slice(&[first, 0xFE, 0xFD, 0, (number / 10 % 2) as u8]);
            let length = if number.is_multiple_of(16) {
                DATAGRAM_MAX - number as usize % 997
            } else {
                number as usize * 7 % 1500
            };
            socket.send_to(&noise[..length], server).expect("sent");
            sent += 1;
        }
        sent
    });
    scene.end();
}
