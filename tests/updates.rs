//! Updates of simulated devices through the real binary, by unmodified clients and over a kill.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::profile::Generation;
use support::flash::{flash, make};
use support::folder::{Folder, Ports, identity};
use support::live::connect;
use support::{Server, http, node, papers, root};

fn demo<'s>(server: &'s Server, key: &str) -> &'s str {
    server.ready["demo"][key].as_str().expect("a text")
}

/// A device as the API shows it.
fn device(url: &str, token: &str, id: &str) -> Value {
    let (status, body) = http("GET", &format!("{url}/v1/devices/{id}"), token, "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The platform that a device told when it connected.
fn platform(url: &str, token: &str, id: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = device(url, token, id);
        if shown["online"] == true && shown["platform_id"] != 0 {
            return shown["platform_id"].to_string();
        }
        assert!(Instant::now() < end, "{id} never connected: {shown}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_conformance_check_flashes_a_device_of_each_kind() {
    let server = Server::start(&["--demo"], &[]);
    let (url, token) = (server.url(), demo(&server, "token"));
    let folder = tempfile::tempdir().expect("a folder");
    for one in server.ready["demo"]["devices"].as_array().expect("a list") {
        let id = one["id"].as_str().expect("an id");
        let file = folder.path().join("app.bin");
        make(&file, &platform(&url, token, id), "48", &[]);
        let environment = [
            ("API_BASE_URL", url.as_str()),
            ("API_USERNAME", demo(&server, "username")),
            ("API_PASSWORD", demo(&server, "password")),
            ("DEVICE_ID", id),
            ("FIRMWARE_FILE", file.to_str().expect("text")),
            ("FUNCTION_NAME", "echo"),
            ("VARIABLE_NAME", "v_int"),
            ("ONLY", "flash"),
        ];
        let output = node(&papers().join("api/conformance/check.js"), &environment);
        assert!(!output.contains("FAIL") && !output.contains("SKIP"), "{output}");
        assert_eq!(device(&url, token, id)["firmware_update"]["status"], "success");
    }
}

#[test]
fn particle_api_js_uploads_releases_locks_and_unlocks_product_firmware() {
    let server = Server::start(&["--demo"], &[("CLOUDCHAMBER_UPDATES__SOAK_S", "0")]);
    let (url, token) = (server.url(), demo(&server, "token"));
    let id = server.ready["demo"]["devices"][0]["id"].as_str().expect("an id");
    let platform = platform(&url, token, id);
    let form = format!("name=Sensors&platform_id={platform}");
    let (_, made) = http("POST", &format!("{url}/v1/user/products"), token, &form);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let product = made["product"]["id"].to_string();
    let devices = format!("{url}/v1/products/{product}/devices");
    assert_eq!(http("POST", &devices, token, &format!("id={id}")).0, 200);
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["1", "2"].map(|version| {
        let file = folder.path().join(version);
        make(&file, &platform, "32", &["--product", &product, "--product-version", version]);
        file.to_str().expect("text").to_owned()
    });
    let environment = [
        ("API_BASE_URL", url.as_str()),
        ("API_TOKEN", token),
        ("PRODUCT", &product),
        ("DEVICE_ID", id),
        ("FILE_1", &files[0]),
        ("FILE_2", &files[1]),
    ];
    let output = node(&root().join("tests/clients/firmware.js"), &environment);
    assert_eq!(output.matches("ok ").count(), 8, "{output}");
}

#[test]
fn an_update_goes_on_after_the_server_was_killed_in_the_middle() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let slow = ("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", "65536");
    let server = folder.serve_with(&[slow]);
    let (ports, token) = (Ports::of(&server), folder.token());
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    let file = folder.path("app.bin");
    make(&file, &platform(&server.url(), &token, &id), "600", &[]);
    let status = |live: &mut sim::live::Live| {
        live.run(Duration::from_millis(200));
        let shown = device(&ports.url(), &token, &id);
        shown["firmware_update"].clone()
    };
    let bytes = std::fs::read(&file).expect("read");
    flash(&ports.http, &format!("/v1/devices/{id}"), &token, &bytes);
    let end = Instant::now() + Duration::from_secs(60);
    let sent = loop {
        let shown = status(&mut live);
        if let Some(sent) = shown["bytes"].as_u64().filter(|sent| *sent > 60_000) {
            break sent;
        }
        assert!(Instant::now() < end, "{shown}");
    };
    server.kill();
    let _server = folder.serve_again(&ports, &[slow]);
    let end = Instant::now() + Duration::from_secs(120);
    let mut least = u64::MAX;
    loop {
        let shown = status(&mut live);
        least = least.min(shown["bytes"].as_u64().unwrap_or(u64::MAX));
        if shown["status"] == "success" {
            break;
        }
        assert!(Instant::now() < end && shown["status"] != "failed", "{shown}");
    }
    assert!(least >= sent / 2, "it began again at {least} though {sent} bytes were there");
}
