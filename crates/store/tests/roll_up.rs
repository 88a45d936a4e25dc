//! Rolling the ledger up: what readers are told is the same before, during and after, whatever interrupts it.

use std::collections::BTreeMap;
use std::path::Path;

use model::journal::{Carried, Charge, Entry, MessageName, OperationKind};
use model::{AccountId, Bearer, DeviceId, ProductId, Timestamp, Traffic};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store::{
    AccountHour, CarriedSum, ClosedPeriod, Decided, DeviceHour, DeviceTraffic, Hour, Kept, RollUp,
    Span, Step, Store, StoredAgreement, Sum,
};

const DAY: i64 = 24;
const KEPT: Kept = Kept { hours_for_days: 30, days_for_days: 90 };
const KINDS: [OperationKind; 3] =
    [OperationKind::Publish, OperationKind::Delivery, OperationKind::FunctionCall];

fn hour(day: &str) -> Hour {
    Hour::of(metering::parse_day(day).expect("a day"))
}

/// Two years of charges and bytes of two accounts; the second one has a contract whose year is open.
struct History {
    charges: Vec<Charge>,
    traffic: Vec<Carried>,
    now: Hour,
}

impl History {
    fn draw(seed: u64, length: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (begin, now) = (hour("2024-06-01"), hour("2026-06-20"));
        let (mut charges, mut traffic) = (Vec::new(), Vec::new());
        for _ in 0..length {
            let account = AccountId(random.random_range(1..=2));
            let device = DeviceId([random.random_range(1..=4); 12]);
            let product = random.random_bool(0.5).then_some(ProductId(10_000));
            // Most days have several hours with traffic.
            let day = random.random_range(begin.0 / DAY..=now.0 / DAY) / 5 * 5;
            let at = Timestamp(Hour(day * DAY + random.random_range(0..DAY)).start().0 + 7);
            let kind = KINDS[random.random_range(0..3)];
            let (operations, bytes) = (random.random_range(1..4), random.random_range(0..1000));
            charges.push(Charge { account, device, product, kind, operations, bytes, at });
            let bearer = if random.random_bool(0.5) { Bearer::Cellular } else { Bearer::Wifi };
            let bytes = Traffic { received: random.random_range(0..500), sent: 50 };
            traffic.push(Carried { account, device, product, bearer, traffic: bytes, at });
        }
        Self { charges, traffic, now }
    }

    async fn write(&self, store: &Store) {
        let mut journal = store.journal().expect("free");
        let charges = self.charges.iter().map(|charge| Entry::Attempt {
            charge: *charge,
            name: MessageName::None,
            attempt: 1,
        });
        let traffic = self.traffic.iter().map(|carried| Entry::Traffic(*carried));
        let entries: Vec<Entry> = charges.chain(traffic).collect();
        for some in entries.chunks(100) {
            journal.append(self.now.start(), some).expect("written");
        }
        drop(journal);
        store.settle().await.expect("folded");
        for (account, periods) in [(AccountId(1), monthly(self.now)), (AccountId(2), yearly())] {
            agree(store, account, &periods).await;
        }
    }

    /// What an account used in a range, by the charges themselves.
    fn used(&self, account: AccountId, from: Hour, to: Hour) -> u64 {
        let is_in = |charge: &&Charge| {
            charge.account == account && (from..to).contains(&Hour::of(charge.at))
        };
        self.charges.iter().filter(is_in).map(|charge| u64::from(charge.operations)).sum()
    }

    /// How many sums the rules leave: one for each device, product, kind and stretch of time.
    fn sums_left(&self, account: AccountId, stretch: impl Fn(Hour) -> Hour) -> usize {
        let of = |charge: &&Charge| charge.account == account;
        let key = |charge: &Charge| {
            let stretch = stretch(Hour::of(charge.at));
            (stretch, charge.device, charge.product, charge.kind)
        };
        let keys: std::collections::BTreeSet<_> = self.charges.iter().filter(of).map(key).collect();
        keys.len()
    }
}

