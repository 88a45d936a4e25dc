//! What the device answers to the cloud's messages.

use model::limits::DESCRIBE_SECOND_HALF;
use model::link::LinkEvent;
use model::{Answer, CloudMessage};

use super::exchange::{Exchange, State};
use super::fetch::Fetched;
use super::{Connection, Context};
use crate::coap::{Block, Code, Packet, Token, Type};
use crate::message::response::DeviceAnswer;
use crate::message::{Response, describe};

impl Connection {
    /// Takes an acknowledgement, a reset or an answer. An answer is acknowledged if it is confirmable,
    /// whether anybody waits for it or not: left alone it would end the session.
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Context<'_>,
        packet: &Packet<'_>,
        record: u64,
    ) {
        if packet.is_confirmable() {
            self.acknowledge_with(cx, packet.message_id(), Token::EMPTY, Code::EMPTY);
        }
        if self.is_repeated(cx, packet) {
            cx.counters.copies += 1;
            return;
        }
        if self.transfer_answered(cx, packet, record) {
            return self.note_answer(cx, packet);
        }
        let position = self.position(packet);
        if position.is_some() {
            self.note_answer(cx, packet);
        }
        match (Response::read(packet), position) {
            (Some(Response::Acknowledged), Some(position)) => self.handle_empty(cx, position),
            (Some(Response::Acknowledged), None) => self.handle_strange_empty(cx),
            (Some(Response::Answer(answer)), Some(position)) => {
                self.handle_answer(cx, position, &answer);
            }
            (Some(Response::Reset), Some(position)) => self.handle_reset(cx, position),
            (Some(Response::Reset), None) if self.is_updating() => self.transfer_reset(),
            (Some(Response::Answer(_) | Response::Reset), None) | (None, _) => {
                cx.counters.answers_unmatched += 1;
                self.call_off_again(cx, packet);
            }
        }
    }

    /// Whether this answer completed something before. The device repeats a confirmable answer until it
    /// is acknowledged, and its token may be another exchange's by then. TCP has no copies.
    fn is_repeated(&self, cx: &Context<'_>, packet: &Packet<'_>) -> bool {
        let seen =
            self.duplicates.as_ref().filter(|_| packet.is_confirmable() && self.is_datagram());
        seen.is_some_and(|seen| seen.has_answer(cx.now.mono, packet.message_id()))
    }

    /// Remembers an answer that must not be taken twice.
    fn note_answer(&mut self, cx: &Context<'_>, packet: &Packet<'_>) {
        if packet.is_confirmable() && self.is_datagram() {
            let seen = self.duplicates.get_or_insert_default();
            seen.insert_answer(cx.now.mono, packet.message_id());
        }
    }

    /// Whose answer it is: acknowledgements and resets by message id, answers by token. The id of an
    /// acknowledgement may be wrong (`messages.md` §2.1), its token is not.
    fn position(&self, packet: &Packet<'_>) -> Option<usize> {
        let exchanges = &self.busy.as_ref()?.exchanges;
        let by_token = packet
            .token()
            .byte()
            .and_then(|token| exchanges.iter().position(|exchange| exchange.token == Some(token)));
        let by_id = || exchanges.iter().position(|e| e.message_id == packet.message_id());
        if packet.code().is_response() && by_token.is_some() {
            return by_token;
        }
        let is_reaction = matches!(packet.message_type(), Type::Acknowledgement | Type::Reset);
        if is_reaction { by_id() } else { None }
    }

    fn handle_empty(&mut self, cx: &mut Context<'_>, position: usize) {
        let exchange = &mut self.busy().exchanges[position];
        if exchange.ends_with_acknowledgement() {
            self.complete(cx, position, Answer::Accepted);
        } else {
            exchange.state = State::Arrived;
        }
    }

    /// A key change is acknowledged with an id of the device's own.
    fn handle_strange_empty(&mut self, cx: &mut Context<'_>) {
        let is_key_change = |exchange: &Exchange| exchange.asked == CloudMessage::KeyChange;
        let exchanges = self.busy.as_ref().map(|busy| busy.exchanges.as_slice());
        match exchanges.unwrap_or_default().iter().position(is_key_change) {
            Some(position) => self.complete(cx, position, Answer::Accepted),
            None => cx.counters.answers_unmatched += 1,
        }
    }

    /// A reset answers a ping (RFC 7252 §4.3) and refuses all else.
    fn handle_reset(&mut self, cx: &mut Context<'_>, position: usize) {
        let answer = match self.busy().exchanges[position].asked {
            CloudMessage::Ping => Answer::Accepted,
            _ => Answer::Failed(Code::BAD_REQUEST.number()),
        };
        self.complete(cx, position, answer);
    }

    fn handle_answer(&mut self, cx: &mut Context<'_>, position: usize, answer: &DeviceAnswer<'_>) {
        let exchange = &mut self.busy().exchanges[position];
        let fetched = exchange.fetch.as_mut().map(|fetch| fetch.take(answer));
        match fetched {
            Some(Fetched::Answer(answer)) => self.complete(cx, position, answer),
            Some(Fetched::Ask(block)) => self.ask_for_block(cx, position, block),
            Some(Fetched::Half) => {
                exchange.state = State::Arrived;
                exchange.answer_by = cx.now.mono.after(DESCRIBE_SECOND_HALF);
            }
            None => {
                let asked = &exchange.asked;
                let answer = answer.to_answer(asked).unwrap_or(Answer::Failed(NOT_UNDERSTOOD));
                self.complete(cx, position, answer);
            }
        }
    }

    /// Asks for a block of a description: a request of its own, with its own token, id and
    /// repetitions. Without a record number the exchange waits for its deadline.
    fn ask_for_block(&mut self, cx: &mut Context<'_>, position: usize, block: Option<Block>) {
        let Some(token) = self.take_token(cx) else { return };
        let message_id = self.next_message_id();
        let flags = self.busy().exchanges[position].fetch.as_ref().map_or(0, |f| f.flags());
        cx.scratch.clear();
        describe::emit_get(flags, block, message_id, token, cx.scratch);
        let was_sent = self.transmit(cx);
        let state = self.state_of_sent(cx);
        let (link, answer_by) = (self.link, Exchange::answer_by(cx.now.mono));
        let exchange = &mut self.busy().exchanges[position];
        exchange.token = Some(token);
        exchange.message_id = message_id;
        exchange.answer_by = answer_by;
        exchange.state = if was_sent { state } else { State::Arrived };
        if was_sent {
            cx.out.event(LinkEvent::Attempt { link, exchange: exchange.id });
        }
    }

    /// Any message of the device answers a ping.
    pub(super) fn answer_ping(&mut self, cx: &mut Context<'_>) {
        let Some(busy) = &self.busy else { return };
        let is_ping = |exchange: &Exchange| exchange.asked == CloudMessage::Ping;
        if let Some(position) = busy.exchanges.iter().position(is_ping) {
            self.complete(cx, position, Answer::Accepted);
        }
    }

    /// Its answer is there. What waited for room may go.
    fn complete(&mut self, cx: &mut Context<'_>, position: usize, answer: Answer) {
        let exchange = self.busy().exchanges.remove(position).id;
        cx.out.event(LinkEvent::Answered { link: self.link, exchange, answer });
        self.send_waiting(cx);
    }

    /// The second half of a description did not come: one half is better than none. All else that is
    /// not answered in time ends without a word.
    pub(super) fn answer_with_half(&mut self, cx: &mut Context<'_>, exchange: Exchange) {
        let parts = exchange.fetch.map(|fetch| fetch.into_parts()).unwrap_or_default();
        if !parts.is_empty() {
            let (link, answer) = (self.link, Answer::Described(parts));
            cx.out.event(LinkEvent::Answered { link, exchange: exchange.id, answer });
        }
    }
}

/// An answer of success to a question that has none.
const NOT_UNDERSTOOD: u16 = 500;
