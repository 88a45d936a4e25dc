//! The console's other pages in a browser: each is walked through, looked at and checked for
//! accessibility.

mod support;

use std::time::Duration;

use sim::device::profile::Generation;
use support::browser::{Browser, Look, demo, demo_device, furnished, log_in, sink};
use support::fleet::publish_answered;
use support::folder::{Folder, OWNER, PASSWORD, SMALL_PLANS, identity};
use support::live::connect;
use support::operated::Operated;
use support::{root, run_ok};

#[test]
fn a_webhook_is_made_and_its_counter_grows() {
    let (_server, browser) = demo();
    browser.press("Integrations");
    browser.await_text("No integrations yet");
    browser.press("New integration");
    browser.press("Go on");
    browser.await_js(
        "the form",
        "return document.querySelector('dialog [name=url]') !== null",
        &[],
    );
    browser.fill("dialog [name=event]", "temperature");
    browser.fill("dialog [name=url]", &format!("http://{}/", sink()));
    browser.fill("dialog [name=name]", "To the sink");
    browser.press("Create");
    browser.await_text("To the sink");
    let grew = "return Number(document.querySelector('[data-counter=success]')?.innerText) > 0";
    browser.await_js("its counter grows", grew, &[]);
    browser.await_text("Works");
    browser.pictures("integration");
    browser.press("Integrations");
    browser.await_text("Succeeded");
    browser.pictures("integrations");
    browser.press("To the sink");
    browser.press("Delete");
    browser.await_text("go for good");
    browser.press("Delete");
    browser.await_text("No integrations yet");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_small_plan_that_runs_out_is_told_on_every_page() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 0)]);
    let plans = folder.path("own-plans.toml");
    std::fs::write(&plans, SMALL_PLANS).expect("written");
    let server = folder.serve_with(&[
        ("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0"),
        ("CLOUDCHAMBER_METERING__PLANS", plans.to_str().expect("text")),
        ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
    ]);
    run_ok(&["plan", "set", OWNER, "free", "--data", folder.data()], "");
    let address = server.text("udp").parse().expect("an address");
    let mut live = folder.device(Generation::Os6, 0, address);
    connect(&mut live);
    for _ in 0..9 {
        assert_eq!(publish_answered(&mut live, "a", "1"), 0);
        // The firmware itself publishes no faster.
        live.run(Duration::from_millis(1100));
    }
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("90 % of the Data Operations");
    browser.pictures("banner");
    browser.press("Billing & Usage");
    browser.await_text("This period");
    assert_eq!(publish_answered(&mut live, "a", "1"), 0);
    browser.await_text("100 % of the Data Operations");
    browser.await_text("10 of 10");
    browser.pictures("over");
    browser.press("Team & tokens");
    browser.await_text("Access tokens");
    assert!(browser.shows("100 % of the Data Operations"));
    carry_by_modem(&folder, server.text("tcp").parse().expect("an address"));
    browser.await_text("Service is paused: ");
    browser.pictures("paused");
}

/// A cellular device uses up what the plan allows it to carry, for which there is no grace. What it
/// carried is told when its connection ends.
fn carry_by_modem(folder: &Folder, address: std::net::SocketAddr) {
    folder.register(&[identity(Generation::Tcp, 0)]);
    let mut setup = folder.setup(Generation::Tcp);
    setup.profile.platform = model::Platform(10);
    let device = sim::device::Device::new(identity(Generation::Tcp, 0), setup.into(), 0);
    connect(&mut sim::live::Live::new(device, address));
}

#[test]
fn usage_is_shown_and_a_plan_calculated() {
    let (_server, browser) = demo();
    browser.press("Billing & Usage");
    browser.await_text("Devices that used most");
    browser.fill(".calculator [name=devices]", "100");
    browser.fill(".calculator [name=every]", "10m");
    browser.press("Calculate");
    browser.await_text("438,300");
    browser.fill(".calculator [name=every]", "never");
    browser.press("Calculate");
    browser.await_text("is no interval");
    browser.await_js("what used it", "return /greenhouse|workshop|delivery-van/.test(document.querySelector('table.plain a')?.innerText)", &[]);
    browser.goto(browser.js("return location.href", &[]).as_str().expect("text"));
    browser.await_text("Publishes");
    browser.pictures("billing");
}

