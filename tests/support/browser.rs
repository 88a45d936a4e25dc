//! A headless Chromium, driven over WebDriver.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Server, http};

/// How long a page may take to show something.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the driver is started until it listens.
const START_TRIES: u32 = 5;
/// How long the driver may take to do something.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EACH: Duration = Duration::from_millis(25);
/// Longest page that is put on one picture, in CSS pixels.
const PICTURE_HEIGHT_MAX: u64 = 4_000;

/// What a page looks like on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Light,
    Dark,
    /// Light, as narrow as a phone.
    Phone,
}

impl Look {
    pub const ALL: [Self; 3] = [Self::Light, Self::Dark, Self::Phone];

    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::Phone => "phone",
        }
    }

    fn width(self) -> u64 {
        if self == Self::Phone { 390 } else { 1280 }
    }
}

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    driver: Driver,
    /// The path of its session.
    session: String,
}

impl Browser {
    /// Starts one without any cookies.
    pub fn start() -> Self {
        let driver = Driver::start();
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
        let capabilities = json!({"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }});
        let made = driver.ask("POST", "/session", &json!({"capabilities": capabilities}));
        let session = format!("/session/{}", made["sessionId"].as_str().expect("an id"));
        let browser = Self { driver, session };
        browser.look(Look::Light);
        browser
    }

    /// Goes to an address.
    pub fn goto(&self, url: &str) {
        self.command("url", json!({"url": url}));
    }

    /// The address of the page.
    pub fn path(&self) -> String {
        self.js("return location.pathname", &[]).as_str().expect("text").to_owned()
    }

    /// Runs a script in the page and gives what it returns.
    pub fn js(&self, script: &str, arguments: &[Value]) -> Value {
        self.command("execute/sync", json!({"script": script, "args": arguments}))
    }

    /// Runs a script that ends with calling its last argument.
    pub fn js_async(&self, script: &str) -> Value {
        self.command("execute/async", json!({"script": script, "args": []}))
    }

    /// Whether the page shows a text; texts in fields do not count.
    pub fn shows(&self, text: &str) -> bool {
        self.js("return document.body.innerText.includes(arguments[0])", &[json!(text)]) == true
    }

    /// Waits until the page shows a text.
    pub fn await_text(&self, text: &str) {
        self.await_js(
            &format!("the page shows {text:?}"),
            "return document.body.innerText.includes(arguments[0])",
            &[json!(text)],
        );
    }

    /// Waits until a script returns true.
    pub fn await_js(&self, what: &str, script: &str, arguments: &[Value]) {
        let end = Instant::now() + PATIENCE;
        while self.js(script, arguments) != true {
            if Instant::now() > end {
                let text = self.js("return document.body.innerText", &[]);
                panic!("never: {what}. The page at {}: {text}", self.path());
            }
            std::thread::sleep(LOOK_EACH);
        }
    }

    /// Types into a field, in place of what it holds.
    pub fn fill(&self, selector: &str, text: &str) {
        let field = self.find(selector);
        self.command(&format!("{field}/clear"), json!({}));
        self.command(&format!("{field}/value"), json!({"text": text}));
    }

    /// Gives a file field a file.
    pub fn choose_file(&self, selector: &str, path: &std::path::Path) {
        let path = path.to_str().expect("text");
        self.command(&format!("{}/value", self.find(selector)), json!({"text": path}));
    }

    /// Clicks on an element once it is there.
    pub fn click(&self, selector: &str) {
        self.command(&format!("{}/click", self.find(selector)), json!({}));
    }

    /// Clicks on the button or link with this text, in the dialog if one is open.
    pub fn press(&self, label: &str) {
        let find = "const root = document.querySelector('dialog[open]') ?? document; \
                    const found = [...root.querySelectorAll('button, a, summary')].find((one) => \
                    !one.disabled && (one.innerText.trim() === arguments[0] || one.getAttribute('aria-label') === arguments[0]));";
        let there = format!("{find} return Boolean(found)");
        self.await_js(&format!("{label:?} can be pressed"), &there, &[json!(label)]);
        self.js(&format!("{find} found.focus(); found.click()"), &[json!(label)]);
    }

    /// Presses a key where the focus is.
    pub fn key(&self, key: char) {
        let strokes = json!([
            {"type": "keyDown", "value": key.to_string()},
            {"type": "keyUp", "value": key.to_string()},
        ]);
        let source = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.command("actions", json!({"actions": [source]}));
    }

    /// Chooses how pages look from now on.
    pub fn look(&self, look: Look) {
        let theme = if look == Look::Dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}));
        self.size(look.width(), 900);
    }

    /// Loads everything anew with each page from now on.
    pub fn keep_nothing(&self) {
        self.devtools("Network.enable", json!({}));
        self.devtools("Network.setCacheDisabled", json!({"cacheDisabled": true}));
    }

    /// Goes to an address and waits until the page is there.
    pub fn open(&self, url: &str) {
        self.goto(url);
        self.await_js("the page is there", "return document.querySelector('h1') !== null && document.querySelector('main[aria-busy]') === null", &[]);
    }

    /// Pictures of the page in every look.
    pub fn pictures(&self, name: &str) {
        Look::ALL.into_iter().for_each(|look| self.picture(name, look));
    }

    /// Writes a picture of the whole page into the test output folder, and fails if the page is wider
    /// than the screen.
    pub fn picture(&self, name: &str, look: Look) {
        self.look(look);
        std::thread::sleep(Duration::from_millis(300));
        let wide = "return [...document.querySelectorAll('body *')].filter((one) => \
                    document.documentElement.scrollWidth > innerWidth && \
                    one.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map((one) => one.outerHTML.slice(0, 200))";
        let wide = self.js(wide, &[]);
        assert_eq!(wide, json!([]), "{name} is wider than {} pixels", look.width());
        let height = self.js("return document.documentElement.scrollHeight", &[]);
        let height = height.as_u64().expect("a number").clamp(900, PICTURE_HEIGHT_MAX);
        self.size(look.width(), height);
        std::thread::sleep(Duration::from_millis(200));
        let picture = self.driver.ask("GET", &format!("{}/screenshot", self.session), &Value::Null);
        let picture = BASE64.decode(picture.as_str().expect("text")).expect("base 64");
        let folder = output_folder();
        std::fs::write(folder.join(format!("{name}-{}.png", look.name())), picture)
            .expect("written");
        self.look(Look::Light);
    }

    /// What went wrong in the page's scripts since the last time: errors, and what the policy refused.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("se/log", json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let bad = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        bad.map(|entry| entry["message"].to_string()).collect()
    }

    fn size(&self, width: u64, height: u64) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// The path of the first element of a selector, once there is one.
    fn find(&self, selector: &str) -> String {
        let there = "return document.querySelector(arguments[0]) !== null";
        self.await_js(&format!("{selector} is there"), there, &[json!(selector)]);
        let found = self.command("element", json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        format!("element/{}", id.expect("an element"))
    }

    fn command(&self, path: &str, body: Value) -> Value {
        self.driver.ask("POST", &format!("{}/{path}", self.session), &body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver.ask("DELETE", &self.session, &Value::Null);
    }
}

/// Where pictures go.
pub fn output_folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A running `chromedriver`, asked as WebDriver says: JSON over HTTP.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// The port that it finds free for one family of addresses may be taken in the other.
    fn start() -> Self {
        (0..START_TRIES).find_map(|_| Self::try_start()).expect("chromedriver finds a port")
    }

    fn try_start() -> Option<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: `cargo xtask test` installs it");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let told = output.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        if told.is_none() {
            let _ = process.wait();
        }
        Some(Self { process, port: told? })
    }

    /// The value of the answer, which must be no error.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let address = ("127.0.0.1", self.port);
        let mut stream = TcpStream::connect(address).expect("the driver listens");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("sent");
        stream.set_read_timeout(Some(ANSWER_PATIENCE)).expect("a timeout");
        let body = read_body(&mut BufReader::new(stream));
        let mut told: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(told["value"]["error"].is_null(), "{method} {path}: {told}");
        told["value"].take()
    }
}

