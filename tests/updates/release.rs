//! A release that devices will not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use secure::keys::PublicKey;
use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Observation, UpdateFault, UpdateStep};
use sim::firmware::Binary;
use sim::fleet::{self, FleetConfig};
use sim::live::Live;

use crate::device;
use crate::support::Server;
use crate::support::flash::send_files;
use crate::support::folder::{Folder, Ports, identity};
use crate::support::http;
use crate::support::live::connect;
use crate::support::watch::await_metric;

const DEVICES: u32 = 1_000;
const STAGE: u64 = 100;
/// Of a product.
const RELEASE: &str = "firmware/release";

fn get(url: &str, token: &str) -> Value {
    let (status, body) = http("GET", url, token, "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn a_bad_release_to_a_thousand_devices_stops_by_itself_after_a_tenth_and_says_why() {
    let folder = Folder::new();
    let mut config = FleetConfig {
        devices: DEVICES,
        update_fault: UpdateFault::HashMismatch,
        connect_per_s: 500,
        connecting_max: 200,
        ..FleetConfig::new(([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into(), Vec::new())
    };
    folder.register(&fleet::identities(&config).collect::<Vec<_>>());
    let server = folder.serve();
    let (ports, token) = (Ports::of(&server), folder.token());
    let made = http(
        "POST",
        &format!("{}/v1/user/products", ports.url()),
        &token,
        "name=Bad&platform_id=12",
    );
    let made: Value = serde_json::from_str(&made.1).expect("JSON");
    let product = made["product"]["id"].as_u64().expect("a number");
    let product_url = format!("{}/v1/products/{product}", ports.url());
    let ids: Vec<String> =
        fleet::identities(&config).map(|identity| identity.id.to_string()).collect();
    let list = ids.join("\n");
    let (status, told) = send_files(
        "POST",
        &format!("{product_url}/devices"),
        &token,
        &[],
        &[("ids.txt", list.as_bytes())],
    );
    assert_eq!(status, 200, "{told}");
    let image = Binary::application(12, 8 << 10).of_product(product as u16, 2).build();
    let (status, told) = send_files(
        "POST",
        &format!("{product_url}/firmware"),
        &token,
        &[("version", "2")],
        &[("app.bin", &image)],
    );
    assert_eq!(status, 201, "{told}");

    let pem = std::fs::read(folder.path("keys/server-ec.pub.pem")).expect("a key");
    config.server_keys = vec![PublicKey::parse(&pem).expect("a key")];
    (config.udp, config.tcp) = (ports.udp(), ports.tcp());
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, progress) = mpsc::channel();
    let fleet = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || fleet::run(&config, &stop, &mut |at| tell.send(at.counts).unwrap_or_default())
    });
    while progress.recv().expect("the fleet runs").online < u64::from(DEVICES) {}

    let form = "version=2&product_default=true&stages=10,100";
    let (status, told) = http("PUT", &format!("{product_url}/firmware/release"), &token, form);
    assert_eq!(status, 204, "{told}");
    let end = Instant::now() + Duration::from_secs(60);
    let halted = loop {
        let releases = get(&format!("{product_url}/releases"), &token);
        let release = releases["releases"][0].clone();
        if release["state"] == "halted" {
            break release;
        }
        assert!(Instant::now() < end, "{release}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(halted["stage"], 1, "{halted}");
    let why = halted["why"].as_str().expect("text");
    assert!(why.contains("in stage 1 (10 % of 1000 devices)") && why.contains("-1330"), "{why}");

    // What was under way ends, and nothing else begins.
    std::thread::sleep(Duration::from_secs(5));
    stop.store(true, Ordering::Relaxed);
    let summary = fleet.join().expect("no panic").expect("it ran");
    let counts = summary.counts;
    assert!((5..=STAGE).contains(&counts.updates_begun), "{counts:?}");
    assert_eq!(counts.updates_applied, 0, "{counts:?}");
    assert!(counts.updates_failed >= 5, "{counts:?}");
    let devices = get(&format!("{product_url}/releases"), &token)["releases"][0]["devices"].clone();
    assert_eq!(devices["devices"], DEVICES, "{devices}");
    assert!(devices["waiting"].as_u64() >= Some(u64::from(DEVICES) - STAGE), "{devices}");
}

/// A device that is getting version 2 of its product, slowly.
struct Getting {
    folder: Folder,
    server: Server,
    live: Live,
    /// Of its product.
    url: String,
}

impl Getting {
    fn new() -> Self {
        let folder = Folder::new();
        folder.register(&[identity(Generation::Os6, 0)]);
        let server = folder.serve_with(&[("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", "32768")]);
        let (ports, token) = (Ports::of(&server), folder.token());
        let mut live = folder.device(Generation::Os6, 0, ports.udp());
        connect(&mut live);
        let id = live.device().id().to_string();
        let form = "name=Slow&platform_id=12";
        let (_, made) = http("POST", &format!("{}/v1/user/products", ports.url()), &token, form);
        let made: Value = serde_json::from_str(&made).expect("JSON");
        let product = made["product"]["id"].as_u64().expect("a number");
        let url = format!("{}/v1/products/{product}", ports.url());
        assert_eq!(http("POST", &format!("{url}/devices"), &token, &format!("id={id}")).0, 200);
        let image = Binary::application(12, 256 << 10).of_product(product as u16, 2).build();
        let (version, file) = ([("version", "2")], [("app.bin", &image[..])]);
        let (status, told) =
            send_files("POST", &format!("{url}/firmware"), &token, &version, &file);
        assert_eq!(status, 201, "{told}");
        let mut getting = Self { folder, server, live, url };
        getting.ask("PUT", RELEASE, "version=2&product_default=true");
        let begun =
            |seen: &Observation| matches!(seen, Observation::Update(UpdateStep::Begun { .. }));
        let seen = getting.live.run_until(Duration::from_secs(30), begun);
        assert!(seen.is_some(), "{:#?}", getting.live.observations());
        getting
    }

    /// Of the product.
    fn ask(&self, method: &str, path: &str, form: &str) {
        let url = format!("{}/{path}", self.url);
        let (status, told) = http(method, &url, &self.folder.token(), form);
        assert!(status == 204 || status == 200, "{status} {told}");
    }

    /// The path of the device in its product.
    fn device(&mut self) -> String {
        format!("devices/{}", self.live.device().id())
    }

    fn assert_called_off(mut self) {
        self.live.run(Duration::from_secs(12));
        let seen = self.live.observations();
        assert!(!seen.contains(&Observation::Update(UpdateStep::Applied)), "{seen:#?}");
        let url = Ports::of(&self.server).url();
        await_metric(&url, "cloudchamber_updates_total", "cancelled", 1);
        assert_eq!(self.status(), "cancelled");
    }

    fn assert_goes_on(mut self) {
        let ended = |seen: &Observation| {
            matches!(seen, Observation::Update(UpdateStep::Applied | UpdateStep::Failed(_)))
        };
        let seen = self.live.run_until(Duration::from_secs(60), ended);
        assert_eq!(seen, Some(Observation::Update(UpdateStep::Applied)));
        let begun =
            |seen: &&Observation| matches!(seen, Observation::Update(UpdateStep::Begun { .. }));
        assert_eq!(self.live.observations().iter().filter(begun).count(), 1);
    }

    fn status(&mut self) -> Value {
        let (url, id) = (Ports::of(&self.server).url(), self.live.device().id().to_string());
        device(&url, &self.folder.token(), &id)["firmware_update"]["status"].clone()
    }
}

#[test]
fn a_version_that_is_withdrawn_does_not_reach_the_device_that_was_getting_it() {
    let getting = Getting::new();
    getting.ask("DELETE", RELEASE, "version=2");
    getting.assert_called_off();
}

#[test]
fn a_device_that_leaves_its_product_does_not_get_the_version_that_it_was_getting() {
    let mut getting = Getting::new();
    let device = getting.device();
    getting.ask("DELETE", &device, "");
    getting.assert_called_off();
}

#[test]
fn a_version_that_is_released_again_goes_on_to_the_device_that_was_getting_it() {
    let getting = Getting::new();
    getting.ask("PUT", RELEASE, "version=2&product_default=true");
    getting.assert_goes_on();
}

#[test]
fn a_device_that_is_locked_to_the_version_that_it_was_getting_goes_on_to_get_it() {
    let mut getting = Getting::new();
    let device = getting.device();
    getting.ask("PUT", &device, "desired_firmware_version=2");
    getting.assert_goes_on();
}
