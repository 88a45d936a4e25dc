//! The keeper against a small model of `metering/rules.md` §5 and §6: random traffic, plan changes
//! and clock steps.

mod support;

use std::collections::BTreeSet;

use metering::{Decision, Keeper, Limit, Matter, Plan, Usage};
use model::Timestamp;
use proptest::prelude::*;
use support::{DAY_MS, at, contract, growth, terms};

const GRACE_MS: i64 = 3 * DAY_MS;

#[derive(Debug, Clone)]
enum Step {
    /// Time goes by and something is used.
    Live {
        ms: i64,
        operations: u64,
        bytes: u64,
    },
    /// The clock is set.
    ClockSet(i64),
    /// The operator gives a plan.
    Change(Plan),
    /// The account asks for one by itself.
    Ask(Plan),
    Devices(u64),
}

/// The rules, said in another way: what was ever used lies in a list with its period, and everything
/// is looked up there.
struct Model {
    plan: Plan,
    /// More was asked for in the open period.
    raised: bool,
    /// Asked for and not given yet.
    next: Option<Plan>,
    now: i64,
    /// First and last moment of the open period, and of all before.
    periods: Vec<(i64, i64)>,
    used: Vec<Used>,
    devices: u64,
    told: BTreeSet<(usize, Limit, u8)>,
    /// In the open period, whichever plan is in force since.
    grace_began: Option<i64>,
    paused: Option<Limit>,
}

struct Used {
    period: usize,
    operations: u64,
    bytes: u64,
}

impl Model {
    fn open(&self) -> usize {
        self.periods.len() - 1
    }

    fn sum(&self, of: fn(&Used) -> u64) -> u64 {
        self.used.iter().filter(|used| used.period == self.open()).map(of).sum()
    }

    fn usage(&self) -> Usage {
        Usage {
            operations: self.sum(|used| used.operations),
            cellular_bytes: self.sum(|used| used.bytes),
            tracker_bytes: 0,
            devices: self.devices,
        }
    }

    /// The figures of catalogue 2022, by heart.
    fn allowed(&self, limit: Limit) -> Option<u64> {
        let (devices, operations, bytes) = match self.plan {
            Plan::Free => (100, 100_000, 100_000_000),
            Plan::Growth { blocks } => {
                let n = u64::from(blocks.get());
                (100 * n, 720_000 * n, 540_000_000 * n)
            }
            Plan::Enterprise { contract } => (1000, contract.operations.get(), u64::MAX),
            Plan::Unlimited => return None,
        };
        match limit {
            Limit::Devices => Some(devices),
            Limit::Operations => Some(operations),
            Limit::CellularBytes => Some(bytes),
            Limit::TrackerBytes => None,
        }
    }

    fn reached(&self, limit: Limit, percent: u8) -> bool {
        let used = limit.used(&self.usage());
        self.allowed(limit)
            .is_some_and(|allowed| used as f64 / allowed as f64 * 100.0 >= f64::from(percent))
    }

    fn news(&mut self) -> BTreeSet<(Limit, u8)> {
        let thresholds = [
            (Limit::Operations, &[70, 90, 100][..]),
            (Limit::CellularBytes, &[70, 90, 100]),
            (Limit::Devices, &[100]),
        ];
        let mut news = BTreeSet::new();
        for (limit, percents) in thresholds {
            for percent in percents {
                let key = (self.open(), limit, *percent);
                if self.reached(limit, *percent) && self.told.insert(key) {
                    news.insert((limit, *percent));
                }
            }
        }
        news
    }

