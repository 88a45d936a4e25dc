//! The rules of the house that a machine can hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const QUIET: [&str; 5] = ["model", "secure", "protocol", "metering", "router"];
/// Crates that would bring IO, threads or a runtime into a quiet crate.
const LOUD_DEPENDENCIES: [&str; 10] =
    ["axum", "dashmap", "hyper", "mio", "nix", "reqwest", "socket2", "sqlx", "tokio", "tracing"];
/// What the quiet half must not call: clock, threads, sockets, files, the system's randomness.
const LOUD_CALLS: [&str; 9] = [
    "Instant::now",
    "SystemTime::now",
    "std::fs::",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread",
    "thread_rng",
    "rand::rng(",
    "OsRng",
];
/// A file longer than this holds more than one subject.
const LINES_MAX: usize = 900;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map_while(Result::ok) {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir()
                && !hidden
                && !path.ends_with("node_modules")
                && !path.ends_with("target")
            {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn quiet_crates_depend_on_nothing_loud() {
    for name in QUIET {
        let package = format!("cloudchamber-{name}");
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--package",
                &package,
                "--edges",
                "normal",
                "--prefix",
                "none",
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8(output.stdout).expect("text");
        assert!(tree.contains(&package), "no tree for {package}");
        let names: BTreeSet<&str> =
            tree.lines().filter_map(|line| line.split(' ').next()).collect();
        for loud in LOUD_DEPENDENCIES {
            assert!(!names.contains(loud), "{package} depends on {loud}");
        }
    }
}

#[test]
fn quiet_crates_call_no_clock_thread_socket_or_global_randomness() {
    for name in QUIET {
        for path in files(&root().join("crates").join(name).join("src"), ".rs") {
            let text = read(&path);
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for call in LOUD_CALLS {
                let used = product
                    .lines()
                    .any(|line| !line.trim_start().starts_with("//") && line.contains(call));
                assert!(!used, "{}: {call}", path.display());
            }
        }
    }
}

#[test]
fn the_arrows_between_crates_point_downward() {
    let allowed = [
        ("model", vec![]),
        ("secure", vec![]),
        ("metering", vec!["model"]),
        ("protocol", vec!["model", "secure"]),
        ("router", vec!["metering", "model"]),
        ("store", vec!["metering", "model"]),
        ("sim", vec!["metering", "model", "protocol", "router", "secure"]),
        ("node", vec!["metering", "model", "protocol", "router", "secure", "store"]),
        ("web", vec!["metering", "model", "node", "secure", "store"]),
    ];
    for (name, below) in allowed {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for other in &ALL_CRATES {
            let named = dependencies.lines().any(|line| {
                line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} "))
            });
            assert!(!named || below.contains(other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn dependencies_come_from_the_registry_and_none_is_banned() {
    let lock = read(&root().join("Cargo.lock"));
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            package.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim_matches('"'))
        };
        let name = value("name = ").expect("a name");
        assert_ne!(name, "rsa", "timing leak RUSTSEC-2023-0071; use openssl");
        if let Some(source) = value("source = ") {
            assert!(source.starts_with("registry+"), "{name} comes from {source}");
        }
    }
}

/// `cargo run` without a name, as the README has it: of all packages of the workspace exactly one says what to run.
#[test]
fn the_first_command_of_the_readme_runs_the_server() {
    assert!(read(&root().join("README.md")).contains("cargo run --release -- serve --demo"));
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let told = metadata.current_dir(root()).output().expect("cargo runs");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let packages = told["packages"].as_array().expect("packages");
    let run: Vec<_> =
        packages.iter().filter_map(|package| package["default_run"].as_str()).collect();
    assert_eq!(run, ["cloudchamber"]);
}

const ALL_CRATES: [&str; 9] =
    ["metering", "model", "node", "protocol", "router", "secure", "sim", "store", "web"];

#[test]
fn no_file_has_grown_past_one_subject() {
    for folder in ["crates", "tests", "benches", "xtask"] {
        for path in files(&root().join(folder), ".rs") {
            let lines = read(&path).lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let sources = ["crates/node/src/metrics.rs", "crates/web/src/metrics.rs"];
    let declared: BTreeSet<String> =
        sources.iter().flat_map(|path| metric_names(&read(&root().join(path)))).collect();
    let documented = metric_names(&read(&root().join("docs/operate/metrics.md")));
    assert!(!declared.is_empty());
    assert_eq!(declared, documented);
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("cloudchamber_") && word.len() > "cloudchamber_".len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_page_that_a_document_links_to_exists() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    for page in pages {
        let folder = page.parent().expect("a folder").to_owned();
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            let outside = path.is_empty() || path.contains("://");
            assert!(outside || folder.join(path).exists(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn the_top_level_is_what_the_architecture_says() {
    let expected = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "benches",
        "config",
        "crates",
        "docs",
        "tests",
        "xtask",
    ];
    let output = Command::new("git")
        .args(["ls-tree", "--name-only", "HEAD"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let visible: Vec<&str> = text.lines().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(visible, expected);
}
