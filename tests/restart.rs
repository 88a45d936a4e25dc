//! A server that is killed and started again: devices go on, nothing acknowledged is lost, nothing is
//! routed twice, no nonce is used twice.

#![allow(clippy::print_stdout, reason = "the random moments of a failed run are shown")]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sim::device::profile::Generation;
use sim::device::{Acknowledgement, Device, How, Loss, Observation, Publish};
use sim::live::Live;
use support::folder::{Folder, Ports, identity};
use support::live::{
    await_acknowledgement, await_observation, connect, finish, handshakes, publish,
};
use support::relay::{From, Relay, records};
use support::watch::{Told, await_metric, let_metrics_settle, metric, replay};
use support::{Server, http};

const DTLS_HANDSHAKES: &str = "cloudchamber_dtls_handshakes_total";
const TCP_HANDSHAKES: &str = "cloudchamber_tcp_handshakes_total";
const PUBLISHES: &str = "cloudchamber_publishes_total";
/// The load is the devices' own pace, not the server's limit.
const NO_LIMIT: [(&str, &str); 1] = [("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0")];

// The storm.

/// How many devices of each generation.
const FLEET: [(Generation, u32); 3] =
    [(Generation::Os6, 16), (Generation::Os3, 16), (Generation::Tcp, 4)];
const KILLS: usize = 4;
/// Publishes of one device; all of them together stay below what a stream replays.
const PUBLISHES_MAX: u32 = 150;
/// Between two publishes of one device.
const PACE: Duration = Duration::from_millis(120);

/// What the test tells all devices.
#[derive(Default)]
struct Orders {
    publish: AtomicBool,
    end: AtomicBool,
    settled: AtomicUsize,
    reconnected: AtomicUsize,
}

/// What became of a device.
struct Report {
    generation: Generation,
    observations: Vec<Observation>,
    /// Payloads that were acknowledged.
    acknowledged: Vec<String>,
    relay: Option<Relay>,
}

#[test]
fn a_server_killed_under_load_loses_nothing_and_devices_go_on_without_a_handshake() {
    let folder = Folder::new();
    let devices: Vec<_> = FLEET
        .iter()
        .flat_map(|&(generation, count)| (0..count).map(move |index| identity(generation, index)))
        .collect();
    folder.register(&devices);
    let token = folder.token();
    let server = folder.serve_with(&NO_LIMIT);
    let ports = Ports::of(&server);
    let orders = Arc::new(Orders::default());
    let running = switch_on(&folder, &ports, &orders);
    await_count(&orders.settled, running.len());

    orders.publish.store(true, Ordering::SeqCst);
    let server = kill_again_and_again(&folder, server, &ports, &orders);
    orders.end.store(true, Ordering::SeqCst);
    let reports: Vec<_> =
        running.into_iter().map(|device| device.join().expect("no panic")).collect();

    let_metrics_settle();
    assert_eq!(metric(&server.url(), DTLS_HANDSHAKES, ""), 0);
    reports.iter().for_each(check_connections);
    check_events(&reports, &replay(&server.url(), &token, "load"));
    reports.iter().filter_map(|report| report.relay.as_ref()).for_each(check_nonces);
}

fn switch_on(folder: &Folder, ports: &Ports, orders: &Arc<Orders>) -> Vec<JoinHandle<Report>> {
    let mut running = Vec::new();
    for (generation, count) in FLEET {
        let mut setup = folder.setup(generation);
        setup.limits_publishes = false;
        let setup = Arc::new(setup);
        for index in 0..count {
            let relay = (generation != Generation::Tcp).then(|| Relay::new(ports.udp()));
            let address = relay.as_ref().map_or_else(|| ports.tcp(), |relay| relay.address);
            let device =
                Device::new(identity(generation, index), Arc::clone(&setup), u64::from(index));
            let live = Live::new(device, address);
            let orders = Arc::clone(orders);
            running.push(std::thread::spawn(move || drive(live, relay, &orders)));
        }
    }
    running
}

