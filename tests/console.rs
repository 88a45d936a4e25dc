//! The web console in a browser, against the real binary with simulated devices.

mod support;

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use sim::device::profile::Generation;
use support::browser::{Browser, Look, demo, demo_device, log_in};
use support::folder::{Folder, OWNER, PASSWORD, identity};
use support::live::{await_acknowledgement, connect, publish};
use support::{Server, run_ok};

#[test]
fn a_session_begins_with_the_right_password_and_ends_with_log_out() {
    let folder = Folder::new();
    let server = folder.serve();
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, "wrong");
    browser.await_text("User credentials are invalid");
    browser.pictures("login");
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("Add a device");
    assert_eq!(browser.path(), "/start");
    let seen =
        browser.js("return document.cookie + JSON.stringify(localStorage) + location.href", &[]);
    assert!(!seen.as_str().expect("text").contains("cloudchamber_session"), "{seen}");
    browser.press(OWNER);
    browser.press("Log out");
    browser.await_text("E-mail");
    browser.goto(&format!("{}/devices", server.url()));
    browser.await_text("E-mail");
}

#[test]
fn a_second_factor_is_asked_for() {
    let folder = Folder::new();
    let server = folder.serve();
    let token = folder.token();
    let url = |path: &str| format!("{}{path}", server.url());
    let (_, begun) = support::http("GET", &url("/v1/user/mfa-enable"), &token, "");
    let begun: serde_json::Value = serde_json::from_str(&begun).expect("JSON");
    let secret = begun["secret"].as_str().expect("a secret");
    let form = format!(
        "mfa_token={}&otp={}",
        begun["mfa_token"].as_str().expect("one"),
        one_time_password(secret, 0)
    );
    assert_eq!(support::http("POST", &url("/v1/user/mfa-enable"), &token, &form).0, 200);
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("One-time password");
    browser.fill("[name=otp]", "000000");
    browser.press("Log in");
    browser.await_text("That code is wrong");
    // A password is taken once: that of the next half minute is another one.
    browser.fill("[name=otp]", &one_time_password(secret, 30));
    browser.press("Log in");
    browser.await_text("Add a device");
}

fn one_time_password(secret: &str, later_s: u64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).expect("base 32");
    let totp = totp_rs::Builder::new().with_secret(secret).build().expect("a generator");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    totp.generate(now.as_secs() + later_s).to_string()
}

#[test]
fn the_policy_allows_nothing_from_elsewhere_and_no_page_breaks_it() {
    let (server, browser) = demo();
    let device = format!("/devices/{}", demo_device(&server, 0));
    for path in ["/devices", &device, "/events", "/start"] {
        browser.goto(&format!("{}{path}", server.url()));
        browser.await_js("the page is there", "return document.querySelector('h1') !== null", &[]);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
        let hosts = "return [...new Set(performance.getEntriesByType('resource').map((one) => new URL(one.name).host))]";
        let own = server.text("http");
        assert_eq!(browser.js(hosts, &[]), json!([own]), "{path}");
        let bytes = "return performance.getEntriesByType('resource').reduce((sum, one) => sum + one.transferSize, 0)";
        let bytes = browser.js(bytes, &[]).as_f64().expect("a number");
        assert!(bytes < 300_000.0, "{path} took {bytes} bytes");
    }
    let policy = head(&server, "/");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

/// The head of an answer.
fn head(server: &Server, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.text("http")).expect("connected");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
}

