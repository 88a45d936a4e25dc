//! The ledger's count after the server was killed at random moments under load: what devices saw
//! acknowledged is in it, and nothing beyond the copies they sent (`metering/rules.md` §8). And after it was killed
//! while it rolled old sums up.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::journal::{Charge, Entry, MessageName, OperationKind};
use model::{AccountId, DeviceId, Timestamp};
use serde_json::Value;
use sim::device::profile::Generation;
use sim::device::{Acknowledgement, Device, Observation, Publish};
use sim::live::Live;
use support::fleet::await_true;
use support::folder::{Folder, OWNER, Ports, identity};
use support::live::connect;
use support::run_ok;

const KILLS: u32 = 50;
const FLEET: [(Generation, u32); 3] =
    [(Generation::Os6, 4), (Generation::Os3, 2), (Generation::Tcp, 1)];
const NO_LIMIT: [(&str, &str); 1] = [("CLOUDCHAMBER_PUBLISH__REFILL_MS", "0")];
/// Between two publishes of a device.
const PACE: Duration = Duration::from_millis(15);
/// A device whose four transmissions all met a server that was down gives the message up after 60 to 90 s.
const GIVEN_UP: Duration = Duration::from_secs(120);
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
    let acknowledged = check(&counted(&folder), &seen);
    println!("{acknowledged} acknowledged, all of them counted");
}

/// Two years of hours, which the server rolls up when it starts: it is killed in the middle of it, again and again.
#[test]
fn a_server_that_is_killed_while_it_rolls_up_keeps_every_sum() {
    let folder = Folder::new();
    let expected = write_history(&folder);
    assert_eq!(counted(&folder), expected, "before");
    let (before, mut left) = (rows(&folder), Vec::new());
    for kill in 1..=8 {
        let server = folder.serve();
        std::thread::sleep(Duration::from_millis(rand::random_range(10..400)));
        server.kill();
        left.push(rows(&folder));
        assert_eq!(counted(&folder), expected, "after kill {kill}, {left:?} rows left");
    }
    let server = folder.serve();
    await_true("the end", || rows(&folder) <= before / 10);
    assert_eq!(counted(&folder), expected, "rolled up");
    server.stop();
    let end = rows(&folder);
    assert!(left.iter().any(|left| *left < before && *left > end), "{before}, {left:?}, {end}");
    assert_eq!(counted(&folder), expected, "after the stop");
}

/// Operations in three hours of each day; tells those of each device.
fn write_history(folder: &Folder) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut expected = BTreeMap::new();
    runtime.block_on(async {
        let store = store::Store::open(std::path::Path::new(folder.data())).await.expect("opens");
        let mut journal = store.journal().expect("free");
        let first = metering::parse_day("2023-01-05").expect("a day");
        for day in 0..730_i64 {
            let charges: Vec<Charge> = (0..6).map(|n| charge(first, day, n)).collect();
            let entries: Vec<Entry> = charges.iter().map(|charge| entry(*charge)).collect();
            journal.append(first, &entries).expect("written");
            for charge in charges {
                *expected.entry(charge.device.to_string()).or_default() +=
                    u64::from(charge.operations);
            }
        }
        drop(journal);
        store.close().await.expect("closed");
    });
    expected
}

fn charge(first: Timestamp, day: i64, n: i64) -> Charge {
    let device = DeviceId([1 + u8::try_from(n % 2).expect("small"); 12]);
    let at = Timestamp(first.0 + (day * 24 + n / 2 * 5) * 3_600_000);
    let (kind, operations) = (OperationKind::Publish, 1 + u32::try_from(n).expect("small"));
    Charge { account: AccountId(1), device, product: None, kind, operations, bytes: 3, at }
}

fn entry(charge: Charge) -> Entry {
    Entry::Attempt { charge, name: MessageName::None, attempt: 1 }
}

/// Rows of the ledger's detail.
fn rows(folder: &Folder) -> i64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let file = folder.path("store.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let pool = sqlx::SqlitePool::connect_with(options).await.expect("opens");
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM ledger_devices");
        let count = count.fetch_one(&pool).await.expect("rows");
        pool.close().await;
        count
    })
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
    let end = Instant::now() + GIVEN_UP;
    while live.device().unacknowledged() > 0 {
        assert!(Instant::now() < end, "a device neither has its answer nor gives up");
        live.run(PACE);
        seen.take(&mut live);
    }
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

/// Tells how many were acknowledged.
fn check(counted: &BTreeMap<String, u64>, seen: &[Seen]) -> u64 {
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
    all
}
