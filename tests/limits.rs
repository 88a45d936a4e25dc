//! Plans at the real server: notices, mails, pauses, resumption, and what is refused.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sim::device::Device;
use sim::device::profile::Generation;
use sim::live::Live;
use support::fleet::{ask, await_true, operations, publish_answered, usage};
use support::folder::{Folder, OWNER, Ports, SMALL_PLANS, identity};
use support::live::connect;
use support::watch::{await_metric, metric};
use support::{Server, http, run, run_ok};

/// A folder with an account on a free plan of 10 operations and 2 devices.
struct Small {
    folder: Folder,
    plans: String,
}

impl Small {
    fn new() -> Self {
        let folder = Folder::new();
        folder.register(&[identity(Generation::Os6, 1)]);
        let plans = folder.path("own-plans.toml");
        std::fs::write(&plans, SMALL_PLANS).expect("written");
        Self { folder, plans: plans.to_str().expect("text").to_owned() }
    }

    fn serve(&self, more: &[(&str, &str)]) -> Server {
        let own = [
            ("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0"),
            ("CLOUDCHAMBER_METERING__PLANS", &self.plans),
            ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
        ];
        self.folder.serve_with(&[&own[..], more].concat())
    }

    fn set_plan(&self, plan: &str) {
        run_ok(&["plan", "set", OWNER, plan, "--data", self.folder.data()], "");
    }

    fn notices(&self, ports: &Ports, token: &str) -> Vec<Value> {
        let url = format!("{}/v1/user/service_agreements/1/notifications", ports.url());
        let (status, body) = http("GET", &url, token, "");
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["data"].as_array().expect("a list").clone()
    }

    fn mails(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.folder.path("mail")) else { return Vec::new() };
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "eml"));
        paths.sort();
        paths.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect()
    }
}

fn connected(folder: &Folder, ports: &Ports) -> Live {
    let mut setup = folder.setup(Generation::Os6);
    setup.limits_publishes = false;
    let device = Device::new(identity(Generation::Os6, 1), Arc::new(setup), 1);
    let mut live = Live::new(device, ports.udp());
    connect(&mut live);
    live
}

#[test]
fn q_a_free_account_is_warned_paused_after_its_grace_and_resumed_by_another_plan() {
    let small = Small::new();
    let token = small.folder.token();
    let server = small.serve(&[]);
    small.set_plan("free");
    let ports = Ports::of(&server);
    let mut live = connected(&small.folder, &ports);

    for n in 1..=10 {
        assert_eq!(publish_answered(&mut live, "temp", "1"), 0, "{n}");
    }
    await_true("three notices", || small.notices(&ports, &token).len() == 3);
    let percents: Vec<_> = small
        .notices(&ports, &token)
        .iter()
        .map(|notice| notice["attributes"]["threshold_percent"].clone())
        .collect();
    assert_eq!(percents, [100, 90, 70], "newest first");
    await_true("three mails", || small.mails().len() == 3);
    for (mail, percent) in small.mails().iter().zip([70, 90, 100]) {
        assert!(
            mail.contains(&format!("Subject: {percent} % of 10 Data Operations used")),
            "{mail}"
        );
        assert!(mail.contains(&format!("To: {OWNER}")), "{mail}");
    }

    assert_eq!(publish_answered(&mut live, "temp", "1"), 0, "the grace has begun");
    assert_eq!(operations(&small.folder), 11, "and what is sent in it counts");
    assert!(usage(&small.folder)["grace_until"].is_string());

    server.stop();
    end_the_grace(&small.folder);
    let server = small.folder.serve_again(&ports, &small.environment());
    await_true("the pause", || usage(&small.folder)["paused"].is_string());
    for n in 1..=5 {
        assert_eq!(publish_answered(&mut live, "temp", "1"), 403, "{n}");
    }
    assert_eq!(publish_answered(&mut live, "spark/device/diagnostics/update", "1"), 0);
    let mut devices = [live];
    let id = devices[0].device().id();
    for (method, path, form) in [
        ("POST", format!("/v1/devices/{id}/echo"), "arg=abc"),
        ("GET", format!("/v1/devices/{id}/v_int"), ""),
        ("POST", "/v1/devices/events".to_owned(), "name=alarm&data=1"),
    ] {
        let url = format!("{}{path}", ports.url());
        let (status, body) = ask(&mut devices, method, url, &token, form);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &body["error"]), (403, &"service_paused".into()), "{path}: {body}");
        let why = body["error_description"].as_str().expect("text");
        assert!(why.contains("10 Data Operations") && why.contains("T00:00:00.000Z"), "{why}");
    }
    assert_eq!(operations(&small.folder), 11, "nothing refused is counted");
    for (name, label, count) in [
        ("cloudchamber_publishes_total", "paused", 5),
        ("cloudchamber_calls_total", "paused", 2),
        ("cloudchamber_api_publishes_refused_total", "paused", 1),
        ("cloudchamber_notices_total", "paused", 1),
        ("cloudchamber_operations_total", "", 0),
    ] {
        await_metric(&ports.url(), name, label, count);
    }

    small.set_plan("growth");
    assert_eq!(publish_answered(&mut devices[0], "temp", "1"), 0, "resumed at once");
    assert_eq!(operations(&small.folder), 12);
    await_metric(&ports.url(), "cloudchamber_operations_total", "kind=\"publish\"", 1);
    assert!(metric(&ports.url(), "cloudchamber_commit_seconds_count", "") > 0);
    assert!(metric(&ports.url(), "cloudchamber_commit_entries_sum", "") > 0);
    let events: Vec<_> = small
        .notices(&ports, &token)
        .iter()
        .take(2)
        .map(|notice| notice["attributes"]["event"].clone())
        .collect();
    assert_eq!(events, ["service_unpaused", "service_paused"]);
    drop(server);
}

