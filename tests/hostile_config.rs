//! Starts that must not succeed: each ends with exit code 1 and says what is wrong, before a port is
//! bound. And the stop that must: in order, so that the next start goes on.

mod support;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use sim::device::profile::Generation;
use sim::device::{How, Observation};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use support::folder::{Folder, Ports, identity};
use support::live::{await_acknowledgement, await_observation, connect, finish, publish};
use support::watch::{let_metrics_settle, metric, replay};
use support::{Server, cloudchamber, http};

/// Ports that others have, so that a server that binds before it checks complains of them.
struct Taken {
    udp: UdpSocket,
    tcp: TcpListener,
    http: TcpListener,
}

impl Taken {
    fn new() -> Self {
        let here = "127.0.0.1:0";
        Self {
            udp: UdpSocket::bind(here).expect("a port"),
            tcp: TcpListener::bind(here).expect("a port"),
            http: TcpListener::bind(here).expect("a port"),
        }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |address: std::io::Result<SocketAddr>| address.expect("an address").to_string();
        vec![
            ("CLOUDCHAMBER_UDP__LISTEN", text(self.udp.local_addr())),
            ("CLOUDCHAMBER_TCP__LISTEN", text(self.tcp.local_addr())),
            ("CLOUDCHAMBER_HTTP__LISTEN", text(self.http.local_addr())),
        ]
    }
}

/// Tries to serve and gives why it does not.
fn refused(args: &[&str], environment: &[(&str, String)]) -> String {
    let mut command = cloudchamber(&[&["serve"], args].concat());
    let mut child = command
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    for _ in 0..200 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Only a server that came up in spite of everything is still there.
    let _ = child.kill();
    let output = child.wait_with_output().expect("ended");
    let errors = String::from_utf8(output.stderr).expect("text");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}\n{errors}");
    assert!(!said.contains("serves") && !said.contains("{\""), "{said}");
    assert!(!errors.contains("panicked"), "{errors}");
    let (_, why) = errors.split_once("cloudchamber: ").unwrap_or_else(|| panic!("{errors}"));
    why.to_owned()
}

/// The same with a settings file, on ports that are taken.
fn refused_settings(text: &str) -> String {
    let folder = Folder::empty();
    let file = folder.path("settings.toml");
    std::fs::write(&file, text).expect("written");
    let data = folder.path("data");
    let why = refused(
        &["--config", file.to_str().expect("text"), "--data", data.to_str().expect("text")],
        &Taken::new().environment(),
    );
    assert!(!data.exists(), "nothing is made before the settings are known to be good");
    why
}

#[test]
fn an_unknown_key_is_named() {
    assert!(refused_settings("[udp]\nlisen = \"127.0.0.1:1\"").contains("lisen"));
    assert!(refused_settings("[updates]\non = true").contains("updates"));
    assert!(refused_settings("speed = 9").contains("speed"));
}

#[test]
fn an_unknown_key_in_the_environment_is_named() {
    let folder = Folder::empty();
    let mut environment = Taken::new().environment();
    environment.push(("CLOUDCHAMBER_UDP__LISEN", "127.0.0.1:1".into()));
    let why = refused(&["--data", folder.data()], &environment);
    assert!(why.contains("lisen"), "{why}");
}

#[test]
fn a_bad_value_is_named_by_its_key() {
    for (text, key) in [
        ("[tcp]\nconnections_max = \"many\"", "connections_max"),
        ("[tcp]\nconnections_max = -1", "connections_max"),
        ("[node]\nshards = \"two\"", "shards"),
        ("[provisioning]\ntrust_on_first_use = \"perhaps\"", "trust_on_first_use"),
        ("[metering]\ncatalogue = \"1999\"", "catalogue"),
        ("[metering]\nhours_kept_days = 0", "metering.hours_kept_days"),
        ("[metering]\ndays_kept_days = 61", "metering.days_kept_days"),
        ("[publish]\nburst = 0", "burst"),
        ("[log]\nfilter = \"cloudchamber=loud\"", "filter"),
    ] {
        let why = refused_settings(text);
        assert!(why.contains(key), "{text:?}: {why}");
    }
}

