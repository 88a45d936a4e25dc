//! The worked scenarios of `metering/rules.md` §9, with devices at the real server. Each is measured by
//! what it adds to the account's Data Operations.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::device::application::Subscription;
use sim::device::profile::Generation;
use sim::device::{Device, Observation};
use sim::live::Live;
use support::flash::{flash, make};
use support::fleet::{ask, connect_all, operations, publish_answered, run_all, usage};
use support::folder::{Folder, OWNER, Ports, identity};
use support::live::{await_acknowledgement, connect, finish, publish};
use support::relay::{Datagram, HEADERS, Relay};
use support::{Server, run_ok};

const NO_LIMIT: [(&str, &str); 1] = [("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0")];

/// A server with connected devices of one account.
struct Cloud {
    folder: Folder,
    ports: Ports,
    _server: Server,
    devices: Vec<Live>,
    token: String,
    counted: u64,
}

impl Cloud {
    /// As many devices as there are prefixes; each subscribes to its own, unless it is empty.
    fn new(prefixes: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let identities: Vec<_> =
            (1..).take(prefixes.len()).map(|n| identity(Generation::Os6, n)).collect();
        folder.register(&identities);
        let token = folder.token();
        let server = folder.serve_with(settings);
        let ports = Ports::of(&server);
        let device = |(prefix, n): (&&str, u32)| device(&folder, n, prefix, &ports);
        let mut devices: Vec<Live> = prefixes.iter().zip(1..).map(device).collect();
        connect_all(&mut devices);
        // A Describe that the server asks for, and time, cost nothing; they may still be on their way.
        run_all(&mut devices, Duration::from_millis(500));
        Self { folder, ports, _server: server, devices, token, counted: 0 }
    }

    fn publish(&mut self, index: usize, name: &str) {
        assert_eq!(publish_answered(&mut self.devices[index], name, "1"), 0, "{name}");
        run_all(&mut self.devices, Duration::from_millis(500));
    }

    fn ask(&mut self, method: &'static str, path: &str, form: &'static str) -> (u16, String) {
        let url = format!("{}{path}", self.ports.url());
        let answer = ask(&mut self.devices, method, url, &self.token, form);
        run_all(&mut self.devices, Duration::from_millis(300));
        answer
    }

    fn device_path(&mut self, index: usize, rest: &str) -> String {
        format!("/v1/devices/{}/{rest}", self.devices[index].device().id())
    }

    /// What was counted since the last question.
    fn counted(&mut self) -> u64 {
        let all = operations(&self.folder);
        let new = all - self.counted;
        self.counted = all;
        new
    }

    fn events_at(&self, index: usize, name: &str) -> usize {
        let is_it =
            |seen: &&Observation| matches!(seen, Observation::Event(event) if event.name == name);
        self.devices[index].observations().iter().filter(is_it).count()
    }
}

fn device(folder: &Folder, number: u32, prefix: &str, ports: &Ports) -> Live {
    let mut setup = folder.setup(Generation::Os6);
    setup.limits_publishes = false;
    let mut program = (*setup.program).clone();
    program.subscriptions.clear();
    if !prefix.is_empty() {
        program.subscriptions.push(Subscription::all(prefix));
    }
    setup.program = Arc::new(program);
    let identity = identity(Generation::Os6, number);
    Live::new(Device::new(identity, Arc::new(setup), u64::from(number)), ports.udp())
}

#[test]
fn a_to_f_publishes_count_where_they_arrive_and_where_they_are_delivered() {
    let mut cloud = Cloud::new(&["", "te", "te", "te", "alarm"], &NO_LIMIT);
    assert_eq!(cloud.counted(), 0, "handshakes, Hello, Describe, subscriptions and time");

    cloud.publish(0, "warmth");
    assert_eq!(cloud.counted(), 1, "nobody subscribes");
    for _ in 0..10 {
        assert_eq!(publish_answered(&mut cloud.devices[0], "humid", "1"), 0);
    }
    assert_eq!(cloud.counted(), 10, "a");

    cloud.publish(0, "temp");
    assert_eq!(cloud.counted(), 4, "b");
    assert_eq!((1..=3).map(|n| cloud.events_at(n, "temp")).sum::<usize>(), 3);

    let now = cloud.devices[3].now();
    cloud.devices[3].device().disconnect(now, true);
    run_all(&mut cloud.devices, Duration::from_millis(500));
    cloud.publish(0, "temp");
    assert_eq!(cloud.counted(), 3, "c");

    cloud.publish(0, "spark/device/diagnostics/update");
    assert_eq!(cloud.counted(), 0, "d");

    let publish = |cloud: &mut Cloud, form| cloud.ask("POST", "/v1/devices/events", form).0;
    assert_eq!(publish(&mut cloud, "name=alarm&data=x&private=true"), 200);
    assert_eq!(cloud.counted(), 1, "one device subscribes");
    assert_eq!(publish(&mut cloud, "name=silence&data=x&private=true"), 200);
    assert_eq!(cloud.counted(), 0, "f");
    cloud.agrees_with_its_parts();
}