impl Small {
    fn environment(&self) -> [(&str, &str); 3] {
        [
            ("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0"),
            ("CLOUDCHAMBER_METERING__PLANS", &self.plans),
            ("CLOUDCHAMBER_METERING__CATALOGUE", "small"),
        ]
    }
}

/// Three days pass: the stored end of the grace is moved to 1970.
fn end_the_grace(folder: &Folder) {
    rewrite(folder, |agreement| {
        let mut keeper: Value = serde_json::from_str(&agreement.keeper).expect("JSON");
        assert!(keeper["grace_until"].is_i64(), "{keeper}");
        keeper["grace_until"] = 0.into();
        agreement.keeper = keeper.to_string();
    });
}

/// Changes the only agreement of a stopped server, if there is one; gives how it lies there then and
/// how many periods were closed.
fn rewrite(
    folder: &Folder,
    change: impl FnOnce(&mut store::StoredAgreement),
) -> Option<(store::StoredAgreement, usize)> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = store::Store::open(std::path::Path::new(folder.data())).await.expect("opens");
        let stored = store.agreements().all().await.expect("read");
        let agreement = stored.first().cloned();
        let mut closed = Vec::new();
        if let Some(mut agreement) = agreement.clone() {
            change(&mut agreement);
            closed = store.agreements().closed_periods(agreement.account, 9).await.expect("read");
            let decided = store::Decided { agreement, closed: None, notices: Vec::new() };
            store.agreements().decide(&decided).await.expect("written");
        }
        store.close().await.expect("closed");
        agreement.map(|agreement| (agreement, closed.len()))
    })
}

fn stored(folder: &Folder) -> Option<(store::StoredAgreement, usize)> {
    rewrite(folder, |_| {})
}

#[test]
fn who_looks_at_a_stopped_server_closes_no_period_and_begins_none() {
    let folder = Folder::new();
    assert_eq!(usage(&folder)["plan"], "unlimited");
    assert_eq!(stored(&folder), None, "the server begins, by its own settings");
    run_ok(&["plan", "set", OWNER, "growth", "--data", folder.data()], "");
    let hour_ms = 3_600_000_i64;
    rewrite(&folder, |agreement| {
        let mut keeper: Value = serde_json::from_str(&agreement.keeper).expect("JSON");
        keeper["period"] = serde_json::json!({"start": 0, "end": 744 * hour_ms});
        agreement.keeper = keeper.to_string();
        (agreement.opened, agreement.closes) = (store::Hour(0), store::Hour(744));
    });
    let before = stored(&folder);
    let told = usage(&folder);
    assert_eq!(told["period_start"], "1970-01-01T00:00:00.000Z");
    assert_eq!(told["period_end"], "1970-02-01T00:00:00.000Z");
    folder.register(&[identity(Generation::Os6, 1)]);
    assert_eq!(stored(&folder), before);
}

#[test]
fn a_device_beyond_the_plan_is_refused_however_it_comes() {
    let small = Small::new();
    let token = small.folder.token();
    let server = small.serve(&[]);
    small.set_plan("free");
    small.folder.register(&[identity(Generation::Os6, 2)]);
    let lines: String = [identity(Generation::Os6, 2), identity(Generation::Os6, 3)]
        .iter()
        .map(|device| device.registration().expect("a key") + "\n")
        .collect();
    let file = small.folder.path("third.jsonl");
    std::fs::write(&file, lines).expect("written");
    let args = ["device", "import", file.to_str().expect("text"), "--owner", OWNER];
    let args = [&args[..], &["--data", small.folder.data()]].concat();
    let output = run(&args, "");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && why.contains("allows 2 devices"), "{why}");

    let url =
        format!("{}/v1/provisioning/{}", Ports::of(&server).url(), "e00fce6800000000000000aa");
    let pem = std::fs::read_to_string(small.folder.path("keys/server-ec.pub.pem")).expect("a key");
    let form = format!("publicKey={}", percent_encoded(&pem));
    let (status, body) = http("POST", &url, &token, &form);
    assert!(status == 403 && body.contains("allows 2 devices"), "{status} {body}");
    let refused = "cloudchamber_devices_refused_total";
    await_metric(&Ports::of(&server).url(), refused, "", 2);
    assert_eq!(usage(&small.folder)["devices"]["used"], 2);
    small.set_plan("unlimited");
    assert_eq!(http("POST", &url, &token, &form).0, 200);
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_plan_is_set_and_read_on_a_stopped_server_too() {
    let folder = Folder::new();
    let args = ["plan", "set", OWNER, "growth", "--blocks", "3", "--anchor-day", "31"];
    let args = [&args[..], &["--json", "--data", folder.data()]].concat();
    let told: Value = serde_json::from_str(&run_ok(&args, "")).expect("JSON");
    assert_eq!((&told[0]["plan"], &told[0]["blocks"]), (&"growth".into(), &3.into()));
    assert_eq!(told[0]["operations"]["limit"], 2_160_000);
    assert_eq!(usage(&folder)["devices"]["limit"], 300);
}

