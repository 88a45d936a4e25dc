//! Folding is exact wherever it is interrupted.

use std::sync::Arc;

use model::event::Origin;
use model::journal::{Carried, Charge, Entry, MessageName, OperationKind};
use model::limits::SUBSCRIPTIONS_MAX;
use model::link::{Source, Transport};
use model::message::{Subscribe, SubscriptionContent};
use model::{
    AccountId, ApplicationDescription, Bearer, DescribePart, DeviceId, Event, EventId, EventName,
    EventPrefix, Hello, Metric, Platform, ProductId, SystemDescription, Timestamp, Traffic,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{FoldThread, Folder, Tally, pack};
use crate::journal::Journal;
use crate::journal::disk::{Disk, Memory, SegmentFile};
use crate::journal::log::Log;
use crate::journal::scan::scan;
use crate::journal::stored::Stored;
use crate::sqlite::Tables;
use crate::{
    AccountHour, CarriedSum, DeviceHour, DeviceTraffic, Devices, Hour, Ledger, NewDevice, Recovery,
    Sum, Vitals,
};

const NOW: Timestamp = Timestamp(1_769_862_896_789);
const DEVICES: u8 = 4;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 12])
}

fn entry(random: &mut StdRng, at: Timestamp) -> Entry {
    let device = device(random.random_range(0..DEVICES));
    let source = Source { record: random.random_range(0..5000), message_id: 1, confirmable: true };
    let charge = Charge {
        account: AccountId(random.random_range(1..3)),
        device,
        product: random.random_bool(0.5).then_some(ProductId(10_000)),
        kind: OperationKind::Publish,
        operations: random.random_range(0..4),
        bytes: random.random_range(0..100),
        at,
    };
    match random.random_range(0..13) {
        0 => Entry::Forget { device },
        1 => Entry::Reserve { device, record_limit: random.random_range(0..9000) },
        2 => Entry::Presence {
            device,
            online: random.random_bool(0.5),
            peer: random.random_bool(0.5).then_some(([192, 0, 2, 1], 7).into()),
            last_heard: at,
            record_seen: random.random_range(0..5000),
        },
        3 | 4 => session(random, device, source, at),
        5 | 6 => Entry::Subscribe { device, subscribe: subscribe(random), source },
        7 => {
            let name = format!("f{}", random.random_range(0..3)).into();
            let application = ApplicationDescription { functions: vec![name], variables: vec![] };
            let part = Arc::new(DescribePart::Application(application));
            Entry::Describe { device, part, source: Some(source), at }
        }
        8 => {
            let part = Arc::new(DescribePart::Metrics(vec![Metric { id: 1, value: 2 }]));
            Entry::Describe { device, part, source: None, at }
        }
        9 => Entry::Attempt { charge, name: MessageName::None, attempt: 1 },
        10 => Entry::Traffic(Carried {
            account: charge.account,
            device,
            product: charge.product,
            bearer: [Bearer::Cellular, Bearer::Tracker, Bearer::Wifi][random.random_range(0..3)],
            traffic: Traffic {
                received: random.random_range(0..9000),
                sent: random.random_range(0..9000),
            },
            at,
        }),
        _ => publish(device, source, charge, at),
    }
}

fn session(random: &mut StdRng, device: DeviceId, source: Source, at: Timestamp) -> Entry {
    Entry::Session {
        device,
        transport: Transport::Udp,
        snapshot: model::link::Snapshot::new([random.random(); 8].into()),
        peer: ([192, 0, 2, 9], 9).into(),
        hello: Hello {
            product_id: 1,
            product_version: 1,
            flags: Default::default(),
            platform: Platform(13),
            device_id: Some(device),
            system: None,
        },
        full_handshake: random.random_bool(0.5),
        source,
        at,
    }
}

fn subscribe(random: &mut StdRng) -> Subscribe {
    let prefix = format!("p{}", random.random_range(0..100));
    Subscribe {
        prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
        device: None,
        content: SubscriptionContent::Text,
    }
}

fn publish(device: DeviceId, source: Source, charge: Charge, at: Timestamp) -> Entry {
    Entry::Publish {
        event: Arc::new(Event {
            id: EventId(0),
            account: charge.account,
            origin: Origin::Device(device),
            product: charge.product,
            name: EventName::parse(b"temp").expect("a name"),
            data: None,
            ttl_s: 60,
            published_at: at,
        }),
        source: Some(source),
        charge: Some(charge),
        point: None,
    }
}