/// Periods that begin on the 15th; the last one is open.
fn monthly(now: Hour) -> Vec<Hour> {
    let of_year = |year| (1..=12).map(move |month| format!("{year}-{month:02}-15"));
    let starts = of_year(2024).chain(of_year(2025)).chain(of_year(2026));
    starts.map(|day| hour(&day)).filter(|start| *start <= now).collect()
}

fn yearly() -> Vec<Hour> {
    ["2024-03-10", "2025-03-10", "2026-03-10"].map(hour).to_vec()
}

async fn agree(store: &Store, account: AccountId, starts: &[Hour]) {
    for (place, opened) in starts.iter().enumerate() {
        let closes = starts.get(place + 1).copied().unwrap_or_else(|| hour("2027-03-10"));
        let closed = place.checked_sub(1).map(|before| ClosedPeriod {
            opened: starts[before],
            closed: *opened,
            body: String::new(),
        });
        let text = || String::new();
        let (agreement, keeper, opened) = (text(), text(), *opened);
        let agreement = StoredAgreement { account, agreement, keeper, opened, closes };
        let decided = Decided { agreement, closed, notices: Vec::new() };
        store.agreements().decide(&decided).await.expect("written");
    }
}

/// Everything that readers are told of an account.
#[derive(Debug, PartialEq)]
struct Told {
    accounts: Vec<AccountHour>,
    devices: Vec<DeviceHour>,
    of_device: Vec<DeviceHour>,
    traffic: Vec<DeviceTraffic>,
    carried: Vec<(Bearer, CarriedSum)>,
    busiest: Vec<(DeviceId, Sum)>,
    total: Sum,
}

async fn told(store: &Store, account: AccountId, from: Hour, to: Hour) -> Told {
    let ledger = store.ledger();
    let device = DeviceId([1; 12]);
    let read = "readable";
    Told {
        accounts: ledger.account_hours(account, from, to).await.expect(read),
        devices: ledger.device_hours(account, from, to).await.expect(read),
        of_device: ledger.hours_of_device(account, device, from, to).await.expect(read),
        traffic: ledger.device_traffic(account, from, to).await.expect(read),
        carried: ledger.carried(account, from, to).await.expect(read),
        busiest: ledger.busiest_devices(account, from, to, 100).await.expect(read),
        total: ledger.total(account, from, to).await.expect(read),
    }
}

impl Told {
    fn parts_agree(&self) {
        let mut sums = [Sum::default(); 3];
        self.accounts.iter().for_each(|line| sums[0].add(line.sum));
        self.devices.iter().for_each(|line| sums[1].add(line.sum));
        self.busiest.iter().for_each(|(_, sum)| sums[2].add(*sum));
        assert_eq!(sums, [self.total; 3]);
        let mut bytes = BTreeMap::<u8, u64>::new();
        let number = |bearer| u8::from(bearer == Bearer::Wifi);
        for line in &self.traffic {
            *bytes.entry(number(line.bearer)).or_default() += line.sum.total();
        }
        let carried = self.carried.iter();
        let carried: BTreeMap<u8, u64> =
            carried.map(|(bearer, sum)| (number(*bearer), sum.total())).collect();
        assert_eq!(bytes, carried);
    }
}

const ACCOUNTS: [AccountId; 2] = [AccountId(1), AccountId(2)];

/// Ranges to ask for: all time, billing periods, single days and ranges that cut what they like.
fn ranges(history: &History, random: &mut StdRng) -> Vec<(Hour, Hour)> {
    let mut ranges = vec![(Hour(0), Hour(i64::MAX))];
    ranges.extend(monthly(history.now).windows(2).step_by(7).map(|pair| (pair[0], pair[1])));
    ranges.extend(yearly().windows(2).map(|pair| (pair[0], pair[1])));
    for _ in 0..5 {
        let from = random.random_range(hour("2024-05-20").0..history.now.0);
        ranges.push((Hour(from), Hour(from + random.random_range(1..2000))));
    }
    ranges
}