#[test]
fn e_an_event_of_the_api_counts_once_for_each_of_five_devices() {
    let mut cloud = Cloud::new(&["alarm"; 5], &[]);
    let form = "name=alarm&data=x&private=true";
    assert_eq!(cloud.ask("POST", "/v1/devices/events", form).0, 200);
    run_all(&mut cloud.devices, Duration::from_secs(1));
    assert_eq!((0..5).map(|n| cloud.events_at(n, "alarm")).sum::<usize>(), 5);
    assert_eq!(cloud.counted(), 5, "e");
}

#[test]
fn g_j_p_and_s_calls_count_once_each_and_a_ping_only_where_its_catalogue_says_so() {
    let mut cloud = Cloud::new(&["own"], &[]);
    let echo = cloud.device_path(0, "echo");
    assert_eq!(cloud.ask("POST", &echo, "arg=abc").0, 200);
    assert_eq!(cloud.counted(), 1, "g");

    let variable = cloud.device_path(0, "v_int");
    assert_eq!(cloud.ask("GET", &variable, "").0, 200);
    assert_eq!(cloud.ask("GET", &variable, "").0, 200);
    assert_eq!(cloud.counted(), 2, "j");

    let ping = cloud.device_path(0, "ping");
    assert_eq!(cloud.ask("PUT", &ping, "").0, 200);
    assert_eq!(cloud.counted(), 0, "p, catalogue 2022");
    let args =
        ["plan", "set", OWNER, "unlimited", "--catalogue", "2021", "--data", cloud.folder.data()];
    run_ok(&args, "");
    assert_eq!(cloud.ask("PUT", &ping, "").0, 200);
    assert_eq!(cloud.counted(), 1, "p, catalogue 2021");

    let missing = cloud.device_path(0, "no_such_function");
    assert_eq!(cloud.ask("POST", &missing, "arg=abc").0, 404);
    assert_eq!(cloud.counted(), 0, "refused before anything was sent");

    cloud.publish(0, "own/event");
    assert_eq!(cloud.counted(), 2, "s");
    assert_eq!(cloud.events_at(0, "own/event"), 1);
    cloud.agrees_with_its_parts();
}

/// The device does not read its socket until the third attempt is on its way.
#[test]
fn h_a_call_that_is_acknowledged_at_the_third_attempt_counts_three_times() {
    let mut cloud = Cloud::new(&[""], &[]);
    let url = format!("{}{}", cloud.ports.url(), cloud.device_path(0, "echo"));
    let token = cloud.token.clone();
    let call = std::thread::spawn(move || support::http("POST", &url, &token, "arg=abc"));
    std::thread::sleep(Duration::from_secs(13));
    run_all(&mut cloud.devices, Duration::from_secs(2));
    let (status, body) = call.join().expect("no panic");
    assert_eq!(status, 200, "{body}");
    let called = cloud.devices[0].observations().iter();
    let called = called.filter(|seen| matches!(seen, Observation::Called { .. })).count();
    assert_eq!(called, 1);
    assert_eq!(cloud.counted(), 3, "h");
    let why: Vec<_> = cloud
        .why(0)
        .iter()
        .map(|line| (line["rule"].clone(), line["name"].clone(), line["attempt"].clone()))
        .collect();
    let attempt = |n: u8| (5.into(), "echo".into(), n.into());
    assert_eq!(why, [attempt(3), attempt(2), attempt(1)]);
}

#[test]
fn i_a_call_that_is_never_acknowledged_counts_three_times_and_the_next_one_nothing() {
    let mut cloud = Cloud::new(&[""], &[]);
    let url = format!("{}{}", cloud.ports.url(), cloud.device_path(0, "echo"));
    assert_eq!(support::http("POST", &url, &cloud.token, "arg=abc").0, 408);
    let url = format!("{}{}", cloud.ports.url(), cloud.device_path(0, "v_int"));
    let begun = std::time::Instant::now();
    assert_eq!(support::http("GET", &url, &cloud.token, "").0, 408);
    assert!(begun.elapsed() < Duration::from_secs(2), "it is known to be offline");
    assert_eq!(cloud.counted(), 3, "i");
}

