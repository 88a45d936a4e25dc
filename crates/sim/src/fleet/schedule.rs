//! When what is due: timers of many devices, and things that happen at a rate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use model::Mono;

/// The timers of many devices. A timer that moved later is found out when its old time comes, so
/// that the common case, a message sent and acknowledged, costs nothing.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Mono, u32)>>,
    scheduled: Vec<Mono>,
}

impl Timers {
    pub(crate) fn new(devices: usize) -> Self {
        Self { heap: BinaryHeap::new(), scheduled: vec![NEVER; devices] }
    }

    /// Wakes the device not later than `at`.
    pub(crate) fn set(&mut self, index: usize, at: Option<Mono>) {
        let Some(at) = at else { return };
        if at < self.scheduled[index] {
            self.scheduled[index] = at;
            self.heap.push(Reverse((at, index as u32)));
        }
    }

    /// The next device whose time has come. Set its timer again afterwards.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<usize> {
        while let Some(&Reverse((at, index))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let index = index as usize;
            if self.scheduled[index] == at {
                self.scheduled[index] = NEVER;
                return Some(index);
            }
        }
        None
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// Something that happens so many times a second, evenly.
#[derive(Debug)]
pub(crate) struct Pacer {
    per_s: f64,
    done: u64,
    since: Mono,
}

impl Pacer {
    pub(crate) fn new(per_s: f64, now: Mono) -> Self {
        Self { per_s, done: 0, since: now }
    }

    /// One of `count` each time a span of `every` has passed for all.
    pub(crate) fn spread(count: usize, every: Option<Duration>, now: Mono) -> Self {
        let per_s = every.map_or(0.0, |every| count as f64 / every.as_secs_f64().max(0.001));
        Self::new(per_s, now)
    }

    /// How many are due. More than half a second's worth behind is forgotten: nobody wants a burst.
    pub(crate) fn due(&mut self, now: Mono) -> u64 {
        let target = (now.since(self.since).as_secs_f64() * self.per_s) as u64;
        let owed = target.saturating_sub(self.done);
        let patience = (self.per_s / 2.0) as u64 + 1;
        if owed > patience {
            self.done = target - patience;
        }
        owed.min(patience)
    }

    pub(crate) fn did(&mut self, count: u64) {
        self.done += count;
    }

    /// When the next one is due; `None` if never.
    pub(crate) fn next(&self) -> Option<Mono> {
        if self.per_s <= 0.0 {
            return None;
        }
        Some(self.since.after(Duration::from_secs_f64((self.done + 1) as f64 / self.per_s)))
    }
}

const NEVER: Mono = Mono(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_set_earlier_wins_and_one_set_later_waits_for_the_old_time() {
        let mut timers = Timers::new(2);
        timers.set(0, Some(Mono(50)));
        timers.set(1, Some(Mono(40)));
        timers.set(0, Some(Mono(30)));
        timers.set(1, Some(Mono(90)));
        assert_eq!(timers.pop_due(Mono(29)), None);
        assert_eq!(timers.pop_due(Mono(45)), Some(0));
        assert_eq!(timers.pop_due(Mono(45)), Some(1));
        assert_eq!(timers.pop_due(Mono(100)), None, "the superseded one is gone");
    }

    #[test]
    fn a_pacer_keeps_its_rate_and_forgives_a_long_pause() {
        let mut pacer = Pacer::new(100.0, Mono(0));
        let mut done = 0;
        for ms in 0..=1000 {
            let due = pacer.due(Mono(ms * 1000));
            pacer.did(due);
            done += due;
        }
        assert_eq!(done, 100);
        assert_eq!(pacer.due(Mono(60_000_000)), 51);
    }
}
