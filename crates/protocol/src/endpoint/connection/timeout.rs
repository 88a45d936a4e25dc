//! What is due.

use model::limits::TRANSMISSIONS;
use model::link::{LinkEvent, Transport};

use super::exchange::{Exchange, State};
use super::{Channel, Connection, Context, Phase, Upshot};
use crate::message::ping;

impl Connection {
    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) -> Upshot {
        let now = cx.now.mono;
        if let Some(newcomer) = self.newcomer_mut()
            && newcomer.expires_at <= now
        {
            return Upshot::Ended { forget: false };
        }
        if let Some(seen) = &mut self.duplicates {
            seen.expire(now);
        }
        if let Some(busy) = &mut self.busy {
            busy.expire(now);
            self.end_quiet(cx);
            self.repeat_due(cx);
            self.drop_answers_due(cx);
            self.send_waiting(cx);
        }
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_rest(cx);
        }
        self.probe_if_due(cx);
        if self.is_watched() && self.silent_at() <= now {
            return self.fall_silent(cx);
        }
        Upshot::Done
    }

    /// Asks a TCP device for a sign of life: any message of it is one.
    fn probe_if_due(&mut self, cx: &mut Context<'_>) {
        if self.is_updating() || self.probe_at().is_none_or(|at| at > cx.now.mono) {
            return;
        }
        if let Channel::Stream(stream) = &mut self.channel {
            stream.probed = true;
        }
        let message_id = self.next_message_id();
        cx.scratch.clear();
        ping::emit(message_id, cx.scratch);
        self.transmit(cx);
    }

    fn end_quiet(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        if self.phase == Phase::Quiet && self.busy().quiet_until.is_some_and(|until| until <= now) {
            self.open_up();
        }
    }

    /// From here on messages are sent.
    pub(super) fn open_up(&mut self) {
        self.phase = Phase::Open;
        if let Some(busy) = &mut self.busy {
            busy.quiet_until = None;
        }
    }

    /// Sends again what was not acknowledged, or gives the device up.
    fn repeat_due(&mut self, cx: &mut Context<'_>) {
        for position in 0.. {
            let can_send = self.can_send();
            let Some(exchange) = self.busy().exchanges.get(position) else { return };
            let is_due = exchange.deadline(can_send).is_some_and(|at| at <= cx.now.mono);
            let State::Sent { bytes, transmissions, .. } = &exchange.state else { continue };
            if !is_due {
                continue;
            }
            if *transmissions == TRANSMISSIONS.len() {
                return self.give_up(cx);
            }
            cx.scratch.clear();
            cx.scratch.extend_from_slice(bytes);
            self.repeat(cx, position);
        }
    }

    fn repeat(&mut self, cx: &mut Context<'_>, position: usize) {
        if !self.transmit(cx) {
            return;
        }
        let link = self.link;
        let exchange = &mut self.busy().exchanges[position];
        let id = exchange.id;
        if let State::Sent { transmissions, next_at, .. } = &mut exchange.state {
            *next_at = next_at.after(TRANSMISSIONS[*transmissions]);
            *transmissions += 1;
        }
        cx.out.event(LinkEvent::Attempt { link, exchange: id });
    }

    /// The device does not answer: everything that it has not acknowledged is unanswered, for nothing
    /// is attempted to a device that is offline.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) {
        self.online = false;
        self.unannounced = true;
        self.keep_alive.give_up();
        let (link, now) = (self.link, cx.now.mono);
        self.forget_transfer(now);
        let Some(busy) = &mut self.busy else { return };
        let given_up = busy.exchanges.extract_if(.., |exchange| exchange.is_unacknowledged());
        let given_up: Vec<_> = given_up.map(|exchange| (exchange.id, exchange.token)).collect();
        for (exchange, token) in given_up {
            busy.retire(token, now);
            cx.out.event(LinkEvent::Unanswered { link, exchange });
        }
        for (exchange, _) in busy.waiting.drain(..) {
            cx.out.event(LinkEvent::Unanswered { link, exchange });
        }
    }

    /// Exchanges whose answer nobody waits for any more end without a word: the shard has its own
    /// deadline.
    fn drop_answers_due(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        let busy = self.busy();
        let is_due =
            |exchange: &mut Exchange| !exchange.is_unacknowledged() && exchange.answer_by <= now;
        let due: Vec<_> = busy.exchanges.extract_if(.., is_due).collect();
        for exchange in due {
            self.busy().retire(exchange.token, now);
            self.answer_with_half(cx, exchange);
        }
    }

    pub(super) fn fall_silent(&mut self, cx: &mut Context<'_>) -> Upshot {
        if self.online {
            cx.out.event(LinkEvent::Silent { link: self.link });
        }
        self.give_up(cx);
        match self.transport() {
            Transport::Udp => Upshot::Done,
            Transport::Tcp => Upshot::Ended { forget: false },
        }
    }
}
