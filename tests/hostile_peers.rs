//! Strangers and broken peers over real sockets, while a healthy device goes on: the memory that the
//! server takes is bounded, the device is answered, a counter tells the operator.

mod support;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::live::Live;
use support::Server;
use support::folder::{Folder, Ports, identity};
use support::live::{await_acknowledgement, connect, publish};
use support::relay::{From, Relay};
use support::watch::{let_metrics_settle, metric};

/// Longer than any acknowledgement on a loaded machine, shorter than a retransmission.
const ANSWERED: Duration = Duration::from_secs(4);
/// What all of one case may take beyond what there was, in KiB; buffers of sockets are the kernel's.
const GROWTH_MAX: u64 = 48 * 1024;

/// A server with a healthy device.
struct Scene {
    server: Server,
    _folder: Folder,
    ports: Ports,
    device: Live,
    relay: Relay,
    slowest: Duration,
    before: u64,
}

impl Scene {
    fn new() -> Self {
        let folder = Folder::new();
        folder.register(&[identity(Generation::Os6, 1)]);
        let server = folder.serve();
        let ports = Ports::of(&server);
        let relay = Relay::new(ports.udp());
        let mut device = folder.device(Generation::Os6, 1, relay.address);
        connect(&mut device);
        let before = resident_kib(server.pid());
        Self { server, _folder: folder, ports, device, relay, slowest: Duration::ZERO, before }
    }

    /// The healthy device publishes and is answered in time.
    fn publish(&mut self) {
        let began = Instant::now();
        let number = publish(&mut self.device, "temp", "21");
        await_acknowledgement(&mut self.device, number);
        let took = began.elapsed();
        self.slowest = self.slowest.max(took);
        assert!(took < ANSWERED, "a healthy device waits {took:?}");
        // Its own limit is one publish a second.
        self.device.run(Duration::from_millis(1000));
    }

    fn count(&self, name: &str, labels: &str) -> u64 {
        let_metrics_settle();
        metric(&self.server.url(), name, labels)
    }

    /// Tells what was measured and looks at the memory.
    fn end(self, case: &str) {
        let after = resident_kib(self.server.pid());
        let grown = after.saturating_sub(self.before);
        eprintln!("{case}: {grown} KiB more, slowest answer {:?}", self.slowest);
        assert!(grown < GROWTH_MAX, "{case}: {grown} KiB more");
        assert!(self.server.stop().success());
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// The first datagram of the vectors: a ClientHello without cookie.
fn client_hello() -> Vec<u8> {
    let vector = include_str!("vectors/dtls-handshake-cid.json");
    let vector: serde_json::Value = serde_json::from_str(vector).expect("JSON");
    hex::decode(vector["datagrams"][0]["hex"].as_str().expect("text")).expect("hex")
}

#[test]
fn a_flood_of_client_hellos_costs_nothing_but_cookies() {
    let mut scene = Scene::new();
    let mut hello = client_hello();
    for round in 0..3_u8 {
        for _ in 0..20 {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            for number in 0..200_u8 {
                hello[27] = round;
                hello[28] = number;
                socket.send_to(&hello, &*scene.ports.udp).expect("sent");
            }
        }
        scene.publish();
    }
    assert!(scene.count("cloudchamber_dtls_cookies_sent_total", "") > 1000);
    scene.end("12,000 ClientHellos without cookie");
}

#[test]
fn tcp_peers_that_send_a_byte_at_a_time_and_then_too_much_do_not_hold_up_others() {
    let mut scene = Scene::new();
    let connections: Vec<_> =
        (0..64).map(|_| TcpStream::connect(&*scene.ports.tcp).expect("connected")).collect();
    for round in 0..4_u8 {
        for mut stream in &connections {
            stream.set_nodelay(true).expect("set");
            // Closed already is as good.
            let _ = stream.write_all(&[round]);
        }
        scene.publish();
    }
    for mut stream in &connections {
        let _ = stream.write_all(&[0x55; 300]);
    }
    scene.publish();
    let closed = connections.iter().filter(|stream| is_closed(stream)).count();
    assert_eq!(closed, connections.len(), "more than 256 bytes end a key exchange");
    assert!(scene.count("cloudchamber_tcp_failures_total", "") >= 64);
    scene.end("64 TCP peers, a byte at a time");
}

/// Whether the server ended the stream: its nonce is read, then there is an end.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut bytes = [0; 256];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn replays_and_forgeries_change_nothing_for_the_device_they_name() {
    let mut scene = Scene::new();
    scene.publish();
    let heard: Vec<Vec<u8>> = scene
        .relay
        .passed()
        .into_iter()
        .filter(|datagram| datagram.from == From::Device)
        .map(|datagram| datagram.bytes)
        .collect();
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for round in 0..3_u8 {
        for datagram in &heard {
            for changed in [None, Some(3), Some(datagram.len() - 1)] {
                let mut datagram = datagram.clone();
                if let Some(at) = changed {
                    datagram[at] ^= 1 << round;
                }
                elsewhere.send_to(&datagram, &*scene.ports.udp).expect("sent");
            }
        }
        // Alerts of nobody, in the clear: close_notify and a fatal one.
        for alert in [[1, 0], [2, 40]] {
            let record = [&[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, round, 0, 2][..], &alert].concat();
            elsewhere.send_to(&record, &*scene.ports.udp).expect("sent");
        }
        scene.publish();
    }
    let dropped = "cloudchamber_datagrams_dropped_total";
    assert!(scene.count(dropped, "") >= heard.len() as u64);
    let hellos = scene.count("cloudchamber_sessions_opened_total", "");
    assert_eq!(hellos, 1, "the device keeps its session");
    scene.end("replays and forgeries");
}

#[test]
fn noise_of_every_length_is_counted_and_forgotten() {
    let mut scene = Scene::new();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for first in [0_u8, 20, 22, 23, 25, 253, 254] {
        for length in (0..1400).step_by(7) {
            let mut datagram = vec![first; length];
            if let Some(version) = datagram.get_mut(1..3) {
                version.copy_from_slice(&[0xfe, 0xfd]);
            }
            socket.send_to(&datagram, &*scene.ports.udp).expect("sent");
        }
        scene.publish();
    }
    assert!(scene.count("cloudchamber_datagrams_dropped_total", "") > 500);
    scene.end("1,400 datagrams of noise");
}
