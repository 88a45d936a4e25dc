//! A whole world in one thread and in virtual time: devices of three kinds, a bad network, a server
//! made of the real endpoints and shards, a disk that forgets what it did not sync, and everything
//! that can go wrong. One seed decides all of it.
//!
//! A judge compares what goes in and what comes out with what must be true. After a time of
//! faults everything is made well again, the devices must find back by themselves, and an exam
//! asks whether each of them works.
//!
//! ```text
//!  devices ── network ──▶ ┌ cloud: endpoint ⇄ shard ┐ ──▶ streams, callers
//!     ▲      (UDP, TCP)   └───── commit, journal ───┘          │
//!     └── faults, actions ─────────── judge ◀──────────────────┘
//! ```

mod actions;
mod administration;
mod cloud;
mod exam;
mod exam_updates;
mod faults;
mod fleet;
mod judge;
mod keys;
mod plan;
mod step;
mod updates;
mod wires;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use model::{AccountId, Mono, RequestId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::network::{Datagram, Network};
use cloud::{Cloud, Disk, Journal, Start};
use faults::Weather;
use fleet::{Placed, Setups};
use judge::Judge;
pub use judge::Tally;
use keys::Secrets;
use plan::Plan;
use updates::Updates;
use wires::Wires;

/// What a world was like that held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How many devices there were.
    pub devices: usize,
    /// Virtual time from the beginning to the end.
    pub lasted: Duration,
    /// From the end of the faults until every device was connected.
    pub healed_after: Duration,
    /// How often the server stopped.
    pub crashes: u32,
    /// What happened in it.
    pub tally: Tally,
    /// A digest of everything that happened: the same seed gives the same one.
    pub fingerprint: u64,
}

/// A world in which something was not true.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that replays it.
    pub seed: u64,
    /// What was found.
    pub what: String,
    /// The last things that happened, oldest first.
    pub last_lines: Vec<String>,
}

/// How large worlds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Size {
    /// 3 to 300 devices, few of them large, and 10 to 12 minutes of faults.
    #[default]
    Usual,
    /// A few devices, about a minute of faults.
    Small,
}

/// Runs the world of a seed to its end.
///
/// # Errors
/// Something was not as it must be, or a part of the server panicked.
pub fn run(seed: u64, size: Size) -> Result<Report, Failure> {
    let mut world = World::new(seed, size);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let what = match outcome {
        Ok(Ok(())) => return Ok(world.report()),
        Ok(Err(what)) => what,
        Err(panic) => format!("panic: {}", words_of(&*panic)),
    };
    Err(Failure { seed, what, last_lines: world.lines.into() })
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Everything there is.
struct World {
    plan: Plan,
    now: Mono,
    random: SmallRng,
    network: Network,
    wires: Wires,
    server: Server,
    start: Start,
    address: SocketAddr,
    fleet: Vec<Placed>,
    /// When each device wants time to be told of: most steps concern one of them, none concerns all.
    due: Vec<Mono>,
    setups: Setups,
    /// Which device an address belongs to, and which of its sessions.
    addresses: BTreeMap<SocketAddr, (usize, u32)>,
    /// The last datagrams that the server took, as somebody who listens would keep them.
    overheard: VecDeque<(Mono, Datagram)>,
    /// From when to when the disk last was in trouble.
    trouble: (Mono, Mono),
    updates: Updates,
    agenda: BTreeMap<(Mono, u64), Item>,
    noted: u64,
    judge: Judge,
    weather: Weather,
    /// Faults happen.
    is_troubled: bool,
    next_stream: u64,
    next_request: u64,
    crashes: u32,
    /// When the server stopped.
    stops: Vec<Mono>,
    started_at: Mono,
    healed_after: Duration,
    lines: VecDeque<String>,
    fingerprint: DefaultHasher,
}

enum Server {
    Up(Box<Cloud>),
    Down(Journal),
}

/// What was decided to happen at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Act,
    Administer,
    Fault,
    /// A turn of the keeper of updates.
    Keep,
    PowerOn(usize),
    Restart,
    Resume(AccountId),
    Update,
    Weather(Weather),
    Disk(Disk),
}

