//! A fleet over real sockets against a scripted server.

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Mono;
use secure::keys::PublicKey;
use secure::p256::spki_of_point;
use sim::device::profile::Generation;
use sim::fleet::{self, FleetConfig, Progress, Summary};
use sim::harness::Server;
use support::Script;

/// The scripted server on a socket of its own.
struct Cloud {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cloud {
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
        let address = socket.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || serve(&socket, &stopped)));
        Self { address, stop, thread }
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool) {
    let (mut script, started) = (Script::new(), Instant::now());
    let mut next = Mono(0);
    let mut buffer = [0; 2048];
    socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    while !stop.load(Ordering::Relaxed) {
        let now = Mono(1 + started.elapsed().as_micros() as u64);
        if let Ok((count, from)) = socket.recv_from(&mut buffer) {
            script.handle_datagram(now, from, &mut buffer[..count]);
        }
        if now >= next {
            next = now.after(Duration::from_millis(100));
            script.handle_timeout(now);
        }
        script.heard.clear();
        while let Some((to, bytes)) = script.poll_datagram() {
            let _ = socket.send_to(&bytes, to);
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(cloud: &Cloud) -> FleetConfig {
    let key = PublicKey::from_spki(&spki_of_point(&Script::point())).expect("a key");
    let mut config = FleetConfig::new(cloud.address, cloud.address, vec![key]);
    config.profiles = vec![Generation::Os6, Generation::Os3];
    config.devices = 20;
    config.duration = Some(Duration::from_secs(3));
    config
}

fn run(config: &FleetConfig) -> Summary {
    fleet::run(config, &AtomicBool::new(false), &mut |_| {}).expect("it runs")
}

#[test]
fn a_fleet_connects_publishes_and_is_acknowledged() {
    let cloud = Cloud::start();
    let mut config = config(&cloud);
    config.publish.per_s = 200.0;
    config.threads = 2;
    let summary = run(&config);
    let counts = summary.counts;
    assert_eq!((counts.online, counts.handshakes, counts.resumes), (20, 20, 0), "{summary:?}");
    assert!(counts.published > 300, "{summary:?}");
    assert!(counts.acknowledged + 20 > counts.published, "{summary:?}");
    assert_eq!((counts.refused, counts.lost, counts.losses), (0, 0, 0), "{summary:?}");
    assert!(summary.latency_ms.count == counts.acknowledged && summary.latency_ms.max > 0.0);
    let json: serde_json::Value = serde_json::from_str(&summary.to_json()).expect("JSON");
    assert_eq!(json["handshakes"], 20);
}

#[test]
fn a_fleet_resumes_its_sessions_in_the_next_run_and_after_restarts() {
    let cloud = Cloud::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&cloud);
    config.state_file = Some(folder.path().join("fleet.state"));
    let first = run(&config).counts;
    assert_eq!((first.handshakes, first.resumes), (20, 0));

    config.reset_every = Some(Duration::from_secs(2));
    config.roam_every = Some(Duration::from_secs(1));
    config.publish.per_s = 100.0;
    let second = run(&config).counts;
    assert_eq!(second.handshakes, 0, "{second:?}");
    assert!(second.resumes > 30, "all at the start and some after restarts: {second:?}");
    assert_eq!(second.losses, 0, "{second:?}");
}

#[test]
fn lost_datagrams_are_repeated_until_everybody_is_connected() {
    let cloud = Cloud::start();
    let mut config = config(&cloud);
    config.loss = 0.1;
    config.duration = Some(Duration::from_secs(90));
    let stop = AtomicBool::new(false);
    let mut progress = |progress: &Progress| {
        stop.store(progress.counts.online == 20, Ordering::Relaxed);
    };
    let counts = fleet::run(&config, &stop, &mut progress).expect("it runs").counts;
    assert_eq!(counts.online, 20, "{counts:?}");
    assert!(counts.received < counts.sent, "{counts:?}");
}

#[test]
fn registrations_are_json_lines_with_every_id() {
    let cloud = Cloud::start();
    let lines: Vec<_> =
        fleet::registrations(&config(&cloud)).map(|line| line.expect("a key")).collect();
    assert_eq!(lines.len(), 20);
    for (line, identity) in lines.iter().zip(fleet::identities(&config(&cloud))) {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["device_id"], identity.id.to_string());
        let pem = value["public_key_pem"].as_str().expect("text");
        assert!(PublicKey::parse(pem.as_bytes()).is_ok());
    }
}
