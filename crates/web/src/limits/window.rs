//! Counting requests over a sliding window, in little and bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Slots of a window. A request counts until its whole slot has left the window, so it may count one
/// slot too long, never too short: no span as long as the window ever sees more than the limit.
const SLOTS: u64 = 60;

/// Counts for many keys.
#[derive(Debug)]
pub(crate) struct Windows<K> {
    span_ms: u64,
    keys_max: usize,
    counts: HashMap<K, Counts>,
}

/// The counts of one key, by slot.
#[derive(Debug, Clone)]
struct Counts {
    /// Number of the newest slot.
    newest: u64,
    slots: [u16; SLOTS as usize],
    /// Sum of the slots.
    total: u32,
}

impl<K: Hash + Eq + Clone> Windows<K> {
    /// Windows of this length for at most `keys_max` keys.
    pub(crate) fn new(span_ms: u64, keys_max: usize) -> Self {
        Self { span_ms, keys_max, counts: HashMap::new() }
    }

    /// Whether one more request of `key` is within `limit`; if not, the milliseconds until one is.
    pub(crate) fn check(&mut self, now_ms: u64, key: &K, limit: u32) -> Result<(), u64> {
        let slot = self.slot(now_ms);
        let Some(counts) = self.counts.get_mut(key) else { return Ok(()) };
        counts.advance(slot);
        if counts.total < limit {
            return Ok(());
        }
        let frees_at = (counts.oldest() + SLOTS) * self.slot_ms();
        Err(frees_at.saturating_sub(now_ms).max(1))
    }

    /// Counts a request. When as many keys as fit are known, those without requests in the window are
    /// forgotten; if all are busy the key is not counted (the caller's general answer to a flood of
    /// addresses is that each of them is new).
    pub(crate) fn count(&mut self, now_ms: u64, key: &K) {
        let slot = self.slot(now_ms);
        if self.counts.len() >= self.keys_max && !self.counts.contains_key(key) {
            self.forget_idle(slot);
            if self.counts.len() >= self.keys_max {
                return;
            }
        }
        let counts = self.counts.entry(key.clone()).or_insert_with(|| Counts::new(slot));
        counts.advance(slot);
        counts.add();
    }

    fn forget_idle(&mut self, slot: u64) {
        self.counts.retain(|_, counts| slot < counts.newest + SLOTS);
    }

    fn slot_ms(&self) -> u64 {
        self.span_ms.div_ceil(SLOTS - 1)
    }

    fn slot(&self, now_ms: u64) -> u64 {
        now_ms / self.slot_ms()
    }
}

impl Counts {
    fn new(slot: u64) -> Self {
        Self { newest: slot, slots: [0; SLOTS as usize], total: 0 }
    }

    fn index(slot: u64) -> usize {
        (slot % SLOTS) as usize
    }

    /// Moves the window on, dropping what leaves it.
    fn advance(&mut self, slot: u64) {
        let steps = slot.saturating_sub(self.newest).min(SLOTS);
        for step in 1..=steps {
            let leaving = &mut self.slots[Self::index(self.newest + step)];
            self.total -= u32::from(*leaving);
            *leaving = 0;
        }
        self.newest = self.newest.max(slot);
    }

    fn add(&mut self) {
        let counted = &mut self.slots[Self::index(self.newest)];
        if *counted < u16::MAX {
            *counted += 1;
            self.total += 1;
        }
    }

    /// The oldest slot that holds requests.
    fn oldest(&self) -> u64 {
        let first = (self.newest + 1).saturating_sub(SLOTS);
        (first..=self.newest).find(|slot| self.slots[Self::index(*slot)] > 0).unwrap_or(self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 300_000;

    #[test]
    fn no_window_ever_sees_more_than_the_limit() {
        let mut windows = Windows::new(SPAN, 10);
        let mut taken = Vec::new();
        // A client that tries every 700 ms for an hour, limit 100.
        for now in (0..3_600_000).step_by(700) {
            if windows.check(now, &1, 100).is_ok() {
                windows.count(now, &1);
                taken.push(now);
            }
        }
        for end in &taken {
            let within = taken.iter().filter(|at| **at <= *end && *at + SPAN > *end).count();
            assert!(within <= 100, "{within} in the window that ends at {end}");
        }
        assert!(taken.len() > 1000, "a patient client gets through: {}", taken.len());
    }

    #[test]
    fn the_wait_told_is_enough() {
        let mut windows = Windows::new(SPAN, 10);
        (0..5).for_each(|_| windows.count(1000, &1));
        let wait = windows.check(2000, &1, 5).expect_err("full");
        assert!(windows.check(2000 + wait - 1, &1, 5).is_err());
        assert!(windows.check(2000 + wait, &1, 5).is_ok());
        assert!(wait <= SPAN + SPAN / 59 + 1);
    }

    #[test]
    fn keys_are_bounded_and_idle_ones_make_room() {
        let mut windows = Windows::new(SPAN, 3);
        (0..100).for_each(|key| windows.count(0, &key));
        assert_eq!(windows.counts.len(), 3);
        windows.count(2 * SPAN, &1000);
        assert!(windows.counts.contains_key(&1000));
    }
}
