//! What a connection needs only while something is going on. An idle one has none of it.

use std::collections::VecDeque;

use model::limits::{EXCHANGE_LIFETIME, REPLIES_WAITING_MAX, RESERVE_AGAIN, SENDS_WAITING_MAX};
use model::link::ExchangeId;
use model::{CloudMessage, Mono};

use super::bodies::Bodies;
use super::exchange::Exchange;
use super::laps;
use super::newcomer::Newcomer;
use super::updating::Updating;

/// The rare state of a connection.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    /// Our requests whose fate is open, in the order they were begun.
    pub(crate) exchanges: Vec<Exchange>,
    /// What waits for the device to be ready, or for a record number.
    pub(crate) waiting: VecDeque<(ExchangeId, CloudMessage)>,
    /// Answers that wait for a record number.
    pub(crate) replies: VecDeque<Box<[u8]>>,
    /// Block-wise bodies on their way in.
    pub(crate) bodies: Bodies,
    /// Until when nothing is sent if the device is silent after its Hello; known when the Hello was
    /// acknowledged.
    pub(crate) quiet_until: Option<Mono>,
    /// When more record numbers were asked for.
    pub(crate) reserve_asked_at: Option<Mono>,
    /// A session that nobody said Hello on.
    pub(crate) newcomer: Option<Box<Newcomer>>,
    /// An image on its way.
    pub(crate) transfer: Option<Box<Updating>>,
    /// The token of the last request to begin a transfer that was called off before its answer came; it
    /// is among the retired ones.
    pub(crate) called_off: Option<u8>,
    /// Tokens whose answer did not come, and when each may be used again.
    retired_tokens: Vec<(u8, Mono)>,
}

impl Busy {
    /// That of a connection without Hello.
    pub(crate) fn new(newcomer: Newcomer) -> Box<Self> {
        Box::new(Self { newcomer: Some(Box::new(newcomer)), ..Self::default() })
    }

    /// Whether all of this can go.
    pub(crate) fn is_idle(&self) -> bool {
        self.exchanges.is_empty()
            && self.waiting.is_empty()
            && self.replies.is_empty()
            && self.bodies.is_empty()
            && self.quiet_until.is_none()
            && self.reserve_asked_at.is_none()
            && self.newcomer.is_none()
            && self.transfer.is_none()
            && self.called_off.is_none()
            && self.retired_tokens.is_empty()
    }

    /// Queues a message; `false` if there are too many already.
    pub(crate) fn wait(&mut self, exchange: ExchangeId, message: CloudMessage) -> bool {
        let fits = self.waiting.len() < SENDS_WAITING_MAX;
        if fits {
            self.waiting.push_back((exchange, message));
        }
        fits
    }

    /// Queues an answer; `false` if there are too many already.
    pub(crate) fn keep_reply(&mut self, message: &[u8]) -> bool {
        let fits = self.replies.len() < REPLIES_WAITING_MAX;
        if fits {
            self.replies.push_back(message.into());
        }
        fits
    }

    /// The next token of this quarter that is in no use; none if all are.
    pub(crate) fn take_token(&self, counter: &mut u8, lap: u8, now: Mono) -> Option<u8> {
        (0..laps::TOKENS).find_map(|_| {
            *counter = counter.wrapping_add(1) % laps::TOKENS;
            let token = lap * laps::TOKENS + *counter;
            self.is_free(token, now).then_some(token)
        })
    }

    fn is_free(&self, token: u8, now: Mono) -> bool {
        let transfer = self.transfer.as_ref().and_then(|updating| updating.transfer.token());
        self.exchanges.iter().all(|exchange| exchange.token != Some(token))
            && transfer != Some(token)
            && self.retired_tokens.iter().all(|(retired, until)| *retired != token || *until <= now)
    }

    /// Keeps a token out of use: its answer may still come.
    pub(crate) fn retire(&mut self, token: Option<u8>, now: Mono) {
        let Some(token) = token else { return };
        self.retired_tokens.retain(|(retired, _)| *retired != token);
        self.retired_tokens.push((token, now.after(EXCHANGE_LIFETIME)));
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Mono) {
        self.bodies.expire(now);
        self.retired_tokens.retain(|(_, until)| *until > now);
        let is_retired = |token: &u8| self.retired_tokens.iter().any(|(other, _)| other == token);
        self.called_off = self.called_off.filter(is_retired);
        if self.reserve_asked_at.is_some_and(|at| at.after(RESERVE_AGAIN) <= now) {
            self.reserve_asked_at = None;
        }
    }

    /// When something in here is to be looked at again. Without record numbers no transmission is due.
    pub(crate) fn deadline(&self, now: Mono, can_send: bool) -> Option<Mono> {
        let exchanges = self.exchanges.iter().filter_map(|exchange| exchange.deadline(can_send));
        let retired = self.retired_tokens.iter().map(|(_, until)| *until);
        let newcomer = self.newcomer.as_ref().map(|newcomer| newcomer.expires_at);
        let transfer = self.transfer.as_ref().filter(|_| can_send);
        exchanges
            .chain(retired)
            .chain(newcomer)
            .chain(self.bodies.deadline())
            .chain(self.quiet_until)
            .chain(transfer.and_then(|updating| updating.deadline(now)))
            .chain(self.reserve_asked_at.map(|at| at.after(RESERVE_AGAIN)))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_token_is_passed_over_for_247_seconds() {
        let mut busy = Busy::default();
        let now = Mono(1_000_000);
        busy.retire(Some(8), now);
        let mut counter = 7;
        assert_eq!(busy.take_token(&mut counter, 0, now), Some(9));
        counter = 7;
        assert_eq!(busy.take_token(&mut counter, 0, Mono(248_000_000)), Some(8));
        busy.expire(Mono(248_000_000));
        assert!(busy.is_idle());
    }

    #[test]
    fn there_is_no_token_when_all_of_the_quarter_are_retired() {
        let mut busy = Busy::default();
        for token in 64..128 {
            busy.retire(Some(token), Mono(0));
        }
        assert_eq!(busy.take_token(&mut 0, 1, Mono(1)), None);
        assert_eq!(busy.take_token(&mut 0, 2, Mono(1)), Some(129));
    }
}
