//! The shard against a small model of `metering/rules.md` §2, §3 and §6: random traffic, loss, pauses, catalogues and
//! clock steps. What is counted must be the model's to the last operation: by account, device, kind and hour.

mod common;

use std::collections::BTreeMap;

use common::*;
use metering::{Catalogue, Rules};
use model::journal::{Charge, Entry};
use model::link::{LinkEvent, Transport};
use model::{AccountId, EventData, Origin, Platform};
use proptest::prelude::*;
use router::{Input, Pause, Request};

/// Every step is over before the next one: two deliveries of three attempts fit, and a TCP device is not yet silent.
const STEP_S: u64 = 28;
const DEVICES: u8 = 5;
const TCP: u8 = 3;
/// Stores locations.
const PLACED: u8 = 2;
const WIFI: u8 = 1;
const NOBODYS: u8 = 5;
const NAMES: [&str; 6] = ["a", "ab/c", "b", "loc", "spark/device/x", "particle"];
const PREFIXES: [&str; 4] = ["a", "ab", "spa", "hook-response/"];
const SIZES: [usize; 5] = [0, 1, 512, 1024, 1025];
const PLACE: &[u8] = br#"{"loc":{"lat":1.5,"lon":2.5}}"#;

#[derive(Debug, Clone)]
enum Step {
    /// Copies of it arrive as well; earlier transmissions that were lost make no difference.
    Publish {
        n: u8,
        name: usize,
        size: usize,
        copies: u8,
    },
    /// So many at once.
    Burst {
        n: u8,
        count: u64,
    },
    Place {
        n: u8,
    },
    Api {
        account: u64,
        name: usize,
        size: usize,
    },
    /// An answer of a webhook in two parts.
    Answer {
        account: u64,
        sizes: [usize; 2],
    },
    Call {
        n: u8,
    },
    Read {
        n: u8,
    },
    UnknownFunction {
        n: u8,
    },
    Ping {
        n: u8,
    },
    Signal {
        n: u8,
    },
    /// Which transmission the device acknowledges from now on; 0: none.
    Acknowledges {
        n: u8,
        which: u32,
    },
    Goodbye {
        n: u8,
    },
    Hello {
        n: u8,
        prefixes: Vec<usize>,
    },
    Pause {
        account: u64,
        cellular_only: bool,
    },
    Resume {
        account: u64,
    },
    Rules {
        account: u64,
        catalogue: Catalogue,
    },
    ClockSet(i64),
}

fn steps() -> impl Strategy<Value = Step> {
    let (n, account) = (1..=DEVICES, 1..=2_u64);
    let (name, size) = (0..NAMES.len(), prop::sample::select(&SIZES[..]));
    let catalogues =
        prop::sample::select(&[Catalogue::Y2021, Catalogue::Y2022, Catalogue::Y2025][..]);
    let prefixes = prop::collection::vec(0..PREFIXES.len(), 0..3);
    let publish = (n.clone(), name.clone(), size.clone(), 0..3_u8);
    let api = (account.clone(), name, size.clone());
    prop_oneof![
        6 => publish.prop_map(|(n, name, size, copies)| Step::Publish { n, name, size, copies }),
        1 => (n.clone(), 1..9_u64).prop_map(|(n, count)| Step::Burst { n, count }),
        1 => n.clone().prop_map(|n| Step::Place { n }),
        3 => api.prop_map(|(account, name, size)| Step::Api { account, name, size }),
        1 => (account.clone(), [size.clone(), size])
            .prop_map(|(account, sizes)| Step::Answer { account, sizes: sizes.map(|s| s.min(512)) }),
        3 => n.clone().prop_map(|n| Step::Call { n }),
        2 => n.clone().prop_map(|n| Step::Read { n }),
        1 => n.clone().prop_map(|n| Step::UnknownFunction { n }),
        1 => n.clone().prop_map(|n| Step::Ping { n }),
        1 => n.clone().prop_map(|n| Step::Signal { n }),
        4 => (n.clone(), 0..4_u32).prop_map(|(n, which)| Step::Acknowledges { n, which }),
        1 => n.clone().prop_map(|n| Step::Goodbye { n }),
        4 => (n, prefixes).prop_map(|(n, prefixes)| Step::Hello { n, prefixes }),
        1 => (account.clone(), any::<bool>())
            .prop_map(|(account, cellular_only)| Step::Pause { account, cellular_only }),
        2 => account.clone().prop_map(|account| Step::Resume { account }),
        1 => (account, catalogues).prop_map(|(account, catalogue)| Step::Rules { account, catalogue }),
        1 => (-40 * 86_400_000_i64..40 * 86_400_000).prop_map(Step::ClockSet),
    ]
}

