//! The command line, as an operator and as a script use it, on a stopped and on a running server.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use secure::keys::{KeyKind, PrivateKey};
use serde_json::Value;
use sim::device::profile::Generation;
use sim::identity::{Identity, registrations};
use support::folder::{Folder, OWNER, identity};
use support::live::connect;
use support::{Server, http, run, run_ok};

/// A device id.
const ID: &str = "e00fce681234567890abcdef";
/// Another one.
const OTHER_ID: &str = "e00fce681234567890abcdee";

/// A folder and, in half of the cases, a server that runs on it.
struct Place {
    folder: Folder,
    server: Option<Server>,
}

impl Place {
    /// Once stopped, once running.
    fn both() -> [Self; 2] {
        let running = Folder::new();
        let server = Some(running.serve());
        [Self { folder: Folder::new(), server: None }, Self { folder: running, server }]
    }

    fn data(&self) -> &str {
        self.folder.data()
    }

    fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Runs a command on the folder; it must succeed and write one JSON value.
    fn json(&self, args: &[&str], input: &str) -> Value {
        let mut all = args.to_vec();
        all.extend(["--data", self.data(), "--json"]);
        let text = run_ok(&all, input);
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    /// Runs a command on the folder; it must succeed. Gives what it wrote for people.
    fn text(&self, args: &[&str], input: &str) -> String {
        let mut all = args.to_vec();
        all.extend(["--data", self.data()]);
        run_ok(&all, input)
    }

    /// Runs a command on the folder that must be refused, and gives why.
    fn refused(&self, args: &[&str], input: &str) -> String {
        let mut all = args.to_vec();
        all.extend(["--data", self.data()]);
        refusal(&run(&all, input))
    }
}

/// A refusal: exit code 1, nothing on standard output, one or two lines that are no debug print.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let line = text.lines().find(|line| line.starts_with("cloudchamber: ")).unwrap_or_default();
    assert!(line.len() > "cloudchamber: ".len() + 10, "no reason: {text:?}");
    assert!(!text.contains("panicked") && !text.contains("Err("), "{text}");
    text
}

