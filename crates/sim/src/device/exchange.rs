//! Confirmable messages in both directions over UDP, as the firmware's channel keeps them
//! (`reliability.md` §1, §2).

use std::collections::VecDeque;
use std::time::Duration;

use model::Mono;

/// Why a confirmable message was sent, to know what its acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A separate answer to a request of the server.
    Answer,
    /// A part of the description, with its flag; `last` unless more blocks follow.
    Describe {
        flag: u8,
        last: bool,
    },
    Goodbye,
    Hello,
    Ping,
    /// An event, with the number `Device::publish` gave.
    Publish(u64),
    Subscribe,
    /// The answer that an update is taken: it is applied when the server has it.
    UpdateApplied,
    /// The answer that it is not: the connection ends when the server has it.
    UpdateBroken,
    /// An event of the system.
    System,
    Time,
}

impl Purpose {
    /// Whether it belongs to what a device tells after its Hello.
    pub(crate) fn is_greeting(self) -> bool {
        matches!(self, Self::Describe { .. } | Self::Subscribe | Self::System | Self::Time)
    }
}

/// A confirmable message that was not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u16,
    pub(crate) purpose: Purpose,
    pub(crate) first_sent: Mono,
    bytes: Vec<u8>,
    repeated: u32,
    due: Mono,
}

/// What happens to the oldest due message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send these bytes again.
    Repeat(Vec<u8>),
    /// The last transmission was not acknowledged: the session is lost.
    GiveUp,
}

/// All messages of this end that wait for an acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<Outgoing>,
}

impl Outbox {
    /// Keeps a message that was just sent. `random` is 0 to 255, drawn anew for each wait.
    pub(crate) fn add(&mut self, now: Mono, purpose: Purpose, bytes: Vec<u8>, random: u8) {
        let id = u16::from_be_bytes([bytes[2], bytes[3]]);
        let due = now.after(wait(0, random));
        self.waiting.push(Outgoing { id, purpose, first_sent: now, bytes, repeated: 0, due });
    }

    /// Keeps a message that is never sent again (TCP), the latest of them.
    pub(crate) fn add_unrepeated(&mut self, now: Mono, purpose: Purpose, bytes: Vec<u8>) {
        if self.waiting.len() >= UNREPEATED_MAX {
            self.waiting.remove(0);
        }
        self.add(now, purpose, bytes, 0);
        if let Some(message) = self.waiting.last_mut() {
            message.due = Mono(u64::MAX);
            message.bytes = Vec::new();
        }
    }

    /// Takes the message with this id out.
    pub(crate) fn remove(&mut self, id: u16) -> Option<Outgoing> {
        let index = self.waiting.iter().position(|message| message.id == id)?;
        let message = self.waiting.remove(index);
        if self.waiting.is_empty() && self.waiting.capacity() > WAITING_KEPT {
            self.waiting = Vec::new();
        }
        Some(message)
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.waiting.iter().map(|message| message.due).min()
    }

    /// The next message whose wait is over.
    pub(crate) fn take_due(&mut self, now: Mono, mut random: impl FnMut() -> u8) -> Option<Due> {
        let message = self.waiting.iter_mut().find(|message| message.due <= now)?;
        if message.repeated == RETRANSMISSIONS {
            return Some(Due::GiveUp);
        }
        message.repeated += 1;
        message.due = now.after(wait(message.repeated, random()));
        Some(Due::Repeat(message.bytes.clone()))
    }

    pub(crate) fn is_waiting_for(&self, wanted: impl Fn(Purpose) -> bool) -> bool {
        self.waiting.iter().any(|message| wanted(message.purpose))
    }

    /// Forgets everything; gives what was outstanding.
    pub(crate) fn drain(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// 4 s × 2ⁿ × (1 + r/512).
fn wait(repeated: u32, random: u8) -> Duration {
    let base = ACK_TIMEOUT * 2u32.pow(repeated);
    base + base * u32::from(random) / 512
}

const ACK_TIMEOUT: Duration = Duration::from_millis(4000);
const RETRANSMISSIONS: u32 = 3;
/// Room kept by a device that has nothing to wait for.
const WAITING_KEPT: usize = 4;
/// A server on TCP may acknowledge nothing at all.
const UNREPEATED_MAX: usize = 32;
/// How long a confirmable message of the server is remembered.
const REMEMBERED: Duration = Duration::from_secs(45);

/// The server's confirmable messages of the last 45 s with the acknowledgements they got.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    seen: VecDeque<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    id: u16,
    at: Mono,
    answer: Vec<u8>,
}

/// Whether a confirmable message is new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Fresh,
    /// Repeat this acknowledgement; nothing if none was sent yet.
    Duplicate(Vec<u8>),
}

