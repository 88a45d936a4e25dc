//! Simulated devices against the independent server of `../shared/reference`, with which real
//! Device OS firmware was seen to work: what fails here is a bug of the simulator.

#[allow(dead_code, reason = "only its image is used here")]
mod updates_support;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secure::keys::{KeyKind, PrivateKey};
use sim::device::application::ReceivedEvent;
use sim::device::profile::Generation;
use sim::device::{Device, How, Observation, Publish, Setup, Trust, UpdateStep};
use sim::identity::Identity;
use sim::live::Live;

#[test]
fn a_device_of_6_2_passes_the_script_twice_over_one_session() {
    run(Generation::Os6);
}

#[test]
fn a_device_of_3_0_passes_the_script_twice_over_one_session() {
    run(Generation::Os3);
}

#[test]
fn a_device_takes_updates_of_every_form_with_chunks_that_come_late() {
    for (script, generation, slow) in [
        ("ota3", Generation::Os6, false),
        ("ota", Generation::Os3, false),
        ("ota-slow", Generation::Os3, true),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = PrivateKey::generate(KeyKind::P256).expect("a key");
        let image = folder.path().join("image.bin");
        fs::write(&image, updates_support::image(30_000, 3)).expect("a file");
        let image = image.to_str().expect("a path");
        let arguments = ["--script", script, "--ota", image, "--drop-chunks", "3,9,20,21"];
        let mut cloud = Cloud::start_with(folder.path(), &key, &arguments);
        let trust = Trust::new([key.public_key().clone()]).expect("arithmetic");
        let mut setup = Setup::new(generation, trust);
        setup.takes_chunks_slowly = slow;
        let identity = Identity::of_fleet("e00fce68", 1, 7, false);
        let mut live = Live::new(Device::new(identity, Arc::new(setup), 3), cloud.address);
        live.power_on();
        let applied = live.run_until(Duration::from_secs(40), |observation| {
            *observation == Observation::Update(UpdateStep::Applied)
        });
        let log = cloud.stop();
        assert!(applied.is_some(), "{script}: {:#?}\n{log}", live.observations());
        assert_eq!(log.matches("EXC").count(), 0, "{log}");
    }
}

fn run(generation: Generation) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = PrivateKey::generate(KeyKind::P256).expect("a key");
    let mut cloud = Cloud::start(folder.path(), &key);
    let trust = Trust::new([key.public_key().clone()]).expect("arithmetic");
    let setup = Arc::new(Setup::new(generation, trust));
    let identity = Identity::of_fleet("e00fce68", 1, 7, false);
    let mut live = Live::new(Device::new(identity, setup, 3), cloud.address);

    live.power_on();
    await_(&mut live, |o| *o == Observation::Connected(How::Handshake));
    await_(&mut live, |o| *o == Observation::Settled);
    publish(&mut live, "sim/first");
    live.run(SCRIPT);
    live.reset();
    await_(&mut live, |o| *o == Observation::Connected(How::Resumed));
    publish(&mut live, "sim/second");
    live.run(SCRIPT);

    let log = cloud.stop();
    check_log(generation, &log);
    check_device(live.observations());
}

/// The script begins 2 s after the Hello or the move and makes a request every 0.4 s.
const SCRIPT: Duration = Duration::from_millis(10_500);

fn await_(live: &mut Live, wanted: impl FnMut(&Observation) -> bool) {
    let found = live.run_until(Duration::from_secs(15), wanted);
    assert!(found.is_some(), "seen so far: {:#?}", live.observations());
}

fn publish(live: &mut Live, name: &str) {
    let now = live.now();
    let number = live.device().publish(now, &Publish::text(name, "22.5")).expect("online");
    await_(
        live,
        |observation| matches!(observation, Observation::PublishAnswered { publish, code: 0, .. } if *publish == number),
    );
}

fn check_device(observations: &[Observation]) {
    let count =
        |wanted: fn(&Observation) -> bool| observations.iter().filter(|o| wanted(o)).count();
    assert_eq!(
        count(
            |o| matches!(o, Observation::Called { name, returned: Some(11), .. } if name == "echo")
        ),
        2
    );
    assert_eq!(
        count(
            |o| matches!(o, Observation::Called { name, returned: Some(-1), .. } if name == "neg")
        ),
        2
    );
    assert_eq!(
        count(
            |o| matches!(o, Observation::Called { name, returned: None, .. } if name == "nosuch")
        ),
        2
    );
    assert_eq!(count(|o| matches!(o, Observation::Read { .. })), 10);
    assert_eq!(count(|o| matches!(o, Observation::Disconnected(_))), 1, "only the restart");
    for (name, data) in [
        ("test/abc", "event-data"),
        ("mine/z", "event-data2"),
        ("test/single", "event-data3"),
        ("test/tok", "event-data4"),
    ] {
        let event = ReceivedEvent { name: name.into(), data: Some(data.into()), format: 0 };
        let received =
            observations.iter().filter(|o| **o == Observation::Event(event.clone())).count();
        assert_eq!(received, 2, "{name}");
    }
}