/// Account, device, kind, hour.
type Line = (u64, u8, &'static str, i64);

struct Known {
    account: Option<u64>,
    is_online: bool,
    acknowledges: u32,
    prefixes: Vec<usize>,
}

struct Model {
    devices: BTreeMap<u8, Known>,
    /// By account; true: of cellular devices alone.
    pauses: BTreeMap<u64, bool>,
    catalogues: BTreeMap<u64, Catalogue>,
    utc: i64,
    /// Operations and bytes.
    counted: BTreeMap<Line, (u64, u64)>,
}

impl Model {
    fn new(utc: i64) -> Self {
        let device = |n| {
            let account = match n {
                NOBODYS => None,
                4 => Some(2),
                _ => Some(1),
            };
            (n, Known { account, is_online: true, acknowledges: 1, prefixes: Vec::new() })
        };
        let devices = (1..=DEVICES).map(device).collect();
        let (pauses, catalogues, counted) = Default::default();
        Self { devices, pauses, catalogues, utc, counted }
    }

    fn device(&mut self, n: u8) -> &mut Known {
        self.devices.get_mut(&n).expect("known")
    }

    fn is_paused(&self, n: u8) -> bool {
        let pause = self.devices[&n].account.and_then(|account| self.pauses.get(&account));
        pause.is_some_and(|cellular_only| !cellular_only || n != WIFI)
    }

    /// So many milliseconds after the step's beginning.
    fn count(&mut self, n: u8, kind: &'static str, size: usize, after_ms: i64) {
        let Some(account) = self.devices[&n].account else { return };
        let catalogue = self.catalogues.get(&account).copied().unwrap_or(Catalogue::Y2022);
        let is_event = ["publish", "publish_copy", "delivery", "webhook_answer"].contains(&kind);
        let operations = match (catalogue, kind) {
            (Catalogue::Y2021, "ping") => 1,
            (_, "ping") => return,
            (Catalogue::Y2025, _) if is_event && size > 1024 => 2,
            _ => 1,
        };
        let hour = (self.utc + after_ms).div_euclid(3_600_000);
        let sums = self.counted.entry((account, n, kind, hour)).or_default();
        *sums = (sums.0 + operations, sums.1 + size as u64);
    }

    /// Sends to a device that is online; tells when it is acknowledged, if it is.
    fn send(&mut self, n: u8, kind: &'static str, size: usize, from_ms: i64) -> Option<i64> {
        let which = if n == TCP { 1 } else { self.devices[&n].acknowledges };
        let attempts = if which == 0 { 3 } else { which as usize };
        for at_ms in &[0, 4000, 12_000][..attempts] {
            self.count(n, kind, size, from_ms + at_ms);
        }
        self.device(n).is_online = which > 0;
        let last = [0, 0, 4000, 12_000][which as usize];
        // The acknowledgement takes 10 ms; over TCP there is none to wait for.
        (which > 0).then_some(from_ms + last + if n == TCP { 0 } else { 10 })
    }

    fn deliver(&mut self, account: u64, name: &str, size: usize) {
        for n in self.readers(account, name) {
            self.send(n, "delivery", size, 0);
        }
    }

    /// Devices that get an event.
    fn readers(&self, account: u64, name: &str) -> Vec<u8> {
        let is_internal = name.starts_with("spark") || name.starts_with("particle");
        let wants = |known: &Known| {
            known.account == Some(account)
                && known.is_online
                && known.prefixes.iter().any(|prefix| name.starts_with(PREFIXES[*prefix]))
        };
        let wanted = self.devices.iter().filter(|(_, known)| !is_internal && wants(known));
        wanted.map(|(n, _)| *n).filter(|n| !self.is_paused(*n)).collect()
    }

    /// What a device says makes it online.
    fn publish(&mut self, n: u8, name: &str, size: usize) -> bool {
        self.device(n).is_online = true;
        let Some(account) = self.devices[&n].account else { return false };
        let is_internal = name.starts_with("spark") || name.starts_with("particle");
        if self.is_paused(n) || is_internal {
            return false;
        }
        self.count(n, "publish", size, 0);
        self.deliver(account, name, size);
        true
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { n, name, size, copies } => {
                if self.publish(n, NAMES[name], size) && n != TCP {
                    (0..copies).for_each(|_| self.count(n, "publish_copy", size, 0));
                }
            }
            Step::Burst { n, count } => {
                (0..count.min(4)).for_each(|_| {
                    self.publish(n, "zz", 0);
                });
            }
            Step::Place { n } => {
                if self.publish(n, "loc", PLACE.len()) && n == PLACED {
                    self.count(n, "stored_point", 0, 0);
                }
            }
            Step::Api { account, name, size } => {
                if self.pauses.get(&account) != Some(&false) {
                    self.deliver(account, NAMES[name], size);
                }
            }
            Step::Answer { account, sizes } => {
                for n in self.readers(account, "hook-response/x/0") {
                    let first = self.send(n, "webhook_answer", sizes[0], 0);
                    first.map(|at_ms| self.send(n, "webhook_answer", sizes[1], at_ms));
                }
            }
            Step::Call { n } => self.ask(n, "function_call", "on".len()),
            Step::Read { n } => self.ask(n, "variable_request", 0),
            Step::Signal { n } => self.ask(n, "", 0),
            Step::Ping { n } => self.ping(n),
            Step::UnknownFunction { .. } => {}
            Step::Acknowledges { n, which } => self.device(n).acknowledges = which,
            Step::Goodbye { n } => self.device(n).is_online = n == TCP,
            Step::Hello { n, ref prefixes } => {
                let known = self.device(n);
                (known.is_online, known.prefixes) = (true, prefixes.clone());
            }
            Step::Pause { account, cellular_only } => {
                self.pauses.insert(account, cellular_only);
            }
            Step::Resume { account } => {
                self.pauses.remove(&account);
            }
            Step::Rules { account, catalogue } => {
                self.catalogues.insert(account, catalogue);
            }
            Step::ClockSet(ms) => self.utc += ms,
        }
        self.utc += i64::try_from(STEP_S).expect("small") * 1000;
    }

    /// Without a kind: it counts nothing.
    fn ask(&mut self, n: u8, kind: &'static str, size: usize) {
        if !self.devices[&n].is_online || (self.is_paused(n) && !kind.is_empty()) {
            return;
        }
        let counted = self.counted.clone();
        self.send(n, kind, size, 0);
        if kind.is_empty() {
            self.counted = counted;
        }
    }

    /// Counted once, however often it is sent.
    fn ping(&mut self, n: u8) {
        if self.devices[&n].is_online {
            self.ask(n, "", 0);
            self.count(n, "ping", 0, 0);
        }
    }
}