impl Inbox {
    pub(crate) fn arrive(&mut self, now: Mono, id: u16) -> Arrival {
        self.expire(now);
        match self.seen.iter().find(|message| message.id == id) {
            Some(message) => Arrival::Duplicate(message.answer.clone()),
            None => {
                self.seen.push_back(Incoming { id, at: now, answer: Vec::new() });
                Arrival::Fresh
            }
        }
    }

    /// Remembers the acknowledgement sent for a message, so that a copy gets it again.
    pub(crate) fn answered(&mut self, id: u16, answer: &[u8]) {
        if let Some(message) = self.seen.iter_mut().rev().find(|message| message.id == id) {
            message.answer = answer.to_vec();
        }
    }

    /// When a message that was never acknowledged ends the session.
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let unanswered = self.seen.iter().find(|message| message.answer.is_empty())?;
        Some(unanswered.at.after(REMEMBERED))
    }

    /// Whether a confirmable message stayed without acknowledgement for 45 s: the firmware takes
    /// that for a failure of its own sending.
    pub(crate) fn is_dead(&self, now: Mono) -> bool {
        self.next_timeout().is_some_and(|at| at <= now)
    }

    pub(crate) fn clear(&mut self) {
        self.seen = VecDeque::new();
    }

    fn expire(&mut self, now: Mono) {
        let over =
            |message: &Incoming| !message.answer.is_empty() && now.since(message.at) >= REMEMBERED;
        while self.seen.front().is_some_and(over) {
            self.seen.pop_front();
        }
        if self.seen.is_empty() && self.seen.capacity() > 0 {
            self.seen.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::wire::{Kind, empty};

    #[test]
    fn waits_are_4_8_16_and_32_seconds_and_up_to_half_more() {
        let spans = |random| (0..4).map(|n| wait(n, random).as_millis()).collect::<Vec<_>>();
        assert_eq!(spans(0), [4000, 8000, 16_000, 32_000]);
        assert_eq!(spans(255), [5992, 11_984, 23_968, 47_937]);
    }

    #[test]
    fn a_message_is_sent_four_times_and_then_given_up() {
        let mut outbox = Outbox::default();
        outbox.add(Mono(0), Purpose::Ping, empty(Kind::Con, 7), 0);
        for at in [4, 12, 28] {
            assert_eq!(outbox.next_timeout(), Some(Mono(at * 1_000_000)));
            let due = outbox.take_due(Mono(at * 1_000_000), || 0);
            assert_eq!(due, Some(Due::Repeat(empty(Kind::Con, 7))));
            assert_eq!(outbox.take_due(Mono(at * 1_000_000), || 0), None);
        }
        assert_eq!(outbox.take_due(Mono(60_000_000), || 0), Some(Due::GiveUp));
    }

    #[test]
    fn a_copy_within_45_seconds_gets_the_same_answer_and_a_later_one_is_new() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.arrive(Mono(0), 9), Arrival::Fresh);
        assert_eq!(inbox.arrive(Mono(1), 9), Arrival::Duplicate(Vec::new()));
        inbox.answered(9, b"ack");
        assert_eq!(inbox.arrive(Mono(44_000_000), 9), Arrival::Duplicate(b"ack".to_vec()));
        assert_eq!(inbox.arrive(Mono(45_000_000), 9), Arrival::Fresh);
    }

    #[test]
    fn a_message_without_acknowledgement_ends_the_session_after_45_seconds() {
        let mut inbox = Inbox::default();
        inbox.arrive(Mono(0), 1);
        inbox.answered(1, b"ack");
        assert_eq!(inbox.next_timeout(), None);
        inbox.arrive(Mono(1_000_000), 2);
        assert!(!inbox.is_dead(Mono(45_000_000)));
        assert!(inbox.is_dead(Mono(46_000_000)));
    }
}