#[test]
fn a_token_is_made_shown_once_and_revoked() {
    let (server, browser) = demo();
    browser.press("Team & tokens");
    browser.press("New token");
    browser.fill("dialog [name=name]", "<i>reporting</i>");
    browser.click("dialog [value='user:get']");
    browser.press("Create");
    browser.await_text("It is shown this once");
    let token = browser.js("return document.querySelector('dialog pre').innerText", &[]);
    let token = token.as_str().expect("text");
    let url = format!("{}/v1/user", server.url());
    assert_eq!(support::http("GET", &url, token, "").0, 200);
    let devices = format!("{}/v1/devices", server.url());
    assert_eq!(support::http("GET", &devices, token, "").0, 403);
    browser.press("Done");
    browser.await_text("<i>reporting</i>");
    browser.pictures("team");
    browser.press(&format!("Revoke <i>reporting</i> {}", &token[..8]));
    browser.await_text("Revoke the token?");
    browser.press("Revoke");
    let gone = "return !document.body.innerText.includes('<i>reporting</i>')";
    browser.await_js("it is gone", gone, &[]);
    assert_eq!(support::http("GET", &url, token, "").0, 401);
}

#[test]
fn a_product_gets_devices_groups_firmware_and_a_release_in_stages() {
    let folder = Folder::new();
    let identities: Vec<_> = (0..6).map(|index| identity(Generation::Os6, index)).collect();
    folder.register(&identities);
    let server = folder.serve_with(&[
        ("CLOUDCHAMBER_OTA__BANDWIDTH_BYTES", "65536"),
        ("CLOUDCHAMBER_UPDATES__SOAK_S", "0"),
    ]);
    let address = server.text("udp").parse().expect("an address");
    let devices = (0..6).map(|index| folder.device(Generation::Os6, index, address)).collect();
    let operated = Operated::start(devices);
    operated.with(|_| {});
    let browser = Browser::start();
    log_in(&browser, &server.url(), OWNER, PASSWORD);
    browser.await_text("6 devices");
    browser.press("Products");
    browser.await_text("No products yet");
    browser.press("New product");
    browser.fill("dialog [name=name]", "Glasshouse");
    browser.js("document.querySelector('dialog [name=platform_id]').value = '12'", &[]);
    browser.press("Create");
    browser.await_text("No devices yet");
    import(&folder, &browser, &identities);
    group(&browser, &identities[5].id.to_string());
    let product = browser.path().replace("/products/", "");
    for version in ["1", "2"] {
        upload(&folder, &browser, &product, version);
    }
    release(&browser);
    browser.pictures("product");
    flash_one(&browser, &identities[5].id.to_string());
    browser.press("Products");
    browser.await_text("Glasshouse");
    browser.pictures("products");
    browser.goto(&format!("{}/devices?product={product}", server.url()));
    browser.await_text("of 6");
    browser.js("const group = document.querySelector('[name=group]'); group.value = 'roof'; group.dispatchEvent(new Event('change'))", &[]);
    browser.await_text("1–1");
    assert!(browser.shows(&identities[5].id.to_string()));
    browser.picture("devices-group", Look::Light);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// From a file with one line that is no device.
fn import(folder: &Folder, browser: &Browser, identities: &[sim::identity::Identity]) {
    let file = folder.path("devices.txt");
    let ids: Vec<String> = identities.iter().map(|device| device.id.to_string()).collect();
    std::fs::write(&file, ids.join("\n") + "\nno-id\n").expect("written");
    browser.press("Add devices");
    browser.choose_file("dialog [name=file]", &file);
    browser.press("Add");
    browser.await_text("6 added, 1 not added: no-id");
}

fn group(browser: &Browser, device: &str) {
    browser.press("New group");
    browser.fill("dialog [name=name]", "roof");
    browser.press("Create");
    browser.press(&format!("Groups of {device}"));
    browser.click("dialog [name=groups]");
    browser.press("Save");
    browser.await_js(
        "it is in the group",
        "return [...document.querySelectorAll('td')].some((cell) => cell.innerText === 'roof')",
        &[],
    );
}

fn upload(folder: &Folder, browser: &Browser, product: &str, version: &str) {
    let file = folder.path(format!("{version}.bin"));
    let path = file.to_str().expect("text");
    let args =
        ["--platform", "12", "--kib", "60", "--product", product, "--product-version", version];
    run_ok(&[&["firmware", "make", path][..], &args].concat(), "");
    browser.press("Upload");
    browser.choose_file("dialog [name=binary]", &file);
    browser.fill("dialog [name=version]", version);
    browser.fill("dialog [name=title]", "Windows open");
    browser.press("Upload");
    browser.await_js("it is in the list", "return document.querySelector(`[aria-label=\"Release version ${arguments[0]}\"]`) !== null", &[version.into()]);
}

/// Released in stages, paused, resumed to its end; a second one is halted.
fn release(browser: &Browser) {
    browser.press("Release version 1");
    browser.js("document.querySelector('dialog [name=stages]').value = '10,50,100'", &[]);
    browser.press("Release");
    browser.await_text("stage 1 of 3");
    browser.press("Pause version 1");
    browser.await_text("No further device begins");
    browser.press("Pause");
    browser.await_text("Paused");
    browser.press("Resume version 1");
    browser.press("Resume");
    browser.press("Devices of version 1");
    browser.await_text("Being updated");
    let updated =
        "return Number(document.querySelector('.release .hint strong')?.innerText.split(' ')[0])";
    let mut seen = vec![0];
    while !browser.shows("Complete") {
        let count = browser.js(updated, &[]).as_u64().unwrap_or_default();
        if seen.last() != Some(&count) {
            seen.push(count);
        }
        if seen.len() == 2 {
            browser.picture("release", Look::Light);
        }
        assert!(seen.len() < 10, "{seen:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(seen.len() >= 3 && seen.is_sorted(), "the progress was {seen:?}");
    browser.await_text("6 of 6");
    browser.press("Release version 2");
    browser.press("Release");
    browser.press("Halt version 2");
    browser.await_text("The release ends for all devices");
    browser.press("Halt");
    browser.await_js("it has ended", "return document.querySelector('[data-release=\"2\"] [role=status]')?.innerText === 'Ended'", &[]);
}

/// A version to one device, from the list of versions; its page shows how it goes.
fn flash_one(browser: &Browser, device: &str) {
    browser.press("Flash version 2");
    browser.js(
        "document.querySelector('dialog [name=device]').value = arguments[0]",
        &[device.into()],
    );
    browser.press("Flash");
    browser.await_text("Functions");
    assert!(browser.path().ends_with(device));
    browser.await_text("Updated");
    browser.await_text("flashed by hand");
}

#[test]
fn the_second_factor_is_enrolled_by_a_qr_code() {
    let (_server, browser) = demo();
    browser.press("Team & tokens");
    browser.press("Switch on…");
    browser.await_js(
        "the code",
        "return document.querySelector('dialog svg.qr path')?.getAttribute('d').length > 1000",
        &[],
    );
    let secret = browser.js("return document.querySelector('dialog pre').innerText", &[]);
    let totp_secret = totp_rs::Secret::try_from_base32(secret.as_str().expect("text"));
    let totp = totp_rs::Builder::new().with_secret(totp_secret.expect("base 32")).build();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later");
    let code = totp.expect("a generator").generate(now.as_secs()).to_string();
    browser.fill("dialog [name=otp]", &code);
    browser.press("Switch on");
    browser.await_text("Switch off…");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_servers_key_is_downloaded_with_the_address_that_devices_need() {
    let (server, browser) = demo();
    browser.press("Add a device");
    browser.fill("[name=host]", "cloud.example.org");
    browser.fill("[name=port]", "15684");
    browser.await_text("particle keys server server-ec.pub.der --protocol udp --host cloud.example.org --port 15684");
    let load = "const done = arguments[arguments.length - 1]; fetch(document.querySelector('.downloads a').href).then(\
                async (answer) => done([...new Uint8Array(await answer.arrayBuffer())]))";
    let bytes = |browser: &Browser| {
        let told = browser.js_async(load);
        let told = told.as_array().expect("bytes").iter();
        told.map(|byte| u8::try_from(byte.as_u64().expect("a number")).expect("a byte"))
            .collect::<Vec<u8>>()
    };
    browser.pictures("start");
    let image = bytes(&browser);
    assert_eq!((image.len(), image[192], image[193]), (320, 1, 17));
    assert_eq!(&image[194..211], b"cloud.example.org");
    browser.click("[value=tcp]");
    browser.await_text("--protocol tcp");
    let image = bytes(&browser);
    let port: u16 = server.text("tcp").rsplit(':').next().expect("a port").parse().expect("one");
    assert_eq!((image.len(), &image[386..403]), (512, &b"cloud.example.org"[..]));
    assert_eq!(image[450..452], port.to_be_bytes());
}

#[test]
fn vitals_are_drawn_over_time_and_asked_for() {
    let (server, browser) = demo();
    browser.goto(&format!("{}/devices/{}", server.url(), demo_device(&server, 0)));
    browser.await_text("Signal strength");
    let reports = "const told = document.body.innerText; return told.includes('once so far') ? 1 : \
                   Number(told.match(/([0-9]+) times so far/)?.[1] ?? 0)";
    let before = browser.js(reports, &[]);
    browser.press("Ask now");
    let grew = format!("return (() => {{ {reports} }})() > arguments[0]");
    browser.await_js("it told them again", &grew, &[before]);
    let drawn = "return document.querySelectorAll('[data-vital] canvas').length === 4";
    browser.await_js("four charts", drawn, &[]);
    browser.await_text("1 full, 0 resumes");
    for argument in ["on", "off"] {
        browser.fill(".call input", argument);
        browser.press("Call");
        let returned = format!(
            "return document.querySelector('.call output strong')?.innerText === '{}'",
            argument.len()
        );
        browser.await_js("what it returned", &returned, &[]);
    }
    browser.await_text("before: on → 2");
    browser.press("Watch v_int");
    browser.await_text("42");
    browser.pictures("device");
    browser.press("Devices");
    browser.await_js("signal bars", "return document.querySelector('svg.bars') !== null", &[]);
    browser.pictures("devices");
}

#[test]
fn the_operator_sees_what_the_server_carries() {
    let (_server, browser) = demo();
    browser.press("Server");
    browser.await_text("Healthy");
    let online = "return document.querySelector('.counters strong').innerText === '3'";
    browser.await_js("three devices are online", online, &[]);
    browser.await_js(
        "rates",
        "return document.querySelectorAll('.counters strong')[1].innerText.endsWith('/s')",
        &[],
    );
    std::thread::sleep(Duration::from_secs(8));
    browser.pictures("server");
}

#[test]
fn a_device_is_reached_by_keyboard_alone() {
    let (_server, browser) = demo();
    let focused = "return document.activeElement?.innerText?.trim()";
    let reached = (0..40).any(|_| {
        browser.key('\u{e004}');
        browser.js(focused, &[]) == "greenhouse"
    });
    assert!(reached, "Tab never reached the device");
    let ring = browser.js("return getComputedStyle(document.activeElement).outlineStyle", &[]);
    assert_ne!(ring, "none", "the focus cannot be seen");
    browser.key('\u{e007}');
    browser.await_text("Functions");
    browser.press("Rename");
    browser.await_text("Rename the device");
    browser.key('\u{e00c}');
    browser.await_js("Escape closes it", "return document.querySelector('dialog') === null", &[]);
    assert_eq!(browser.js(focused, &[]), "Rename");
}

#[test]
fn no_page_has_a_serious_accessibility_issue() {
    let axe = root().join("tests/clients/node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(&axe)
        .expect("run `cargo xtask test` once, or `npm ci` in tests/clients");
    let (server, browser, pages) = furnished();
    let check = "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}).then(\
                 ({violations}) => done(violations.filter(({impact}) => ['serious', 'critical'].includes(impact)).map(\
                 ({id, nodes}) => `${id}: ${nodes.slice(0, 3).map(({html, failureSummary}) => html + ' ' + failureSummary).join(' | ')}`)), (why) => done([String(why)]))";
    let look_at = |path: &str, look: Look| {
        browser.open(&format!("{}{path}", server.url()));
        browser.look(look);
        std::thread::sleep(Duration::from_millis(800));
        browser.js(&axe, &[]);
        let told = browser.js_async(check);
        let told = told.as_array().expect("a list").iter();
        told.map(|issue| format!("{path} {look:?}: {issue}")).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for look in [Look::Light, Look::Dark] {
        found.extend(pages.iter().flat_map(|path| look_at(path, look)));
    }
    browser.open(&format!("{}/team", server.url()));
    for (label, name) in [("New token", "dialog-token"), ("Switch on…", "dialog-second-factor")] {
        browser.press(label);
        browser.await_js(
            "the dialog is open",
            "return document.querySelector('dialog[open] h2') !== null",
            &[],
        );
        browser.js(&axe, &[]);
        let told = browser.js_async(check);
        found.extend(
            told.as_array().expect("a list").iter().map(|issue| format!("{name}: {issue}")),
        );
        browser.picture(name, Look::Light);
        browser.press("Cancel");
    }
    browser.press("demo@example.org");
    browser.press("Log out");
    browser.await_text("E-mail");
    for look in [Look::Light, Look::Dark] {
        found.extend(look_at("/login", look));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
