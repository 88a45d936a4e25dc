//! A data folder with an account, and simulated devices that it knows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secure::keys::PublicKey;
use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Device, Setup, Trust};
use sim::identity::Identity;
use sim::live::Live;

use super::{Server, run_ok};

/// The account's address.
pub const OWNER: &str = "owner@example.org";
/// Its password.
pub const PASSWORD: &str = "correct horse";

/// Plans of which the free one has two devices and ten operations.
pub const SMALL_PLANS: &str = "
[catalogues.small]
ping_operations = 0
[catalogues.small.free]
devices = 2
operations = 10
cellular_bytes = 1000
tracker_bytes = 1000
[catalogues.small.growth]
devices = 2
operations = 20
cellular_bytes = 1000
tracker_bytes = 1000
";

/// See the module.
pub struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    /// A folder with server keys and the account.
    pub fn new() -> Self {
        let folder = Self::empty();
        run_ok(&["keys", "server", "--data", folder.data()], "");
        let line = format!("{PASSWORD}\n");
        run_ok(&["user", "add", OWNER, "--password-stdin", "--data", folder.data()], &line);
        folder
    }

    /// A folder of its own with the same contents; no server may run on this one.
    pub fn copy(&self) -> Self {
        let copy = Self::empty();
        copy_files(self.dir.path(), copy.dir.path());
        copy
    }

    /// The data folder: inside the temporary one, so that other files can lie beside it.
    pub fn data(&self) -> &str {
        self.dir.path().to_str().expect("text")
    }

    /// A path in the data folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A token of the account.
    pub fn token(&self) -> String {
        run_ok(&["token", "create", OWNER, "--data", self.data()], "").trim().to_owned()
    }

    /// Registers devices of the account.
    pub fn register(&self, devices: &[Identity]) {
        let lines: String =
            devices.iter().map(|device| device.registration().expect("a key") + "\n").collect();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), lines).expect("written");
        let path = file.path().to_str().expect("text");
        let args = ["device", "import", path, "--owner", OWNER, "--data", self.data(), "--json"];
        let told: Value = serde_json::from_str(&run_ok(&args, "")).expect("JSON");
        assert_eq!(told["added"], devices.len(), "{told}");
    }

    /// Starts a server on it.
    pub fn serve(&self) -> Server {
        Server::start(&["--data", self.data()], &[])
    }

    /// Starts a server on it with more settings in the environment.
    pub fn serve_with(&self, environment: &[(&str, &str)]) -> Server {
        Server::start(&["--data", self.data()], environment)
    }

    /// Starts a server on the ports of an earlier one.
    pub fn serve_again(&self, ports: &Ports, environment: &[(&str, &str)]) -> Server {
        let mut all = ports.environment();
        all.extend(environment);
        self.serve_with(&all)
    }

    /// What a device of this generation is made of when it trusts this server.
    pub fn setup(&self, generation: Generation) -> Setup {
        let name = if generation == Generation::Tcp { "server-rsa" } else { "server-ec" };
        let pem = std::fs::read(self.path("keys").join(name).with_extension("pub.pem"));
        let key = PublicKey::parse(&pem.expect("a public key")).expect("a key");
        Setup::new(generation, Trust::new([key]).expect("arithmetic"))
    }

    /// A device that is not switched on yet; `address` is the server's or a relay's.
    pub fn device(&self, generation: Generation, index: u32, address: SocketAddr) -> Live {
        let device = identity(generation, index);
        let setup = Arc::new(self.setup(generation));
        Live::new(Device::new(device, setup, u64::from(index)), address)
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&to).expect("created");
            copy_files(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("copied");
        }
    }
}

/// Device `index` of a generation; every generation has ids of its own.
pub fn identity(generation: Generation, index: u32) -> Identity {
    let prefix = match generation {
        Generation::Os6 => "e00fce68",
        Generation::Os3 => "35001e00",
        Generation::Tcp => "2a003f00",
    };
    Identity::of_fleet(prefix, 11, index, generation == Generation::Tcp)
}

/// Where a server listens, to start the next one there.
#[derive(Debug, Clone)]
pub struct Ports {
    pub udp: String,
    pub tcp: String,
    pub http: String,
}

impl Ports {
    pub fn of(server: &Server) -> Self {
        let [udp, tcp, http] = ["udp", "tcp", "http"].map(|key| server.text(key));
        Self { udp, tcp, http }
    }

    pub fn udp(&self) -> SocketAddr {
        self.udp.parse().expect("an address")
    }

    pub fn tcp(&self) -> SocketAddr {
        self.tcp.parse().expect("an address")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// As settings.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("CLOUDCHAMBER_UDP__LISTEN", &self.udp),
            ("CLOUDCHAMBER_TCP__LISTEN", &self.tcp),
            ("CLOUDCHAMBER_HTTP__LISTEN", &self.http),
        ]
    }
}
