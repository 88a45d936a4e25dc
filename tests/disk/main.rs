//! Disks that are full, fail, are slow or read-only, and what was damaged or lost on them: the real
//! binary on real files.
//!
//! Whatever the disk does: health tells it, devices are refused and never lied to, what was
//! acknowledged is there after a kill, and all is well again when the disk is.

mod damage;
mod faults;
mod journal;
#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::profile::Generation;
use sim::live::Live;

use faults::Faults;
use support::fleet::{operations, publish_answered};
use support::folder::{Folder, Ports, identity};
use support::live::connect;
use support::watch::replay;
use support::{Server, cloudchamber, http};

/// The pace is the devices' own.
const NO_LIMIT: (&str, &str) = ("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0");
/// Longest wait for what health tells.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose disk can be made to fail, with one device.
struct Rig {
    faults: Faults,
    folder: Folder,
    ports: Ports,
    server: Option<Server>,
    token: String,
    live: Live,
    acknowledged: Vec<String>,
    /// A publish was neither acknowledged nor refused when the server was killed.
    is_one_open: bool,
    sent: u32,
}

impl Rig {
    /// A device that is connected and has published once.
    fn new() -> Self {
        let (faults, folder) = (Faults::new(), Folder::new());
        folder.register(&[0, 1].map(|index| identity(Generation::Os6, index)));
        let token = folder.token();
        let server = serve(&folder, &faults, None);
        let ports = Ports::of(&server);
        let mut live = folder.device(Generation::Os6, 0, ports.udp());
        connect(&mut live);
        let server = Some(server);
        let acknowledged = Vec::new();
        let (is_one_open, sent) = (false, 0);
        let mut rig =
            Self { faults, folder, ports, server, token, live, acknowledged, is_one_open, sent };
        rig.is_acknowledged();
        rig
    }

    /// The device publishes; gives the code it is answered with.
    fn publish(&mut self) -> u16 {
        self.sent += 1;
        let data = format!("{}", self.sent);
        let code = publish_answered(&mut self.live, "disk/event", &data);
        if code == 0 {
            self.acknowledged.push(data);
        }
        code
    }

    fn is_acknowledged(&mut self) {
        assert_eq!(self.publish(), 0);
    }

    fn is_refused(&mut self) {
        assert_eq!(self.publish(), 503);
    }

    /// What `/health` says is wrong.
    fn complaint(&self) -> Option<String> {
        let (status, body) = http("GET", &format!("{}/health", self.ports.url()), "", "");
        let told: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status == 200, told["ok"] == true, "{status} {told}");
        told["error"].as_str().map(str::to_owned)
    }

    /// Waits until health tells of this, while the device lives.
    fn await_complaint(&mut self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.complaint().is_some_and(|told| told.contains(wanted)) {
            assert!(Instant::now() < end, "{wanted} is not told: {:?}", self.complaint());
            self.live.run(Duration::from_millis(50));
        }
    }

    /// Health tells of what is wrong as long as it is.
    fn keeps_complaining(&mut self) {
        for _ in 0..30 {
            assert_ne!(self.complaint(), None);
            self.live.run(Duration::from_millis(100));
        }
    }

    /// Waits until all is well.
    fn await_health(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Some(told) = self.complaint() {
            assert!(Instant::now() < end, "{told}");
            self.live.run(Duration::from_millis(50));
        }
    }

    /// Kills the server.
    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Starts a server that must not start; gives what it says.
    fn refuses_to_start(&self) -> String {
        let output = self.start_and_wait();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !errors.contains("panicked"), "{errors}");
        errors
    }

    fn start_and_wait(&self) -> Output {
        let mut serve = cloudchamber(&["serve", "--data", self.folder.data()]);
        serve.envs(self.faults.environment()).output().expect("the binary starts")
    }

    /// Kills the server and starts the next one: what was acknowledged is there once, nothing else is,
    /// each counts, and the device goes on.
    fn holds_what_was_acknowledged(mut self) {
        self.faults.set([]);
        if self.server.is_some() {
            self.kill();
        }
        self.server = Some(serve(&self.folder, &self.faults, Some(&self.ports)));
        let told = replay(&self.ports.url(), &self.token, "disk/");
        let told: Vec<_> = told.into_iter().filter_map(|event| event.data).collect();
        assert_eq!(told, self.acknowledged);
        self.is_acknowledged();
        self.await_health();
        let expected = self.acknowledged.len() as u64;
        support::fleet::await_true("each acknowledged publish counts, once", || {
            let counted = operations(&self.folder);
            counted == expected || (self.is_one_open && counted > expected)
        });
        self.server.take().expect("it runs").stop();
        support::run_ok(&["check", "--data", self.folder.data()], "");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path(name)
    }
}

fn serve(folder: &Folder, faults: &Faults, ports: Option<&Ports>) -> Server {
    let environment = faults.environment();
    let mut all: Vec<_> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    all.push(NO_LIMIT);
    match ports {
        Some(ports) => folder.serve_again(ports, &all),
        None => folder.serve_with(&all),
    }
}

/// Overwrites a part of a file.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).expect("opened");
    file.write_all_at(bytes, at).expect("written");
}