/// A device's public key file, beside the data folder.
fn device_key(folder: &Path, kind: &str) -> PathBuf {
    let out = folder.to_str().expect("text");
    let made = run_ok(&["keys", "device", "--type", kind, "--out", out, "--json"], "");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    PathBuf::from(made["public_pem"].as_str().expect("a path"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

// Accounts and tokens.

#[test]
fn an_account_and_its_token_open_the_api() {
    for place in Place::both() {
        let made =
            place.json(&["user", "add", "a@example.org", "--password-stdin"], "long enough\n");
        assert_eq!(made["email"], "a@example.org");
        assert!(made["id"].as_u64().is_some(), "{made}");
        let told = place.text(&["user", "add", "b@example.org", "--password-stdin"], "long enough");
        assert!(told.contains("b@example.org"), "{told}");

        let args = ["token", "create", "a@example.org", "--expires-in", "3600"];
        let made = place.json(&args, "");
        assert_eq!(made["expires_in"], 3600);
        let token = made["access_token"].as_str().expect("a token").to_owned();
        let plain = place.text(&["token", "create", "a@example.org"], "");
        assert_eq!(plain.lines().count(), 1, "nothing but the token: {plain}");

        let server = place.server.unwrap_or_else(|| place.folder.serve());
        for token in [token.as_str(), plain.trim()] {
            let (status, body) = http("GET", &format!("{}/v1/user", server.url()), token, "");
            assert_eq!(status, 200, "{body}");
            assert!(body.contains("a@example.org"), "{body}");
        }
        let login = "grant_type=password&client_id=particle&client_secret=particle\
                     &username=b@example.org&password=long+enough";
        let (status, body) = http("POST", &format!("{}/oauth/token", server.url()), "", login);
        assert_eq!(status, 200, "{body}");
    }
}

#[test]
fn accounts_that_make_no_sense_are_refused() {
    for place in Place::both() {
        let add = |email: &str, password: &str| {
            place.refused(&["user", "add", email, "--password-stdin"], password)
        };
        let twice = add(OWNER, "long enough\n");
        assert!(twice.contains(OWNER) && twice.contains("already"), "{twice}");
        let other_case = add("Owner@Example.org", "long enough\n");
        assert!(other_case.contains("already"), "{other_case}");
        assert!(add("nobody", "long enough\n").contains("nobody"));
        assert!(add("short@example.org", "short\n").contains("password"));
        assert!(add("none@example.org", "").contains("password"));
        let why = place.refused(&["token", "create", "who@example.org"], "");
        assert!(why.contains("who@example.org") && why.contains("user add"), "{why}");
    }
}

#[test]
fn a_password_on_the_command_line_is_a_bad_call() {
    let folder = Folder::empty();
    for args in
        [vec!["user", "add", "a@example.org"], vec!["user", "add", "a@example.org", "secret"]]
    {
        let output = run(&[args, vec!["--data", folder.data()]].concat(), "long enough\n");
        assert_eq!(output.status.code(), Some(2));
    }
}

// Devices.

#[test]
fn a_device_is_added_and_listed() {
    for place in Place::both() {
        let keys = tempfile::tempdir().expect("a folder");
        let key = device_key(keys.path(), "ec");
        let args = ["device", "add", ID, "--owner", OWNER, "--public-key", text(&key)];
        let added = place.json(&args, "");
        assert_eq!(added["added"], 1, "{added}");
        assert_eq!(added["present"], serde_json::json!([]));
        assert_eq!(added["shared_keys"], serde_json::json!([]));

        let again = place.json(&args, "");
        assert_eq!((&again["added"], &again["present"][0]), (&0.into(), &ID.into()), "{again}");
        let told = place.text(&args, "");
        assert!(told.contains("0 added") && told.contains('1'), "{told}");

        let listed = place.json(&["device", "list"], "");
        let [device] = listed.as_array().expect("a list").as_slice() else { panic!("{listed}") };
        assert_eq!(device["id"], ID);
        assert_eq!(device["owner"], OWNER);
        let online = if place.is_running() { Value::from(false) } else { Value::Null };
        assert_eq!(device["online"], online);
        let row = place.text(&["device", "list", "--owner", OWNER], "");
        assert!(row.contains(ID) && row.contains(OWNER), "{row}");
        assert_eq!(row.contains("offline"), place.is_running(), "{row}");
    }
}

#[test]
fn only_the_devices_of_the_owner_asked_for_are_listed() {
    for place in Place::both() {
        place.text(&["user", "add", "other@example.org", "--password-stdin"], "long enough\n");
        let keys = tempfile::tempdir().expect("a folder");
        let key = device_key(keys.path(), "rsa");
        let args =
            ["device", "add", ID, "--owner", "other@example.org", "--public-key", text(&key)];
        place.json(&args, "");
        place.folder.register(&[identity(Generation::Os6, 1), identity(Generation::Tcp, 1)]);
        let count = |args: &[&str]| place.json(args, "").as_array().expect("a list").len();
        assert_eq!(count(&["device", "list"]), 3);
        assert_eq!(count(&["device", "list", "--owner", OWNER]), 2);
        assert_eq!(count(&["device", "list", "--owner", "other@example.org"]), 1);
    }
}

#[test]
fn platform_and_product_are_kept() {
    let [place, _] = Place::both();
    let keys = tempfile::tempdir().expect("a folder");
    let key = device_key(keys.path(), "ec");
    let known = ["device", "add", ID, "--owner", OWNER, "--public-key", text(&key)];
    place.json(&[&known[..], &["--platform", "13"]].concat(), "");
    let listed = place.json(&["device", "list"], "");
    assert_eq!(listed[0]["platform"], "boron", "{listed}");
}

#[test]
fn a_key_given_to_two_devices_warns() {
    for place in Place::both() {
        let keys = tempfile::tempdir().expect("a folder");
        let key = device_key(keys.path(), "ec");
        let add = |id| {
            let data = ["--data", place.data()];
            let args = ["device", "add", id, "--owner", OWNER, "--public-key", text(&key)];
            [&args[..], &data[..]].concat()
        };
        let first = run(&add(ID), "");
        assert!(first.status.success() && first.stderr.is_empty(), "{first:?}");
        let second = run(&add(OTHER_ID), "");
        assert!(second.status.success(), "{second:?}");
        let warning = String::from_utf8_lossy(&second.stderr);
        assert!(warning.contains("Warning") && warning.contains(OTHER_ID), "{warning}");
        let told = run_ok(&[&add(ID)[..], &["--json"]].concat(), "");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["shared_keys"], serde_json::json!([ID]), "still shared");
    }
}

/// A key given twice within one file is found as well.
#[test]
fn a_key_that_stands_twice_in_a_file_warns() {
    let [place, _] = Place::both();
    let first = Identity::of_fleet("e00fce68", 1, 1, false);
    let second = Identity { id: identity(Generation::Os6, 2).id, ..first.clone() };
    let file = import_file([first, second.clone()]);
    let told = place.json(&["device", "import", text(file.path()), "--owner", OWNER], "");
    assert_eq!(told["added"], 2);
    assert_eq!(told["shared_keys"], serde_json::json!([second.id.to_string()]));
}

#[test]
fn devices_that_make_no_sense_are_refused_by_name() {
    for place in Place::both() {
        let keys = tempfile::tempdir().expect("a folder");
        let key = device_key(keys.path(), "ec");
        let add = |id: &str, owner: &str, key: &Path| {
            place.refused(&["device", "add", id, "--owner", owner, "--public-key", text(key)], "")
        };
        let why = add(ID, "who@example.org", &key);
        assert!(why.contains("who@example.org"), "{why}");
        assert!(add("e00fce", OWNER, &key).contains("e00fce"));
        assert!(add("e00fce681234567890abcdxx", OWNER, &key).contains("e00fce681234567890abcdxx"));
        let missing = keys.path().join("missing.pem");
        assert!(add(ID, OWNER, &missing).contains("missing.pem"));
        let bad = keys.path().join("bad.pem");
        std::fs::write(&bad, "-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n")
            .expect("written");
        assert!(add(ID, OWNER, &bad).contains("bad.pem"));
        let why = place.refused(&["device", "list", "--owner", "who@example.org"], "");
        assert!(why.contains("who@example.org"), "{why}");
        assert_eq!(place.json(&["device", "list"], ""), serde_json::json!([]));
    }
}

/// The public half of a private key is taken, so that `particle keys` output fits.
#[test]
fn a_private_key_file_registers_its_public_half() {
    let [place, _] = Place::both();
    let keys = tempfile::tempdir().expect("a folder");
    device_key(keys.path(), "ec");
    for (name, id) in [("device.der", ID), ("device.pem", OTHER_ID)] {
        let path = keys.path().join(name);
        let args = ["device", "add", id, "--owner", OWNER, "--public-key", text(&path)];
        assert_eq!(place.json(&args, "")["added"], 1);
    }
}

fn import_file(devices: impl IntoIterator<Item = Identity>) -> tempfile::NamedTempFile {
    let lines: Vec<String> =
        registrations(devices).collect::<Result<_, _>>().expect("keys can be made");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), lines.join("\n")).expect("written");
    file
}

