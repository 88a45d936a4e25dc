//! An account with its keeper, and a calendar to name days by.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the parts it needs")]

use std::num::{NonZeroU32, NonZeroU64};

use metering::{
    Allowances, Anchor, Catalogues, Decision, Keeper, Limit, Matter, Pausing, Period, Plan, Terms,
    Usage,
};
use model::Timestamp;

pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// An account that remembers what was decided about it.
pub struct Account {
    pub keeper: Keeper,
    pub now: Timestamp,
    pub matters: Vec<Matter>,
    pub pauses: Vec<Option<Pausing>>,
    pub closed: Vec<(Period, Usage)>,
}

impl Account {
    /// An account of catalogue 2022 whose periods begin on the day it is made.
    pub fn new(plan: Plan, day: &str) -> Self {
        let keeper = Keeper::new(terms(plan, at(day)), at(day));
        let (matters, pauses, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { keeper, now: at(day), matters, pauses, closed }
    }

    pub fn advance(&mut self, ms: i64) {
        self.now.0 += ms;
    }

    /// The usage of the open period is this; periods that are over end with nothing.
    pub fn uses(&mut self, usage: Usage) {
        while self.keeper.is_over(self.now) {
            self.ends_with(Usage::default());
        }
        let decisions = self.keeper.handle(self.now, &usage);
        self.take(decisions);
    }

    /// The open period ends with this usage.
    pub fn ends_with(&mut self, usage: Usage) {
        assert!(self.keeper.is_over(self.now));
        let decisions = self.keeper.handle(self.now, &usage);
        self.take(decisions);
    }

    /// The operator changes its plan.
    pub fn agrees(&mut self, plan: Plan, usage: Usage) {
        let terms = Terms { plan, ..self.keeper.terms().clone() };
        self.agrees_to(terms, usage);
    }

    /// The account asks for a plan by itself.
    pub fn asks_for(&mut self, plan: Plan, usage: Usage) {
        let decisions = self.keeper.ask(self.now, plan, &usage);
        self.take(decisions);
    }

    pub fn agrees_to(&mut self, terms: Terms, usage: Usage) {
        let decisions = self.keeper.change(self.now, terms, &usage);
        self.take(decisions);
    }

    /// What its owner was told since the last look.
    pub fn told(&mut self) -> Vec<Matter> {
        std::mem::take(&mut self.matters)
    }

    /// The thresholds of `limit` that its owner was told of since the last look.
    pub fn percents_told(&mut self, limit: Limit) -> Vec<u8> {
        let percent = |matter: Matter| match matter {
            Matter::Threshold { limit: of, percent, .. } if of == limit => Some(percent),
            _ => None,
        };
        self.told().into_iter().filter_map(percent).collect()
    }

    fn take(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Notify(notice) => {
                    assert!(!notice.subject().is_empty() && !notice.text().is_empty());
                    self.matters.push(notice.matter);
                }
                Decision::Pause(pause) => self.pauses.push(pause),
                Decision::Close { period, usage, .. } => self.closed.push((period, usage)),
            }
        }
    }
}

pub fn terms(plan: Plan, anchored: Timestamp) -> Terms {
    let catalogue = Catalogues::shipped().expect("ships").get("2022").expect("ships");
    Terms { catalogue, is_named: true, plan, anchor: Anchor::of(anchored) }
}

pub fn operations(operations: u64) -> Usage {
    Usage { operations, devices: 1, ..Usage::default() }
}

pub fn growth(blocks: u32) -> Plan {
    Plan::Growth { blocks: NonZeroU32::new(blocks).expect("not zero") }
}

pub fn contract(operations: u64) -> Plan {
    let number = |n| NonZeroU64::new(n).expect("not zero");
    let contract = Allowances {
        devices: number(1000),
        operations: number(operations),
        cellular_bytes: number(u64::MAX),
        tracker_bytes: number(u64::MAX),
    };
    Plan::Enterprise { contract }
}

/// Midnight UTC of a day, found by looking through the calendar.
pub fn at(day: &str) -> Timestamp {
    let is_day = |days: &i64| Timestamp(days * DAY_MS).to_string().starts_with(day);
    Timestamp((19_000..30_000).find(is_day).expect("a day of this century") * DAY_MS)
}
