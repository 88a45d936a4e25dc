//! The ledger's count after the server was killed at random moments under load: what devices saw
//! acknowledged is in it, and nothing beyond the copies they sent (`metering/rules.md` §8).

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::DeviceId;
use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Acknowledgement, Device, Observation, Publish};
use sim::live::Live;
use support::folder::{Folder, OWNER, Ports, identity};
use support::live::{connect, finish};
use support::run_ok;

const KILLS: u32 = 50;
const FLEET: [(Generation, u32); 3] =
    [(Generation::Os6, 4), (Generation::Os3, 2), (Generation::Tcp, 1)];
const NO_LIMIT: [(&str, &str); 1] = [("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0")];
/// Between two publishes of a device.
const PACE: Duration = Duration::from_millis(15);
/// Publishes of a device that wait for their acknowledgement at once.
const WAITING_MAX: usize = 8;

#[derive(Default)]
struct Orders {
    settled: AtomicUsize,
    publish: AtomicBool,
    end: AtomicBool,
}

/// What a device saw of its publishes.
struct Seen {
    device: DeviceId,
    acknowledged: u64,
    /// Transmissions that may have arrived, those of the acknowledged ones included.
    sent_at_most: u64,
}

#[test]
fn fifty_kills_lose_no_acknowledged_operation_and_count_none_that_was_not_sent() {
    let folder = Folder::new();
    let identities: Vec<_> = FLEET
        .iter()
        .flat_map(|&(generation, count)| (0..count).map(move |index| identity(generation, index)))
        .collect();
    folder.register(&identities);
    let mut server = folder.serve_with(&NO_LIMIT);
    let ports = Ports::of(&server);
    let orders = Arc::new(Orders::default());
    let running = switch_on(&folder, &ports, &orders);
    await_settled(&orders, running.len());
    orders.publish.store(true, Ordering::SeqCst);
    for kill in 1..=KILLS {
        let wait = Duration::from_millis(rand::random_range(150..900));
        println!("kill {kill} after {wait:?}");
        std::thread::sleep(wait);
        server.kill();
        server = folder.serve_again(&ports, &NO_LIMIT);
    }
    std::thread::sleep(Duration::from_secs(1));
    orders.end.store(true, Ordering::SeqCst);
    let seen: Vec<Seen> = running.into_iter().map(|live| live.join().expect("no panic")).collect();
    check(&counted(&folder), &seen);
    server.kill();
    check(&counted(&folder), &seen);
}

fn switch_on(folder: &Folder, ports: &Ports, orders: &Arc<Orders>) -> Vec<JoinHandle<Seen>> {
    let mut running = Vec::new();
    for (generation, count) in FLEET {
        let mut setup = folder.setup(generation);
        setup.limits_publishes = false;
        let setup = Arc::new(setup);
        let address = if generation == Generation::Tcp { ports.tcp() } else { ports.udp() };
        for index in 0..count {
            let device = identity(generation, index);
            let device = Device::new(device, Arc::clone(&setup), u64::from(index));
            let (live, orders) = (Live::new(device, address), Arc::clone(orders));
            running.push(std::thread::spawn(move || drive(live, &orders)));
        }
    }
    running
}

fn await_settled(orders: &Orders, wanted: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while orders.settled.load(Ordering::SeqCst) < wanted {
        assert!(Instant::now() < end, "not all devices are connected");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The life of one device, until it is told to end and nothing of it is unacknowledged.
fn drive(mut live: Live, orders: &Orders) -> Seen {
    connect(&mut live);
    orders.settled.fetch_add(1, Ordering::SeqCst);
    let mut seen = Seen { device: live.device().id(), acknowledged: 0, sent_at_most: 0 };
    while !orders.end.load(Ordering::SeqCst) {
        live.run(PACE);
        seen.take(&mut live);
        let waiting = live.device().unacknowledged();
        let may = orders.publish.load(Ordering::SeqCst) && live.device().is_online();
        if may && waiting < WAITING_MAX {
            let event = Publish {
                acknowledgement: Acknowledgement::Wanted,
                ..Publish::text("load/reading", "21.5")
            };
            let now = live.now();
            live.device().publish(now, &event).expect("taken");
        }
    }
    finish(&mut live);
    seen.take(&mut live);
    seen
}

impl Seen {
    fn take(&mut self, live: &mut Live) {
        for observation in live.observations() {
            match observation {
                Observation::PublishAnswered { code: 0, after, .. } => {
                    self.acknowledged += 1;
                    self.sent_at_most += transmissions(*after);
                }
                Observation::PublishAnswered { after, .. } => {
                    self.sent_at_most += transmissions(*after);
                }
                Observation::PublishLost { .. } => self.sent_at_most += 4,
                _ => {}
            }
        }
        live.forget_observations();
    }
}

/// How often a message was sent until it was acknowledged: again after at least 4, 12 and 28 s.
fn transmissions(after: Duration) -> u64 {
    1 + [4, 12, 28].into_iter().filter(|seconds| after.as_secs() >= *seconds).count() as u64
}

/// Data Operations by device.
fn counted(folder: &Folder) -> BTreeMap<String, u64> {
    let args = ["usage", "--owner", OWNER, "--from", "2020-01-01", "--to", "2100-01-01", "--json"];
    let lines = run_ok(&[&args[..], &["--data", folder.data()]].concat(), "");
    let lines: Value = serde_json::from_str(&lines).expect("JSON");
    let mut counted = BTreeMap::new();
    for line in lines.as_array().expect("a list") {
        let device = line["device"].as_str().expect("an id").to_owned();
        *counted.entry(device).or_default() += line["operations"].as_u64().expect("a number");
    }
    counted
}

fn check(counted: &BTreeMap<String, u64>, seen: &[Seen]) {
    let mut all = 0;
    for Seen { device, acknowledged, sent_at_most } in seen {
        let count = counted.get(&device.to_string()).copied().unwrap_or(0);
        let told =
            format!("{device}: {acknowledged} acknowledged, {count} counted, {sent_at_most} sent");
        assert!(count >= *acknowledged, "acknowledged and not counted: {told}");
        assert!(count <= *sent_at_most, "counted and not sent: {told}");
        all += acknowledged;
    }
    assert!(all > u64::from(KILLS) * 20, "{all} publishes are no load");
}
