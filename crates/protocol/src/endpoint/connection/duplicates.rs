//! The messages that came before: per session, message id → what was
//! answered, for 90 s, at most 128. What the session answers by itself without a trace (ping, time)
//! is not in here: it is answered again. Answers of the device are kept apart, within the same bounds:
//! many calls must not drive publishes out.

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
    /// Requests, oldest first.
    seen: Vec<Seen>,
    /// Confirmable answers that something waited for, oldest first.
    answers: Vec<Seen>,
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
        find(&self.seen, now, message_id)
    }

    /// Remembers a fresh message; the oldest one goes if there are too many.
    pub(crate) fn insert(&mut self, now: Mono, message_id: u16, fate: Fate) {
        insert(&mut self.seen, now, message_id, fate);
    }

    /// Whether this answer came before: its token may be in use again.
    pub(crate) fn has_answer(&self, now: Mono, message_id: u16) -> bool {
        find(&self.answers, now, message_id).is_some()
    }

    /// Remembers an answer; the oldest one goes if there are too many.
    pub(crate) fn insert_answer(&mut self, now: Mono, message_id: u16) {
        insert(&mut self.answers, now, message_id, Fate::Answered(Code::EMPTY));
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
        expire(&mut self.seen, now);
        expire(&mut self.answers, now);
    }

    /// When the oldest one is to be forgotten.
    pub(crate) fn deadline(&self, now: Mono) -> Option<Mono> {
        let oldest = self.seen.first().into_iter().chain(self.answers.first());
        let left_ms = oldest.map(|seen| kept_ms().saturating_sub(age_ms(now, seen))).min()?;
        Some(Mono(now.0 + u64::from(left_ms) * 1000))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.answers.is_empty()
    }
}

fn find(list: &[Seen], now: Mono, message_id: u16) -> Option<Fate> {
    let found = list.iter().rev().find(|seen| seen.message_id == message_id)?;
    (age_ms(now, found) < kept_ms()).then_some(found.fate)
}

fn insert(list: &mut Vec<Seen>, now: Mono, message_id: u16, fate: Fate) {
    expire(list, now);
    list.retain(|seen| seen.message_id != message_id);
    if list.len() == DUPLICATES_MAX {
        list.remove(0);
    }
    list.push(Seen { at_ms: now_ms(now), message_id, fate });
}

fn expire(list: &mut Vec<Seen>, now: Mono) {
    let old = list.iter().take_while(|seen| age_ms(now, seen) >= kept_ms()).count();
    list.drain(..old);
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
    fn answers_are_known_as_long_and_as_many_and_drive_no_request_out() {
        let mut cache = Duplicates::default();
        cache.insert(seconds(10), 7, Fate::Waiting(Kind::Publish));
        for id in 1000..1129 {
            cache.insert_answer(seconds(20), id);
        }
        assert!(cache.find(seconds(20), 7).is_some() && cache.find(seconds(20), 1128).is_none());
        assert!(!cache.has_answer(seconds(20), 7) && !cache.has_answer(seconds(20), 1000));
        assert!(cache.has_answer(seconds(109), 1001) && !cache.has_answer(seconds(110), 1001));
        cache.expire(seconds(100));
        assert_eq!(cache.deadline(seconds(100)), Some(seconds(110)));
        assert!(!cache.is_empty());
        cache.expire(seconds(110));
        assert!(cache.is_empty());
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Seen>() <= 12);
    }
}