#[test]
fn two_thousand_devices_are_imported_and_one_of_them_connects() {
    let file = import_file((0..2000).map(|index| identity(Generation::Os6, index)));
    for place in Place::both() {
        let args = ["device", "import", text(file.path()), "--owner", OWNER];
        assert_eq!(place.json(&args, "")["added"], 2000);
        let again = place.json(&args, "");
        assert_eq!(again["added"], 0);
        assert_eq!(again["present"].as_array().expect("a list").len(), 2000);
        let listed = place.json(&["device", "list"], "");
        assert_eq!(listed.as_array().expect("a list").len(), 2000);

        let Place { folder, server } = place;
        let server = server.unwrap_or_else(|| folder.serve());
        let address = server.text("udp").parse().expect("an address");
        connect(&mut folder.device(Generation::Os6, 1999, address));
    }
}

#[test]
fn one_bad_line_of_an_import_is_named_and_nothing_is_added() {
    for place in Place::both() {
        let good = identity(Generation::Os6, 1).registration().expect("a key");
        let bad_lines = [
            "{}".to_owned(),
            "no JSON".to_owned(),
            r#"{"device_id":"e00fce681234567890abcdef","public_key_pem":"none"}"#.to_owned(),
            good.replacen('}', r#","plattform":12}"#, 1),
        ];
        for bad in bad_lines {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), format!("{good}\n\n{bad}\n")).expect("written");
            let why = place.refused(&["device", "import", text(file.path()), "--owner", OWNER], "");
            assert!(why.contains(":3:"), "the line is named: {why}");
        }
        let why = place.refused(&["device", "import", "/nowhere/list", "--owner", OWNER], "");
        assert!(why.contains("/nowhere/list"), "{why}");
        assert_eq!(place.json(&["device", "list"], ""), serde_json::json!([]));
    }
}