async fn tables() -> Tables {
    let tables = Tables::in_memory().await.expect("memory");
    for number in 0..DEVICES {
        let id = device(number);
        let new = NewDevice {
            id,
            account: None,
            product: None,
            name: None,
            platform: None,
            key: None,
            first_use: false,
        };
        Devices::insert(&tables, &new, NOW).await.expect("new");
    }
    tables
}

/// Everything that the fold writes.
#[derive(Debug, PartialEq)]
struct Outcome {
    recovery: Recovery,
    accounts: Vec<AccountHour>,
    devices: Vec<DeviceHour>,
    vitals: Vec<Vitals>,
    carried: Vec<(Bearer, CarriedSum)>,
    device_traffic: Vec<DeviceTraffic>,
}

async fn outcome(tables: &Tables) -> Outcome {
    let all = (Hour(0), Hour(i64::MAX));
    let account = AccountId(1);
    Outcome {
        recovery: tables.recover().await.expect("readable"),
        accounts: tables.account_hours(account, all.0, all.1).await.expect("readable"),
        devices: tables.device_hours(account, all.0, all.1).await.expect("readable"),
        vitals: tables.vitals(device(1), 1000).await.expect("readable"),
        carried: tables.carried(account, all.0, all.1).await.expect("readable"),
        device_traffic: tables.device_traffic(account, all.0, all.1).await.expect("readable"),
    }
}

async fn fresh(log: &Arc<Log>, tables: &Tables) -> Folder {
    let folded = tables.folded().await.expect("readable");
    Folder::new(Arc::clone(log), tables.clone(), folded)
}

#[tokio::test]
async fn a_fold_that_is_interrupted_anywhere_gives_what_an_undisturbed_one_gives() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk: Arc<dyn Disk> = Arc::new(Memory::default());
        let log = Arc::new(scan(disk, 1).expect("empty"));
        let mut journal = Journal::new(Arc::clone(&log), Arc::default());
        let tables_of_victim = tables().await;
        let mut victim = fresh(&log, &tables_of_victim).await;
        for step in 0..60_i64 {
            let at = Timestamp(NOW.0 + step * 120_000);
            let count = random.random_range(1..8);
            let entries: Vec<Entry> = (0..count).map(|_| entry(&mut random, at)).collect();
            journal.append(at, &entries).expect("memory");
            match random.random_range(0..5) {
                0 => victim.read().expect("readable"),
                1 => victim.write().await.expect("writable"),
                2 => victim = fresh(&log, &tables_of_victim).await,
                3 => victim.write_and_hear_of_a_failure().await,
                _ => {}
            }
        }
        victim.catch_up().await.expect("writable");
        let undisturbed = tables().await;
        fresh(&log, &undisturbed).await.catch_up().await.expect("writable");
        let expected = outcome(&undisturbed).await;
        assert!(expected.accounts.len() > 1 && !expected.vitals.is_empty());
        assert_eq!(outcome(&tables_of_victim).await, expected, "seed {seed}");
    }
}

impl Folder {
    /// The transaction is committed, but the folder does not learn it.
    async fn write_and_hear_of_a_failure(&mut self) {
        self.read().expect("readable");
        let tally = std::mem::take(&mut self.tally);
        self.tables.fold(&tally).await.expect("writable");
        self.tally = tally;
    }
}

