//! Accounts that are paused, and plans: what is taken and what it costs.

use std::time::Duration;

use metering::Rules;
use model::journal::Charge;
use model::{AccountId, Event, Mono, Refusal, Timestamp};

use super::{Asked, Judge, Wish};

/// What the judge knows of an account.
#[derive(Debug, Default)]
pub(crate) struct Paying {
    /// Since when it is paused; absent: it is not, or the clock was set meanwhile.
    paused_since: Option<Timestamp>,
    /// The same by a clock that nobody sets, and whether it is.
    paused: Option<Mono>,
    resumed_at: Mono,
    /// The rules that were ever in force, the newest last, with when that was.
    rules: Vec<Rules>,
    changed_at: Option<Timestamp>,
}

impl Judge {
    pub(crate) fn account_paused(&mut self, account: AccountId, now: Mono, utc: Timestamp) {
        let is_steady = self.is_clock_steady(now);
        let paying = self.accounts.entry(account).or_default();
        paying.paused = Some(now);
        paying.paused_since = is_steady.then_some(utc);
    }

    pub(crate) fn account_resumed(&mut self, account: AccountId, now: Mono) {
        let paying = self.accounts.entry(account).or_default();
        paying.paused = None;
        paying.paused_since = None;
        paying.resumed_at = now;
    }

    pub(crate) fn plan_changed(
        &mut self,
        account: AccountId,
        rules: Rules,
        now: Mono,
        utc: Timestamp,
    ) {
        let is_steady = self.is_clock_steady(now);
        let paying = self.accounts.entry(account).or_default();
        paying.rules.push(rules);
        paying.changed_at = is_steady.then_some(utc);
    }

    /// What was taken before the clock was set may still wait for the disk.
    fn is_clock_steady(&self, now: Mono) -> bool {
        now.since(self.clock_set_at) > COMMITTED
    }

    /// Times of before and after cannot be compared.
    pub(crate) fn clock_stepped(&mut self, now: Mono) {
        self.clock_set_at = now;
        for paying in self.accounts.values_mut() {
            paying.paused_since = None;
            paying.changed_at = None;
        }
    }

    /// What is taken for a paused account was taken before it was paused.
    pub(super) fn check_paused(&mut self, event: &Event) {
        let since = self.accounts.get(&event.account).and_then(|paying| paying.paused_since);
        if since.is_some_and(|since| event.published_at > since) {
            self.fail(format!("{event:?} is taken, its account is paused since {since:?}"));
        }
    }

    /// Each charge is as the rules say that were in force.
    pub(super) fn is_right_price(&self, charge: &Charge) -> bool {
        let price = |rules: &Rules| rules.operations_for(charge.kind, charge.bytes);
        let usual = Rules::default();
        let Some(paying) = self.accounts.get(&charge.account) else {
            return charge.operations == price(&usual);
        };
        let newest = paying.rules.last().unwrap_or(&usual);
        if paying.changed_at.is_some_and(|changed_at| charge.at > changed_at) {
            return charge.operations == price(newest);
        }
        let mut all = paying.rules.iter().chain([&usual]);
        all.any(|rules| charge.operations == price(rules))
    }

    /// Whether a caller may be refused because of the account.
    pub(super) fn may_be_paused(&self, asked: &Asked) -> bool {
        let account = match &asked.wish {
            Wish::Publish { serial } => self.publications[*serial as usize].account,
            Wish::Echo { device, .. } | Wish::Read { device } => self.devices[*device].account,
            Wish::Ping { .. } | Wish::Signal { .. } | Wish::States { .. } => None,
        };
        let paying = account.and_then(|account| self.accounts.get(&account));
        paying.is_some_and(|paying| paying.paused.is_some() || paying.resumed_at >= asked.at)
    }

    /// A caller of a paused account publishes nothing.
    pub(super) fn check_published_by_caller(&mut self, asked: &Asked) {
        let Wish::Publish { serial } = &asked.wish else { return };
        let account = self.publications[*serial as usize].account;
        let paying = account.and_then(|account| self.accounts.get(&account));
        if paying.and_then(|paying| paying.paused).is_some_and(|paused| asked.at > paused) {
            self.fail(format!("p{serial} of a caller is taken, the account is paused"));
        }
    }
}

/// Longer than anything waits for the disk.
const COMMITTED: Duration = Duration::from_secs(60);

/// What a caller hears that is refused because of the account.
pub(super) fn is_pause(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Paused(_))
}
