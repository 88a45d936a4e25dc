//! What a seed makes of a world before anything happens in it.

use std::time::Duration;

use model::AccountId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::device::application::{Function, Program, Subscription, Value};
use crate::device::profile::Generation;

/// The lay-out of a world.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) shards: u8,
    pub(crate) accounts: u64,
    pub(crate) devices: Vec<DevicePlan>,
    /// How long things happen.
    pub(crate) chaos: Duration,
    /// The mean time between two things that somebody does.
    pub(crate) action_gap: Duration,
    /// The mean time between two faults.
    pub(crate) fault_gap: Duration,
    /// The mean time between two things that somebody does with updates.
    pub(crate) update_gap: Duration,
    pub(crate) mood: Mood,
}

/// Which faults there are: a world with few kinds of them allows fewer excuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mood {
    pub(crate) crashes: bool,
    /// Loss, damage, long delays, partitions.
    pub(crate) network: bool,
    /// Resets, losses of power, new applications, disconnects.
    pub(crate) devices: bool,
    /// New addresses.
    pub(crate) roaming: bool,
    /// Refusals and slowness.
    pub(crate) disk: bool,
    /// Pauses, other plans, other keys, the clock set.
    pub(crate) people: bool,
    /// Firmware over the air: not a fault, but most others meet it.
    pub(crate) updates: bool,
}

/// One device.
#[derive(Debug, Clone)]
pub(crate) struct DevicePlan {
    pub(crate) generation: Generation,
    /// Absent: nobody owns it.
    pub(crate) account: Option<AccountId>,
    /// An application may set another interval than the firmware's.
    pub(crate) keep_alive: Option<Duration>,
    /// Which application it runs at first.
    pub(crate) program: usize,
}

/// How many applications there are.
pub(crate) const PROGRAMS: usize = 4;

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x706c_616e);
        let accounts = random.random_range(1..=3);
        let count = devices_of(random.random_range(0.0..1.0));
        let devices = (0..count).map(|_| DevicePlan::draw(&mut random, accounts)).collect();
        // What a device does reaches all others: large fleets do less each.
        let of_each = random.random_range(4_000..=20_000) * (1 + count / 12);
        Self {
            shards: random.random_range(1..=2),
            accounts,
            devices,
            chaos: Duration::from_secs(random.random_range(600..=720)),
            action_gap: Duration::from_millis(of_each / count),
            fault_gap: Duration::from_millis(random.random_range(4_000..=40_000)),
            mood: Mood::draw(&mut random),
            update_gap: Duration::from_secs(random.random_range(10..=60)),
        }
    }

    /// The same with a tenth of the devices and of the time, for tests of the world itself.
    pub(crate) fn small(mut self) -> Self {
        self.devices.truncate(6);
        self.chaos /= 8;
        self.update_gap /= 4;
        self
    }
}

/// From 3 to 300: half of the worlds have fewer than ten, one in ten more than 120.
fn devices_of(draw: f64) -> u64 {
    (3.0 * 100_f64.powf(draw * draw)).round().clamp(3.0, 300.0) as u64
}

impl Mood {
    fn draw(random: &mut SmallRng) -> Self {
        let mut has = |chance| random.random_bool(chance);
        Self {
            crashes: has(0.8),
            network: has(0.6),
            devices: has(0.7),
            roaming: has(0.6),
            disk: has(0.3),
            people: has(0.5),
            updates: has(0.6),
        }
    }
}

impl DevicePlan {
    fn draw(random: &mut SmallRng, accounts: u64) -> Self {
        let generation = match random.random_range(0..10) {
            0..5 => Generation::Os6,
            5..8 => Generation::Os3,
            _ => Generation::Tcp,
        };
        let is_owned = random.random_bool(0.97);
        let keep_alive = match generation {
            Generation::Os6 if random.random_bool(0.8) => None,
            Generation::Os3 | Generation::Os6 => {
                Some(Duration::from_secs(random.random_range(30..=120)))
            }
            Generation::Tcp => None,
        };
        Self {
            generation,
            account: is_owned.then(|| AccountId(random.random_range(1..=accounts))),
            keep_alive,
            program: random.random_range(0..PROGRAMS),
        }
    }
}

/// The applications: one set of functions and variables, each with other subscriptions.
pub(crate) fn program(number: usize) -> Program {
    let subscriptions = match number {
        0 => vec![Subscription::all("test/"), Subscription::own("mine")],
        1 => vec![Subscription::own("test/a")],
        2 => vec![Subscription::own("mine"), Subscription::all("test/b"), Subscription::all("t")],
        _ => vec![Subscription::own("")],
    };
    let functions = [("echo", Function::Echo), ("neg", Function::Negative), ("set", Function::Set)];
    let variables = [("v_int", Value::Int(42)), ("v_string", Value::String("hello".into()))];
    Program {
        functions: functions.map(|(name, does)| (name.to_owned(), does)).into(),
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        subscriptions,
    }
}

/// The names that are published.
pub(crate) const NAMES: [&str; 5] = ["test/a", "test/b/c", "mine", "mineral", "other"];