#[test]
fn functions_are_called_and_variables_read() {
    let (server, browser) = demo();
    browser.press("greenhouse");
    browser.await_text("Functions");
    assert_eq!(browser.path(), format!("/devices/{}", demo_device(&server, 0)));
    browser.fill(".call input", "hello");
    browser.press("Call");
    browser.await_js(
        "what it returned",
        "return document.querySelector('.call output strong')?.innerText === '5'",
        &[],
    );
    browser.press("Read v_int");
    browser.await_text("42");
    browser.press("Rename");
    browser.fill("dialog [name=name]", "<b>glass</b> house");
    browser.press("Rename");
    browser.await_text("<b>glass</b> house");
    browser.await_text("temperature");
    browser.pictures("device");
    browser.press("Devices");
    browser.await_text("<b>glass</b> house");
    browser.pictures("devices");
    browser.fill("[type=search]", "workshop");
    browser.await_text("1–1");
    assert!(!browser.shows("delivery-van"));
    browser.press("Events");
    browser.await_text("temperature");
    browser.pictures("events");
}

#[test]
fn a_device_is_added_and_its_events_are_shown_within_a_second_of_their_acknowledgement() {
    let folder = Folder::new();
    let server = folder.serve();
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("Register it");
    browser.pictures("start");
    let device = identity(Generation::Os6, 0);
    browser.fill("[name=id]", &device.id.to_string());
    browser.fill("[name=name]", "new one");
    browser.fill("[name=key]", &device.key.public_key().expect("a key").to_pem());
    browser.press("Register");
    browser.await_text("Waiting for");
    let (orders, running) = run_device(&folder, &server);
    browser.await_text("Live events");
    browser.await_text("new one");
    let (hostile, terminal) = ("<script>document.title='owned'</script>", "\u{1b}[31mred\u{7}");
    for (name, data) in [("first", "1"), (hostile, hostile), ("escape", terminal)] {
        let (told, acknowledged) = mpsc::channel();
        orders.send(Order { name: name.to_owned(), data: data.to_owned(), told }).expect("taken");
        let at = acknowledged.recv().expect("acknowledged");
        browser.await_text(name);
        let took = at.elapsed();
        assert!(took < Duration::from_secs(1), "shown {took:?} after the acknowledgement");
    }
    browser.await_text("\\u001b[31mred\\u0007");
    assert_ne!(browser.js("return document.title", &[]), "owned");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.picture("hostile", Look::Light);
    drop(orders);
    running.join().expect("no panic");
}

/// An event to publish, and where to tell when it was acknowledged.
struct Order {
    name: String,
    data: String,
    told: mpsc::Sender<Instant>,
}

/// A device in a thread of its own; it ends with the sender.
fn run_device(folder: &Folder, server: &Server) -> (mpsc::Sender<Order>, JoinHandle<()>) {
    let address = server.text("udp").parse().expect("an address");
    let setup = std::sync::Arc::new(folder.setup(Generation::Os6));
    let (orders, taken) = mpsc::channel::<Order>();
    let running = std::thread::spawn(move || {
        let device = sim::device::Device::new(identity(Generation::Os6, 0), setup, 0);
        let mut live = sim::live::Live::new(device, address);
        connect(&mut live);
        loop {
            match taken.try_recv() {
                Ok(Order { name, data, told }) => {
                    let number = publish(&mut live, &name, &data);
                    await_acknowledgement(&mut live, number);
                    told.send(Instant::now()).expect("awaited");
                }
                Err(mpsc::TryRecvError::Empty) => live.run(Duration::from_millis(10)),
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    });
    (orders, running)
}

#[test]
fn a_lost_connection_is_told_and_comes_back() {
    let folder = Folder::new();
    let server = folder.serve();
    let ports = support::folder::Ports::of(&server);
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("Register it");
    browser.press("Events");
    browser.await_text("Live\n");
    server.kill();
    browser.await_text("Connection lost, trying again");
    let server = folder.serve_again(&ports, &[]);
    browser.await_js(
        "it is live again",
        "return document.querySelector('.mark.good') !== null",
        &[],
    );
    run_ok(&["token", "create", OWNER, "--data", folder.data()], "");
    let (status, _) = support::http(
        "POST",
        &format!("{}/v1/devices/events", server.url()),
        &folder.token(),
        "name=back&data=1",
    );
    assert_eq!(status, 200);
    browser.await_text("back");
}
