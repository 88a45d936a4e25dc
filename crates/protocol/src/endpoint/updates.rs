//! Whose turn it is to send chunks of an update: all in turn, a few at a time, within a bandwidth, so
//! that nothing else waits for them.

use std::collections::VecDeque;
use std::time::Duration;

use model::{Mono, Now};

use super::Endpoint;
use super::connection::Upshot;

/// Chunks of all connections before other work has its turn.
const CHUNKS_PER_TURN: u16 = 32;
/// Chunks of one connection before the next one has its turn.
const CHUNKS_AT_ONCE: u16 = 4;
/// The pause between two turns.
const TURN_PAUSE: Duration = Duration::from_millis(1);
/// What may be sent at once, in microseconds of the bandwidth.
const BURST_US: u64 = 20_000;

/// Connections that have chunks to send.
#[derive(Debug)]
pub(crate) struct Updates {
    queue: VecDeque<u32>,
    /// When the next ones may go.
    turn_at: Option<Mono>,
    /// Bytes a second; 0: no bound.
    bandwidth: u64,
    /// Bytes that may be sent, in millionths; negative while it recovers.
    budget: i128,
    filled_at: Mono,
}

impl Updates {
    pub(crate) fn new(bandwidth: u64) -> Self {
        let budget = i128::from(bandwidth) * i128::from(BURST_US);
        Self { queue: VecDeque::new(), turn_at: None, bandwidth, budget, filled_at: Mono(0) }
    }

    /// When chunks are to be sent.
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.turn_at
    }

    /// Puts a connection at the end of the queue.
    pub(crate) fn join(&mut self, slot: u32, now: Mono) {
        self.queue.push_back(slot);
        self.turn_at.get_or_insert(now);
    }

    /// Makes the budget of this moment; when there is none, says from when on there is.
    fn fill(&mut self, now: Mono) -> Option<Mono> {
        if self.bandwidth == 0 {
            return None;
        }
        let (bandwidth, elapsed) = (i128::from(self.bandwidth), now.since(self.filled_at));
        let most = bandwidth * i128::from(BURST_US);
        let gained = bandwidth * i128::try_from(elapsed.as_micros()).unwrap_or(i128::MAX >> 64);
        self.budget = (self.budget + gained).min(most);
        self.filled_at = now;
        let wait_us = (-self.budget).max(0) / bandwidth;
        let wait_us = u64::try_from(wait_us).unwrap_or(u64::MAX);
        (self.budget <= 0).then(|| now.after(Duration::from_micros(wait_us + 1)))
    }

    fn spend(&mut self, bytes: u64) {
        if self.bandwidth > 0 {
            self.budget -= i128::from(bytes) * 1_000_000;
        }
    }
}

impl Endpoint {
    /// Sends chunks, if it is time.
    pub(super) fn send_chunks_due(&mut self, now: Now) {
        if self.updates.turn_at.is_none_or(|at| at > now.mono) {
            return;
        }
        let mut chunks = 0;
        let mut next = None;
        while chunks < CHUNKS_PER_TURN {
            next = self.updates.fill(now.mono);
            if next.is_some() {
                break;
            }
            let Some(slot) = self.updates.queue.pop_front() else { break };
            chunks += CHUNKS_AT_ONCE;
            self.send_chunks_of(now, slot);
        }
        let next = next.unwrap_or_else(|| now.mono.after(TURN_PAUSE));
        self.updates.turn_at = (!self.updates.queue.is_empty()).then_some(next);
    }

    fn send_chunks_of(&mut self, now: Now, slot: u32) {
        let mut sent = 0;
        self.with_connection(now, slot, |connection, cx| {
            sent = connection.send_chunks(cx, CHUNKS_AT_ONCE);
            Upshot::Done
        });
        self.counters.update_bytes_sent += sent;
        self.updates.spend(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bandwidth_is_kept_however_often_it_is_asked() {
        let mut updates = Updates::new(1_000_000);
        let (mut now, mut sent) = (Mono(5_000_000), 0_u64);
        while now.0 < 7_000_000 {
            while updates.fill(now).is_none() {
                updates.spend(1200);
                sent += 1200;
            }
            now = now.after(Duration::from_micros(700));
        }
        assert!((1_990_000..2_030_000).contains(&sent), "{sent}");
    }

    #[test]
    fn without_a_bandwidth_there_is_no_bound() {
        let mut updates = Updates::new(0);
        updates.spend(1 << 40);
        assert_eq!(updates.fill(Mono(1)), None);
    }
}
