//! TCP in virtual time: bytes arrive in order, cut anyhow, after a while.

use std::collections::BTreeMap;

use model::Mono;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::harness::StreamId;

/// What arrives at one end of a stream.
#[derive(Debug)]
pub(crate) enum Wire {
    /// The device's connection reached the server; whether it takes it is seen then.
    Connect,
    /// It is connected.
    Connected,
    Bytes(Vec<u8>),
    Closed,
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Device,
    Server,
}

/// All streams.
pub(crate) struct Wires {
    flying: BTreeMap<(Mono, u64), (StreamId, End, Wire)>,
    /// When the last one arrives at each end, so that order is kept.
    last: BTreeMap<(StreamId, End), Mono>,
    sent: u64,
    random: SmallRng,
}

impl Wires {
    pub(crate) fn new(seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { flying: BTreeMap::new(), last: BTreeMap::new(), sent: 0, random }
    }

    /// Sends something to one end.
    pub(crate) fn send(&mut self, now: Mono, stream: StreamId, end: End, wire: Wire) {
        match wire {
            Wire::Bytes(bytes) if bytes.len() > 1 && self.random.random_bool(0.2) => {
                let cut = self.random.random_range(1..bytes.len());
                self.fly(now, stream, end, Wire::Bytes(bytes[..cut].to_vec()));
                self.fly(now, stream, end, Wire::Bytes(bytes[cut..].to_vec()));
            }
            wire => self.fly(now, stream, end, wire),
        }
    }

    /// Nothing that is on its way to this end arrives.
    pub(crate) fn cut(&mut self, wanted: impl Fn(StreamId) -> bool, end: End) {
        self.flying.retain(|_, (stream, at, _)| *at != end || !wanted(*stream));
    }

    pub(crate) fn next_arrival(&self) -> Option<Mono> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn arrive(&mut self, now: Mono) -> Option<(StreamId, End, Wire)> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.flying.pop_first().map(|(_, arrived)| arrived)
    }

    fn fly(&mut self, now: Mono, stream: StreamId, end: End, wire: Wire) {
        let last = self.last.entry((stream, end)).or_insert(now);
        let at = (*last).max(Mono(now.0 + self.random.random_range(1_000..40_000)));
        *last = at;
        self.sent += 1;
        self.flying.insert((at, self.sent), (stream, end, wire));
    }
}