fn check_log(generation: Generation, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("EXC"), 0, "{log}");
    assert_eq!(count("decrypt FAILED"), 0, "{log}");
    assert_eq!(count("HANDSHAKE COMPLETE"), 1);
    assert_eq!(count("client cert verified=True"), 1);
    assert_eq!(count("CertificateVerify OK"), 1);
    assert_eq!(count("client Finished OK"), 1);
    assert!(count("SESSION MOVED") >= 1, "{log}");
    let marker = match generation {
        Generation::Os6 => "record type=253",
        Generation::Os3 | Generation::Tcp => "content type 254 MOVE SESSION",
    };
    assert!(count(marker) >= 3, "{log}");
    check_requests(generation, &lines);
    check_announcements(generation, &lines);
}

/// Every request of the script has its answer, with the value of the application.
fn check_requests(generation: Generation, lines: &[&str]) {
    let answers = |name: &str| -> Vec<&str> {
        let separate = format!("<<< response to {name} CON");
        let piggybacked = format!("<<< response to {name} ACK");
        let found = lines.iter().filter(|l| l.contains(&separate) || l.contains(&piggybacked));
        found.copied().collect()
    };
    let expected = [
        ("var v_int", "CON 2.05", "0000002a"),
        ("var v_bool", "CON 2.05", "01"),
        ("var v_double", "CON 2.05", "0000000000000a40"),
        ("var v_string", "CON 2.05", "b'hello'"),
        ("var nosuch", "CON 4.04", "payload(0)"),
        ("fn echo", "CON 2.04", "0000000b"),
        ("fn neg", "CON 2.04", "ffffffff"),
        ("describe flags=2", "CON 2.05", "v_double"),
        (
            "describe flags=1",
            "CON 2.05",
            if generation == Generation::Os6 { "payload(" } else { "\"p\":10" },
        ),
        (
            "describe",
            if generation == Generation::Os6 { "ACK 4.00" } else { "CON 2.05" },
            "payload(",
        ),
    ];
    for (name, code, value) in expected {
        let found = answers(name);
        assert_eq!(found.len(), 2, "{name}: {found:#?}");
        assert!(found.iter().all(|line| line.contains(code) && line.contains(value)), "{found:#?}");
    }
    assert!(answers("fn nosuch").is_empty(), "an unknown function is acknowledged and no more");
}

/// What the device told by itself, in the order of its release.
fn check_announcements(generation: Generation, lines: &[&str]) {
    let said =
        |text: &str| lines.iter().position(|line| line.contains("COAP<") && line.contains(text));
    let common = ["(11, 'h')", "(15, '\\x01')"];
    let rest: &[&str] = match generation {
        Generation::Os6 => &[
            "(11, 't')",
            "updates/enabled",
            "updates/forced",
            "(15, '\\x02')",
            "(11, 'particle')",
            "(11, 'spark')",
        ],
        Generation::Os3 | Generation::Tcp => &[
            "updates/enabled",
            "updates/forced",
            "(11, 't')",
            "(15, '\\x02')",
            "(11, 'spark')",
            "(11, 'particle')",
        ],
    };
    let mut last = None;
    for text in common.iter().chain(rest).chain(&[
        "(11, 'test/')",
        "(11, 'mine')",
        "sim/first",
        "sim/second",
    ]) {
        let place = said(text);
        assert!(place > last, "{text} at {place:?} after {last:?}");
        last = place;
    }
    let hellos = lines.iter().filter(|line| line.contains("HELLO product=")).count();
    assert_eq!(hellos, 1, "the resumed session says no Hello");
}

/// The reference server in a process of its own.
struct Cloud {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Cloud {
    fn start(folder: &Path, key: &PrivateKey) -> Self {
        Self::start_with(folder, key, &["--script", "basic"])
    }

    fn start_with(folder: &Path, key: &PrivateKey, arguments: &[&str]) -> Self {
        require_cryptography();
        let pem = folder.join("key.pem");
        fs::write(&pem, key.to_pem().expect("a key")).expect("a file");
        let (port, log) = (free_port(), folder.join("cloud.log"));
        let process = Command::new("python3")
            .arg(script())
            .args(["--port", &port.to_string(), "--secs", "60", "--log"])
            .arg(&log)
            .args(arguments)
            .arg("--key")
            .arg(&pem)
            .stdout(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let cloud = Self { process, address: (Ipv4Addr::LOCALHOST, port).into(), log };
        cloud.wait_until_it_listens();
        cloud
    }

    fn wait_until_it_listens(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(&self.log).unwrap_or_default().contains("listening") {
            assert!(Instant::now() < end, "the reference server did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) -> String {
        let _ = self.process.kill();
        let _ = self.process.wait();
        fs::read_to_string(&self.log).expect("a log")
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}

fn script() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("../shared/reference/dtls_cloud.py");
    assert!(
        script.is_file(),
        "{} is missing: the papers belong beside the checkout",
        script.display()
    );
    script
}

fn require_cryptography() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let has = || {
            let import = Command::new("python3").args(["-c", "import cryptography"]).output();
            import.expect("python3 is needed for the reference server").status.success()
        };
        if !has() {
            let _ = writeln!(std::io::stderr(), "installing the Python package cryptography");
            let _ = Command::new("python3").args(["-m", "pip", "install", "cryptography"]).status();
        }
        assert!(has(), "the reference server needs the Python package cryptography");
    });
}
