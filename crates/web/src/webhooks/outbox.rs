//! What waits to be sent: fair between hosts, bounded everywhere. Knows no clock and sends nothing:
//! times are milliseconds from anywhere.

use std::collections::{BTreeMap, VecDeque};

use super::health::Health;

/// How much may wait and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Requests under way to one host, and to all.
    pub(crate) running_per_host: usize,
    pub(crate) running: usize,
    /// Jobs that wait for one host, of one owner, and in all, retries included.
    pub(crate) waiting_per_host: usize,
    pub(crate) waiting_per_owner: usize,
    pub(crate) waiting: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            running_per_host: 10,
            running: 512,
            waiting_per_host: 1_000,
            waiting_per_owner: 2_500,
            waiting: 10_000,
        }
    }
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting<J> {
    /// Where it goes: jobs of one host share its fate.
    pub(crate) host: String,
    /// Whose it is.
    pub(crate) owner: u64,
    pub(crate) job: J,
}

/// What is to be done with a job whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<J> {
    /// Send it, and tell [`Outbox::done`] how it ended.
    Send(Waiting<J>),
    /// Its host fails too often: count it as an attempt that was not made.
    Skip(Waiting<J>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox<J> {
    bounds: Bounds,
    hosts: BTreeMap<String, Host<J>>,
    /// Hosts with jobs in their queue, each once, in the order of their turns.
    turns: VecDeque<String>,
    /// By when they are due.
    delayed: BTreeMap<(u64, u64), Waiting<J>>,
    waiting_by_owner: BTreeMap<u64, usize>,
    waiting: usize,
    running: usize,
    sequence: u64,
}

#[derive(Debug)]
struct Host<J> {
    queue: VecDeque<Waiting<J>>,
    /// Queued and delayed.
    waiting: usize,
    running: usize,
    health: Health,
}

impl<J> Outbox<J> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hosts: BTreeMap::new(),
            turns: VecDeque::new(),
            delayed: BTreeMap::new(),
            waiting_by_owner: BTreeMap::new(),
            waiting: 0,
            running: 0,
            sequence: 0,
        }
    }

    /// Takes a job; gives back the one that has no room: the oldest that waits for the same host, or
    /// this one.
    pub(crate) fn push(&mut self, job: Waiting<J>) -> Option<Waiting<J>> {
        let dropped = match self.is_full_for(&job) {
            false => None,
            true => match self.drop_oldest(&job) {
                Some(oldest) => Some(oldest),
                None => return Some(job),
            },
        };
        self.count_in(&job);
        self.enqueue(job);
        dropped
    }

    /// Takes a job back that shall be tried again at `due`; gives it back if there is no room.
    pub(crate) fn delay(&mut self, due: u64, job: Waiting<J>) -> Option<Waiting<J>> {
        if self.is_full_for(&job) {
            return Some(job);
        }
        self.count_in(&job);
        self.sequence += 1;
        self.delayed.insert((due, self.sequence), job);
        None
    }

    /// The next turn, if any job may have one now.
    pub(crate) fn poll(&mut self, now: u64) -> Option<Turn<J>> {
        self.wake(now);
        for _ in 0..self.turns.len() {
            let name = self.turns.pop_front()?;
            let taken = self.take_from(now, &name);
            if self.hosts.get(&name).is_some_and(|host| !host.queue.is_empty()) {
                self.turns.push_back(name);
            }
            if let Some(turn) = taken {
                return Some(turn);
            }
        }
        None
    }

    /// A job that was sent ended, well or not, or in a way that says nothing about its host.
    pub(crate) fn done(&mut self, now: u64, host: &str, outcome: Option<bool>) {
        self.running = self.running.saturating_sub(1);
        if let Some(known) = self.hosts.get_mut(host) {
            known.running = known.running.saturating_sub(1);
            known.health.record(now, outcome);
        }
        let is_idle = |host: &Host<J>| host.waiting == 0 && host.running == 0;
        self.hosts.retain(|_, host| !is_idle(host) || !host.health.is_forgotten(now));
    }

    /// When the next delayed job is due.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        self.delayed.keys().next().map(|(due, _)| *due)
    }

    /// Jobs that wait, the delayed ones included.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn wake(&mut self, now: u64) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let job = entry.remove();
            self.enqueue(job);
        }
    }

    fn take_from(&mut self, now: u64, name: &str) -> Option<Turn<J>> {
        let host = self.hosts.get_mut(name)?;
        if host.running >= self.bounds.running_per_host || self.running >= self.bounds.running {
            return None;
        }
        let is_admitted = host.health.admits(now);
        let job = host.queue.pop_front()?;
        if is_admitted {
            host.running += 1;
            self.running += 1;
        }
        self.count_out(&job);
        Some(if is_admitted { Turn::Send(job) } else { Turn::Skip(job) })
    }

    fn is_full_for(&self, job: &Waiting<J>) -> bool {
        let for_host = self.hosts.get(&job.host).map_or(0, |host| host.waiting);
        let for_owner = self.waiting_by_owner.get(&job.owner).copied().unwrap_or(0);
        for_host >= self.bounds.waiting_per_host
            || for_owner >= self.bounds.waiting_per_owner
            || self.waiting >= self.bounds.waiting
    }

    /// Only a job of the same owner and host makes room: nobody's jobs push out another's.
    fn drop_oldest(&mut self, new: &Waiting<J>) -> Option<Waiting<J>> {
        let host = self.hosts.get_mut(&new.host)?;
        let oldest = host.queue.iter().position(|job| job.owner == new.owner)?;
        let oldest = host.queue.remove(oldest)?;
        self.count_out(&oldest);
        Some(oldest)
    }

    fn enqueue(&mut self, job: Waiting<J>) {
        let name = job.host.clone();
        let Some(host) = self.hosts.get_mut(&name) else { return };
        host.queue.push_back(job);
        if host.queue.len() == 1 && !self.turns.contains(&name) {
            self.turns.push_back(name);
        }
    }

    fn count_in(&mut self, job: &Waiting<J>) {
        self.waiting += 1;
        *self.waiting_by_owner.entry(job.owner).or_default() += 1;
        let host = self.hosts.entry(job.host.clone()).or_insert_with(|| Host {
            queue: VecDeque::new(),
            waiting: 0,
            running: 0,
            health: Health::default(),
        });
        host.waiting += 1;
    }

    fn count_out(&mut self, job: &Waiting<J>) {
        self.waiting -= 1;
        if let Some(host) = self.hosts.get_mut(&job.host) {
            host.waiting -= 1;
        }
        if let Some(count) = self.waiting_by_owner.get_mut(&job.owner) {
            *count -= 1;
            if *count == 0 {
                self.waiting_by_owner.remove(&job.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds {
        running_per_host: 2,
        running: 3,
        waiting_per_host: 3,
        waiting_per_owner: 4,
        waiting: 6,
    };

    fn job(host: &str, job: u32) -> Waiting<u32> {
        Waiting { host: host.into(), owner: 1, job }
    }

    fn sent(turn: Option<Turn<u32>>) -> Option<u32> {
        match turn {
            Some(Turn::Send(waiting)) => Some(waiting.job),
            _ => None,
        }
    }

    #[test]
    fn a_host_that_hangs_holds_up_only_its_own_jobs() {
        let mut outbox = Outbox::new(SMALL);
        (1..=3).for_each(|number| assert_eq!(outbox.push(job("hangs", number)), None));
        assert_eq!(outbox.push(job("fine", 4)), None);
        assert_eq!(sent(outbox.poll(0)), Some(1));
        assert_eq!(sent(outbox.poll(0)), Some(4));
        assert_eq!(sent(outbox.poll(0)), Some(2));
        assert_eq!(outbox.poll(0), None);
        outbox.done(0, "fine", Some(true));
        assert_eq!(outbox.poll(0), None);
        outbox.done(20_000, "hangs", Some(false));
        assert_eq!(sent(outbox.poll(20_000)), Some(3));
    }

    #[test]
    fn the_oldest_of_the_same_host_makes_room_and_never_anothers() {
        let mut outbox = Outbox::new(SMALL);
        (1..=3).for_each(|number| assert_eq!(outbox.push(job("a", number)), None));
        assert_eq!(outbox.push(job("a", 4)), Some(job("a", 1)));
        assert_eq!(outbox.push(job("b", 5)), None);
        assert_eq!(outbox.push(job("c", 6)), Some(job("c", 6)));
        let other = |number| Waiting { owner: 2, ..job("a", number) };
        assert_eq!(outbox.push(other(7)), Some(other(7)));
    }

    #[test]
    fn a_delayed_job_has_its_turn_when_it_is_due() {
        let mut outbox = Outbox::new(SMALL);
        assert_eq!(outbox.delay(30_000, job("a", 1)), None);
        assert_eq!(outbox.next_timeout(), Some(30_000));
        assert_eq!(outbox.poll(29_999), None);
        assert_eq!(sent(outbox.poll(30_000)), Some(1));
        assert_eq!(outbox.next_timeout(), None);
    }

    #[test]
    fn jobs_of_a_spared_host_are_skipped_and_not_sent() {
        let mut outbox = Outbox::new(SMALL);
        for number in 0..5 {
            outbox.push(job("a", number));
            assert_eq!(sent(outbox.poll(0)), Some(number));
            outbox.done(0, "a", Some(false));
        }
        outbox.push(job("a", 6));
        outbox.push(job("b", 7));
        assert_eq!(outbox.poll(1), Some(Turn::Skip(job("a", 6))));
        assert_eq!(sent(outbox.poll(1)), Some(7));
    }

    #[test]
    fn hosts_are_forgotten_when_nothing_is_left_of_them() {
        let mut outbox = Outbox::new(SMALL);
        for (at, host) in [(0, "a"), (1, "b"), (70_000, "c")] {
            outbox.push(job(host, 1));
            outbox.poll(at);
            outbox.done(at, host, Some(true));
        }
        assert_eq!(outbox.hosts.len(), 1);
        assert!(outbox.waiting_by_owner.is_empty());
    }
}