async fn all_told(store: &Store, ranges: &[(Hour, Hour)]) -> Vec<Told> {
    let mut all = Vec::new();
    for account in ACCOUNTS {
        for (from, to) in ranges {
            let told = told(store, account, *from, *to).await;
            told.parts_agree();
            all.push(told);
        }
    }
    all
}

async fn finish(mut roll_up: RollUp) -> usize {
    let mut moved = 0;
    loop {
        match roll_up.step().await.expect("writable") {
            Step::Done => return moved,
            Step::Looked => {}
            Step::Moved => moved += 1,
        }
    }
}

#[tokio::test]
async fn what_is_told_stays_the_same_while_it_is_rolled_up_and_through_crashes() {
    for seed in 0..2 {
        let mut random = StdRng::seed_from_u64(seed);
        let history = History::draw(seed, 150);
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).await.expect("opens");
        history.write(&store).await;
        let now = history.now.start();
        let ranges = ranges(&history, &mut random);
        drop(store.roll_up(KEPT, now).await.expect("begins"));
        let before = all_told(&store, &ranges).await;
        let mut crashes = 0;
        loop {
            let mut roll_up = store.roll_up(KEPT, now).await.expect("begins");
            let (steps, mut done) = (random.random_range(1..6), false);
            for _ in 0..steps {
                done = roll_up.step().await.expect("writable") == Step::Done;
                if done {
                    break;
                }
            }
            assert_eq!(all_told(&store, &ranges).await, before, "seed {seed}, {crashes} crashes");
            if done {
                break;
            }
            // Not closed: as after a crash.
            drop((roll_up, store));
            store = Store::open(folder.path()).await.expect("opens");
            crashes += 1;
        }
        assert!(crashes > 3, "{crashes} crashes");
        assert_eq!(finish(store.roll_up(KEPT, now).await.expect("begins")).await, 0);
    }
}

#[tokio::test]
async fn billing_periods_and_all_time_are_told_exactly() {
    let history = History::draw(11, 900);
    let store = Store::in_memory().await.expect("opens");
    history.write(&store).await;
    assert!(finish(store.roll_up(KEPT, history.now.start()).await.expect("begins")).await > 10);
    let ends = |mut starts: Vec<Hour>| {
        starts.push(Hour(history.now.0 + DAY));
        starts
    };
    for (account, starts) in [(ACCOUNTS[0], monthly(history.now)), (ACCOUNTS[1], yearly())] {
        let mut checked = 0;
        for pair in ends(starts).windows(2) {
            let total = store.ledger().total(account, pair[0], pair[1]).await.expect("readable");
            assert_eq!(total.operations, history.used(account, pair[0], pair[1]), "{pair:?}");
            checked += total.operations;
        }
        assert!(checked > 100);
        let all = store.ledger().total(account, Hour(0), Hour(i64::MAX)).await.expect("readable");
        assert_eq!(all.operations, history.used(account, Hour(0), Hour(i64::MAX)));
    }
    // Days keep their sums as long as they are young, or their period is open.
    let bound = Hour(history.now.0 - i64::from(KEPT.days_for_days) * DAY);
    for (account, from) in [(ACCOUNTS[0], bound), (ACCOUNTS[1], hour("2026-03-10"))] {
        for day in from.0 / DAY + 1..=history.now.0 / DAY {
            let (from, to) = (Hour(day * DAY), Hour((day + 1) * DAY));
            let total = store.ledger().total(account, from, to).await.expect("readable");
            assert_eq!(total.operations, history.used(account, from, to), "day {day}");
        }
    }
}