#[test]
fn k_a_publish_whose_acknowledgement_is_lost_counts_twice_and_is_routed_once() {
    let mut cloud = Cloud::new(&["", "copied"], &[]);
    let relay = Relay::new(cloud.ports.udp());
    let folder = &cloud.folder;
    folder.register(&[identity(Generation::Os6, 9)]);
    let address = Ports { udp: relay.address.to_string(), ..cloud.ports.clone() };
    let mut live = device(folder, 9, "", &address);
    support::live::connect(&mut live);
    assert_eq!(cloud.counted(), 0);

    relay.lose_answers(true);
    let number = publish(&mut live, "copied", "1");
    cloud.devices.push(live);
    run_all(&mut cloud.devices, Duration::from_millis(500));
    relay.lose_answers(false);
    // The device repeats itself after 4 to 6 s; the subscriber answers meanwhile.
    run_all(&mut cloud.devices, Duration::from_secs(7));
    await_acknowledgement(&mut cloud.devices[2], number);
    run_all(&mut cloud.devices, Duration::from_millis(500));
    assert_eq!(cloud.events_at(1, "copied"), 1);
    assert_eq!(cloud.counted(), 3, "two copies and one delivery");
}

#[test]
fn r_publishes_over_the_rate_are_refused_and_not_counted() {
    let mut cloud = Cloud::new(&[""], &[]);
    let live = &mut cloud.devices[0];
    live.run(Duration::from_secs(4));
    let numbers: Vec<u64> = (0..8).map(|_| publish(live, "burst", "1")).collect();
    live.run(Duration::from_millis(300));
    finish(live);
    let codes: Vec<u16> = live
        .observations()
        .iter()
        .filter_map(|seen| match seen {
            Observation::PublishAnswered { publish, code, .. } if numbers.contains(publish) => {
                Some(*code)
            }
            _ => None,
        })
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 429).count(), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 4, "{codes:?}");
    assert_eq!(cloud.counted(), 4, "r");
}

#[test]
fn t_a_device_of_another_account_neither_sees_nor_pays() {
    const OTHER: &str = "other@example.org";
    let mut cloud = Cloud::new(&["", "te"], &[]);
    let folder = &cloud.folder;
    run_ok(&["user", "add", OTHER, "--password-stdin", "--data", folder.data()], "password\n");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let stranger = identity(Generation::Os6, 5).registration().expect("a key");
    std::fs::write(file.path(), stranger + "\n").expect("written");
    let path = file.path().to_str().expect("text");
    run_ok(&["device", "import", path, "--owner", OTHER, "--data", folder.data()], "");
    cloud.devices.push(device(folder, 5, "te", &cloud.ports));
    connect_all(&mut cloud.devices[2..]);

    cloud.publish(0, "temp");
    assert_eq!(cloud.counted(), 2, "t: the publish and its delivery to the own device");
    assert_eq!((cloud.events_at(1, "temp"), cloud.events_at(2, "temp")), (1, 0));
    let text = run_ok(&["usage", "--json", "--data", cloud.folder.data()], "");
    let lines: Value = serde_json::from_str(&text).expect("JSON");
    let of = |owner: &str| {
        let line = lines.as_array().expect("a list").iter().find(|line| line["owner"] == owner);
        line.expect("an account")["operations"]["used"].clone()
    };
    assert_eq!((of(OWNER), of(OTHER)), (2.into(), 0.into()));
}

#[test]
fn l_and_m_a_webhook_costs_nothing_and_each_part_of_its_answer_that_a_device_gets_one() {
    let hooks = [("CLOUDCHAMBER_WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true")];
    let mut cloud = Cloud::new(&[""], &hooks);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("an address");
    answer_all(listener, "r".repeat(1300));
    let form = format!("event=ask&url=http%3A%2F%2F{target}%2F");
    let url = format!("{}/v1/webhooks", cloud.ports.url());
    assert_eq!(support::http("POST", &url, &cloud.token, &form).0, 201);

    cloud.publish(0, "ask");
    run_all(&mut cloud.devices, Duration::from_secs(1));
    assert_eq!(cloud.counted(), 1, "l");

    let folder = &cloud.folder;
    folder.register(&[identity(Generation::Os6, 9)]);
    cloud.devices.push(device(folder, 9, "hook-response/", &cloud.ports));
    connect_all(&mut cloud.devices[1..]);
    assert_eq!(cloud.counted(), 0);
    cloud.publish(1, "ask");
    run_all(&mut cloud.devices, Duration::from_secs(2));
    let parts: usize = (0..3).map(|n| cloud.events_at(1, &format!("hook-response/ask/{n}"))).sum();
    assert_eq!(parts, 3, "512, 512 and 276 bytes");
    assert_eq!(cloud.counted(), 4, "m");

    let rules: Vec<u64> =
        cloud.why(1).iter().map(|line| line["rule"].as_u64().expect("a rule")).collect();
    assert_eq!(rules, [7, 7, 7, 1], "newest first");
}