/// What is added to a running server holds at once, without a restart.
#[test]
fn a_device_added_to_a_running_server_connects() {
    let folder = Folder::new();
    let server = folder.serve();
    let address = server.text("udp").parse().expect("an address");
    folder.register(&[identity(Generation::Os6, 1)]);
    let mut live = folder.device(Generation::Os6, 1, address);
    connect(&mut live);
    let listed = run_ok(&["device", "list", "--data", folder.data(), "--json"], "");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["online"], true, "{listed}");
    assert!(listed[0]["last_heard"].is_string(), "{listed}");
    let row = run_ok(&["device", "list", "--data", folder.data()], "");
    assert!(row.contains("online"), "{row}");
}

// Keys.

#[test]
fn private_files_are_for_their_owner_alone() {
    let folder = Folder::new();
    let _server = folder.serve();
    let keys = tempfile::tempdir().expect("a folder");
    device_key(keys.path(), "ec");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    for name in ["device.der", "device.pem"] {
        assert_eq!(mode(&keys.path().join(name)), 0o600, "{name}");
    }
    for name in ["keys/server-ec.pem", "keys/server-rsa.pem", "admin.sock"] {
        assert_eq!(mode(&folder.path(name)), 0o600, "{name}");
    }
}

/// The tables and the journal hold session keys and hashes of passwords.
#[test]
fn nothing_secret_in_the_data_folder_can_be_read_by_others() {
    let folder = Folder::empty();
    let data = folder.path("new");
    let server = Server::start(&["--data", text(&data)], &[]);
    drop(server);
    let folder_mode = std::fs::metadata(&data).expect("a folder").permissions().mode() & 0o777;
    let is_public = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.contains(".pub.") || name.contains("image")
    };
    for path in files(&data).iter().filter(|path| !is_public(path)) {
        let mode = std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        let closed = mode & 0o077 == 0 || folder_mode & 0o077 == 0;
        assert!(closed, "{} has mode {mode:o} in a folder of {folder_mode:o}", path.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| self::files(folder)));
    files
}