/// Numbers that no machine can follow are known to be bad before anything is made, by the name that
/// the settings have for them.
#[test]
fn a_number_out_of_its_range_is_named_by_its_key() {
    for (key, value) in [("shards", 300), ("handshake_threads", 100_000), ("handshake_queue", 0)] {
        let why = refused_settings(&format!("[node]\n{key} = {value}"));
        assert!(why.contains(key), "{key} = {value}: {why}");
    }
}

/// Rounding would hide what was meant.
#[test]
fn a_fraction_where_a_whole_number_is_wanted_is_named() {
    let why = refused_settings("[node]\nshards = 1.5");
    assert!(why.contains("shards"), "{why}");
}

/// Addresses are in the environment too, so these come without it.
#[test]
fn an_address_that_is_none_is_named_by_its_key() {
    for key in ["UDP", "TCP", "HTTP"] {
        let folder = Folder::empty();
        for bad in ["everywhere", "127.0.0.1", "127.0.0.1:70000", "localhost:5684", ""] {
            let variable = format!("CLOUDCHAMBER_{key}__LISTEN");
            let why = refused(&["--data", folder.data()], &[(&variable, bad.into())]);
            let name = format!("{}.listen", key.to_lowercase());
            assert!(why.contains(&name), "{bad:?} for {name}: {why}");
        }
    }
}

#[test]
fn a_settings_file_that_is_missing_or_no_toml_is_named() {
    let folder = Folder::empty();
    let missing = refused(&["--config", "/nowhere/cloud.toml", "--data", folder.data()], &[]);
    assert!(missing.contains("/nowhere/cloud.toml"), "{missing}");
    assert!(refused_settings("[udp\nlisten = 1").contains("settings.toml"));
}

#[test]
fn plain_http_beyond_loopback_is_refused() {
    let folder = Folder::empty();
    let open = [("CLOUDCHAMBER_HTTP__LISTEN", "0.0.0.0:0".to_owned())];
    let why = refused(&["--data", folder.data()], &open);
    assert!(why.contains("http.listen") && why.contains("allow_plain"), "{why}");
    let environment =
        [("CLOUDCHAMBER_HTTP__LISTEN", "0.0.0.0:0"), ("CLOUDCHAMBER_HTTP__ALLOW_PLAIN", "true")];
    let server = Server::start(&["--data", folder.data()], &environment);
    assert!(server.text("http").starts_with("0.0.0.0:"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = Taken::new();
    for (variable, address) in taken.environment() {
        let folder = Folder::empty();
        let why = refused(&["--data", folder.data()], &[(variable, address.clone())]);
        let key = variable.trim_start_matches("CLOUDCHAMBER_").split('_').next().expect("a word");
        assert!(why.contains(&address), "{why}");
        assert!(why.to_lowercase().contains(&key.to_lowercase()), "{key}: {why}");
    }
}

/// Several sockets share the server's UDP port, but not with another server: half of the devices would
/// be lost to each.
#[test]
fn the_udp_port_of_another_server_is_taken_even_with_several_threads() {
    let threads = [("CLOUDCHAMBER_NODE__SHARDS", "2")];
    let (first, second) = (Folder::empty(), Folder::empty());
    let server = first.serve_with(&threads);
    let environment = [
        ("CLOUDCHAMBER_UDP__LISTEN", server.text("udp")),
        ("CLOUDCHAMBER_NODE__SHARDS", "2".into()),
    ];
    let why = refused(&["--data", second.data()], &environment);
    assert!(why.contains(&server.text("udp")), "{why}");
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("text");
    let why = refused(&["--data", path], &Taken::new().environment());
    assert!(why.contains(path), "{why}");
}

#[test]
fn a_data_folder_of_a_running_server_is_named() {
    let folder = Folder::empty();
    let server = folder.serve();
    let why = refused(&["--data", folder.data()], &Taken::new().environment());
    assert!(why.contains(folder.data()) && why.contains("in use"), "{why}");
    assert_eq!(
        http("GET", &format!("{}/health", server.url()), "", "").0,
        200,
        "the first goes on"
    );
    drop(server);
    folder.serve();
}

#[test]
fn a_data_folder_of_a_newer_version_is_named_and_left_as_it_is() {
    let folder = Folder::new();
    let file = folder.path("store.sqlite");
    change(
        &file,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (20990101000000, 'from the future', 1, x'00', 0)",
    );
    let why = refused(&["--data", folder.data()], &Taken::new().environment());
    assert!(why.contains("store.sqlite") && why.contains("newer"), "{why}");
    change(&file, "DELETE FROM _sqlx_migrations WHERE version = 20990101000000");
    folder.serve();
}

/// A step of the schema that was changed after it ran is no step of ours.
#[test]
fn a_data_folder_that_another_program_migrated_is_refused() {
    let folder = Folder::new();
    change(&folder.path("store.sqlite"), "UPDATE _sqlx_migrations SET checksum = x'00'");
    let why = refused(&["--data", folder.data()], &Taken::new().environment());
    assert!(why.len() > 40, "{why}");
}

fn change(file: &Path, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut connection =
            SqliteConnectOptions::new().filename(file).connect().await.expect("the tables");
        let done = sqlx::query(statement).execute(&mut connection).await.expect("executed");
        assert!(done.rows_affected() > 0);
    });
}

