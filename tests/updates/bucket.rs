//! Firmware files in a bucket of an S3-compatible server, an independent one.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::profile::Generation;
use sim::firmware::Binary;

use crate::support::flash::send_files;
use crate::support::folder::{Folder, Ports, identity};
use crate::support::live::connect;
use crate::support::{http, root, run};
use crate::{device, flash};

const BUCKET: &str = "firmware";

/// `s3rver` with a folder of its own.
struct Bucket {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Bucket {
    fn start() -> Self {
        let server = root().join("tests/s3/node_modules/s3rver/bin/s3rver.js");
        assert!(server.is_file(), "run `cargo xtask test` once, or `npm ci` in tests/s3");
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = Command::new("node")
            .arg(server)
            .args(["--address", "127.0.0.1", "--port", &port.to_string()])
            .args(["--configure-bucket", BUCKET, "--directory"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let bucket = Self { process, folder, port };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "the S3 server did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        bucket
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Names of the objects: `s3rver` keeps each in a file with this ending.
    fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join(BUCKET)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if let Some(name) = name.strip_suffix("._S3rver_object") {
                    found.push(name.to_owned());
                }
            }
        }
        found
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn firmware_lives_in_a_bucket_and_is_flashed_from_it_after_a_restart() {
    let bucket = Bucket::start();
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let endpoint = bucket.endpoint();
    let settings = [
        ("CLOUDCHAMBER_UPDATES__S3__BUCKET", BUCKET),
        ("CLOUDCHAMBER_UPDATES__S3__ENDPOINT", endpoint.as_str()),
        ("CLOUDCHAMBER_UPDATES__S3__ACCESS_KEY_ID", "S3RVER"),
        ("CLOUDCHAMBER_UPDATES__S3__SECRET_ACCESS_KEY", "S3RVER"),
    ];
    let server = folder.serve_with(&settings);
    let (ports, token) = (Ports::of(&server), folder.token());
    let form = "name=Stored&platform_id=12";
    let (_, made) = http("POST", &format!("{}/v1/user/products", ports.url()), &token, form);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let product = made["product"]["id"].as_u64().expect("a number");
    let firmware = format!("{}/v1/products/{product}/firmware", ports.url());
    let image = Binary::application(12, 30_000).of_product(product as u16, 3).build();
    let (status, told) =
        send_files("POST", &firmware, &token, &[("version", "3")], &[("app.bin", &image)]);
    assert_eq!(status, 201, "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let hash = told["hash"].as_str().expect("text");
    assert_eq!(bucket.objects(), [format!("{hash}.bin")]);
    let local = std::fs::read_dir(folder.path("firmware")).into_iter().flatten().count();
    assert_eq!(local, 0, "nothing lies in the data folder");

    server.kill();
    let server = folder.serve_again(&ports, &settings);
    let mut live = folder.device(Generation::Os6, 0, ports.udp());
    connect(&mut live);
    let id = live.device().id().to_string();
    let form = format!("product_id={product}&version=3");
    let (status, told) = http("PUT", &format!("{}/v1/devices/{id}", ports.url()), &token, &form);
    assert_eq!(status, 200, "{told}");
    let end = Instant::now() + Duration::from_secs(60);
    while device(&ports.url(), &token, &id)["firmware_update"]["status"] != "success" {
        assert!(Instant::now() < end, "{}", device(&ports.url(), &token, &id));
        live.run(Duration::from_millis(200));
    }
    assert!(live.device().installed().expect("an update").image == image);

    // A file that is flashed and kept by nobody is gone afterwards.
    flash(&ports.url(), &token, &id, &Binary::application(12, 20_000).build());
    assert_eq!(bucket.objects().len(), 2);
    let end = Instant::now() + Duration::from_secs(60);
    while bucket.objects().len() > 1 {
        assert!(Instant::now() < end, "{:?}", bucket.objects());
        live.run(Duration::from_millis(200));
    }

    let doctor = |settings: &[(&str, &str)]| {
        let mut command = crate::support::cloudchamber(&["doctor", "--data", folder.data()]);
        let output = command.envs(settings.iter().copied()).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(doctor(&settings).contains("1 file"), "{}", doctor(&settings));
    let stored = bucket.folder.path().join(BUCKET).join(&hash[..2]);
    std::fs::remove_dir_all(stored).expect("removed");
    let told = doctor(&settings);
    assert!(told.contains("FAILED") && told.contains("upload it again"), "{told}");
    drop(server);
}

#[test]
fn what_a_crash_left_of_firmware_files_is_removed_at_the_next_start() {
    let folder = Folder::new();
    let system = Binary { function: 4, ..Binary::application(12, 20_000) };
    std::fs::write(folder.path("system.bin"), system.build()).expect("written");
    let path = folder.path("system.bin");
    let path = path.to_str().expect("text");
    assert!(run(&["firmware", "add", path, "--data", folder.data()], "").status.success());
    let kept = || {
        let levels = std::fs::read_dir(folder.path("firmware")).expect("a folder").flatten();
        let files = levels.flat_map(|level| std::fs::read_dir(level.path()).expect("a folder"));
        files.flatten().map(|file| file.file_name().into_string().expect("text")).collect()
    };
    let before: Vec<String> = kept();
    assert_eq!(before.len(), 1);
    // One that nothing refers to, and one that was being written.
    let orphan = "ab".repeat(32);
    std::fs::create_dir_all(folder.path("firmware/ab")).expect("a folder");
    std::fs::write(folder.path(format!("firmware/ab/{orphan}.bin")), "x").expect("written");
    std::fs::write(folder.path(format!("firmware/ab/{orphan}.bin#1")), "x").expect("written");
    drop(folder.serve());
    let after: Vec<String> = kept();
    assert_eq!(after, before);
}
