//! The messages that came before (`decisions.md`, Acknowledging): per session, message id → what was
//! answered, for 90 s, at most 128. What the session answers by itself without a trace (ping, time)
//! is not in here: it is answered again.

use model::Mono;
use model::limits::{DUPLICATES_KEPT, DUPLICATES_MAX};

use crate::coap::Code;

/// What a message that must not be taken twice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Describe,
    Hello,
    Publish,
    Subscribe,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was handed up and nothing was answered.
    Waiting(Kind),
    /// It was answered with this code; [`Code::EMPTY`] is plain success.
    Answered(Code),
}

/// The cache of one session. Empty it owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    /// Oldest first.
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Milliseconds, in a ring of 49 days.
    at_ms: u32,
    message_id: u16,
    fate: Fate,
}

impl Duplicates {
    pub(crate) fn find(&self, now: Mono, message_id: u16) -> Option<Fate> {
        if model::planted!("duplicate-routed") && message_id.is_multiple_of(8) {
            return None;
        }
        let found = self.seen.iter().rev().find(|seen| seen.message_id == message_id)?;
        (age_ms(now, found) < kept_ms()).then_some(found.fate)
    }

    /// Remembers a fresh message; the oldest one goes if there are too many.
    pub(crate) fn insert(&mut self, now: Mono, message_id: u16, fate: Fate) {
        self.expire(now);
        self.seen.retain(|seen| seen.message_id != message_id);
        if self.seen.len() == DUPLICATES_MAX {
            self.seen.remove(0);
        }
        self.seen.push(Seen { at_ms: now_ms(now), message_id, fate });
    }

    /// Changes what became of a message, if it is still known.
    pub(crate) fn settle(&mut self, message_id: u16, code: Code) -> Option<Fate> {
        let seen = self.seen.iter_mut().rev().find(|seen| seen.message_id == message_id)?;
        Some(std::mem::replace(&mut seen.fate, Fate::Answered(code)))
    }

    pub(crate) fn fate(&self, message_id: u16) -> Option<Fate> {
        self.seen.iter().rev().find(|seen| seen.message_id == message_id).map(|seen| seen.fate)
    }

    /// Forgets a message: its next copy is a fresh one.
    pub(crate) fn forget(&mut self, message_id: u16) {
        self.seen.retain(|seen| seen.message_id != message_id);
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Mono) {
        let old = self.seen.iter().take_while(|seen| age_ms(now, seen) >= kept_ms()).count();
        self.seen.drain(..old);
    }

    /// When the oldest one is to be forgotten.
    pub(crate) fn deadline(&self, now: Mono) -> Option<Mono> {
        let left_ms = kept_ms().saturating_sub(age_ms(now, self.seen.first()?));
        Some(Mono(now.0 + u64::from(left_ms) * 1000))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

fn kept_ms() -> u32 {
    DUPLICATES_KEPT.as_millis() as u32
}

fn now_ms(now: Mono) -> u32 {
    (now.0 / 1000) as u32
}

fn age_ms(now: Mono, seen: &Seen) -> u32 {
    now_ms(now).wrapping_sub(seen.at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Mono {
        Mono(s * 1_000_000)
    }

    #[test]
    fn a_message_is_known_for_90_seconds() {
        let mut cache = Duplicates::default();
        cache.insert(seconds(10), 7, Fate::Waiting(Kind::Publish));
        assert_eq!(cache.find(seconds(99), 7), Some(Fate::Waiting(Kind::Publish)));
        assert_eq!(cache.find(seconds(100), 7), None);
        assert_eq!(cache.deadline(seconds(40)), Some(seconds(100)));
        cache.expire(seconds(100));
        assert!(cache.is_empty());
    }

    #[test]
    fn at_most_128_are_known_and_the_oldest_goes() {
        let mut cache = Duplicates::default();
        for id in 0..129 {
            cache.insert(seconds(1), id, Fate::Answered(Code::EMPTY));
        }
        assert_eq!(cache.find(seconds(1), 0), None);
        assert!(cache.find(seconds(1), 1).is_some());
        assert!(cache.find(seconds(1), 128).is_some());
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Seen>() <= 12);
    }
}