#[test]
fn server_keys_that_exist_are_kept_and_others_refused_without_force() {
    for place in Place::both() {
        let summary = |args: &[&str]| place.json(&[&["keys", "server"], args].concat(), "");
        let states = |told: &Value| {
            [&told["keys"][0]["state"], &told["keys"][1]["state"]].map(Value::to_string)
        };
        let first = summary(&[]);
        assert_eq!(states(&first), ["\"kept\"", "\"kept\""]);
        let files = tempfile::tempdir().expect("a folder");
        let write = |name: &str, kind| {
            let path = files.path().join(name);
            let key = PrivateKey::generate(kind).expect("a key").to_pem().expect("text");
            std::fs::write(&path, key).expect("written");
            path
        };
        let ec = write("ec.pem", KeyKind::P256);
        let why = place.refused(&["keys", "server", "--ec-key", text(&ec)], "");
        assert!(why.contains("--force") && why.contains("server-ec.pem"), "{why}");
        assert_eq!(summary(&[])["keys"][0]["sha256"], first["keys"][0]["sha256"]);

        let forced = summary(&["--ec-key", text(&ec), "--force"]);
        assert_eq!(states(&forced), ["\"replaced\"", "\"kept\""]);
        assert!(forced["keys"][0]["previous"].is_string(), "the old key is kept: {forced}");
        let told = place.text(&["keys", "server"], "");
        assert!(told.contains("previous") && told.contains("dfu-util"), "{told}");

        let wrong = write("wrong.pem", KeyKind::Rsa1024);
        let why = place.refused(&["keys", "server", "--rsa-key", text(&wrong)], "");
        assert!(why.contains("wrong.pem"), "{why}");
        let why = place.refused(&["keys", "server", "--ec-key", "/nowhere/key.pem"], "");
        assert!(why.contains("/nowhere/key.pem"), "{why}");
    }
}

#[test]
fn keys_of_an_earlier_server_are_taken_over_into_a_new_folder() {
    let folder = Folder::empty();
    let files = tempfile::tempdir().expect("a folder");
    let mut hashes = Vec::new();
    let mut args = vec!["keys".to_owned(), "server".to_owned()];
    for (option, kind) in [("--ec-key", KeyKind::P256), ("--rsa-key", KeyKind::Rsa2048)] {
        let path = files.path().join(kind.algorithm());
        let key = PrivateKey::generate(kind).expect("a key");
        std::fs::write(&path, key.to_pem().expect("text")).expect("written");
        hashes.push(hex::encode(key.public_key().hash()));
        args.extend([option.to_owned(), text(&path).to_owned()]);
    }
    args.extend(
        ["--data", folder.data(), "--host", "cloud.example.org", "--json"].map(str::to_owned),
    );
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told: Value = serde_json::from_str(&run_ok(&args, "")).expect("JSON");
    for (key, hash) in told["keys"].as_array().expect("two").iter().zip(&hashes) {
        assert_eq!((&key["state"], &key["sha256"]), (&"placed".into(), &hash.as_str().into()));
        let image = std::fs::read(key["image"].as_str().expect("a path")).expect("an image");
        let host = b"cloud.example.org";
        assert!(image.windows(host.len()).any(|window| window == host));
    }
    let _server = folder.serve();
    let after = run_ok(&["keys", "server", "--data", folder.data(), "--json"], "");
    let after: Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(after["keys"][0]["sha256"], hashes[0].as_str(), "the server keeps them");
}

#[test]
fn the_key_of_a_device_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    device_key(folder.path(), "ec");
    let before = std::fs::read(folder.path().join("device.der")).expect("a key");
    let output = run(&["keys", "device", "--type", "rsa", "--out", text(folder.path())], "");
    let why = refusal(&output);
    assert!(why.contains("device.der") && why.contains("--out"), "{why}");
    assert_eq!(std::fs::read(folder.path().join("device.der")).expect("a key"), before);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = text(file.path());
    for args in [
        vec!["user", "add", "a@example.org", "--password-stdin"],
        vec!["token", "create", OWNER],
        vec!["device", "list"],
        vec!["keys", "server"],
    ] {
        let output = run(&[&args[..], &["--data", path]].concat(), "long enough\n");
        let why = refusal(&output);
        assert!(why.contains(path), "{args:?}: {why}");
    }
}

// Help.