#[tokio::test]
async fn the_sums_by_account_and_by_device_agree() {
    let mut random = StdRng::seed_from_u64(7);
    let disk: Arc<dyn Disk> = Arc::new(Memory::default());
    let log = Arc::new(scan(disk, 1).expect("empty"));
    let mut journal = Journal::new(Arc::clone(&log), Arc::default());
    let mut expected = Sum::default();
    let mut carried = 0;
    for step in 0..200_i64 {
        let at = Timestamp(NOW.0 + step * 60_000);
        let entry = entry(&mut random, at);
        if let Entry::Traffic(of) = &entry
            && of.account == AccountId(1)
        {
            carried += of.traffic.total();
        }
        if let Entry::Attempt { charge, .. } | Entry::Publish { charge: Some(charge), .. } = &entry
            && charge.account == AccountId(1)
        {
            let (operations, bytes) = (charge.operations.into(), charge.bytes.into());
            expected.add(Sum { messages: 1, operations, bytes });
        }
        journal.append(at, &[entry]).expect("memory");
    }
    let tables = tables().await;
    fresh(&log, &tables).await.catch_up().await.expect("writable");
    let outcome = outcome(&tables).await;
    let mut by_account = Sum::default();
    outcome.accounts.iter().for_each(|hour| by_account.add(hour.sum));
    let mut by_device = Sum::default();
    outcome.devices.iter().for_each(|hour| by_device.add(hour.sum));
    let total = tables.total(AccountId(1), Hour(0), Hour(i64::MAX)).await.expect("readable");
    assert!(expected.operations > 0);
    assert_eq!((by_account, by_device, total), (expected, expected, expected));
    let by_bearer: u64 = outcome.carried.iter().map(|(_, sum)| sum.total()).sum();
    let by_device: u64 = outcome.device_traffic.iter().map(|line| line.sum.total()).sum();
    assert!(carried > 0);
    assert_eq!((by_bearer, by_device), (carried, carried));
}

#[tokio::test]
async fn a_sweep_removes_what_no_device_has_and_nothing_else() {
    let disk: Arc<dyn Disk> = Arc::new(Memory::default());
    let log = Arc::new(scan(disk, 1).expect("empty"));
    let mut journal = Journal::new(Arc::clone(&log), Arc::default());
    let mut random = StdRng::seed_from_u64(1);
    let entries: Vec<Entry> = (0..300).map(|_| entry(&mut random, NOW)).collect();
    journal.append(NOW, &entries).expect("memory");
    let tables = tables().await;
    tables.delete(device(0)).await.expect("there");
    let mut folder = fresh(&log, &tables).await;
    folder.catch_up().await.expect("writable");
    let before = outcome(&tables).await;
    folder.sweep().await.expect("writable");
    assert_eq!(outcome(&tables).await, before);
    assert_eq!(tables.vitals(device(0), 9).await, Ok(vec![]));
    assert!(before.recovery.devices.iter().any(|device| device.row.description.is_some()));
}

/// A session of device 1 with these subscriptions, folded after each piece.
async fn subscribed(pieces: &[Vec<Subscribe>]) -> Tables {
    let tables = tables().await;
    let disk: Arc<dyn Disk> = Arc::new(Memory::default());
    let log = Arc::new(scan(disk, 1).expect("empty"));
    let mut journal = Journal::new(Arc::clone(&log), Arc::default());
    let source = Source { record: 1, message_id: 1, confirmable: true };
    let session = session(&mut StdRng::seed_from_u64(1), device(1), source, NOW);
    journal.append(NOW, &[session]).expect("memory");
    for piece in pieces {
        fresh(&log, &tables).await.catch_up().await.expect("writable");
        let entry = |subscribe: &Subscribe| Entry::Subscribe {
            device: device(1),
            subscribe: subscribe.clone(),
            source,
        };
        let entries: Vec<Entry> = piece.iter().map(entry).collect();
        journal.append(NOW, &entries).expect("memory");
    }
    fresh(&log, &tables).await.catch_up().await.expect("writable");
    tables
}

async fn prefixes(tables: &Tables) -> Vec<String> {
    let recovery = tables.recover().await.expect("readable");
    let [session] = &recovery.sessions[..] else { panic!("{recovery:?}") };
    session.subscriptions.iter().map(|of| of.prefix.as_str().to_owned()).collect()
}

fn to(prefix: &str) -> Subscribe {
    Subscribe {
        prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
        device: None,
        content: SubscriptionContent::Text,
    }
}

#[tokio::test]
async fn a_subscription_that_is_sent_again_and_again_is_stored_once() {
    let once = subscribed(&[vec![to("a"), to("b")]]).await;
    let again = subscribed(&vec![vec![to("a"), to("b"), to("a"), to("b")]; 20]).await;
    assert_eq!(again.subscription_bytes().await, once.subscription_bytes().await);
    assert_eq!(prefixes(&again).await, ["a", "b"]);
    let other = Subscribe { content: SubscriptionContent::Cbor, ..to("a") };
    let changed = subscribed(&[vec![to("a")], vec![other.clone()]]).await;
    let sessions = changed.recover().await.expect("readable").sessions;
    assert_eq!(sessions[0].subscriptions, [other]);
}

