//! What sessions cost. Ignored: figures depend on the machine. Run with `--release --ignored
//! --nocapture`.

use std::net::SocketAddr;
use std::time::Instant;

use model::link::{Command, LinkEvent, RestoredSession, Verdict};
use model::{DeviceId, Mono, Now, Timestamp};
use protocol::endpoint::Output;
use protocol::{Endpoint, EndpointConfig};
use secure::dtls::{CidMode, ContentType, RecordNumbers, Role, Session, SessionKeys};

use crate::support::publish;

const SESSIONS: u32 = 100_000;
const PUBLISHES: usize = 200_000;

fn keys(number: u32) -> SessionKeys {
    let [_, a, b, c] = number.to_be_bytes();
    let cid = [0, a, b, c, 1, 2, 3, 4];
    let mut key_block = [7; 40];
    key_block[..4].copy_from_slice(&number.to_be_bytes());
    SessionKeys { key_block, cid_mode: CidMode::Draft05, cid }
}

fn peer(number: u32) -> SocketAddr {
    let [a, b, c, d] = number.to_be_bytes();
    SocketAddr::from(([10 + a, b, c, d], 5684))
}

fn restored(number: u32) -> RestoredSession {
    let server = Session::new(Role::Server, &keys(number), 1 << 40);
    let mut snapshot = vec![1, 4, 0x70, 4, 0, 4, 0, 1];
    snapshot.extend_from_slice(&server.to_snapshot());
    let mut id = [0; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    RestoredSession {
        device: DeviceId(id),
        snapshot: snapshot.into(),
        peer: peer(number),
        record_limit: 0,
        record_seen: 0,
        recent: Vec::new(),
        online: true,
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "a measurement"]
fn memory_of_an_idle_session_and_publishes_a_second() {
    let now = Now { mono: Mono(1_000_000), utc: Timestamp(0) };
    let mut endpoint = Endpoint::new(EndpointConfig::new(0, 1, [1; 32], [2; 32]));
    let before = resident_bytes();
    let mut links = Vec::new();
    for number in 0..SESSIONS {
        links.push(endpoint.restore(now, restored(number)).unwrap());
    }
    let links_bytes = (links.capacity() * 8) as u64;
    let each = (resident_bytes() - before - links_bytes) / u64::from(SESSIONS);
    println!("{each} bytes for each idle session");
    for count in [200, SESSIONS] {
        println!("{count} sessions in use: {:.0} publishes/s", speed(&mut endpoint, now, count));
    }
}

/// Publishes, their events and their acknowledgements, spread over the first `count` sessions.
fn speed(endpoint: &mut Endpoint, now: Now, count: u32) -> f64 {
    let mut devices: Vec<_> = (0..count)
        .map(|number| {
            let next = u64::from(count) * 1000;
            let numbers = RecordNumbers { next, limit: Session::UNLIMITED, seen: 0 };
            Session::resume(Role::Client, &keys(number), numbers)
        })
        .collect();
    let mut datagrams = Vec::new();
    for turn in 0..PUBLISHES {
        let number = (turn as u32).wrapping_mul(7919) % count;
        let mut datagram = Vec::new();
        let message = publish((turn / count as usize) as u16 + 1000);
        let session = &mut devices[number as usize];
        session.seal(ContentType::ApplicationData, &message, &mut datagram).unwrap();
        datagrams.push((peer(number), datagram));
    }
    let mut commands = Vec::new();
    let mut sent = 0;
    let start = Instant::now();
    for (from, datagram) in &mut datagrams {
        endpoint.handle_datagram(now, *from, datagram);
        while let Some(output) = endpoint.poll_output() {
            if let Output::Event(LinkEvent::Message { link, receipt: Some(receipt), .. }) = output {
                commands.push((link, receipt));
            } else if let Output::Event(LinkEvent::Reserve { link, record_limit }) = output {
                endpoint.handle_command(now, link, Command::Reserved { record_limit });
            }
        }
        for (link, receipt) in commands.drain(..) {
            let verdict = Verdict::Accepted;
            endpoint.handle_command(now, link, Command::Acknowledge { receipt, verdict });
        }
        sent += endpoint.transmits().len();
        endpoint.transmits().clear();
    }
    assert!(sent >= PUBLISHES);
    PUBLISHES as f64 / start.elapsed().as_secs_f64()
}
