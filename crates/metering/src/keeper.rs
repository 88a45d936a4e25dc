//! The limits of one account: notices, grace, pause, resumption, blocks (`metering/rules.md` §6).

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::usage::reaches;
use crate::{
    Consequence, Cycle, Limit, Matter, Notice, Pausing, Period, Plan, Terms, Usage, blocks_needed,
};

/// How long a free account goes on after its last Data Operation was used up.
pub const GRACE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Decides about one account, from the committed sums and the time.
///
/// Feed it with [`Keeper::handle`] at least once a second: the usage is that of [`Keeper::period`]. A
/// period is never reopened, whatever the clock does: what happens while the clock shows an earlier
/// time belongs to the period that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    terms: Terms,
    state: KeeperState,
}

/// What a keeper remembers. Stored together with the notices it gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperState {
    /// The open period.
    period: Period,
    /// The thresholds whose notices were given in it.
    warned: BTreeSet<(Limit, u8)>,
    /// When the grace of a free account ends, if it has begun in this period. Without effect, but not
    /// forgotten, while the plan is another one: a change there and back does not begin it again.
    grace_until: Option<Timestamp>,
    /// The pause that is in force.
    pause: Option<Pausing>,
    /// Less than the plan in force gives, asked for by the account itself: the plan of the next period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_plan: Option<Plan>,
    /// The account asked for more in this period: it has that for a whole one before it has less.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    raised: bool,
}

/// What follows from a usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Tell the account's owner.
    Notify(Notice),
    /// This pause is in force from now on; absent: none is.
    Pause(Option<Pausing>),
    /// A period ended with this usage; [`Keeper::period`] is the next one, whose usage is wanted.
    Close {
        /// The period that ended.
        period: Period,
        /// What was used in it.
        usage: Usage,
        /// The plan of the next one: growth may have more blocks, or less was asked for.
        plan: Plan,
    },
}

impl Keeper {
    /// A keeper of a new account: its first period is the one that `now` lies in.
    pub fn new(terms: Terms, now: Timestamp) -> Self {
        let period = Period::at(terms.anchor, terms.plan.cycle(), now);
        Self { terms, state: KeeperState::of(period) }
    }

    /// A keeper as it was.
    pub fn restore(terms: Terms, state: KeeperState) -> Self {
        Self { terms, state }
    }

    /// What to store.
    pub fn state(&self) -> &KeeperState {
        &self.state
    }

    /// What was agreed on. The plan may change when a period ends.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The open period.
    pub fn period(&self) -> Period {
        self.state.period
    }

    /// The pause that is in force.
    pub fn pause(&self) -> Option<Pausing> {
        self.state.pause
    }

    /// When the grace of a free account ends, if it has begun.
    pub fn grace_until(&self) -> Option<Timestamp> {
        self.state.grace_until.filter(|_| self.terms.plan == Plan::Free)
    }

    /// The plan that the account asked for and gets when a period ends, if that is another one.
    pub fn next_plan(&self) -> Option<Plan> {
        self.state.next_plan
    }

    /// When the plan that the account asked for comes at the earliest: after the open period, or after
    /// the next one if the account asked for more in this one. More blocks that a period needs put
    /// it off further.
    pub fn next_plan_from(&self) -> Option<Timestamp> {
        self.state.next_plan?;
        let Period { end, .. } = self.state.period;
        if !self.state.raised {
            return Some(end);
        }
        Some(Period::at(self.terms.anchor, self.terms.plan.cycle(), end).end)
    }