#[tokio::test]
async fn a_session_is_stored_with_no_more_subscriptions_than_a_device_may_have() {
    let many: Vec<Subscribe> = (0..100).map(|n| to(&format!("p{n}"))).collect();
    for pieces in [vec![many.clone()], many.iter().map(|one| vec![one.clone()]).collect()] {
        let tables = subscribed(&pieces).await;
        let kept = prefixes(&tables).await;
        assert_eq!((kept.len(), &*kept[31]), (SUBSCRIPTIONS_MAX, "p31"));
    }
}

#[tokio::test]
async fn repeated_subscriptions_of_an_earlier_version_are_read_once_and_go_with_the_next_write() {
    let tables = subscribed(&[vec![to("a")]]).await;
    tables.set_subscriptions(&pack(&vec![to("a"); 5000])).await;
    assert_eq!(prefixes(&tables).await, ["a"]);

    let mut tally = Tally::new(tables.folded().await.expect("readable"));
    let source = Source { record: 2, message_id: 2, confirmable: true };
    let entry = Stored::Subscribe { device: device(1), subscribe: to("b"), source };
    tally.add(tally.next, entry);
    tables.fold(&tally).await.expect("writable");
    assert_eq!(prefixes(&tables).await, ["a", "b"]);
    assert!(tables.subscription_bytes().await < 20);
}

#[test]
fn what_devices_repeat_in_other_words_fills_a_tally() {
    let mut tally = Tally::new(1);
    let system = |n: u8| SystemDescription { raw: vec![n; 1000], ..Default::default() };
    for n in 0..100 {
        let name = format!("{n:064}").into();
        let application = ApplicationDescription { functions: vec![name; 100], variables: vec![] };
        for part in [DescribePart::Application(application), DescribePart::System(system(n))] {
            let entry = Stored::Describe { device: device(1), part, source: None, at: NOW };
            tally.add(tally.next, entry);
        }
    }
    // More than 7 KB each time, of which only the last stays in force.
    assert!(tally.rows() > 5000, "{}", tally.rows());
    let before = tally.rows();
    for n in 0..20 {
        let source = Source { record: n, message_id: 1, confirmable: true };
        let subscribe = to(&format!("p{n}"));
        tally.add(tally.next, Stored::Subscribe { device: device(1), subscribe, source });
    }
    assert_eq!(tally.rows(), before + 20);
}

/// Segments whose reading is a mistake of the program.
#[derive(Default)]
struct Broken(Memory);

impl Disk for Broken {
    fn list(&self) -> std::io::Result<Vec<u64>> {
        self.0.list()
    }
    fn create(&self, first: u64) -> std::io::Result<Arc<dyn SegmentFile>> {
        self.0.create(first)
    }
    fn open(&self, _first: u64) -> std::io::Result<Arc<dyn SegmentFile>> {
        panic!("on purpose")
    }
    fn cut(&self, first: u64, bytes: u64) -> std::io::Result<()> {
        self.0.cut(first, bytes)
    }
    fn remove(&self, first: u64) -> std::io::Result<()> {
        self.0.remove(first)
    }
    fn path(&self, first: u64) -> std::path::PathBuf {
        self.0.path(first)
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_is_told_and_nobody_waits_for_it() {
    let log = Arc::new(scan(Arc::new(Broken::default()), 1).expect("empty"));
    let tables = tables().await;
    let folder = fresh(&log, &tables).await;
    let thread = FoldThread::start(folder, Arc::clone(&log)).expect("a thread");
    assert_eq!(thread.settle().await, Ok(()));
    assert_eq!(thread.complaint(), None);
    let mut journal = Journal::new(Arc::clone(&log), Arc::default());
    let entry = entry(&mut StdRng::seed_from_u64(1), NOW);
    journal.append(NOW, &[entry]).expect("memory");
    for _ in 0..2 {
        assert!(thread.settle().await.is_err());
        let told = thread.complaint().expect("a complaint");
        assert!(told.contains("fold has failed"), "{told}");
    }
}
