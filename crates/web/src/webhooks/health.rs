//! Whether a host is spared because it fails (`api/webhooks.md` §6). Knows no clock: times are
//! milliseconds from anywhere.

use std::collections::VecDeque;

/// How long an outcome counts.
const MEMORY_MS: u64 = 60_000;
/// Outcomes remembered.
const OUTCOMES_MAX: usize = 100;
/// Failures before a host can be spared.
const FAILURES_MIN: usize = 5;
/// How long a host is spared at first, and at most.
const SLEEP_MS_FIRST: u64 = 5_000;
const SLEEP_MS_MAX: u64 = 60_000;

/// What is known of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    outcomes: VecDeque<(u64, bool)>,
    /// 0: it is not spared.
    sleep_ms: u64,
    asleep_until_ms: u64,
    probing: bool,
}

impl Health {
    /// Whether a request may be sent now. Of a spared host's requests one is let through when its
    /// sleep is over; how that ends decides.
    pub(crate) fn admits(&mut self, now: u64) -> bool {
        if self.sleep_ms == 0 {
            return true;
        }
        if now < self.asleep_until_ms || self.probing {
            return false;
        }
        self.probing = true;
        true
    }

    /// A request ended. Without an outcome it says nothing about the host.
    pub(crate) fn record(&mut self, now: u64, outcome: Option<bool>) {
        let Some(is_success) = outcome else {
            self.probing = false;
            return;
        };
        if self.sleep_ms > 0 {
            return self.record_asleep(now, is_success);
        }
        self.outcomes.push_back((now, is_success));
        while self.outcomes.len() > OUTCOMES_MAX
            || self.outcomes.front().is_some_and(|(at, _)| at + MEMORY_MS <= now)
        {
            self.outcomes.pop_front();
        }
        let failures = self.outcomes.iter().filter(|(_, is_success)| !is_success).count();
        if failures >= FAILURES_MIN && failures > self.outcomes.len() - failures {
            self.sleep(now, SLEEP_MS_FIRST);
        }
    }

    /// Whether there is anything to remember.
    pub(crate) fn is_forgotten(&self, now: u64) -> bool {
        let is_old = |(at, _): &(u64, bool)| at + MEMORY_MS <= now;
        self.outcomes.back().is_none_or(is_old)
            && (self.sleep_ms == 0 || self.asleep_until_ms + MEMORY_MS <= now)
    }

    fn record_asleep(&mut self, now: u64, is_success: bool) {
        if is_success {
            *self = Self::default();
        } else if self.probing {
            self.sleep(now, (self.sleep_ms * 2).min(SLEEP_MS_MAX));
        }
    }

    fn sleep(&mut self, now: u64, sleep_ms: u64) {
        let asleep_until_ms = now + sleep_ms;
        *self = Self { sleep_ms, asleep_until_ms, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: usize) -> Health {
        let mut health = Health::default();
        (0..times).for_each(|_| health.record(0, Some(false)));
        health
    }

    #[test]
    fn five_failures_that_outnumber_the_successes_put_a_host_to_sleep() {
        assert!(failing(4).admits(0));
        assert!(!failing(5).admits(0));
        let mut mixed = Health::default();
        for at in 0..20 {
            mixed.record(at, Some(at % 2 == 0));
            assert!(mixed.admits(at));
        }
    }

    #[test]
    fn one_request_is_let_through_after_the_sleep_and_its_end_decides() {
        let mut health = failing(5);
        assert!(!health.admits(4_999));
        assert!(health.admits(5_000));
        assert!(!health.admits(5_001));
        health.record(5_002, Some(false));
        assert!(!health.admits(15_001));
        assert!(health.admits(15_002));
        health.record(15_003, Some(true));
        assert!(health.admits(15_004) && health.admits(15_004));
    }

    #[test]
    fn the_sleep_doubles_up_to_a_minute() {
        let (mut health, mut now) = (failing(5), 0);
        for sleep in [5_000, 10_000, 20_000, 40_000, 60_000, 60_000] {
            assert!(!health.admits(now + sleep - 1), "{sleep}");
            now += sleep;
            assert!(health.admits(now), "{sleep}");
            health.record(now, Some(false));
        }
    }

    #[test]
    fn old_failures_do_not_count() {
        let mut health = failing(4);
        health.record(MEMORY_MS, Some(false));
        assert!(health.admits(MEMORY_MS));
        assert!(health.is_forgotten(2 * MEMORY_MS));
    }
}