/// Every command, with the options and arguments that its help must name.
fn commands() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("serve", vec!["--config", "--data", "--demo", "--ready-json"]),
        ("check", vec!["--data", "--json"]),
        ("backup", vec!["<TO>", "--data", "--json"]),
        ("restore", vec!["<FROM>", "--data", "--json"]),
        ("user add", vec!["<EMAIL>", "--password-stdin", "--data", "--json"]),
        ("user invite", vec!["<EMAIL>", "--days", "--data", "--json"]),
        ("user invitations", vec!["--data", "--json"]),
        ("user withdraw", vec!["<EMAIL>", "--data", "--json"]),
        ("token create", vec!["<EMAIL>", "--expires-in", "--data", "--json"]),
        (
            "device add",
            vec!["<ID>", "--owner", "--public-key", "--platform", "--product", "--data", "--json"],
        ),
        (
            "device import",
            vec!["<FILE>", "--owner", "--data", "--json", "device_id", "public_key_pem"],
        ),
        ("device list", vec!["--owner", "--data", "--json"]),
        (
            "keys server",
            vec![
                "--ec-key",
                "--rsa-key",
                "--host",
                "--udp-port",
                "--tcp-port",
                "--force",
                "--data",
                "--json",
            ],
        ),
        ("keys device", vec!["--type", "--out", "--json"]),
        ("sessions forget", vec!["--data", "--json"]),
        ("firmware add", vec!["<FILES>", "--data", "--json"]),
        ("firmware list", vec!["--data", "--json"]),
        ("firmware remove", vec!["<HASH>", "--data", "--json"]),
        ("firmware check", vec!["<FILE>", "--platform", "--json"]),
        ("firmware make", vec!["<FILE>", "--platform", "--kib", "--product", "--product-version"]),
        ("sim", vec!["--profile", "--devices"]),
        ("plan set", vec!["<OWNER>", "<PLAN>", "--catalogue", "--blocks", "--data", "--json"]),
        ("usage", vec!["--owner", "--from", "--to", "--csv", "--data", "--json"]),
        ("usage why", vec!["--device", "--owner", "--limit", "--data", "--json"]),
        ("calc", vec!["--devices", "--every", "--payload", "--catalogue", "--json"]),
        ("doctor", vec!["--config", "--data", "--json"]),
    ])
}

#[test]
fn the_help_of_every_command_names_its_options() {
    let mut found = Vec::new();
    walk(&[], &mut found);
    let known = commands();
    for command in &found {
        let wanted = known.get(command.as_str()).unwrap_or_else(|| panic!("a row for {command:?}"));
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run_ok(&words, "");
        for option in wanted {
            assert!(help.contains(option), "{command} does not tell of {option}:\n{help}");
        }
    }
    assert_eq!(found.len(), known.len(), "{found:?}");
}

/// Collects the commands below `path` that have none below them.
fn walk(path: &[&str], found: &mut Vec<String>) {
    let help = run_ok(&[path, &["--help"]].concat(), "");
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return found.push(path.join(" "));
    };
    let usage = help.lines().find(|line| line.starts_with("Usage:"));
    if usage.is_some_and(|usage| !usage.contains("<COMMAND>")) {
        found.push(path.join(" "));
    }
    for line in list.lines().take_while(|line| !line.trim().is_empty()) {
        // A description that does not fit goes on in a line that is indented further.
        if line.starts_with("   ") {
            continue;
        }
        let name = line.split_whitespace().next().expect("a name");
        if name != "help" {
            walk(&[path, &[name]].concat(), found);
        }
    }
}

#[test]
fn the_version_is_told() {
    let told = run_ok(&["--version"], "");
    assert_eq!(told.trim(), format!("cloudchamber {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_command_that_does_not_exist_is_a_bad_call() {
    for args in
        [vec!["frobnicate"], vec!["device"], vec!["device", "add"], vec!["serve", "--port", "1"]]
    {
        let output = run(&args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage"), "{output:?}");
    }
}
