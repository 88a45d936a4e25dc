//! The unmodified command-line client, particle-cli 3.43.1, against the real binary.

mod support;

use std::process::Command;

use support::{Server, http, papers, root, run_ok};

fn post(server: &Server, path: &str, form: &str) -> serde_json::Value {
    let token = server.ready["demo"]["token"].as_str().expect("a text");
    let (status, body) = http("POST", &format!("{}{path}", server.url()), token, form);
    assert!((200..300).contains(&status), "{path}: {status} {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// A device without a key that nobody owns: the client claims it, and sends it keys.
fn add_scratch_device(server: &Server) -> String {
    let made = post(server, "/v1/devices", "product_id=12");
    let id = made["id"].as_str().expect("an id").to_owned();
    let token = server.ready["demo"]["token"].as_str().expect("a text");
    let url = format!("{}/v1/devices/{id}", server.url());
    assert_eq!(http("DELETE", &url, token, "").0, 200);
    id
}

#[test]
fn every_command_passes() {
    let cli = root().join("tests/clients/node_modules/.bin/particle");
    assert!(cli.is_file(), "run `cargo xtask test` once, or `npm ci` in tests/clients");
    let server = Server::start(&["--demo"], &[]);
    let demo = |key: &str| server.ready["demo"][key].as_str().expect("a text");
    let device = server.ready["demo"]["devices"][0]["id"].as_str().expect("an id");
    let product = post(&server, "/v1/user/products", "name=Checked&platform_id=13");
    let product = product["product"]["id"].to_string();
    post(&server, &format!("/v1/products/{product}/devices"), &format!("id={device}"));
    let folder = tempfile::tempdir().expect("a folder");
    let firmware = folder.path().join("app.bin");
    let path = firmware.to_str().expect("text");
    run_ok(&["firmware", "make", path, "--platform", "argon", "--kib", "48"], "");
    let output = Command::new("bash")
        .arg(papers().join("api/conformance/check-cli.sh"))
        .env("API_BASE_URL", server.url())
        .env("API_USERNAME", demo("username"))
        .env("API_PASSWORD", demo("password"))
        .env("DEVICE_ID", device)
        .env("FUNCTION_NAME", "echo")
        .env("FUNCTION_ARG", "abc")
        .env("FUNCTION_EXPECT", "3")
        .env("VARIABLE_NAME", "v_int")
        .env("VARIABLE_EXPECT", "42")
        .env("UNCLAIMED_DEVICE_ID", add_scratch_device(&server))
        .env("PRODUCT", &product)
        .env("FIRMWARE_FILE", &firmware)
        .env("PARTICLE_CLI", cli)
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("FAIL"), "{text}");
    assert_eq!(text.matches("SKIP ").count(), 0, "{text}");
}
