//! Clients of the API that do not read, or hardly write.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::rogue::{open, open_from};
use crate::scene::{Case, Pace, Scene, rate};

/// Publishes by the API, on one connection.
pub(crate) struct Publisher {
    stream: TcpStream,
    head: String,
}

impl Publisher {
    pub(crate) fn connect(scene: &Scene) -> Self {
        let stream = TcpStream::connect(&scene.ports.http).expect("connected");
        stream.set_nodelay(true).expect("set");
        let (host, token) = (&scene.ports.http, &scene.token);
        let head = format!(
            "POST /v1/devices/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        );
        Self { stream, head }
    }

    pub(crate) fn publish(&mut self, name: &str, data: &str) {
        let body = format!("name={name}&data={data}");
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = [0; 2048];
        let count = self.stream.read(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Of 16 KiB: 4 MiB of them may wait for a reader.
const EVENTS_PER_S: u64 = 400;
const READERS: usize = 8;

#[test]
fn readers_of_streams_that_read_nothing_miss_events_and_hold_up_nobody() {
    let scene = Scene::new();
    let case = Case {
        name: "event streams that nobody reads",
        memory_mib: 48,
        counter: ("cloudchamber_stream_events_missed_total", ""),
        counted_percent: 10,
    };
    let readers: Vec<_> = (0..READERS).map(|_| event_stream(&scene)).collect();
    let data = "d".repeat(16_000);
    scene.run(&case, |span| {
        let mut publisher = Publisher::connect(&scene);
        let mut published = 0;
        for _ in Pace::new(EVENTS_PER_S, span.max(Duration::from_secs(2))) {
            publisher.publish("unread", &data);
            published += 1;
        }
        published
    });
    drop(readers);
    scene.end();
}

fn event_stream(scene: &Scene) -> TcpStream {
    let mut stream = open(scene.ports.http.parse().expect("an address"));
    let (host, token) = (&scene.ports.http, &scene.token);
    let request = format!(
        "GET /v1/devices/events/unread HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = [0; 64];
    stream.read_exact(&mut head).expect("an answer");
    assert!(head.starts_with(b"HTTP/1.1 200"));
    stream
}

/// Connections of one address; more are refused.
const CONNECTIONS_MAX: u64 = 1000;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

#[test]
fn clients_that_send_their_requests_a_byte_at_a_time_are_bounded_in_number() {
    let scene = Scene::new();
    let case = Case {
        name: "HTTP requests a byte at a time",
        memory_mib: 32,
        counter: ("cloudchamber_http_connections_refused_total", "address_full"),
        counted_percent: 15,
    };
    let request = format!("GET /v1/devices HTTP/1.1\r\nX-Slow: {}", "x".repeat(4000));
    scene.run(&case, |span| {
        let server = scene.ports.http.parse().expect("an address");
        let slow: Vec<_> =
            (0..CONNECTIONS_MAX * 6 / 5).map(|_| open_from(STRANGER, server)).collect();
        for number in Pace::new(rate(5000), span) {
            let mut stream = &slow[number as usize % slow.len()];
            let at = number as usize / slow.len() % request.len();
            // Closed already is as good.
            let _ = stream.write_all(&request.as_bytes()[at..=at]);
        }
        slow.len() as u64
    });
    scene.end();
}