    fn look(&mut self) {
        let is_free = self.plan == Plan::Free;
        if self.usage().operations < 100_000 {
            self.grace_began = None;
        } else if is_free && self.grace_began.is_none() {
            self.grace_began = Some(self.now);
        }
        let is_stopped = self.paused == Some(Limit::Operations);
        let operations =
            self.grace_began.is_some_and(|began| is_stopped || self.now >= began + GRACE_MS);
        self.paused = match is_free {
            true if operations => Some(Limit::Operations),
            true if self.reached(Limit::CellularBytes, 100) => Some(Limit::CellularBytes),
            _ => None,
        };
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    prop_oneof![
        3 => Just(Plan::Free),
        2 => (1..4_u32).prop_map(growth),
        1 => Just(Plan::Unlimited),
        1 => Just(contract(2_000_000)),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let traffic = (0..5 * DAY_MS, 0..60_000_u64, 0..40_000_000_u64);
    prop_oneof![
        8 => traffic.prop_map(|(ms, operations, bytes)| Step::Live { ms, operations, bytes }),
        1 => (-40 * DAY_MS..40 * DAY_MS).prop_map(Step::ClockSet),
        2 => plans().prop_map(Step::Change),
        2 => (0..4_u32).prop_map(|n| Step::Ask(if n == 0 { Plan::Free } else { growth(n) })),
        1 => (0..400_u64).prop_map(Step::Devices),
    ]
}

fn split(decisions: Vec<Decision>) -> (BTreeSet<(Limit, u8)>, Vec<Option<Limit>>, usize) {
    let (mut news, mut pauses, mut closed) = (BTreeSet::new(), Vec::new(), 0);
    for decision in decisions {
        match decision {
            Decision::Notify(notice) => {
                if let Matter::Threshold { limit, percent, .. } = notice.matter {
                    assert!(news.insert((limit, percent)), "told twice at once");
                }
            }
            Decision::Pause(pause) => pauses.push(pause.map(|pause| pause.limit)),
            Decision::Close { .. } => closed += 1,
        }
    }
    (news, pauses, closed)
}

/// Both look at the same moment. Periods that are over are closed first, with what was used.
fn compare(keeper: &mut Keeper, model: &mut Model) {
    while keeper.is_over(Timestamp(model.now)) {
        let usage = model.usage();
        let expected = model.news();
        let (news, pauses, closed) = split(keeper.handle(Timestamp(model.now), &usage));
        assert_eq!((news, closed), (expected, 1));
        assert_eq!(!pauses.is_empty(), model.paused.is_some());
        if let Plan::Growth { blocks } = model.plan {
            let by_operations = (usage.operations as f64 / 720_000.0).ceil() as u32;
            let by_bytes = (usage.cellular_bytes as f64 / 540e6).ceil() as u32;
            let by_devices = (usage.devices as f64 / 100.0).ceil() as u32;
            let needed = by_operations.max(by_bytes).max(by_devices);
            let is_paid = needed <= blocks.get() && !model.raised;
            model.plan = match model.next.take_if(|_| is_paid) {
                Some(next) => next,
                None => growth(blocks.get().max(needed)),
            };
        }
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (model.plan, model.next));
        let (period, before) = (keeper.period(), model.periods[model.open()]);
        assert_eq!(period.start.0, before.1, "no gap and no overlap");
        model.periods.push((period.start.0, period.end.0));
        (model.paused, model.grace_began, model.raised) = (None, None, false);
    }
    let (expected, before) = (model.news(), model.paused);
    model.look();
    let usage = model.usage();
    let (news, pauses, closed) = split(keeper.handle(Timestamp(model.now), &usage));
    assert_eq!((news, closed), (expected, 0));
    assert_eq!(keeper.pause().map(|pause| pause.limit), model.paused);
    assert_eq!(pauses.len(), usize::from(before != model.paused));
}

fn blocks(plan: Plan) -> Option<u32> {
    match plan {
        Plan::Free => Some(0),
        Plan::Growth { blocks } => Some(blocks.get()),
        Plan::Enterprise { .. } | Plan::Unlimited => None,
    }
}

/// An account changes between free and growth alone.
fn ask(keeper: &mut Keeper, model: &mut Model, plan: Plan) {
    compare(keeper, model);
    let (Some(held), Some(wanted)) = (blocks(model.plan), blocks(plan)) else { return };
    if wanted >= held {
        let raised = model.raised || wanted > held;
        change(keeper, model, plan, true);
        model.raised = raised;
        return;
    }
    model.next = Some(plan);
    assert_eq!(keeper.ask(Timestamp(model.now), plan, &model.usage()), []);
    assert_eq!((keeper.terms().plan, keeper.next_plan()), (model.plan, model.next));
}

fn change(keeper: &mut Keeper, model: &mut Model, plan: Plan, is_asked: bool) {
    compare(keeper, model);
    let was_year = matches!(model.plan, Plan::Enterprise { .. });
    let is_year = matches!(plan, Plan::Enterprise { .. });
    let terms = terms(plan, at("2026-01-31"));
    let now = Timestamp(model.now);
    let under = keeper.period_under(now, &terms);
    if was_year && !is_year && under.start > keeper.period().start {
        // What was used in the closed part of the year stays there.
        let open = model.open();
        model.used.iter_mut().filter(|used| used.period == open).for_each(|used| {
            used.period = usize::MAX;
        });
        model.grace_began = None;
    }
    if was_year == is_year {
        assert_eq!(under, keeper.period());
    }
    let open = model.open();
    model.periods[open] = (under.start.0, under.end.0);
    (model.plan, model.next, model.raised) = (plan, None, false);
    let kept: Vec<_> = model.told.iter().copied().collect();
    for (period, limit, percent) in kept {
        if period == open && !model.reached(limit, percent) {
            model.told.remove(&(period, limit, percent));
        }
    }
    let (expected, before) = (model.news(), model.paused);
    model.look();
    let decisions = match is_asked {
        true => keeper.ask(now, plan, &model.usage()),
        false => keeper.change(now, terms, &model.usage()),
    };
    let (news, pauses, _) = split(decisions);
    assert_eq!(news, expected);
    assert_eq!(keeper.pause().map(|pause| pause.limit), model.paused);
    assert_eq!(pauses.len(), usize::from(before != model.paused));
}

proptest! {
    #[test]
    fn the_keeper_decides_as_the_model_does(
        plan in plans(),
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let begin = at("2026-01-31");
        let mut keeper = Keeper::new(terms(plan, begin), begin);
        let period = keeper.period();
        let mut model = Model {
            plan,
            raised: false,
            next: None,
            now: begin.0,
            periods: vec![(period.start.0, period.end.0)],
            used: Vec::new(),
            devices: 1,
            told: BTreeSet::new(),
            grace_began: None,
            paused: None,
        };
        for step in steps {
            match step {
                Step::Live { ms, operations, bytes } => {
                    let stops = model.paused == Some(Limit::Operations);
                    let (operations, bytes) = if stops { (0, 0) } else { (operations, bytes) };
                    let period = model.open();
                    model.used.push(Used { period, operations, bytes });
                    model.now += ms;
                }
                Step::ClockSet(ms) => model.now += ms,
                Step::Change(plan) => change(&mut keeper, &mut model, plan, false),
                Step::Ask(plan) => ask(&mut keeper, &mut model, plan),
                Step::Devices(devices) => model.devices = devices,
            }
            compare(&mut keeper, &mut model);
        }
        // Nothing is lost and nothing is counted twice over the periods.
        prop_assert!(model.periods.windows(2).all(|pair| pair[0].1 == pair[1].0 || pair[0].1 <= pair[1].0));
    }
}