/// The life of one device, until it is told to end and nothing of it is unacknowledged.
fn drive(mut live: Live, relay: Option<Relay>, orders: &Orders) -> Report {
    let generation = live.device().setup().profile.generation;
    connect(&mut live);
    orders.settled.fetch_add(1, Ordering::SeqCst);
    let (mut payloads, mut count, mut connections) = (HashMap::new(), 0, 1);
    while !orders.end.load(Ordering::SeqCst) {
        live.run(PACE);
        let now = connected(live.observations());
        orders.reconnected.fetch_add(now - connections, Ordering::SeqCst);
        connections = now;
        let may = orders.publish.load(Ordering::SeqCst) && live.device().is_online();
        if may && count < PUBLISHES_MAX {
            let payload = format!("{}-{count}", live.device().id());
            let event = Publish {
                acknowledgement: Acknowledgement::Wanted,
                ..Publish::text("load/reading", &payload)
            };
            let now = live.now();
            payloads.insert(live.device().publish(now, &event).expect("taken"), payload);
            count += 1;
        }
    }
    finish(&mut live);
    let observations = live.observations().to_vec();
    let acknowledged =
        observations.iter().filter_map(answered).map(|number| payloads[&number].clone());
    let acknowledged = acknowledged.collect();
    Report { generation, observations, acknowledged, relay }
}

fn connected(observations: &[Observation]) -> usize {
    observations.iter().filter(|seen| matches!(seen, Observation::Connected(_))).count()
}

fn answered(seen: &Observation) -> Option<u64> {
    match seen {
        Observation::PublishAnswered { publish, code, .. } => {
            assert_eq!(*code, 0, "a publish was refused");
            Some(*publish)
        }
        _ => None,
    }
}

fn kill_again_and_again(
    folder: &Folder,
    mut server: Server,
    ports: &Ports,
    orders: &Orders,
) -> Server {
    let streams = FLEET.iter().find(|(generation, _)| *generation == Generation::Tcp);
    let streams = streams.map_or(0, |(_, count)| *count as usize);
    for kill in 1..=KILLS {
        let wait = Duration::from_millis(rand::random_range(300..1500));
        println!("kill {kill} after {wait:?}");
        std::thread::sleep(wait);
        if kill > 1 {
            assert_eq!(metric(&server.url(), DTLS_HANDSHAKES, ""), 0, "before kill {kill}");
        }
        server.kill();
        server = folder.serve_again(ports, &NO_LIMIT);
        await_count(&orders.reconnected, kill * streams);
        await_metric(&server.url(), TCP_HANDSHAKES, "", streams as u64);
    }
    std::thread::sleep(Duration::from_secs(2));
    server
}

