//! What callers ask: each gets one answer in time, and a right one.

use std::time::Duration;

use model::limits::CALL_DEADLINE;
use model::{Mono, Refusal, RequestId, VariableValue};
use router::Reply;

use super::Judge;
use super::accounts::is_pause;

/// A request whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) at: Mono,
    pub(crate) wish: Wish,
    /// Whether the device was well: then nothing but a good answer will do.
    pub(crate) must_succeed: bool,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The function that returns the length of this argument.
    Echo {
        device: usize,
        argument: String,
    },
    Ping {
        device: usize,
    },
    Publish {
        serial: u64,
    },
    Read {
        device: usize,
    },
    Signal {
        device: usize,
    },
    States {
        device: usize,
    },
}

/// A reply waits for its records, and the disk may be slow.
const SLACK: Duration = Duration::from_secs(8);

impl Judge {
    pub(crate) fn asked(&mut self, id: RequestId, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// A caller gets its answer.
    pub(crate) fn replied(&mut self, now: Mono, id: RequestId, result: &Result<Reply, Refusal>) {
        if self.given_up.remove(&id) {
            return;
        }
        let Some(asked) = self.asked.remove(&id) else {
            return self.fail(format!("{id} is answered twice"));
        };
        self.tally.replies += 1;
        self.check_late(now, &asked);
        match (&asked.wish, result) {
            (Wish::Echo { device, .. }, Ok(_)) => self.answered(*device, 0),
            (Wish::Read { device }, Ok(_)) => self.answered(*device, 1),
            _ => {}
        }
        let is_right = match result {
            Ok(reply) => self.is_right(&asked.wish, reply),
            Err(refusal) if is_pause(refusal) => !asked.must_succeed && self.may_be_paused(&asked),
            Err(refusal) => !asked.must_succeed && may_refuse(&asked.wish, refusal),
        };
        if result.is_ok() {
            self.check_published_by_caller(&asked);
        }
        if !is_right {
            self.fail(format!("{asked:?} is answered {result:?}"));
        }
    }

    fn is_right(&self, wish: &Wish, reply: &Reply) -> bool {
        match (wish, reply) {
            (Wish::Echo { device, argument }, Reply::Returned(value)) => {
                let executed = &self.devices[*device].executed;
                let is_done = executed.iter().any(|(_, done)| done == argument.as_bytes());
                is_done && *value as usize == argument.len()
            }
            (Wish::Ping { .. }, Reply::Online(_)) | (Wish::Signal { .. }, Reply::Done) => true,
            (Wish::Publish { serial }, Reply::Done) => self.is_durable(*serial),
            (Wish::Read { .. }, Reply::Value(value)) => *value == VariableValue::Int(42),
            (Wish::States { device }, Reply::States(states)) => {
                states.iter().all(|state| state.device == self.devices[*device].id)
            }
            _ => false,
        }
    }

    /// The server stopped: nobody will be answered.
    pub(crate) fn callers_left(&mut self) {
        self.asked.clear();
    }

    /// A caller went away: what it would have been told is nobody's.
    pub(crate) fn cancelled(&mut self, id: RequestId) {
        if self.asked.remove(&id).is_some() {
            self.given_up.insert(id);
        }
    }

    /// What is asked by nobody whom the judge looks after.
    pub(crate) fn cancelled_from_the_start(&mut self, id: RequestId) {
        self.given_up.insert(id);
    }

    /// Nobody waits longer than promised.
    pub(crate) fn check_waiting(&mut self, now: Mono) {
        let asked = std::mem::take(&mut self.asked);
        for asked in asked.values() {
            self.check_late(now, asked);
        }
        self.asked = asked;
    }

    fn check_late(&mut self, now: Mono, asked: &Asked) {
        if now.since(asked.at) > CALL_DEADLINE + SLACK {
            self.fail(format!("{asked:?} waited until {now:?}"));
        }
    }

    /// A function ran on a device.
    pub(super) fn executed(&mut self, index: usize, argument: &[u8]) {
        let device = &mut self.devices[index];
        if !device.executed.insert((device.connection, argument.to_vec())) {
            self.fail(format!("device {index} ran {argument:?} twice"));
        }
    }
}

fn may_refuse(wish: &Wish, refusal: &Refusal) -> bool {
    match (wish, refusal) {
        (_, Refusal::Unavailable) => true,
        (Wish::Publish { .. }, _) => false,
        (_, Refusal::Offline | Refusal::QueueFull | Refusal::TimedOut | Refusal::UnknownDevice) => {
            true
        }
        (Wish::Echo { .. }, Refusal::UnknownFunction(_))
        | (Wish::Read { .. }, Refusal::UnknownVariable) => true,
        _ => false,
    }
}
