//! Firmware binaries at the command line, with files that others made and readers that others wrote.

mod support;

use serde_json::Value;
use support::{root, run, run_ok};

/// The applications that the command-line client brings along: one for each platform.
#[test]
fn applications_of_real_compilers_are_whole_and_for_their_platform() {
    let apps = root().join("tests/clients/node_modules/particle-cli/assets/knownApps");
    let mut seen = 0;
    for folder in std::fs::read_dir(&apps).expect("run `cargo xtask test` once").flatten() {
        let platform = folder.file_name().into_string().expect("text");
        let apps = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        let files = apps.flat_map(|app| std::fs::read_dir(app.path()).expect("a folder").flatten());
        for file in files.map(|file| file.path()) {
            if file.extension().is_none_or(|ending| ending != "bin") {
                continue;
            }
            let path = file.to_str().expect("text");
            let told = run_ok(&["firmware", "check", path, "--platform", &platform, "--json"], "");
            let told: Value = serde_json::from_str(&told).expect("JSON");
            assert_eq!(told["product_id"], Value::Null, "{path}: {told}");
            assert_eq!(told["size"], file.metadata().expect("a file").len(), "{path}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} applications");
}

/// `binary-version-reader` reads firmware files for the command-line client.
#[test]
fn a_binary_that_was_made_is_good_for_the_vendors_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.bin");
    let path = file.to_str().expect("text");
    let args = ["firmware", "make", path, "--platform", "boron", "--kib", "20"];
    let of_product = ["--product", "12345", "--product-version", "7", "--needs-system", "6200"];
    run_ok(&[&args[..], &of_product].concat(), "");
    let script = folder.path().join("read.js");
    let source = "const { HalModuleParser } = require('binary-version-reader');\n\
        new HalModuleParser().parseFile(process.argv[2] || process.env.FILE).then((m) => console.log(JSON.stringify({\n\
        crc: m.crc.ok, platform: m.prefixInfo.platformID, needs: m.prefixInfo.depModuleVersion,\n\
        product: m.suffixInfo.productId, version: m.suffixInfo.productVersion })));\n";
    std::fs::write(&script, source).expect("written");
    let told = support::node(&script, &[("FILE", path)]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let expected = serde_json::json!({
        "crc": true, "platform": 13, "needs": 6200, "product": 12345, "version": 7
    });
    assert_eq!(told, expected);
}

#[test]
fn a_file_that_is_no_firmware_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.bin");
    let path = file.to_str().expect("text");
    run_ok(&["firmware", "make", path, "--platform", "argon"], "");
    let refused = |args: &[&str]| {
        let output = run(args, "");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let text = refused(&["firmware", "check", path, "--platform", "boron"]);
    assert!(text.contains("the file is for argon"), "{text}");
    let whole = std::fs::read(&file).expect("read");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    assert!(refused(&["firmware", "check", path]).contains("truncated"));
    std::fs::write(&file, "void setup() {}").expect("written");
    assert!(refused(&["firmware", "check", path]).contains("too few"));
}

#[test]
fn system_modules_are_kept_listed_and_removed_with_and_without_a_server() {
    let folder = support::folder::Folder::new();
    let file = folder.path("system.bin");
    let path = file.to_str().expect("text");
    let system = ["--function", "system", "--module-version", "6200"];
    run_ok(&[&["firmware", "make", path, "--platform", "argon"][..], &system].concat(), "");
    let json = |args: &[&str]| -> Value {
        let text = run_ok(&[args, &["--json", "--data", folder.data()]].concat(), "");
        serde_json::from_str(&text).expect("JSON")
    };
    let added = json(&["firmware", "add", path]);
    assert_eq!(added[0]["module"], "system part 1");
    let server = folder.serve();
    assert_eq!(json(&["firmware", "list"]), added);
    let hash = added[0]["hash"].as_str().expect("text");
    json(&["firmware", "remove", hash]);
    assert_eq!(json(&["firmware", "list"]), Value::Array(Vec::new()));
    drop(server);
    let app = folder.path("app.bin");
    let path = app.to_str().expect("text");
    run_ok(&["firmware", "make", path, "--platform", "argon"], "");
    let refused = run(&["firmware", "add", path, "--data", folder.data()], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is an application"));
}