impl World {
    fn new(seed: u64, size: Size) -> Self {
        let plan = match size {
            Size::Usual => Plan::draw(seed),
            Size::Small => Plan::draw(seed).small(),
        };
        let mut random = SmallRng::seed_from_u64(seed);
        let secrets = Secrets::shared();
        let (mut fleet, registered) = fleet::make(&plan, &mut random, &secrets);
        let updates = Updates::new(&mut random);
        for placed in &mut fleet {
            placed.device.install(updates.first_file());
        }
        let start = Start {
            shards: plan.shards,
            devices: Arc::new(registered),
            secrets: Arc::clone(&secrets),
            disk: Disk::Fine,
            seed: random.random(),
            utc_offset_ms: 1_760_000_000_000,
            paused: BTreeSet::new(),
            rules: BTreeMap::new(),
        };
        let now = Mono(1_000_000);
        let watched = fleet.iter().map(Placed::watched).collect();
        Self {
            now,
            network: Network::new(random.random(), Weather::Clear.conditions()),
            wires: Wires::new(random.random()),
            server: Server::Up(Box::new(Cloud::start(now, start.clone(), Journal::default()))),
            start,
            address: SocketAddr::from(([192, 0, 2, 1], 5684)),
            due: vec![step::NEVER; fleet.len()],
            fleet,
            setups: Setups::new(&secrets.trust),
            addresses: BTreeMap::new(),
            overheard: VecDeque::new(),
            trouble: (Mono(0), Mono(0)),
            updates,
            agenda: BTreeMap::new(),
            noted: 0,
            judge: Judge::new(watched, plan.shards),
            weather: Weather::Clear,
            is_troubled: true,
            next_stream: 0,
            next_request: 0,
            crashes: 0,
            stops: Vec::new(),
            started_at: now,
            healed_after: Duration::ZERO,
            lines: VecDeque::new(),
            fingerprint: DefaultHasher::new(),
            random,
            plan,
        }
    }

    /// The whole story.
    fn live(&mut self) -> Result<(), String> {
        self.note(|world| format!("{:?}", world.plan));
        self.judge.made_with(self.updates.first_file());
        self.judge.starts();
        for index in 0..self.fleet.len() {
            let after = self.random.random_range(0..20_000);
            self.plan_in(Duration::from_millis(after), Item::PowerOn(index));
        }
        self.plan_in(Duration::from_secs(1), Item::Act);
        self.plan_in(Duration::from_secs(10), Item::Fault);
        self.plan_in(Duration::from_secs(30), Item::Administer);
        self.plan_in(Duration::from_secs(20), Item::Update);
        self.run(self.plan.chaos)?;
        self.heal()?;
        self.examine()
    }

    fn report(&self) -> Report {
        Report {
            devices: self.fleet.len(),
            lasted: self.now.since(Mono(1_000_000)),
            healed_after: self.healed_after,
            crashes: self.crashes,
            tally: self.judge.tally,
            fingerprint: self.fingerprint.finish(),
        }
    }

    fn plan_in(&mut self, span: Duration, item: Item) {
        self.noted += 1;
        self.agenda.insert((self.now.after(span), self.noted), item);
    }

    /// Keeps a line for the reader of a failure.
    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        let at = self.now.0;
        let line = format!("{:>6}.{:06} {}", at / 1_000_000, at % 1_000_000, line(self));
        line.hash(&mut self.fingerprint);
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn cloud(&mut self) -> Option<&mut Cloud> {
        match &mut self.server {
            Server::Up(cloud) => Some(cloud),
            Server::Down(_) => None,
        }
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// A time around this one: from nothing to three times as much, shorter ones more often.
    fn around(&mut self, mean: Duration) -> Duration {
        let draw: f64 = self.random.random_range(0.05..1.0);
        mean.mul_f64((-draw.ln()).min(3.0))
    }
}

/// Lines kept for a failure.
const LINES_KEPT: usize = 40_000;