/// Answers every request with these words.
fn answer_all(listener: std::net::TcpListener, answer: String) {
    use std::io::{Read, Write};
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 65_536]);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ";
            let _ = write!(stream, "{head}{}\r\n\r\n{answer}", answer.len());
        }
    });
}

/// On a carrier, so that the bytes of the update show; each that passed is counted, with its headers.
#[test]
fn n_an_update_counts_no_operation_and_all_its_bytes() {
    let folder = Folder::new();
    folder.register(&[identity(Generation::Os6, 1)]);
    let token = folder.token();
    let server = folder.serve();
    let ports = Ports::of(&server);
    let relay = Relay::new(ports.udp());
    let mut setup = folder.setup(Generation::Os6);
    setup.profile.platform = model::Platform(13);
    let device = Device::new(identity(Generation::Os6, 1), Arc::new(setup), 1);
    let mut live = Live::new(device, relay.address);
    connect(&mut live);
    let file = folder.path("app.bin");
    make(&file, "13", "200", &[]);
    let image = std::fs::read(&file).expect("read");
    let path = format!("/v1/devices/{}", live.device().id());
    flash(&ports.http, &path, &token, &image);
    let end = Instant::now() + Duration::from_secs(60);
    while !is_updated(&ports, &path, &token) {
        assert!(Instant::now() < end, "{:#?}", live.observations());
        live.run(Duration::from_millis(200));
    }
    finish(&mut live);
    assert_eq!(operations(&folder), 0, "n");
    server.stop();
    let on_the_wire = |datagram: &Datagram| (datagram.bytes.len() + HEADERS) as u64;
    let carried: u64 = relay.passed().iter().map(on_the_wire).sum();
    assert!(carried > image.len() as u64, "{carried} bytes for {}", image.len());
    let usage = usage(&folder);
    assert_eq!(
        (&usage["operations"]["used"], &usage["cellular_bytes"]["used"]),
        (&0.into(), &carried.into())
    );
}

fn is_updated(ports: &Ports, path: &str, token: &str) -> bool {
    let (status, body) = support::http("GET", &format!("{}{path}", ports.url()), token, "");
    assert_eq!(status, 200, "{body}");
    let shown: Value = serde_json::from_str(&body).expect("JSON");
    let status = &shown["firmware_update"]["status"];
    assert_ne!(status, "failed", "{shown}");
    status == "success"
}

#[test]
fn o_a_location_that_is_stored_counts_beside_its_publish() {
    const PLACE: &str = r#"{"cmd":"loc","loc":{"lck":1,"lat":47.5,"lon":8.5}}"#;
    let mut cloud = Cloud::new(&[""], &NO_LIMIT);
    let folder = &cloud.folder;
    folder.register(&[identity(Generation::Os6, 9)]);
    let mut setup = folder.setup(Generation::Os6);
    setup.profile.platform = model::Platform(26);
    let device = Device::new(identity(Generation::Os6, 9), Arc::new(setup), 9);
    cloud.devices.push(Live::new(device, cloud.ports.udp()));
    connect_all(&mut cloud.devices[1..]);
    assert_eq!(publish_answered(&mut cloud.devices[1], "loc", PLACE), 0);
    assert_eq!(cloud.counted(), 2, "o");
    assert_eq!(publish_answered(&mut cloud.devices[1], "loc", "no place"), 0);
    assert_eq!(publish_answered(&mut cloud.devices[0], "loc", PLACE), 0);
    assert_eq!(cloud.counted(), 2, "no place, and no Tracker");
    let rules: Vec<_> = cloud.why(1).iter().map(|line| line["rule"].clone()).collect();
    assert_eq!(rules, [1, 8, 1]);

    let Cloud { folder, _server: server, mut devices, .. } = cloud;
    let id = devices[1].device().id();
    server.stop();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let points = runtime.block_on(async {
        let store = store::Store::open(std::path::Path::new(folder.data())).await.expect("opens");
        store.points(id, 9).await.expect("read")
    });
    let points: Vec<_> = points.iter().map(|(_, at)| (at.latitude, at.longitude)).collect();
    assert_eq!(points, [(47.5, 8.5)]);
}

