//! One deadline for each slot, earliest first: a binary heap that knows where each slot stands, so
//! that a slot has at most one entry and a deadline can be moved either way.

use model::Mono;

/// Deadlines by slot. Memory: 16 bytes for each armed slot and 4 for each slot ever used.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<(Mono, u32)>,
    positions: Vec<u32>,
}

/// The position of a slot that has no deadline.
const NOWHERE: u32 = u32::MAX;

impl Timers {
    /// Sets the deadline of `slot`, replacing the one before.
    pub(crate) fn set(&mut self, slot: u32, at: Mono) {
        let position = self.position(slot);
        if position == NOWHERE {
            self.heap.push((at, slot));
            self.rise(self.heap.len() - 1);
        } else {
            self.replace(position as usize, at);
        }
    }

    /// Makes sure that `slot` wakes at `at` or before. A later wish costs nothing: the slot finds out
    /// when it wakes.
    pub(crate) fn set_no_later(&mut self, slot: u32, at: Mono) {
        let position = self.position(slot);
        if position == NOWHERE || self.heap[position as usize].0 > at {
            self.set(slot, at);
        }
    }

    /// Takes the deadline of `slot` away.
    pub(crate) fn clear(&mut self, slot: u32) {
        let position = self.position(slot);
        if position != NOWHERE {
            self.remove(position as usize);
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes out a slot whose deadline is `now` or before.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<u32> {
        let (at, slot) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0);
        Some(slot)
    }

    fn position(&mut self, slot: u32) -> u32 {
        let slot = slot as usize;
        if slot >= self.positions.len() {
            self.positions.resize(slot + 1, NOWHERE);
        }
        self.positions[slot]
    }

    fn replace(&mut self, position: usize, at: Mono) {
        let before = self.heap[position].0;
        self.heap[position].0 = at;
        if at < before {
            self.rise(position);
        } else {
            self.sink(position);
        }
    }

    fn remove(&mut self, position: usize) {
        let (_, slot) = self.heap.swap_remove(position);
        self.positions[slot as usize] = NOWHERE;
        if position < self.heap.len() {
            self.rise(position);
            self.sink(position);
        }
    }

    fn rise(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent] <= self.heap[position] {
                break;
            }
            self.heap.swap(parent, position);
            self.note(position);
            position = parent;
        }
        self.note(position);
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let Some(least) =
                (left..self.heap.len().min(left + 2)).min_by_key(|child| self.heap[*child])
            else {
                break;
            };
            if self.heap[position] <= self.heap[least] {
                break;
            }
            self.heap.swap(position, least);
            self.note(position);
            position = least;
        }
        self.note(position);
    }

    fn note(&mut self, position: usize) {
        let slot = self.heap[position].1 as usize;
        self.positions[slot] = u32::try_from(position).unwrap_or(NOWHERE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_out_in_the_order_of_their_deadlines() {
        let mut timers = Timers::default();
        for slot in 0..1000_u32 {
            timers.set(slot, Mono(u64::from(slot * 7919 % 1000)));
        }
        for slot in (0..1000).step_by(3) {
            timers.set(slot, Mono(u64::from(slot * 31 % 977)));
        }
        for slot in (0..1000).step_by(5) {
            timers.clear(slot);
        }
        let mut last = Mono(0);
        let mut count = 0;
        while let Some(next) = timers.next() {
            assert!(next >= last);
            last = next;
            assert!(timers.pop_due(Mono(next.0.saturating_sub(1))).is_none() || next.0 == 0);
            timers.pop_due(next).expect("a slot is due");
            count += 1;
        }
        assert_eq!(count, 800);
    }

    #[test]
    fn a_later_wish_does_not_move_a_deadline_but_an_earlier_one_does() {
        let mut timers = Timers::default();
        timers.set_no_later(3, Mono(100));
        timers.set_no_later(3, Mono(200));
        assert_eq!(timers.next(), Some(Mono(100)));
        timers.set_no_later(3, Mono(50));
        assert_eq!(timers.next(), Some(Mono(50)));
        assert_eq!(timers.pop_due(Mono(50)), Some(3));
        assert_eq!(timers.next(), None);
    }
}
