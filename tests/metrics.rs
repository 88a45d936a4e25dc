//! `/health` and `/metrics` of a running server.

mod support;

use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{How, Observation};
use support::folder::{Folder, Ports, identity};
use support::http;
use support::live::{await_acknowledgement, await_observation, connect, finish, publish};
use support::watch::{await_metric, let_metrics_settle, metric};

const DTLS_HANDSHAKES: &str = "cloudchamber_dtls_handshakes_total";
const TCP_HANDSHAKES: &str = "cloudchamber_tcp_handshakes_total";
const RESUMES: &str = "cloudchamber_dtls_resumes_total";
const SESSIONS: &str = "cloudchamber_sessions_opened_total";

#[test]
fn a_healthy_server_says_so_to_anybody() {
    let folder = Folder::empty();
    let server = folder.serve();
    let (status, body) = http("GET", &format!("{}/health", server.url()), "", "");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["ok"], true);
    assert_eq!(body["status"], "ok");
}

#[test]
fn connections_are_counted_by_how_they_came_about() {
    let folder = Folder::new();
    let generations = [Generation::Os6, Generation::Os3, Generation::Tcp];
    folder.register(&generations.map(|generation| identity(generation, 1)));
    let server = folder.serve();
    let (url, ports) = (server.url(), Ports::of(&server));
    let mut devices = generations.map(|generation| {
        let address = if generation == Generation::Tcp { ports.tcp() } else { ports.udp() };
        let mut live = folder.device(generation, 1, address);
        connect(&mut live);
        live
    });
    await_metric(&url, "cloudchamber_devices_online", "", 3);
    let counts = || {
        let_metrics_settle();
        [DTLS_HANDSHAKES, TCP_HANDSHAKES, RESUMES, SESSIONS].map(|name| metric(&url, name, ""))
    };
    assert_eq!(counts(), [2, 1, 0, 3]);

    for (count, live) in devices[..2].iter_mut().enumerate() {
        live.reset();
        await_observation(live, |seen| *seen == Observation::Connected(How::Resumed));
        finish(live);
        await_metric(&url, RESUMES, "", count as u64 + 1);
    }
    assert_eq!(counts(), [2, 1, 2, 3], "a resume is neither a handshake nor a Hello");
    devices[2].reset();
    await_observation(&mut devices[2], |seen| *seen == Observation::Connected(How::Handshake));
    finish(&mut devices[2]);
    assert_eq!(counts(), [2, 2, 2, 4]);
}

#[test]
fn a_moved_device_is_counted_as_a_resume_and_bytes_of_datagrams_are_counted() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 1)]);
    let server = folder.serve();
    let url = server.url();
    let mut live = folder.device(Generation::Os6, 1, Ports::of(&server).udp());
    connect(&mut live);
    let received = || {
        let_metrics_settle();
        metric(&url, "cloudchamber_udp_bytes_total", "direction=\"received\"")
    };
    let before = received();
    live.device().roam();
    let number = publish(&mut live, "metrics/moved", "x");
    await_acknowledgement(&mut live, number);
    let grown = received() - before;
    await_metric(&url, RESUMES, "", 1);
    assert!((53..200).contains(&grown), "{grown} bytes for one publish");
    await_metric(&url, "cloudchamber_publishes_total", "accepted", 1);
}

/// Names in the text are those of the documentation, with a kind and a help line each.
#[test]
fn every_metric_that_is_exported_is_documented() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 1)]);
    let server = folder.serve();
    connect(&mut folder.device(Generation::Os6, 1, Ports::of(&server).udp()));
    await_metric(&server.url(), DTLS_HANDSHAKES, "", 1);
    let (status, text) = http("GET", &format!("{}/metrics", server.url()), "", "");
    assert_eq!(status, 200);
    let page =
        std::fs::read_to_string(support::root().join("docs/operate/metrics.md")).expect("a page");
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(kinds.len() > 5, "{text}");
    for name in kinds.iter().map(|line| line.split(' ').next().expect("a name")) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not documented");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help line");
    }
}
