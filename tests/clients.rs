//! Unmodified clients against the real binary.

mod support;

use support::{Server, http, node, papers, root, run_ok};

/// A device that exists and nobody owns.
const SCRATCH: &str = "0123456789abcdef00000099";
/// An id that nobody registered.
const UNKNOWN: &str = "0123456789abcdef00000098";

/// The rows of the conformance check that this version answers for.
const ROWS: [&str; 13] = [
    "auth",
    "devices",
    "errors",
    "events",
    "function",
    "integrations",
    "keys",
    "login",
    "products",
    "token",
    "user",
    "variable",
    "webhooks",
];

fn credentials(server: &Server) -> [(String, String); 3] {
    let text = |key: &str| server.ready["demo"][key].as_str().expect("a text").to_owned();
    [
        ("API_BASE_URL".into(), server.url()),
        ("API_USERNAME".into(), text("username")),
        ("API_PASSWORD".into(), text("password")),
    ]
}

#[test]
fn particle_api_js_drives_a_device_of_each_kind() {
    let server = Server::start(&["--demo"], &[]);
    let mut environment = credentials(&server).to_vec();
    environment.push(("DEVICES".into(), server.ready["demo"]["devices"].to_string()));
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let output = node(&root().join("tests/clients/roundtrip.js"), &environment);
    assert_eq!(output.matches("ok ").count(), 17, "{output}");
}

#[test]
fn the_conformance_check_passes_for_every_kind_of_device() {
    let server = Server::start(&["--demo"], &[]);
    add_scratch_device(&server);
    wait_until_described(&server);
    let devices = server.ready["demo"]["devices"].as_array().expect("a list").clone();
    let product = add_product(&server, devices[0]["id"].as_str().expect("an id"));
    for (index, device) in devices.iter().enumerate() {
        let id = device["id"].as_str().expect("an id");
        let rows: &[&str] = if index == 0 { &ROWS } else { &["variable", "function", "devices"] };
        for row in rows {
            let mut environment = credentials(&server).to_vec();
            let fixed = [
                ("DEVICE_ID", id),
                ("FUNCTION_NAME", "echo"),
                ("FUNCTION_ARG", "abc"),
                ("FUNCTION_EXPECT", "3"),
                ("VARIABLE_NAME", "v_int"),
                ("VARIABLE_EXPECT", "42"),
                ("UNCLAIMED_DEVICE_ID", if *row == "keys" { UNKNOWN } else { SCRATCH }),
                ("WEBHOOK_SINK", "1"),
                ("DEVICE_EVENT", "temperature"),
                ("PRODUCT", &product),
                ("ONLY", row),
            ];
            environment.extend(fixed.map(|(k, v)| (k.to_owned(), v.to_owned())));
            let environment: Vec<_> =
                environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let output = node(&papers().join("api/conformance/check.js"), &environment);
            assert!(!output.contains("FAIL"), "{output}");
        }
    }
}

/// A device describes itself some moments after it connected.
fn wait_until_described(server: &Server) {
    let token = server.ready["demo"]["token"].as_str().expect("a text");
    for device in server.ready["demo"]["devices"].as_array().expect("a list") {
        let url = format!("{}/v1/devices/{}", server.url(), device["id"].as_str().expect("an id"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !http("GET", &url, token, "").1.contains("\"echo\"") {
            assert!(std::time::Instant::now() < deadline, "{url} never described itself");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Creates a product with a device in it.
fn add_product(server: &Server, device: &str) -> String {
    let token = server.ready["demo"]["token"].as_str().expect("a text");
    let url = format!("{}/v1/user/products", server.url());
    let (status, body) = http("POST", &url, token, "name=Checked&platform_id=13");
    assert_eq!(status, 201, "{body}");
    let made: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let product = made["product"]["id"].to_string();
    let url = format!("{}/v1/products/{product}/devices", server.url());
    assert_eq!(http("POST", &url, token, &format!("id={device}")).0, 200);
    product
}

/// Registers a device and gives it up again.
fn add_scratch_device(server: &Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("text");
    run_ok(&["keys", "device", "--type", "ec", "--out", folder], "");
    let key = format!("{folder}/device.pub.pem");
    let data = server.text("data");
    let owner = server.ready["demo"]["username"].as_str().expect("a text");
    run_ok(
        &["device", "add", SCRATCH, "--owner", owner, "--public-key", &key, "--data", &data],
        "",
    );
    let token = server.ready["demo"]["token"].as_str().expect("a text");
    let url = format!("{}/v1/devices/{SCRATCH}", server.url());
    assert_eq!(http("DELETE", &url, token, "").0, 200);
}