fn await_count(count: &AtomicUsize, wanted: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while count.load(Ordering::SeqCst) < wanted {
        let found = count.load(Ordering::SeqCst);
        assert!(Instant::now() < end, "{found} of {wanted} devices");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A UDP device notices nothing; a TCP device loses its stream and connects again, once for each kill.
fn check_connections(report: &Report) {
    let lost: Vec<_> = report
        .observations
        .iter()
        .filter(|seen| matches!(seen, Observation::Disconnected(_)))
        .collect();
    let (_, done) = handshakes(&report.observations);
    if report.generation == Generation::Tcp {
        assert!(
            lost.iter().all(|seen| **seen == Observation::Disconnected(Loss::Stream)),
            "{lost:?}"
        );
        assert_eq!(done, 1 + KILLS);
    } else {
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(handshakes(&report.observations), (1, 1));
        let unanswered =
            report.observations.iter().any(|seen| matches!(seen, Observation::PublishLost { .. }));
        assert!(!unanswered, "a publish was never acknowledged");
    }
}

fn check_events(reports: &[Report], told: &[Told]) {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for event in told {
        *times.entry(event.data.as_deref().expect("a payload")).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "routed more than once: {twice:?}");
    let mut total = BTreeMap::new();
    for report in reports {
        let missing: Vec<_> = report
            .acknowledged
            .iter()
            .filter(|payload| !times.contains_key(payload.as_str()))
            .collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        *total.entry(format!("{:?}", report.generation)).or_insert(0) += report.acknowledged.len();
    }
    println!("{} events in the replay, acknowledged: {total:?}", told.len());
    let all: usize = total.values().sum();
    assert!(all > reports.len() * 20, "there was no load");
    let ids: Vec<_> = told.iter().map(|event| event.id.expect("asked for")).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "event ids grow over restarts");
}

/// Within a session each record of the server has an explicit nonce of its own.
fn check_nonces(relay: &Relay) {
    let (mut session, mut used, mut count) = (0, HashSet::new(), 0);
    for datagram in relay.passed().iter().filter(|datagram| datagram.from == From::Server) {
        for record in records(&datagram.bytes) {
            let is_server_hello = record.kind == 22 && record.epoch == 0 && record.body[0] == 2;
            session += u32::from(is_server_hello);
            if record.epoch == 1 {
                let nonce: [u8; 8] = record.body[..8].try_into().expect("8 bytes");
                assert!(used.insert((session, nonce)), "nonce {nonce:02x?} is used twice");
                count += 1;
            }
        }
    }
    assert_eq!(session, 1, "one handshake");
    assert!(count > 20, "{count} records are no load");
}

// One device, step by step.

/// A server with one device connected through a relay.
struct Bench {
    folder: Folder,
    ports: Ports,
    server: Option<Server>,
    relay: Relay,
    live: Live,
    token: String,
}

impl Bench {
    fn new(generation: Generation) -> Self {
        let folder = Folder::new();
        folder.register(&[identity(generation, 1)]);
        let token = folder.token();
        let server = folder.serve_with(&NO_LIMIT);
        let ports = Ports::of(&server);
        let relay = Relay::new(ports.udp());
        let mut setup = folder.setup(generation);
        setup.limits_publishes = false;
        let device = Device::new(identity(generation, 1), Arc::new(setup), 1);
        let mut live = Live::new(device, relay.address);
        connect(&mut live);
        Self { folder, ports, server: Some(server), relay, live, token }
    }

    fn restart(&mut self) {
        self.server.take().expect("running").kill();
        self.server = Some(self.folder.serve_again(&self.ports, &NO_LIMIT));
    }

    /// Publishes so many events at once and lets the device live for a while.
    fn burst(&mut self, count: u32, span: Duration) {
        for _ in 0..count {
            publish(&mut self.live, "burst/reading", "x");
        }
        self.live.run(span);
    }

    fn replay(&self) -> Vec<String> {
        let told = replay(&self.ports.url(), &self.token, "step");
        told.into_iter().filter_map(|event| event.data).collect()
    }

    fn call_echo(&mut self) -> u16 {
        let url = format!("{}/v1/devices/{}/echo", self.ports.url(), self.live.device().id());
        let token = self.token.clone();
        let call = std::thread::spawn(move || http("POST", &url, &token, "arg=abc"));
        await_observation(&mut self.live, |seen| matches!(seen, Observation::Called { .. }));
        finish(&mut self.live);
        while !call.is_finished() {
            self.live.run(Duration::from_millis(20));
        }
        call.join().expect("no panic").0
    }

    /// First bytes of the device's datagrams from its newest address.
    fn kinds_from_newest_address(&self) -> Vec<u8> {
        let passed = self.relay.passed();
        let own: Vec<_> = passed.iter().filter(|datagram| datagram.from == From::Device).collect();
        let newest = own.last().expect("a datagram").device;
        own.iter().filter(|datagram| datagram.device == newest).map(|d| d.bytes[0]).collect()
    }

    fn addresses(&self) -> usize {
        self.relay.passed().iter().map(|datagram| datagram.device).collect::<HashSet<_>>().len()
    }
}

/// The acknowledgement is lost, the server dies, the device repeats: one event, and it is acknowledged.
#[test]
fn a_copy_that_comes_after_the_restart_is_recognised() {
    for generation in [Generation::Os6, Generation::Os3] {
        let mut bench = Bench::new(generation);
        bench.relay.lose_answers(true);
        let number = publish(&mut bench.live, "step/once", "only once");
        bench.live.run(Duration::from_millis(200));
        await_metric(&bench.ports.url(), PUBLISHES, "accepted", 1);
        await_answer_to_publish(&mut bench);
        bench.restart();
        bench.relay.lose_answers(false);
        await_acknowledgement(&mut bench.live, number);

        let url = bench.ports.url();
        let_metrics_settle();
        assert_eq!(metric(&url, PUBLISHES, "accepted"), 0, "{generation:?}");
        assert_eq!(metric(&url, PUBLISHES, "copied"), 1, "{generation:?}");
        assert_eq!(metric(&url, DTLS_HANDSHAKES, ""), 0);
        assert_eq!(bench.replay(), ["only once"]);
        assert_eq!(handshakes(bench.live.observations()), (1, 1));
        check_single_session(&bench.relay);
    }
}

/// The acknowledgement left the server, though it was lost: now the event must survive.
fn await_answer_to_publish(bench: &mut Bench) {
    let end = Instant::now() + Duration::from_secs(3);
    while bench.relay.passed().last().expect("a publish").from != From::Server {
        assert!(Instant::now() < end, "the server does not acknowledge");
        bench.live.run(Duration::from_millis(20));
    }
}

fn check_single_session(relay: &Relay) {
    let mut used = HashSet::new();
    for datagram in relay.passed().iter().filter(|datagram| datagram.from == From::Server) {
        for record in records(&datagram.bytes).iter().filter(|record| record.epoch == 1) {
            assert!(used.insert(record.body[..8].to_vec()), "a nonce is used twice");
        }
    }
}

#[test]
fn an_idle_device_that_restarts_while_the_server_is_down_resumes() {
    for generation in [Generation::Os6, Generation::Os3] {
        let mut bench = Bench::new(generation);
        bench.server.take().expect("running").kill();
        bench.live.reset();
        await_observation(&mut bench.live, |seen| *seen == Observation::Connected(How::Resumed));
        bench.live.run(Duration::from_millis(500));
        bench.server = Some(bench.folder.serve_again(&bench.ports, &[]));
        finish(&mut bench.live);
        let number = publish(&mut bench.live, "step/after", "resumed");
        await_acknowledgement(&mut bench.live, number);
        assert_eq!(bench.call_echo(), 200, "{generation:?}");
        assert_eq!(bench.replay(), ["resumed"]);
        let_metrics_settle();
        assert_eq!(handshakes(bench.live.observations()), (1, 1));
        assert_eq!(metric(&bench.ports.url(), DTLS_HANDSHAKES, ""), 0);
        check_single_session(&bench.relay);
    }
}

/// A session reserves 1,024 record numbers at a time; a kill falls into the moment in which the next
/// ones are reserved.
#[test]
fn no_nonce_comes_again_when_the_server_dies_where_a_reservation_ends() {
    let mut bench = Bench::new(Generation::Os6);
    let sent = |bench: &Bench| {
        let passed = bench.relay.passed();
        passed.iter().filter(|datagram| datagram.from == From::Server).count()
    };
    while sent(&bench) < RESERVED - 40 {
        bench.burst(16, Duration::from_millis(5));
        finish(&mut bench.live);
    }
    bench.burst(60, Duration::from_millis(rand::random_range(0..15)));
    bench.restart();
    finish(&mut bench.live);
    let before = sent(&bench);
    while sent(&bench) < before + RESERVED + 100 {
        bench.burst(16, Duration::from_millis(5));
        finish(&mut bench.live);
    }
    bench.restart();
    bench.burst(40, Duration::from_millis(200));
    finish(&mut bench.live);
    check_single_session(&bench.relay);
    assert_eq!(handshakes(bench.live.observations()), (1, 1));
}

/// Record numbers of one reservation.
const RESERVED: usize = 1024;

/// Its description and subscriptions are not sent again, so the server must have kept them.
#[test]
fn a_device_can_be_called_after_a_restart_without_saying_anything_first() {
    for generation in [Generation::Os6, Generation::Os3] {
        let mut bench = Bench::new(generation);
        bench.restart();
        assert_eq!(bench.call_echo(), 200, "{generation:?}");
        assert_eq!(handshakes(bench.live.observations()), (1, 1));
        let form = "name=test/after&data=hello&private=true";
        let url = format!("{}/v1/devices/events", bench.ports.url());
        assert_eq!(http("POST", &url, &bench.token, form).0, 200);
        await_observation(&mut bench.live, |seen| matches!(seen, Observation::Event(_)));
    }
}

#[test]
fn a_device_of_6_2_that_moves_in_the_middle_of_a_publish_goes_on_with_plain_cid_records() {
    let mut bench = Bench::new(Generation::Os6);
    let first = publish(&mut bench.live, "step/first", "answered to the old port");
    bench.live.device().roam();
    bench.live.run(Duration::from_millis(50));
    assert_eq!(bench.addresses(), 1, "the new address is silent");
    await_acknowledgement(&mut bench.live, first);
    let second = publish(&mut bench.live, "step/second", "from the new port");
    await_acknowledgement(&mut bench.live, second);

    assert_eq!(bench.addresses(), 2);
    let kinds = bench.kinds_from_newest_address();
    assert!(kinds.len() >= 2 && kinds.iter().all(|kind| *kind == 25), "{kinds:?}");
    assert_eq!(bench.call_echo(), 200);
    await_metric(&bench.ports.url(), PUBLISHES, "copied", 1);
    assert_eq!(bench.replay(), ["answered to the old port", "from the new port"]);
    assert_eq!(handshakes(bench.live.observations()), (1, 1));
}

#[test]
fn a_device_of_3_0_that_moves_again_while_it_resumes_goes_on_with_its_id_in_a_trailer() {
    let mut bench = Bench::new(Generation::Os3);
    bench.live.reset();
    await_observation(&mut bench.live, |seen| *seen == Observation::Connected(How::Resumed));
    let number = publish(&mut bench.live, "step/moving", "between two ports");
    bench.live.device().roam();
    await_acknowledgement(&mut bench.live, number);

    assert_eq!(bench.addresses(), 3);
    assert_eq!(bench.kinds_from_newest_address()[0], 254);
    let last = publish(&mut bench.live, "step/moved", "from the third port");
    await_acknowledgement(&mut bench.live, last);
    assert_eq!(*bench.kinds_from_newest_address().last().expect("one"), 23);
    assert_eq!(bench.call_echo(), 200);
    assert_eq!(bench.replay(), ["between two ports", "from the third port"]);
    assert_eq!(handshakes(bench.live.observations()), (1, 1));
}

/// Kills in the middle of a move: the session's address comes from the newest record.
#[test]
fn a_device_that_moves_while_the_server_is_down_is_found_at_its_new_address() {
    let mut bench = Bench::new(Generation::Os6);
    bench.server.take().expect("running").kill();
    bench.live.device().roam();
    let number = publish(&mut bench.live, "step/moved", "into the dark");
    bench.live.run(Duration::from_millis(100));
    bench.server = Some(bench.folder.serve_again(&bench.ports, &[]));
    await_acknowledgement(&mut bench.live, number);
    assert_eq!(bench.call_echo(), 200);
    assert_eq!(bench.replay(), ["into the dark"]);
    let_metrics_settle();
    assert_eq!(metric(&bench.ports.url(), DTLS_HANDSHAKES, ""), 0);
}

/// An address is changed by an authentic record alone.
#[test]
fn a_stranger_that_repeats_a_record_from_elsewhere_does_not_take_the_session() {
    let mut bench = Bench::new(Generation::Os6);
    let number = publish(&mut bench.live, "step/first", "mine");
    await_acknowledgement(&mut bench.live, number);
    let passed = bench.relay.passed();
    let own = passed.iter().filter(|datagram| datagram.from == From::Device);
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for bytes in own.map(|datagram| &datagram.bytes).filter(|bytes| bytes[0] == 25) {
        stranger.send_to(bytes, bench.ports.udp()).expect("sent");
        let mut forged = bytes.clone();
        forged[10] ^= 0x40;
        stranger.send_to(&forged, bench.ports.udp()).expect("sent");
    }
    stranger.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    assert!(stranger.recv(&mut [0; 64]).is_err(), "a stranger gets no answer");
    assert_eq!(bench.call_echo(), 200);
    assert_eq!(bench.replay(), ["mine"]);
}