/// The product's setting holds for a connected device from the moment it is changed.
#[test]
fn o_a_product_that_opts_in_has_its_devices_locations_stored_at_once() {
    const PLACE: &str = r#"{"loc":{"lat":47.5,"lon":8.5}}"#;
    let mut cloud = Cloud::new(&[""], &NO_LIMIT);
    let (url, token) = (format!("{}/v1/products", cloud.ports.url()), cloud.token.clone());
    let (status, made) = support::http("POST", &url, &token, "name=Cars&platform_id=12");
    assert_eq!(status, 201, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let product = format!("{url}/{}", made["product"]["id"]);
    let id = cloud.devices[0].device().id();
    let form = format!("id={id}");
    assert_eq!(support::http("POST", &format!("{product}/devices"), &token, &form).0, 200);
    for (opt_in, counted) in [(false, 1), (true, 2), (false, 1)] {
        let settings = format!(r#"{{"settings":{{"location":{{"opt_in":{opt_in}}}}}}}"#);
        let (status, body) =
            support::http_as("application/json", "PUT", &product, &token, &settings);
        assert_eq!(status, 200, "{body}");
        assert_eq!(publish_answered(&mut cloud.devices[0], "loc", PLACE), 0);
        assert_eq!(cloud.counted(), counted, "opt_in {opt_in}");
    }
}

/// The figures of a report are those of the account.
#[test]
fn a_usage_report_has_a_line_for_each_device_and_day() {
    let mut cloud = Cloud::new(&["", "te"], &NO_LIMIT);
    for name in ["temp", "te", "other"] {
        cloud.publish(0, name);
    }
    let url = format!("{}/v1/user/service_agreements/1/usage_reports", cloud.ports.url());
    let form = "report_type=devices&date_period_start=2026-01-01&date_period_end=2026-12-31";
    let form = form.replace("2026", &year());
    let (status, made) = support::http("POST", &url, &cloud.token, &form);
    assert_eq!(status, 201, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let id = made["data"]["id"].as_str().expect("an id");
    let url = format!("{}/v1/user/usage_reports/{id}", cloud.ports.url());
    let (_, shown) = support::http("GET", &url, &cloud.token, "");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let address = shown["data"]["attributes"]["download_url"].as_str().expect("available");
    let (status, text) = support::http("GET", address, "", "");
    assert_eq!(status, 200, "{text}");
    let of = |index: usize, cloud: &mut Cloud| {
        let id = cloud.devices[index].device().id().to_string();
        let lines = text.lines().filter(|line| line.contains(&id));
        let operations = lines.map(|line| line.split(',').nth(7).expect("a column").to_owned());
        operations.map(|count| count.parse::<u64>().expect("a number")).sum::<u64>()
    };
    assert_eq!((of(0, &mut cloud), of(1, &mut cloud)), (3, 2), "{text}");
    assert_eq!(operations(&cloud.folder), 5);
}

fn year() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let now = model::Timestamp(i64::try_from(since.as_millis()).expect("a time"));
    now.to_string()[..4].to_owned()
}

impl Cloud {
    /// What was counted of a device, newest first.
    fn why(&mut self, index: usize) -> Vec<Value> {
        let id = self.devices[index].device().id().to_string();
        let args = ["usage", "why", "--device", &id, "--json", "--data", self.folder.data()];
        let list: Value = serde_json::from_str(&run_ok(&args, "")).expect("JSON");
        assert!(list["window_start"].is_string(), "{list}");
        list["operations"].as_array().expect("a list").clone()
    }

    /// The sums by device and day agree with the account's, in the command and in the API.
    fn agrees_with_its_parts(&mut self) {
        let all = operations(&self.folder);
        let args = ["usage", "--owner", OWNER, "--from", "2020-01-01", "--to", "2100-01-01"];
        let args = [&args[..], &["--json", "--data", self.folder.data()]].concat();
        let lines: Value = serde_json::from_str(&run_ok(&args, "")).expect("JSON");
        let of_devices = lines.as_array().expect("a list").iter();
        let sum: u64 = of_devices.map(|line| line["operations"].as_u64().expect("a number")).sum();
        assert_eq!(sum, all);
        let (status, body) = self.ask("GET", "/v1/user/service_agreements", "");
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let attributes = &body["data"][0]["attributes"];
        assert_eq!(attributes["current_usage_summary"]["data_operations"]["used"], all);
        assert_eq!(attributes["state"], "active");
    }
}
