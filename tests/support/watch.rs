//! What a running server tells: metrics and event streams.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;

/// The sum of a metric over those of its labels that contain `labels`; 0 while it was never touched.
pub fn metric(url: &str, name: &str, labels: &str) -> u64 {
    let (status, text) = http("GET", &format!("{url}/metrics"), "", "");
    assert_eq!(status, 200, "{text}");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(labels))
        .map(|(key, value)| value.parse::<f64>().unwrap_or_else(|_| panic!("{key} {value}")) as u64)
        .sum()
}

/// Counters are exported once a second: lets everything be told that happened before the call.
pub fn let_metrics_settle() {
    std::thread::sleep(Duration::from_millis(1_300));
}

/// Waits until a metric has a value.
pub fn await_metric(url: &str, name: &str, labels: &str, wanted: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let found = metric(url, name, labels);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < end, "{name}{{{labels}}} is {found}, not {wanted}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An event as a stream tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    pub data: Option<String>,
    pub device: String,
    pub id: Option<u64>,
}

/// All events of the account with this prefix that the server still has, read from a stream opened
/// with `Last-Event-ID: 0` until it is quiet.
pub fn replay(url: &str, token: &str, prefix: &str) -> Vec<Told> {
    let (host, path) = (url.trim_start_matches("http://"), format!("/v1/devices/events/{prefix}"));
    let mut stream = TcpStream::connect(host).expect("connected");
    let head = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nLast-Event-ID: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.set_read_timeout(Some(QUIET)).expect("a timeout");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{text}");
    assert!(!body.contains(":missed"), "the window holds everything: {body:.200}");
    body.split("\n\n").filter(|block| block.starts_with("event:")).map(told).collect()
}

/// Silence after which a replay is over.
const QUIET: Duration = Duration::from_secs(2);

fn told(block: &str) -> Told {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::to_owned)
    };
    let data: Value = serde_json::from_str(&field("data: ").expect("data")).expect("JSON");
    Told {
        name: field("event: ").expect("a name"),
        data: data["data"].as_str().map(str::to_owned),
        device: data["coreid"].as_str().expect("an id").to_owned(),
        id: field("id: ").map(|id| id.parse().expect("a number")),
    }
}
