//! The web console in a browser, against the real binary with simulated devices.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use sim::device::application::{Function, Program, Value};
use sim::device::profile::Generation;
use support::browser::{Browser, Look, demo, demo_device, furnished, log_in, sink};
use support::folder::{Folder, OWNER, PASSWORD, SMALL_PLANS, identity};
use support::operated::Operated;
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
fn no_page_breaks_the_policy_or_takes_more_than_300_kb() {
    let (server, browser, mut pages) = furnished();
    pages.push("/login".into());
    browser.keep_nothing();
    for path in &pages {
        browser.open(&format!("{}{path}", server.url()));
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
        let loaded = "const loaded = ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind)); \
                      return [[...new Set(loaded.map((one) => new URL(one.name).host))], loaded.length, \
                      loaded.reduce((sum, one) => sum + one.transferSize, 0), loaded.filter((one) => one.name.includes('/assets/') && one.transferSize === 0).length]";
        let told = browser.js(loaded, &[]);
        assert_eq!(told[0], json!([server.text("http")]), "{path}");
        assert_eq!(told[3], 0, "{path}: something came from a cache");
        let bytes = told[2].as_f64().expect("a number");
        println!("{path}: {} requests, {bytes} bytes", told[1]);
        assert!(bytes > 20_000.0 && bytes < 300_000.0, "{path} took {bytes} bytes");
    }
    for path in pages {
        let policy = head(&server, &path);
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
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
    browser.press("Devices");
    browser.await_text("<b>glass</b> house");
    browser.fill("[type=search]", "workshop");
    browser.await_text("1–1");
    assert!(!browser.shows("delivery-van"));
    browser.press("Events");
    browser.await_text("temperature");
    browser.pictures("events");
}

#[test]
fn all_that_one_does_with_a_device_in_one_go() {
    let folder = Folder::new();
    let plans = folder.path("own-plans.toml");
    std::fs::write(&plans, SMALL_PLANS).expect("written");
    let server = folder.serve_with(&[
        ("CLOUDCHAMBER_METERING__PLANS", plans.to_str().expect("text")),
        ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
        ("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", "65536"),
        ("CLOUDCHAMBER_WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true"),
    ]);
    run_ok(&["plan", "set", OWNER, "free", "--data", folder.data()], "");
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("Register it");
    let device = register_in(&browser);
    browser.await_text("Waiting for");
    browser.pictures("start-waiting");
    let address = server.text("udp").parse().expect("an address");
    let operated = Operated::start(vec![folder.device(Generation::Os6, 0, address)]);
    browser.await_text("Live events");
    let acknowledged = operated.publish("first", "1");
    browser.await_text("first");
    let took = acknowledged.elapsed();
    assert!(took < Duration::from_secs(1), "shown {took:?} after the acknowledgement");
    println!("an event is shown {took:?} after its acknowledgement");
    call_and_read(&browser);
    flash(&folder, &browser, &operated);
    webhook(&browser, &operated);
    browser.goto(&format!("{}/billing", server.url()));
    let (token, variable) = (folder.token(), format!("{}/v1/devices/{device}/v_int", server.url()));
    let used = (0..7).filter(|_| support::http("GET", &variable, &token, "").0 == 200).count();
    assert_eq!(used, 7, "service goes on for three days of grace");
    let is_over = "return /1[0-9][0-9] % of the Data Operations/.test(document.querySelector('.banner')?.innerText)";
    browser.await_js("the banner says that it is used up", is_over, &[]);
    browser.await_text("Service pauses");
    browser.press("Change…");
    browser.js("document.querySelector('dialog [name=plan]').value = 'growth'", &[]);
    browser.fill("dialog [name=blocks]", "3");
    browser.press("Change");
    browser.await_text("Growth, 3 blocks");
    let gone = "return document.querySelector('.banner') === null";
    browser.await_js("the banner goes with the plan", gone, &[]);
    browser.press(OWNER);
    browser.press("Log out");
    browser.await_text("E-mail");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Fills in the last step of adding a device; gives its id.
fn register_in(browser: &Browser) -> String {
    let device = identity(Generation::Os6, 0);
    browser.fill("[name=id]", &device.id.to_string());
    browser.fill("[name=name]", "new one");
    browser.fill("[name=key]", &device.key.public_key().expect("a key").to_pem());
    browser.press("Register");
    device.id.to_string()
}

fn call_and_read(browser: &Browser) {
    browser.fill(".call input", "hello");
    browser.press("Call");
    let returned = "return document.querySelector('.call output strong')?.innerText === '5'";
    browser.await_js("what it returned", returned, &[]);
    browser.press("Read v_int");
    browser.await_text("42");
}

/// The bar moves while the device takes the firmware, and the device runs it afterwards.
fn flash(folder: &Folder, browser: &Browser, operated: &Operated) {
    let file = folder.path("app.bin");
    let path = file.to_str().expect("text");
    run_ok(&["firmware", "make", path, "--platform", "12", "--kib", "400"], "");
    browser.press("Flash…");
    browser.choose_file("dialog [name=file]", &file);
    browser.press("Flash");
    let (mut seen, end) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    let bar = "return document.querySelector('.update progress')?.value ?? null";
    while !browser.shows("Updated") {
        assert!(Instant::now() < end, "the bar stood at {seen:?}");
        let value = browser.js(bar, &[]).as_f64();
        let Some(value) = value.filter(|value| seen.last() != Some(value)) else { continue };
        seen.push(value);
        if seen.len() == 3 {
            browser.picture("flash", Look::Light);
        }
    }
    let between = seen.iter().filter(|value| **value > 0.0 && **value < 100.0).count();
    assert!(between >= 2 && seen.is_sorted(), "{seen:?}");
    let installed = operated.with(|devices| devices[0].device().installed().is_some());
    assert!(installed, "the device has the firmware");
}

fn webhook(browser: &Browser, operated: &Operated) {
    browser.press("Integrations");
    browser.press("New integration");
    browser.press("Go on");
    browser.fill("dialog [name=event]", "to-hook");
    browser.fill("dialog [name=url]", &format!("http://{}/", sink()));
    browser.press("Create");
    browser.await_text("Counters");
    operated.publish("to-hook", "7");
    let grew = "return document.querySelector('[data-counter=success]')?.innerText === '1'";
    browser.await_js("its counter grows", grew, &[]);
}

#[test]
fn what_a_device_says_is_text_wherever_it_is_shown() {
    const MARKUP: &str = "<img src=x onerror=document.title='owned'>";
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let server = folder.serve_with(&[("CLOUDCHAMBER_WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true")]);
    let terminal = format!("\u{1b}[31mred\u{7}{MARKUP}");
    let address = server.text("udp").parse().expect("an address");
    let operated = Operated::start(vec![hostile(&folder, address, &terminal)]);
    let (token, device) = (folder.token(), identity(Generation::Os6, 0).id);
    let ask = |method: &str, path: &str, form: &str| {
        let told = support::http(method, &format!("{}{path}", server.url()), &token, form);
        assert!(told.0 < 300, "{path}: {told:?}");
        serde_json::from_str::<serde_json::Value>(&told.1).expect("JSON")
    };
    let name = "%3Cb%3Eglass%3C%2Fb%3E";
    ask("PUT", &format!("/v1/devices/{device}"), &format!("name={name}"));
    ask("PUT", &format!("/v1/devices/{device}"), &format!("notes={name}%1b%5B31m"));
    let product = ask("POST", "/v1/user/products", &format!("name={name}&platform_id=12"));
    let product = &product["product"]["id"];
    ask("POST", &format!("/v1/products/{product}/devices"), &format!("id={device}"));
    let hook = format!("event=%3C&url=http%3A%2F%2F{}%2F&name={name}", sink());
    let hook = ask("POST", "/v1/integrations", &hook);
    let hook = hook["id"].as_str().expect("an id").to_owned();
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("<b>glass</b>");
    for path in [
        format!("/devices/{device}"),
        "/events".into(),
        format!("/integrations/{hook}"),
        "/integrations".into(),
        format!("/products/{product}"),
        "/products".into(),
        "/billing".into(),
        "/devices".into(),
    ] {
        browser.open(&format!("{}{path}", server.url()));
        operated.publish(MARKUP, &terminal);
        if path.contains(&device.to_string()) {
            browser.press(&format!("Read {MARKUP}"));
            browser.press("Call");
            browser.await_text("\\u001b[31mred\\u0007");
        }
        std::thread::sleep(Duration::from_millis(1200));
        is_text(&browser, &path);
        if path.contains(&device.to_string()) {
            browser.picture("hostile", Look::Light);
        }
    }
}

/// Nothing of it became an element or ran, and no control character is shown.
fn is_text(browser: &Browser, path: &str) {
    let became = "return [...document.querySelectorAll('#app img:not([src$=\"icon.svg\"]), #app b, #app script, [onerror]')].map((one) => one.outerHTML)";
    assert_eq!(browser.js(became, &[]), json!([]), "{path}");
    let text = browser.js("return document.title + document.body.innerText", &[]);
    let text = text.as_str().expect("text");
    assert!(!text.contains("owned ·") && !text.starts_with("owned"), "{path}");
    assert!(!text.contains(|c: char| c.is_control() && !c.is_whitespace()), "{path}: {text:?}");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
}

/// A device with markup and control characters wherever firmware may put them.
fn hostile(folder: &Folder, address: std::net::SocketAddr, terminal: &str) -> sim::live::Live {
    const MARKUP: &str = "<img src=x onerror=document.title='owned'>";
    let mut setup = folder.setup(Generation::Os6);
    let value = Value::String(terminal.to_owned());
    setup.program = std::sync::Arc::new(Program {
        functions: vec![(MARKUP.into(), Function::Echo)],
        variables: vec![(MARKUP.into(), value)],
        subscriptions: Vec::new(),
    });
    let device = sim::device::Device::new(identity(Generation::Os6, 0), setup.into(), 0);
    sim::live::Live::new(device, address)
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
