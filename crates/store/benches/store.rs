//! What the store can do on this machine: durable batches, folding, import and recovery.
//!
//! `cargo bench -p cloudchamber-store [-- <folder>]`; the folder decides which disk is measured.

#![expect(clippy::print_stdout, reason = "a report for a person")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::event::Origin;
use model::journal::{Charge, Entry, OperationKind};
use model::link::{Source, Transport};
use model::message::{Subscribe, SubscriptionContent};
use model::{
    AccountId, ApplicationDescription, DescribePart, DeviceId, Event, EventData, EventId,
    EventName, EventPrefix, Hello, KeyHash, Platform, Timestamp,
};
use store::{DeviceKey, Journal, NewDevice, Store};

const DEVICES: u32 = 100_000;
const ACCOUNT: AccountId = AccountId(1);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let chosen = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let parent = chosen.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    if std::env::var_os("ONLY_FLEET").is_none() {
        measure_appends(&folder.path().join("appends")).await;
    }
    measure_fleet(&folder.path().join("fleet")).await;
}

async fn measure_appends(folder: &Path) {
    for batch in [1, 16, 256, 4096] {
        let store = Store::open(&folder.join(batch.to_string())).await.expect("opens");
        let mut journal = store.journal().expect("the only writer");
        let entries: Vec<Entry> = (0..batch).map(|n| publish(n, 7)).collect();
        let (mut batches, begun) = (0, Instant::now());
        let mut slowest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(3) {
            let started = Instant::now();
            journal.append(now(), &entries).expect("written");
            slowest = slowest.max(started.elapsed());
            batches += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let per_second = f64::from(batches) / seconds;
        println!(
            "batches of {batch:4}: {per_second:8.0} batches/s {:10.0} entries/s, slowest {slowest:?}",
            per_second * f64::from(batch)
        );
        drop(journal);
        store.close().await.expect("closes");
    }
}

async fn measure_fleet(folder: &Path) {
    let store = Store::open(folder).await.expect("opens");
    let devices: Vec<NewDevice> = (0..DEVICES).map(new_device).collect();
    let begun = Instant::now();
    store.devices().import(&devices, now()).await.expect("imported");
    println!("import of {DEVICES} devices: {:?}", begun.elapsed());

    let mut journal = store.journal().expect("the only writer");
    let begun = Instant::now();
    for first in (0..DEVICES).step_by(64) {
        let fleet = (first..DEVICES.min(first + 64)).flat_map(connect);
        journal.append(now(), &fleet.collect::<Vec<_>>()).expect("written");
    }
    println!(
        "journalling {DEVICES} sessions with Describe and 3 subscriptions: {:?}",
        begun.elapsed()
    );
    store.settle().await.expect("folded");
    println!("until they are folded: {:?}", begun.elapsed());
    drop(journal);
    store.close().await.expect("closes");

    let store = measure_start(folder, "of a quiet fleet").await;
    let mut journal = store.journal().expect("the only writer");
    measure_publishes(&store, &mut journal, DEVICES).await;
    measure_publishes(&store, &mut journal, 1000).await;
    drop(journal);
    store.close().await.expect("closes");

    let store = measure_start(folder, "of a busy fleet").await;
    let mut journal = store.journal().expect("the only writer");
    for first in (0..80_000).step_by(256) {
        let some: Vec<Entry> = (first..first + 256).map(|n| publish(n % DEVICES, 9)).collect();
        journal.append(now(), &some).expect("written");
    }
    drop((journal, store));
    measure_start(folder, "after a crash, up to 80,000 entries not folded").await;
}

async fn measure_publishes(store: &Store, journal: &mut Journal, devices: u32) {
    let (begun, cpu) = (Instant::now(), cpu_time());
    for round in 0..(1_000_000 / 256) {
        let some = (0..256).map(|n| publish((round * 256 + n) % devices, u64::from(round)));
        journal.append(now(), &some.collect::<Vec<_>>()).expect("written");
    }
    let appended = begun.elapsed();
    store.settle().await.expect("folded");
    println!(
        "a million publishes of {devices} devices in batches of 256: {appended:?}, folded after {:?}, \
         CPU {:?}",
        begun.elapsed(),
        cpu_time() - cpu
    );
}

async fn measure_start(folder: &Path, when: &str) -> Store {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let store = Store::open(folder).await.expect("opens");
    let opened = begun.elapsed();
    let recovery = store.recover().await.expect("readable");
    println!(
        "start {when}: open {opened:?}, all {:?}, CPU {:?}, {} devices, {} sessions, {} sources",
        begun.elapsed(),
        cpu_time() - cpu,
        recovery.devices.len(),
        recovery.sessions.len(),
        recovery.sessions.iter().map(|session| session.session.recent.len()).sum::<usize>(),
    );
    store
}

/// The CPU time of this process, all threads.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn device(number: u32) -> DeviceId {
    let mut id = [0xe0, 0x0f, 0xce, 0x68, 0, 0, 0, 0, 0, 0, 0, 0];
    id[4..8].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId(id)
}

fn new_device(number: u32) -> NewDevice {
    let mut hash = [0; 32];
    hash[..12].copy_from_slice(&device(number).0);
    NewDevice {
        id: device(number),
        account: Some(ACCOUNT),
        product: None,
        name: Some(format!("device-{number}")),
        platform: Some(13),
        key: Some(DeviceKey { hash: KeyHash(hash), spki: vec![1; 91] }),
        first_use: false,
    }
}

fn source(record: u64) -> Source {
    Source { record, message_id: 1, confirmable: true }
}

fn connect(number: u32) -> impl Iterator<Item = Entry> {
    let session = Entry::Session {
        device: device(number),
        transport: Transport::Udp,
        snapshot: model::link::Snapshot::new([9; 90].into()),
        peer: ([10, 0, 0, 1], 40_000).into(),
        hello: Hello {
            product_id: 0xFFFF,
            product_version: 1,
            flags: Default::default(),
            platform: Platform(13),
            device_id: Some(device(number)),
            system: None,
        },
        full_handshake: true,
        source: source(1),
        at: now(),
    };
    let application = ApplicationDescription {
        functions: vec!["led".into(), "reset".into()],
        variables: vec![("temp".into(), model::VariableType::Double)],
    };
    let part = Arc::new(DescribePart::Application(application));
    let described =
        Entry::Describe { device: device(number), part, source: Some(source(2)), at: now() };
    let subscribed = ["alarm", "config/", "temp"].map(move |prefix| Entry::Subscribe {
        device: device(number),
        subscribe: Subscribe {
            prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
            device: None,
            content: SubscriptionContent::Text,
        },
        source: source(3),
    });
    [session, described].into_iter().chain(subscribed)
}

fn publish(number: u32, record: u64) -> Entry {
    let at = now();
    Entry::Publish {
        event: Arc::new(Event {
            id: EventId(0),
            account: ACCOUNT,
            origin: Origin::Device(device(number)),
            product: None,
            name: EventName::parse(b"temperature").expect("a name"),
            data: Some(EventData { format: 0, bytes: b"{\"celsius\":23.5}".as_slice().into() }),
            ttl_s: 60,
            published_at: at,
        }),
        source: Some(source(record)),
        charge: Some(Charge {
            account: ACCOUNT,
            device: device(number),
            product: None,
            kind: OperationKind::Publish,
            operations: 1,
            bytes: 16,
            at,
        }),
        point: None,
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(0))
}