    /// Whether the open period is over and waits for its last usage.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.state.period.end
    }

    /// Takes the usage of the open period. If the period is over it is closed with this usage; then
    /// call again with that of the next one until [`Keeper::is_over`] says no.
    pub fn handle(&mut self, now: Timestamp, usage: &Usage) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.warn(now, usage, &mut decisions);
        if self.is_over(now) {
            self.close(now, usage, &mut decisions);
        } else {
            self.limit(now, usage, &mut decisions);
        }
        decisions
    }

    /// The account asks for a plan by itself: at once if it gives as much as the one in force or more,
    /// which also takes back what was asked for before. Less comes when a period ends that needs no
    /// more blocks than it had, and in which the account asked for no more: what was used is billed first,
    /// however late the account asks.
    pub fn ask(&mut self, now: Timestamp, plan: Plan, usage: &Usage) -> Vec<Decision> {
        if plan.is_less_than(&self.terms.plan) {
            self.state.next_plan = Some(plan);
            return Vec::new();
        }
        let raised = self.state.raised || self.terms.plan.is_less_than(&plan);
        let decisions = self.change(now, Terms { plan, ..self.terms.clone() }, usage);
        self.state.raised = raised;
        decisions
    }

    /// The account and the operator agree on other terms, at once. A new anchor takes effect when the
    /// open period ends. From a year to months, the open month is looked at alone; its usage is wanted
    /// by the next call of [`Keeper::handle`], as `usage` is here, of [`Keeper::period_under`].
    pub fn change(&mut self, now: Timestamp, terms: Terms, usage: &Usage) -> Vec<Decision> {
        let period = self.period_under(now, &terms);
        if period.start != self.state.period.start {
            self.state.grace_until = None;
        }
        self.state.period = period;
        (self.state.next_plan, self.state.raised) = (None, false);
        self.terms = terms;
        self.rearm(usage);
        self.handle(now, usage)
    }

    /// The period that would be open if the account agreed to `terms` now.
    pub fn period_under(&self, now: Timestamp, terms: &Terms) -> Period {
        let open = self.state.period;
        let at = |cycle| Period::at(terms.anchor, cycle, now.max(open.start));
        match (self.terms.plan.cycle(), terms.plan.cycle()) {
            (Cycle::Month, Cycle::Month) | (Cycle::Year, Cycle::Year) => open,
            (Cycle::Month, Cycle::Year) => Period { start: open.start, end: at(Cycle::Year).end },
            (Cycle::Year, Cycle::Month) => {
                let month = at(Cycle::Month);
                Period { start: month.start.max(open.start), end: month.end }
            }
        }
    }

    /// Gives the notices of all thresholds that were reached and not told yet.
    fn warn(&mut self, now: Timestamp, usage: &Usage, decisions: &mut Vec<Decision>) {
        let Some(allowances) = self.terms.allowances() else { return };
        for limit in Limit::ALL {
            let (used, allowed) = (limit.used(usage), limit.allowed(&allowances));
            for percent in limit.thresholds().iter().copied() {
                if !reaches(used, percent, allowed) || !self.state.warned.insert((limit, percent)) {
                    continue;
                }
                let then = self.consequence(now, limit, percent);
                let allowed = allowed.get();
                let matter = Matter::Threshold { limit, percent, used, allowed, then };
                decisions.push(self.notice(now, matter));
            }
        }
    }

    fn consequence(&self, now: Timestamp, limit: Limit, percent: u8) -> Consequence {
        if percent < 100 || self.is_over(now) {
            return Consequence::Nothing;
        }
        match (self.terms.plan, limit) {
            (Plan::Free, Limit::Operations) => Consequence::PausesAt(self.grace_end(now).max(now)),
            (Plan::Free, Limit::Devices) => Consequence::NoMoreDevices,
            (Plan::Free, Limit::CellularBytes | Limit::TrackerBytes) => Consequence::PausesAt(now),
            (Plan::Growth { .. }, _) => Consequence::MoreBlocks,
            (Plan::Enterprise { .. } | Plan::Unlimited, _) => Consequence::Nothing,
        }
    }

    /// Begins or ends grace and pause.
    fn limit(&mut self, now: Timestamp, usage: &Usage, decisions: &mut Vec<Decision>) {
        self.grace(now, usage);
        let used_up = self.used_up(usage);
        let is_graced = self.state.grace_until.is_some_and(|until| now < until);
        let of_operations = used_up.contains(&Limit::Operations) && (!is_graced || self.stopped());
        let limit = match used_up.iter().find(|limit| **limit != Limit::Operations) {
            _ if of_operations => Some(Limit::Operations),
            bytes => bytes.copied(),
        };
        self.set_pause(now, limit, decisions);
    }

    /// Begins the grace of a free account, or ends it when what free gives is not used up any more.
    fn grace(&mut self, now: Timestamp, usage: &Usage) {
        let free = &self.terms.catalogue.free;
        if !reaches(usage.operations, 100, Limit::Operations.allowed(free)) {
            self.state.grace_until = None;
        } else if self.terms.plan == Plan::Free {
            self.state.grace_until = Some(self.grace_end(now));
        }
    }

    /// When a grace ends that has begun, or begins now.
    fn grace_end(&self, now: Timestamp) -> Timestamp {
        self.state.grace_until.unwrap_or_else(|| now.after(GRACE))
    }

    /// Whether data was stopped already: a clock that steps back does not begin the grace again.
    fn stopped(&self) -> bool {
        self.state.pause.is_some_and(|pause| pause.limit == Limit::Operations)
    }

    /// The allowances of a free account that are used up and stop something.
    fn used_up(&self, usage: &Usage) -> Vec<Limit> {
        if self.terms.plan != Plan::Free {
            return Vec::new();
        }
        let free = &self.terms.catalogue.free;
        let stopping = [Limit::Operations, Limit::CellularBytes, Limit::TrackerBytes];
        stopping
            .into_iter()
            .filter(|limit| reaches(limit.used(usage), 100, limit.allowed(free)))
            .collect()
    }

    fn set_pause(&mut self, now: Timestamp, limit: Option<Limit>, decisions: &mut Vec<Decision>) {
        let free = self.terms.catalogue.free;
        let pause = limit.map(|limit| Pausing {
            limit,
            allowed: limit.allowed(&free).get(),
            until: self.state.period.end,
        });
        if pause == self.state.pause {
            return;
        }
        self.state.pause = pause;
        decisions.push(Decision::Pause(pause));
        let matter = pause.map_or(Matter::Resumed, Matter::Paused);
        decisions.push(self.notice(now, matter));
    }

    fn close(&mut self, now: Timestamp, usage: &Usage, decisions: &mut Vec<Decision>) {
        let ended = self.state.period;
        let more = self.more_blocks(usage);
        let plan = match more {
            Some((_, to, _)) => Plan::Growth { blocks: to },
            None if self.state.raised => self.terms.plan,
            None => self.state.next_plan.take().unwrap_or(self.terms.plan),
        };
        self.terms.plan = plan;
        decisions.push(Decision::Close { period: ended, usage: *usage, plan });
        let next = Period::at(self.terms.anchor, plan.cycle(), ended.end);
        let paused = self.state.pause.is_some();
        let period = Period { start: ended.end, end: next.end };
        let next_plan = self.state.next_plan;
        self.state = KeeperState { next_plan, ..KeeperState::of(period) };
        if paused {
            decisions.push(Decision::Pause(None));
            decisions.push(self.notice(now, Matter::Resumed));
        }
        if let Some((from, to, limit)) = more {
            decisions.push(self.notice(now, Matter::BlocksAdded { from, to, limit }));
        }
    }

    /// Blocks held, blocks needed and why, if more are needed than held.
    fn more_blocks(&self, usage: &Usage) -> Option<(NonZeroU32, NonZeroU32, Limit)> {
        let Plan::Growth { blocks } = self.terms.plan else { return None };
        let needed = blocks_needed(usage, &self.terms.catalogue.growth);
        let limit = needed.forced_by.filter(|_| needed.blocks > blocks)?;
        Some((blocks, needed.blocks, limit))
    }

    /// Notices of thresholds that the usage is below again are given again when it reaches them.
    fn rearm(&mut self, usage: &Usage) {
        let Some(allowances) = self.terms.allowances() else { return self.state.warned.clear() };
        let is_reached =
            |limit: Limit, percent| reaches(limit.used(usage), percent, limit.allowed(&allowances));
        self.state.warned.retain(|(limit, percent)| is_reached(*limit, *percent));
    }

    fn notice(&self, at: Timestamp, matter: Matter) -> Decision {
        Decision::Notify(Notice { at, period: self.state.period, matter })
    }
}

impl KeeperState {
    fn of(period: Period) -> Self {
        Self {
            period,
            warned: BTreeSet::new(),
            grace_until: None,
            pause: None,
            next_plan: None,
            raised: false,
        }
    }

    /// The open period.
    pub fn period(&self) -> Period {
        self.period
    }
}
