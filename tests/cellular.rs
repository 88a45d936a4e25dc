//! Bytes over the carrier at the real server: exact, live, and what happens when they are used up.

mod support;

use std::sync::Arc;

use model::Platform;
use serde_json::Value;
use sim::device::Device;
use sim::device::profile::Generation;
use sim::live::Live;
use support::fleet::{ask, await_true, publish_answered, usage};
use support::folder::{Folder, OWNER, Ports, identity};
use support::live::connect;
use support::relay::{Datagram, HEADERS, Relay};
use support::{Server, http, run_ok};

const PLANS: &str = r#"
[catalogues.small]
ping_operations = 0
[catalogues.small.free]
devices = 9
operations = 100_000
cellular_bytes = 60_000
tracker_bytes = 100_000
[catalogues.small.growth]
devices = 9
operations = 100_000
cellular_bytes = 60_000
tracker_bytes = 100_000
"#;

fn registered(generations: &[Generation]) -> Folder {
    let folder = Folder::new();
    let devices: Vec<_> = generations.iter().map(|generation| identity(*generation, 1)).collect();
    folder.register(&devices);
    folder
}

fn serve(folder: &Folder) -> Server {
    let plans = folder.path("own-plans.toml");
    std::fs::write(&plans, PLANS).expect("written");
    folder.serve_with(&[
        ("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0"),
        ("CLOUDCHAMBER_METERING__PLANS", plans.to_str().expect("text")),
        ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
    ])
}

fn connected(folder: &Folder, generation: Generation, platform: u16, to: Ports) -> Live {
    let mut setup = folder.setup(generation);
    setup.limits_publishes = false;
    setup.profile.platform = Platform(platform);
    let address = if generation == Generation::Tcp { to.tcp() } else { to.udp() };
    let device = Device::new(identity(generation, 1), Arc::new(setup), 1);
    let mut live = Live::new(device, address);
    connect(&mut live);
    live
}

fn cellular_bytes(folder: &Folder) -> u64 {
    usage(folder)["cellular_bytes"]["used"].as_u64().expect("a number")
}

#[test]
fn the_bytes_of_a_cellular_device_are_those_of_its_datagrams_and_their_headers() {
    let folder = registered(&[Generation::Os3]);
    let server = serve(&folder);
    let ports = Ports::of(&server);
    let relay = Relay::new(ports.udp());
    let to = Ports { udp: relay.address.to_string(), ..ports.clone() };
    let mut live = connected(&folder, Generation::Os3, 10, to);
    for _ in 0..5 {
        assert_eq!(publish_answered(&mut live, "temp", "21"), 0);
    }
    support::live::finish(&mut live);
    server.stop();
    let on_the_wire = |datagram: &Datagram| (datagram.bytes.len() + HEADERS) as u64;
    let carried: u64 = relay.passed().iter().map(on_the_wire).sum();
    let server = folder.serve_again(&ports, &[]);
    assert!(carried > 2000, "{carried}");
    assert_eq!(cellular_bytes(&folder), carried);
    drop(server);
}

#[test]
fn cellular_devices_are_paused_when_their_bytes_are_used_up_and_others_go_on() {
    let folder = registered(&[Generation::Os3, Generation::Os6]);
    let token = folder.token();
    let server = serve(&folder);
    run_ok(&["plan", "set", OWNER, "free", "--data", folder.data()], "");
    let ports = Ports::of(&server);
    let mut cellular = connected(&folder, Generation::Os3, 10, ports.clone());
    let data = "x".repeat(600);
    for _ in 0..130 {
        if publish_answered(&mut cellular, "bulk", &data) != 0 {
            break;
        }
    }
    await_true("the pause", || usage(&folder)["paused"].is_string());
    assert_eq!(publish_answered(&mut cellular, "bulk", "1"), 403);
    let mut wifi = connected(&folder, Generation::Os6, 12, ports.clone());
    assert_eq!(publish_answered(&mut wifi, "temp", "1"), 0);

    let id = cellular.device().id();
    let mut devices = [cellular, wifi];
    let url = format!("{}/v1/devices/{id}/v_int", ports.url());
    let (status, body) = ask(&mut devices, "GET", url, &token, "");
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("cellular data"), "{body}");
    let other = devices[1].device().id();
    let url = format!("{}/v1/devices/{other}/v_int", ports.url());
    assert_eq!(ask(&mut devices, "GET", url, &token, "").0, 200);

    let url = format!("{}/v1/user/service_agreements/1/notifications", ports.url());
    let (status, body) = http("GET", &url, &token, "");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let paused = &body["data"][0]["attributes"];
    assert_eq!(
        (&paused["event"], &paused["limit"], &paused["cellular_only"]),
        (&"service_paused".into(), &"cellular_bytes".into(), &true.into())
    );
}

#[test]
fn over_tcp_the_kernel_counts_and_wifi_bytes_are_shown_without_a_limit() {
    let folder = registered(&[Generation::Tcp]);
    let server = serve(&folder);
    let ports = Ports::of(&server);
    let mut live = connected(&folder, Generation::Tcp, 10, ports.clone());
    support::live::publish(&mut live, "temp", &"x".repeat(500));
    support::live::finish(&mut live);
    drop(live);
    server.stop();
    let server = folder.serve_again(&ports, &[]);
    let used = cellular_bytes(&folder);
    // The key exchange alone takes about 700 bytes and a dozen segments.
    assert!((1500..8000).contains(&used), "{used}");
    drop(server);
}
