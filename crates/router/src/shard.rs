//! The shard: what it is told, what it wants done.

use std::collections::VecDeque;

use model::{Mono, Now};

use crate::{Counters, Effect, Input, ShardConfig};

/// One shard of devices.
#[derive(Debug)]
pub struct Shard {
    effects: VecDeque<Effect>,
    counters: Counters,
}

impl Shard {
    /// A shard without devices.
    pub fn new(_config: ShardConfig) -> Self {
        Self { effects: VecDeque::new(), counters: Counters::default() }
    }

    /// Takes one input. Afterwards poll the effects until there are none.
    pub fn handle(&mut self, _now: Now, _input: Input) {}

    /// Does what is due at `now`. Afterwards poll the effects until there are none.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// The next effect, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Shard::handle_timeout`] wants to be called at the latest; absent: never.
    pub fn next_timeout(&self) -> Option<Mono> {
        None
    }

    /// What happened so far, for metrics.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
