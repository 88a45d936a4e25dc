//! What must wait until records are durable: nobody is told before.

use std::collections::VecDeque;

use model::journal::{Charge, MessageName};
use model::link::{ExchangeId, Receipt, Source, Verdict};
use model::{Event, LinkId, Refusal, RequestId};
use std::sync::Arc;

use crate::Reply;
use crate::device::Slot;

/// What follows when a record is durable, or cannot be written.
#[derive(Debug)]
pub(crate) enum Then {
    /// Acknowledge with success; refused, answer this (nothing at all if absent).
    Acknowledge { link: LinkId, receipt: Receipt, refused: Option<Verdict> },
    /// Record a copy of a publish that is durable now; refused, so is the copy, and costs nothing.
    Copy { link: LinkId, receipt: Receipt, copy: CopyOf },
    /// The attempt of a call: refused, the call fails.
    Attempted { slot: Slot, exchange: ExchangeId },
    /// Acknowledge a copy as its first one was.
    Copied { link: LinkId, receipt: Receipt, verdict: Verdict },
    /// Route an event, and tell who published it.
    Published { event: Arc<Event>, publisher: Publisher },
    /// Answer a caller; refused, as unavailable.
    Reply { id: RequestId, result: Result<Reply, Refusal> },
    /// Let a connection use the numbers; refused, ask again.
    Reserved { link: LinkId, record_limit: u64 },
    /// Acknowledge a Hello; refused, a session that is not durable is ended.
    SessionKept { link: LinkId, receipt: Receipt, is_new: bool },
}

/// A copy of a publish, as it is written down.
#[derive(Debug, Clone)]
pub(crate) struct CopyOf {
    pub(crate) source: Source,
    pub(crate) charge: Charge,
    pub(crate) name: MessageName,
}

/// Who waits for an event to be accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Publisher {
    /// A caller of the API.
    Caller(RequestId),
    /// A device.
    Device(LinkId, Receipt),
    /// Nobody.
    Nobody,
}

/// The sequence of records and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Sorted by sequence; of equal ones, in order of arrival.
    waiting: VecDeque<(u64, Then)>,
    /// The last sequence given out.
    last: u64,
    /// The last sequence whose fate is known.
    settled: u64,
}

impl Gate {
    /// The sequence of the next record.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The last sequence given out.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Keeps `then` until the fate of `sequence` is known; gives it back if it is already.
    pub(crate) fn hold(&mut self, sequence: u64, then: Then) -> Option<Then> {
        if sequence <= self.settled {
            return Some(then);
        }
        let place = match self.waiting.back() {
            Some((last, _)) if *last > sequence => {
                self.waiting.partition_point(|(other, _)| *other <= sequence)
            }
            Some(_) | None => self.waiting.len(),
        };
        self.waiting.insert(place, (sequence, then));
        None
    }

    /// The fate of everything up to `through` is known.
    pub(crate) fn settle(&mut self, through: u64) {
        self.settled = self.settled.max(through);
    }

    /// The next one whose fate is known.
    pub(crate) fn pop_settled(&mut self) -> Option<Then> {
        let (sequence, _) = self.waiting.front()?;
        (*sequence <= self.settled)
            .then(|| self.waiting.pop_front())
            .flatten()
            .map(|(_, then)| then)
    }

    /// The sequence of a device's publish whose fate is open.
    pub(crate) fn publish_waiting(&self, link: LinkId, message_id: u16) -> Option<u64> {
        let is_it = |then: &Then| match then {
            Then::Published { publisher: Publisher::Device(of, receipt), .. } => {
                *of == link && receipt.message_id == message_id
            }
            _ => false,
        };
        self.waiting.iter().find(|(_, then)| is_it(then)).map(|(sequence, _)| *sequence)
    }

    /// The first copy of this message was refused: so are the copies that wait.
    pub(crate) fn refuse_copies(&mut self, link: LinkId, message_id: u16) {
        for (_, then) in &mut self.waiting {
            if let Then::Copied { link: of, receipt, verdict } = then
                && *of == link
                && receipt.message_id == message_id
            {
                *verdict = Verdict::Unavailable;
            }
        }
    }
}
