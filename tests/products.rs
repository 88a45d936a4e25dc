//! Devices that come to a product, are kept out of it, and tell how they are: the real binary and devices.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Device, How, Loss, Observation};
use sim::live::Live;
use support::fleet::{ask, await_true};
use support::folder::{Folder, Ports, identity};
use support::http;
use support::live::{PATIENCE, await_observation, connect, ensure_observation};

/// The first product of a server.
const PRODUCT: u16 = 10_000;

/// A server with a product, and a way to ask it.
struct Scene {
    folder: Folder,
    server: support::Server,
    token: String,
}

impl Scene {
    fn new(generations: &[Generation]) -> Self {
        let folder = Folder::new();
        let devices: Vec<_> = generations.iter().map(|each| identity(*each, 1)).collect();
        folder.register(&devices);
        let (server, token) = (folder.serve(), folder.token());
        let scene = Self { folder, server, token };
        let made = scene.ask("POST", "/v1/user/products", "name=P&platform_id=12");
        assert_eq!(made["product"]["id"], PRODUCT, "{made}");
        scene
    }

    fn ask(&self, method: &str, path: &str, form: &str) -> Value {
        let (status, body) =
            http(method, &format!("{}{path}", self.server.url()), &self.token, form);
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    /// A device whose firmware names the product.
    fn device(&self, generation: Generation) -> Live {
        let ports = Ports::of(&self.server);
        let address = if generation == Generation::Tcp { ports.tcp() } else { ports.udp() };
        let mut setup = self.folder.setup(generation);
        setup.profile.product_id = PRODUCT;
        let device = Device::new(identity(generation, 1), Arc::new(setup), 1);
        Live::new(device, address)
    }

    fn is_online(&self, id: &str) -> bool {
        self.ask("GET", &format!("/v1/devices/{id}"), "")["online"] == true
    }

    /// Ids in a list of the product's devices.
    fn listed(&self, query: &str) -> Vec<String> {
        let list = self.ask("GET", &format!("/v1/products/{PRODUCT}/devices{query}"), "");
        let devices = list["devices"].as_array().expect("a list");
        devices.iter().map(|each| each["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn a_device_whose_firmware_names_a_product_waits_in_quarantine_until_it_is_added() {
    let scene = Scene::new(&[Generation::Os6]);
    let id = identity(Generation::Os6, 1).id.to_string();
    let mut live = scene.device(Generation::Os6);
    assert!(scene.listed("?quarantined=true").is_empty());
    connect(&mut live);
    await_true("quarantined", || scene.listed("?quarantined=true") == [id.as_str()]);
    assert!(scene.listed("").is_empty());
    scene.ask("POST", &format!("/v1/products/{PRODUCT}/devices"), &format!("id={id}"));
    assert!(scene.listed("?quarantined=true").is_empty());
    assert_eq!(scene.listed(""), [id]);
}

#[test]
fn a_denied_device_loses_its_connection_and_gets_none_until_it_is_added_again() {
    for generation in [Generation::Os6, Generation::Tcp] {
        let scene = Scene::new(&[generation]);
        let id = identity(generation, 1).id.to_string();
        let (of_product, one) =
            (format!("/v1/products/{PRODUCT}/devices"), format!("/v1/devices/{id}"));
        scene.ask("POST", &of_product, &format!("id={id}"));
        let mut live = scene.device(generation);
        connect(&mut live);
        await_true("online", || scene.is_online(&id));

        scene.ask("DELETE", &format!("{of_product}/{id}"), "deny=true");
        let is_end = |seen: &Observation| {
            matches!(seen, Observation::Disconnected(Loss::KeyChange | Loss::Stream))
        };
        await_observation(&mut live, is_end);
        live.forget_observations();
        live.run(Duration::from_secs(4));
        live.reset();
        await_refusal(&mut live);
        assert!(!scene.is_online(&id), "{generation:?}");
        assert_eq!(scene.ask("GET", &one, "")["denied"], true);
        assert_eq!(scene.listed("?denied=true"), [id.as_str()]);
        assert!(scene.listed("").is_empty() && scene.listed("?quarantined=true").is_empty());

        scene.ask("POST", &of_product, &format!("id={id}"));
        assert_eq!(scene.ask("GET", &one, "")["denied"], false);
        live.forget_observations();
        live.reset();
        let is_back = |seen: &Observation| *seen == Observation::Connected(How::Handshake);
        ensure_observation(&mut live, is_back);
        await_true("online again", || scene.is_online(&id));
    }
}

/// Waits until a connection that began was refused; none may succeed.
fn await_refusal(live: &mut Live) {
    let end = Instant::now() + PATIENCE;
    let is_refused = |seen: &Observation| {
        matches!(seen, Observation::Disconnected(Loss::Handshake(_) | Loss::Stream | Loss::NoHello))
    };
    while !live.observations().iter().any(is_refused) {
        assert!(Instant::now() < end, "seen so far: {:#?}", live.observations());
        live.run(Duration::from_millis(20));
    }
    let is_connected = |seen: &Observation| matches!(seen, Observation::Connected(_));
    assert!(!live.observations().iter().any(is_connected), "{:#?}", live.observations());
}

#[test]
fn vital_signs_are_asked_for_kept_and_found_by_their_day() {
    let scene = Scene::new(&[Generation::Os6]);
    let id = identity(Generation::Os6, 1).id.to_string();
    let mut devices = [scene.device(Generation::Os6)];
    connect(&mut devices[0]);
    let history = |query: &str| {
        let told = scene.ask("GET", &format!("/v1/diagnostics/{id}{query}"), "");
        told["diagnostics"].as_array().expect("a list").clone()
    };
    let before = history("").len();
    let url = format!("{}/v1/diagnostics/{id}/update", scene.server.url());
    let (status, body) = ask(&mut devices, "POST", url, &scene.token, "");
    assert_eq!((status, body.as_str()), (200, "{\"ok\":true}"));
    let end = Instant::now() + PATIENCE;
    while history("").len() == before {
        assert!(Instant::now() < end, "nothing was told");
        devices[0].run(Duration::from_millis(100));
    }
    let newest = scene.ask("GET", &format!("/v1/diagnostics/{id}/last"), "")["diagnostics"].clone();
    assert_eq!(newest["deviceID"], id.as_str());
    assert!(newest["payload"]["device"]["sys:uptime"].is_i64(), "{newest}");
    assert_eq!(newest, history("")[0]);
    let at = newest["updated_at"].as_str().expect("a time");
    let day = &at[..10];
    assert_eq!(history(&format!("?start_date={day}&end_date={day}"))[0], newest);
    assert_eq!(history(&format!("?start_date={at}"))[0], newest);
    assert!(history("?end_date=2020-01-01").is_empty());
    assert!(history("?start_date=2999-01-01").is_empty());
    let url = format!("{}/v1/diagnostics/{id}?start_date=yesterday", scene.server.url());
    let (status, why) = http("GET", &url, &scene.token, "");
    assert!(status == 400 && why.contains("start_date"), "{status} {why}");
}