fn set<'a>(data: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["plan", "set"], rest, &["--data", data]].concat()
}

#[test]
fn bad_input_is_refused_with_what_is_wrong() {
    let folder = Folder::new();
    let bad = folder.path("bad.toml");
    std::fs::write(&bad, SMALL_PLANS.replace("operations = 20\n", "")).expect("written");
    let bad = bad.to_str().expect("text");
    for (args, named) in [
        (set(folder.data(), &[OWNER, "gold"]), "there is no plan \"gold\""),
        (set(folder.data(), &[OWNER, "growth", "--blocks", "0"]), "0 blocks are not possible"),
        (set(folder.data(), &[OWNER, "growth", "--blocks", "-2"]), "-2 blocks are not possible"),
        (set(folder.data(), &[OWNER, "free", "--blocks", "2"]), "has no blocks"),
        (set(folder.data(), &[OWNER, "free", "--catalogue", "1999"]), "there are 2021, 2022, 2025"),
        (set(folder.data(), &[OWNER, "enterprise"]), "figures of its contract"),
        (set(folder.data(), &[OWNER, "free", "--anchor-day", "32"]), "from 1 to 31"),
        (set(folder.data(), &["nobody@example.org", "free"]), "has no account"),
        (vec!["calc", "--devices", "5", "--every", "soon"], "number and a unit"),
        (vec!["calc", "--devices", "5", "--every", "10"], "without a unit"),
        (vec!["calc", "--devices", "5", "--every", "0s"], "longer than zero"),
        (
            vec!["calc", "--devices", "5", "--every", "1m", "--plans", bad],
            "missing field `operations`",
        ),
        (vec!["calc", "--devices", "5", "--every", "1m", "--catalogue", "x"], "no plan catalogue"),
        (
            vec![
                "usage",
                "--owner",
                OWNER,
                "--from",
                "2026-02-30",
                "--to",
                "2026-03-01",
                "--data",
                folder.data(),
            ],
            "is no day",
        ),
    ] {
        let output = run(&args, "");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && why.contains(named), "{args:?}: {why}");
    }
    let refused = support::cloudchamber(&["serve", "--data", folder.data()])
        .env("CLOUDCHAMBER_METERING__PLANS", bad)
        .output()
        .expect("ended");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("metering.plans"), "{why}");
    assert!(why.contains("missing field `operations`") && why.contains("bad.toml"), "{why}");
}

/// The mail server is dead at first; no notice is lost, and one that is sent again has its old id.
#[test]
fn a_dead_mail_server_loses_no_notice() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let small = Small::new();
    let server = small.serve(&[("CLOUDCHAMBER_MAIL__SMTP", &format!("smtp://{address}"))]);
    small.set_plan("free");
    let ports = Ports::of(&server);
    let mut live = connected(&small.folder, &ports);
    for _ in 0..9 {
        assert_eq!(publish_answered(&mut live, "temp", "1"), 0);
    }
    live.run(Duration::from_secs(3));
    let mails = receive_mails(address, 2);
    let ids: Vec<_> = mails.iter().map(|mail| header(mail, "Message-ID")).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("<notice-")), "{ids:?}");
    assert!(mails[0].contains("Subject: 70 % of 10 Data Operations used"), "{}", mails[0]);
    drop(server);
}

fn header(mail: &str, name: &str) -> String {
    let line = mail.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {mail}")).to_owned()
}

/// A mail server that takes so many mails.
fn receive_mails(address: std::net::SocketAddr, count: usize) -> Vec<String> {
    let listener = TcpListener::bind(address).expect("the port is free");
    let mut mails = Vec::new();
    while mails.len() < count {
        let (stream, _) = listener.accept().expect("a client");
        let mut out = stream.try_clone().expect("a socket");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let mut say = |text: &str| write!(out, "{text}\r\n").expect("sent");
        say("220 test");
        while let Some(line) = lines.next() {
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "DATA" => {
                    say("354 go on");
                    let mail: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                    mails.push(mail.join("\n"));
                    say("250 taken");
                    if mails.len() == count {
                        break;
                    }
                }
                "QUIT" => {
                    say("221 bye");
                    break;
                }
                _ => say("250 ok"),
            }
        }
    }
    mails
}
