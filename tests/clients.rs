//! The unmodified JavaScript client against the real binary, with a device of each kind.

mod support;

use support::conformance::{Kind, Scene};
use support::{Server, node, papers, root};

#[test]
fn particle_api_js_drives_a_device_of_each_kind() {
    let server = Server::start(&["--demo"], &[]);
    let demo = |key: &str| server.ready["demo"][key].as_str().expect("a text").to_owned();
    let environment = [
        ("API_BASE_URL", server.url()),
        ("API_USERNAME", demo("username")),
        ("API_PASSWORD", demo("password")),
        ("DEVICES", server.ready["demo"]["devices"].to_string()),
    ];
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let output = node(&root().join("tests/clients/roundtrip.js"), &environment);
    assert_eq!(output.matches("ok ").count(), 17, "{output}");
}

#[test]
fn the_whole_conformance_check_passes_with_device_os_6() {
    every_row_passes(Kind::Os6);
}

#[test]
fn the_whole_conformance_check_passes_with_device_os_3() {
    every_row_passes(Kind::Os3);
}

#[test]
fn the_whole_conformance_check_passes_over_tcp() {
    every_row_passes(Kind::Tcp);
}

fn every_row_passes(kind: Kind) {
    let scene = Scene::new(kind);
    let mut environment = scene.environment();
    environment.push(("WEBHOOK_SINK", "1".into()));
    environment.push(("DEVICE_EVENT", "temperature".into()));
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let output = node(&papers().join("api/conformance/check.js"), &environment);
    assert!(output.contains(", 0 failed, 0 skipped"), "{output}");
    assert!(output.matches("PASS ").count() >= 45, "{output}");
}
