//! What the conformance checks are told of a server: a device of one kind in a product, one that nobody
//! owns, and firmware.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Server, http, run_ok};

/// The demo's devices, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Os6,
    Os3,
    Tcp,
}

/// A demo with what the checks need.
pub struct Scene {
    server: Server,
    folder: tempfile::TempDir,
    device: String,
    kind: Kind,
}

impl Kind {
    /// Name and number of the platform that the demo's device is of.
    fn platform(self) -> (&'static str, u16) {
        match self {
            Self::Os6 => ("argon", 12),
            Self::Os3 => ("electron", 10),
            Self::Tcp => ("photon", 6),
        }
    }
}

impl Scene {
    /// Returns once the device has described itself.
    pub fn new(kind: Kind) -> Self {
        let server = Server::start(&["--demo"], &[]);
        let device = server.ready["demo"]["devices"][kind as usize]["id"].as_str();
        let device = device.expect("an id").to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { server, folder, device, kind };
        scene.wait_until_described();
        scene
    }

    /// The variables of both checks.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("API_BASE_URL", self.server.url()),
            ("API_USERNAME", self.demo("username")),
            ("API_PASSWORD", self.demo("password")),
            ("DEVICE_ID", self.device.clone()),
            ("FUNCTION_NAME", "echo".into()),
            ("FUNCTION_ARG", "abc".into()),
            ("FUNCTION_EXPECT", "3".into()),
            ("VARIABLE_NAME", "v_int".into()),
            ("VARIABLE_EXPECT", "42".into()),
            ("UNCLAIMED_DEVICE_ID", self.add_unclaimed()),
            ("PRODUCT", self.add_product()),
            ("FIRMWARE_FILE", self.firmware(self.folder.path())),
        ]
    }

    fn demo(&self, key: &str) -> String {
        self.server.ready["demo"][key].as_str().expect("a text").to_owned()
    }

    fn ask(&self, method: &str, path: &str, form: &str) -> Value {
        let url = format!("{}{path}", self.server.url());
        let (status, body) = http(method, &url, &self.demo("token"), form);
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// A device describes itself some moments after it connected.
    fn wait_until_described(&self) {
        let path = format!("/v1/devices/{}", self.device);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.ask("GET", &path, "").to_string().contains("\"echo\"") {
            assert!(Instant::now() < deadline, "{path} never described itself");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A product that holds the device.
    fn add_product(&self) -> String {
        let form = format!("name=Checked&platform_id={}", self.kind.platform().1);
        let product = self.ask("POST", "/v1/user/products", &form)["product"]["id"].to_string();
        let devices = format!("/v1/products/{product}/devices");
        let added = self.ask("POST", &devices, &format!("id={}", self.device));
        assert_eq!(added["updated"], 1, "{added}");
        product
    }

    /// A device without a key that nobody owns: the checks claim it, and send it keys.
    fn add_unclaimed(&self) -> String {
        let made = self.ask("POST", "/v1/devices", "product_id=12");
        let id = made["id"].as_str().expect("an id").to_owned();
        self.ask("DELETE", &format!("/v1/devices/{id}"), "");
        id
    }

    /// An application for the device.
    fn firmware(&self, folder: &Path) -> String {
        let path = folder.join("app.bin").to_str().expect("text").to_owned();
        let platform = self.kind.platform().0;
        run_ok(&["firmware", "make", &path, "--platform", platform, "--kib", "48"], "");
        path
    }
}