#[test]
fn a_damaged_database_is_named() {
    let folder = Folder::new();
    let file = folder.path("store.sqlite");
    std::fs::write(&file, vec![0x5a; 8192]).expect("written");
    for name in ["store.sqlite-wal", "store.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path(name));
    }
    let why = refused(&["--data", folder.data()], &Taken::new().environment());
    assert!(why.contains("store.sqlite"), "the file is named: {why}");
}

#[test]
fn a_server_key_that_is_none_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path("keys/server-ec.pem"), "no key").expect("written");
    let why = refused(&["--data", folder.data()], &Taken::new().environment());
    assert!(why.contains("server-ec.pem"), "{why}");
}

// The stop in order.

#[test]
fn a_server_that_is_told_to_stop_ends_well_and_the_next_one_goes_on() {
    let folder = Folder::new();
    let generations = [Generation::Os6, Generation::Os3, Generation::Tcp];
    folder.register(&generations.map(|generation| identity(generation, 1)));
    let token = folder.token();
    let server = folder.serve();
    let ports = Ports::of(&server);
    let mut devices = generations.map(|generation| {
        let address = if generation == Generation::Tcp { ports.tcp() } else { ports.udp() };
        let mut live = folder.device(generation, 1, address);
        connect(&mut live);
        live
    });
    for live in &mut devices[..2] {
        let number = publish(live, "stop/before", "before");
        await_acknowledgement(live, number);
    }
    assert_eq!(server.stop().code(), Some(0));
    assert!(!folder.path("admin.sock").exists(), "the socket goes with the server");

    let next = folder.serve_again(&ports, &[]);
    for live in &mut devices[..2] {
        let number = publish(live, "stop/after", "after");
        await_acknowledgement(live, number);
    }
    await_observation(&mut devices[2], |seen| *seen == Observation::Connected(How::Handshake));
    finish(&mut devices[2]);
    let_metrics_settle();
    assert_eq!(metric(&next.url(), "cloudchamber_dtls_handshakes_total", ""), 0);
    assert_eq!(replay(&next.url(), &token, "stop").len(), 4);
    assert_eq!(next.stop().code(), Some(0));
}

#[test]
fn open_event_streams_and_idle_connections_do_not_hold_up_a_stop() {
    use std::io::{Read, Write};
    let folder = Folder::new();
    let token = folder.token();
    let server = folder.serve();
    let mut stream = std::net::TcpStream::connect(server.text("http")).expect("connected");
    let head = format!(
        "GET /v1/devices/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    assert!(stream.read(&mut [0; 512]).expect("a head") > 0);
    let _idle = std::net::TcpStream::connect(server.text("tcp")).expect("connected");
    let began = std::time::Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