fn come(world: &mut World, n: u8, prefixes: &[usize]) {
    let mut opened = world.opened(n, link(n), true);
    opened.hello.platform = Platform(if n == WIFI { 12 } else { 13 });
    world.link(LinkEvent::Opened(Box::new(opened)));
    world.describe(n);
    for prefix in prefixes {
        world.subscribe(n, PREFIXES[*prefix]);
    }
}

fn data(size: usize) -> Option<EventData> {
    (size > 0).then(|| EventData { format: 0, bytes: vec![b'x'; size].into() })
}

fn carry_out(world: &mut World, step: &Step, model: &Model) {
    match *step {
        Step::Publish { n, name, size, copies } => {
            let message = publish(NAMES[name], data(size).as_ref().map(|data| &*data.bytes));
            let receipt = world.say(n, message.clone());
            // The endpoint repeats the refusal by itself.
            let is_refused = model.is_paused(n);
            for _ in 0..if is_refused || n == TCP { 0 } else { copies } {
                world.say_again(n, message.clone(), receipt);
            }
        }
        Step::Burst { n, count } => (0..count).for_each(|_| {
            world.publish(n, "zz");
        }),
        Step::Place { n } => {
            world.say(n, publish("loc", Some(PLACE)));
        }
        Step::Api { account, name, size } => {
            let mut event = api_event(AccountId(account), NAMES[name], world.now.utc);
            event.data = data(size);
            world.request(Request::Publish { event });
        }
        Step::Answer { account, sizes } => {
            for (part, size) in sizes.into_iter().enumerate() {
                let name = format!("hook-response/x/{part}");
                let mut event = api_event(AccountId(account), &name, world.now.utc);
                (event.origin, event.data) = (Origin::Internal, data(size));
                world.request(Request::Publish { event });
            }
        }
        Step::Call { n } => {
            world.call(n, "led");
        }
        Step::Read { n } => {
            world.read(n, "temp");
        }
        Step::UnknownFunction { n } => {
            world.call(n, "no_such_function");
        }
        Step::Ping { n } => {
            world.request(Request::Ping { device: device(n) });
        }
        Step::Signal { n } => {
            world.request(Request::Signal { device: device(n), on: true });
        }
        Step::Acknowledges { n, which } => {
            world.script(link(n)).acknowledges = if n == TCP { 1 } else { which };
        }
        Step::Goodbye { n } if n == TCP => {}
        Step::Goodbye { n } => {
            world.goodbye(n);
        }
        Step::Hello { n, ref prefixes } => come(world, n, prefixes),
        Step::Pause { account, cellular_only } => {
            let pause = Some(Pause { cellular_only, why: "a limit".into() });
            world.input(Input::AccountPaused { account: AccountId(account), pause });
        }
        Step::Resume { account } => {
            world.input(Input::AccountPaused { account: AccountId(account), pause: None });
        }
        Step::Rules { account, catalogue } => {
            let rules = Some(Rules::of(catalogue));
            world.input(Input::AccountRules { account: AccountId(account), rules });
        }
        Step::ClockSet(ms) => world.now.utc.0 += ms,
    }
    world.run(seconds(STEP_S));
    // A sign of life, without which it would be silent for too long.
    if model.devices[&TCP].is_online {
        world.describe(TCP);
    }
}