#[tokio::test]
async fn old_hours_take_the_room_of_days_and_older_ones_that_of_months() {
    let history = History::draw(5, 900);
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("opens");
    history.write(&store).await;
    let rows_before = rows(folder.path()).await;
    finish(store.roll_up(KEPT, history.now.start()).await.expect("begins")).await;
    let hours = Hour(history.now.0 - i64::from(KEPT.hours_for_days) * DAY);
    let days = hour("2026-03-01");
    let month = |at: Hour| {
        let day = at.start().to_string();
        let first = hour(&format!("{}01", &day[..8]));
        let border = monthly(history.now).into_iter().rfind(|start| *start <= at);
        border.map_or(first, |border| border.max(first))
    };
    let day = |at: Hour| Hour(at.0.div_euclid(DAY) * DAY);
    let left = history.sums_left(ACCOUNTS[0], |at| match at {
        at if at < days => month(at),
        at if at < hours => day(at),
        at => at,
    });
    let all = (Hour(0), Hour(i64::MAX));
    let lines = store.ledger().device_hours(ACCOUNTS[0], all.0, all.1).await.expect("readable");
    assert_eq!(lines.len(), left);
    for line in &lines {
        let expected = match line.hour {
            at if at < days => Span::Month,
            at if at < hours => Span::Day,
            _ => Span::Hour,
        };
        assert_eq!(line.span, expected, "{line:?}");
    }
    let others = store.ledger().device_hours(ACCOUNTS[1], all.0, all.1).await.expect("readable");
    store.close().await.expect("closed");
    let rows = rows(folder.path()).await;
    assert_eq!(rows, lines.len() + others.len(), "what is told is what is kept");
    assert!(rows < rows_before, "{rows} of {rows_before}");
}

/// Rows of the detail.
async fn rows(folder: &Path) -> usize {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("store.sqlite"));
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("opens");
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM ledger_devices")
        .fetch_one(&pool)
        .await
        .expect("rows");
    pool.close().await;
    usize::try_from(count).expect("a count")
}

/// A clock that was set back: what comes late counts once, and moves with the rest.
#[tokio::test]
async fn what_is_counted_late_joins_its_day() {
    let history = History::draw(3, 300);
    let store = Store::in_memory().await.expect("opens");
    history.write(&store).await;
    let now = history.now.start();
    finish(store.roll_up(KEPT, now).await.expect("begins")).await;
    let late = Charge { at: hour("2026-04-02").start(), ..history.charges[0] };
    let late = Charge { account: ACCOUNTS[1], at: Timestamp(late.at.0 + 5 * 3_600_000), ..late };
    let all = (Hour(0), Hour(i64::MAX));
    let before = store.ledger().total(ACCOUNTS[1], all.0, all.1).await.expect("readable");
    let mut journal = store.journal().expect("free");
    let entry = Entry::Attempt { charge: late, name: MessageName::None, attempt: 1 };
    journal.append(now, &[entry]).expect("written");
    store.settle().await.expect("folded");
    let ranges = [all, (hour("2026-04-02"), hour("2026-04-03"))];
    let told = all_told(&store, &ranges).await;
    assert_eq!(told[2].total.operations, before.operations + u64::from(late.operations));
    assert!(finish(store.roll_up(KEPT, now).await.expect("begins")).await > 0);
    assert_eq!(all_told(&store, &ranges).await, told);
}

/// A wider setting does not bring back what was rolled up, and takes nothing away.
#[tokio::test]
async fn how_far_it_is_rolled_up_never_goes_back() {
    let history = History::draw(8, 300);
    let store = Store::in_memory().await.expect("opens");
    history.write(&store).await;
    let now = history.now.start();
    finish(store.roll_up(KEPT, now).await.expect("begins")).await;
    let all = [(Hour(0), Hour(i64::MAX))];
    let before = all_told(&store, &all).await;
    assert_eq!(finish(store.roll_up(Kept::default(), now).await.expect("begins")).await, 0);
    let earlier = Timestamp(now.0 - 400 * 86_400_000);
    assert_eq!(finish(store.roll_up(KEPT, earlier).await.expect("begins")).await, 0);
    assert_eq!(all_told(&store, &all).await, before);
}
