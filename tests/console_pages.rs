//! The console's other pages in a browser: each is walked through, looked at and checked for
//! accessibility.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use sim::device::profile::Generation;
use support::browser::{Browser, Look, demo, demo_device, log_in};
use support::fleet::publish_answered;
use support::folder::{Folder, OWNER, PASSWORD, SMALL_PLANS, identity};
use support::live::connect;
use support::{root, run_ok};

/// Answers every request with 200.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 65_536]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    address
}

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
    browser.pictures("over");
    browser.press("Team & tokens");
    browser.await_text("Access tokens");
    assert!(browser.shows("100 % of the Data Operations"));
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
    browser.press("Create");
    browser.await_text("It is shown this once");
    let token = browser.js("return document.querySelector('dialog pre').innerText", &[]);
    let token = token.as_str().expect("text");
    let url = format!("{}/v1/user", server.url());
    assert_eq!(support::http("GET", &url, token, "").0, 200);
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
fn a_product_gets_a_device() {
    let (server, browser) = demo();
    browser.press("Products");
    browser.await_text("No products yet");
    browser.press("New product");
    browser.fill("dialog [name=name]", "Glasshouse");
    browser.press("Create");
    browser.await_text("No devices yet");
    browser.press("Add devices");
    browser.fill("dialog [name=ids]", &format!("{}\nno-id", demo_device(&server, 0)));
    browser.press("Add");
    browser.await_text("greenhouse");
    browser.await_text("not added: no-id");
    browser.pictures("product");
    browser.press("Products");
    browser.await_text("Glasshouse");
    browser.pictures("products");
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
    let (server, browser) = demo();
    let device = format!("/devices/{}", demo_device(&server, 0));
    let pages = [
        "/devices",
        &device,
        "/events",
        "/integrations",
        "/products",
        "/billing",
        "/team",
        "/server",
        "/start",
    ];
    let check = "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}).then(\
                 ({violations}) => done(violations.filter(({impact}) => ['serious', 'critical'].includes(impact)).map(\
                 ({id, nodes}) => `${id}: ${nodes.slice(0, 3).map(({html, failureSummary}) => html + ' ' + failureSummary).join(' | ')}`)), (why) => done([String(why)]))";
    let mut found = Vec::new();
    for look in [Look::Light, Look::Dark] {
        for path in pages {
            browser.goto(&format!("{}{path}", server.url()));
            browser.look(look);
            browser.await_js(
                "the page is there",
                "return document.querySelector('h1') !== null",
                &[],
            );
            std::thread::sleep(Duration::from_millis(1500));
            browser.js(&axe, &[]);
            let told = browser.js_async(check);
            let told = told.as_array().expect("a list");
            found.extend(told.iter().map(|issue| format!("{path} {look:?}: {issue}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