fn counted(world: &World) -> BTreeMap<Line, (u64, u64)> {
    let mut counted = BTreeMap::<Line, (u64, u64)>::new();
    let mut add = |charge: &Charge| {
        let hour = charge.at.0.div_euclid(3_600_000);
        let line = (charge.account.0, charge.device.0[0], charge.kind.name(), hour);
        let sums = counted.entry(line).or_default();
        *sums = (sums.0 + u64::from(charge.operations), sums.1 + u64::from(charge.bytes));
    };
    for (_, entry) in &world.records {
        match entry {
            Entry::Attempt { charge, .. } | Entry::Copy { charge, .. } => add(charge),
            Entry::Publish { charge, point, .. } => charge.iter().chain(point).for_each(&mut add),
            _ => {}
        }
    }
    counted
}

/// Plays steps in both; tells what the model counted, which the shard counted as well after each of them.
fn play(steps: &[Step]) -> BTreeMap<Line, (u64, u64)> {
    let mut world = World::new();
    world.script(link(TCP)).transport = Transport::Tcp;
    let mut model = Model::new(world.now.utc.0);
    for (n, known) in &model.devices {
        world.register(*n, known.account.map(AccountId));
        world.rows.get_mut(&device(*n)).expect("registered").stores_points = *n == PLACED;
        come(&mut world, *n, &[]);
    }
    for (place, step) in steps.iter().enumerate() {
        carry_out(&mut world, step, &model);
        model.take(step);
        assert_eq!(counted(&world), model.counted, "after step {place}: {step:?}");
    }
    model.counted
}

/// The model itself is right where the rules work an example out.
#[test]
fn the_worked_scenarios_count_in_the_model_as_in_the_rules() {
    let operations =
        |steps: &[Step]| -> u64 { play(steps).values().map(|(operations, _)| operations).sum() };
    let publish = |copies| Step::Publish { n: 1, name: 0, size: 1, copies };
    let hello = |n| Step::Hello { n, prefixes: vec![0] };
    assert_eq!(operations(&vec![publish(0); 10]), 10, "a");
    assert_eq!(operations(&[hello(2), hello(3), publish(0)]), 3, "b");
    assert_eq!(operations(&[hello(2), hello(3), Step::Goodbye { n: 2 }, publish(0)]), 2, "c");
    let internal = Step::Publish { n: 1, name: 4, size: 1, copies: 1 };
    assert_eq!(operations(&[internal]), 0, "d");
    let api = Step::Api { account: 1, name: 0, size: 1 };
    assert_eq!(operations(&[hello(1), hello(2), hello(3), api.clone()]), 3, "e");
    assert_eq!(operations(&[api]), 0, "f");
    let acknowledges = |which| Step::Acknowledges { n: 1, which };
    assert_eq!(operations(&[Step::Call { n: 1 }]), 1, "g");
    assert_eq!(operations(&[acknowledges(3), Step::Call { n: 1 }]), 3, "h");
    let calls = [acknowledges(0), Step::Call { n: 1 }, Step::Read { n: 1 }];
    assert_eq!(operations(&calls), 3, "i");
    assert_eq!(operations(&vec![Step::Read { n: 1 }; 2]), 2, "j");
    assert_eq!(operations(&[publish(1)]), 2, "k");
    let subscribes = Step::Hello { n: 1, prefixes: vec![3] };
    let answer = Step::Answer { account: 1, sizes: [512, 276] };
    assert_eq!(operations(&[subscribes, publish(0), answer]), 3, "m, with two parts");
    assert_eq!(operations(&[Step::Place { n: PLACED }]), 2, "o");
    let rules = Step::Rules { account: 1, catalogue: Catalogue::Y2021 };
    assert_eq!(operations(&[Step::Ping { n: 1 }, rules, Step::Ping { n: 1 }]), 1, "p");
    let pause = Step::Pause { account: 1, cellular_only: false };
    assert_eq!(operations(&[pause, publish(0)]), 0, "q");
    assert_eq!(operations(&[Step::Burst { n: 1, count: 8 }]), 4, "r");
    assert_eq!(operations(&[hello(1), publish(0)]), 2, "s");
    assert_eq!(operations(&[hello(4), publish(0)]), 1, "t");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_the_rules_say(steps in prop::collection::vec(steps(), 1..60)) {
        play(&steps);
    }
}