/// The driver keeps its connections open, whatever it is asked.
fn read_body(stream: &mut impl BufRead) -> Vec<u8> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a head");
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    body
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Fills in the page that asks who it is.
pub fn log_in(browser: &Browser, url: &str, user: &str, password: &str) {
    browser.goto(url);
    browser.fill("[name=username]", user);
    browser.fill("[name=password]", password);
    browser.press("Log in");
}

/// A browser with an account that owns three simulated devices.
pub fn demo() -> (Server, Browser) {
    let server = Server::start(&["--demo"], &[]);
    let browser = Browser::start();
    let text = |key: &str| server.ready["demo"][key].as_str().expect("a text").to_owned();
    log_in(&browser, &server.url(), &text("username"), &text("password"));
    browser.await_text("3 devices");
    (server, browser)
}

/// A demo with a product that has a group, a firmware and a release, and with an integration; gives the
/// paths of all pages as well.
pub fn furnished() -> (Server, Browser, Vec<String>) {
    let (server, browser) = demo();
    let token = server.ready["demo"]["token"].as_str().expect("a text").to_owned();
    let ask = |method: &str, path: &str, form: &str| {
        let (status, body) = http(method, &format!("{}{path}", server.url()), &token, form);
        assert!(status < 300, "{path}: {status} {body}");
        serde_json::from_str::<Value>(&body).unwrap_or_default()
    };
    let device = demo_device(&server, 0);
    let made = ask("POST", "/v1/user/products", "name=Glasshouse&platform_id=12");
    let product = made["product"]["id"].to_string();
    let base = format!("/v1/products/{product}");
    ask("POST", &format!("{base}/groups"), "name=roof&description=Close+to+the+sky");
    ask("POST", &format!("{base}/devices"), &format!("id={device}"));
    ask("PUT", &format!("{base}/devices/{device}"), "groups=roof");
    let hook = "event=temperature&url=http://127.0.0.1:9/&name=Nobody+listens";
    let hook = ask("POST", "/v1/integrations", hook);
    let integration = hook["id"].as_str().expect("an id");
    let pages = [
        "/devices",
        &format!("/devices/{device}"),
        "/events",
        "/integrations",
        &format!("/integrations/{integration}"),
        "/products",
        &format!("/products/{product}"),
        "/billing",
        "/team",
        "/server",
        "/start",
    ];
    let pages = pages.map(str::to_owned).into();
    (server, browser, pages)
}

/// The id of one of its devices.
pub fn demo_device(server: &Server, index: usize) -> String {
    server.ready["demo"]["devices"][index]["id"].as_str().expect("an id").to_owned()
}

/// Answers every request with 200.
pub fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 65_536]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    address
}
