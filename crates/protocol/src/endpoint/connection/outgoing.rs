//! What the cloud says to the device: begun and sent. Repetition is in `timeout.rs`, the device's
//! answers are in `responses.rs`.

use model::limits::EXCHANGES_OPEN_MAX;
use model::link::{Command, ExchangeId, LinkEvent, Receipt};
use model::{Answer, CloudMessage};
use secure::dtls::codec::alert;

use super::exchange::{Exchange, State};
use super::fetch::Fetch;
use super::{Channel, Connection, Context, Phase, Upshot};
use crate::coap::Type;
use crate::message::{ack, cloud};

impl Connection {
    /// Carries out what the shard asks.
    pub(crate) fn handle_command(&mut self, cx: &mut Context<'_>, command: Command) -> Upshot {
        match command {
            Command::Acknowledge { receipt, verdict } => self.acknowledge(cx, receipt, verdict),
            Command::Send { exchange, message } => self.send(cx, exchange, message),
            Command::Reserved { record_limit } => self.take_reservation(cx, record_limit),
            Command::Reset { receipt } => self.reset(cx, receipt),
            Command::BeginTransfer(transfer) => self.begin_transfer(cx, *transfer),
            Command::EndTransfer { update } => self.end_transfer(cx, update),
            Command::Close => {
                self.send_alert(cx, alert::WARNING, alert::CLOSE_NOTIFY);
                return Upshot::Ended { forget: true };
            }
        }
        Upshot::Done
    }

    fn take_reservation(&mut self, cx: &mut Context<'_>, record_limit: u64) {
        if let Some(session) = self.session_mut() {
            session.set_record_limit(record_limit);
        }
        if let Some(busy) = &mut self.busy {
            busy.reserve_asked_at = None;
        }
        self.send_waiting(cx);
    }

    /// Over TCP a reset means nothing. What is reset was not taken: should the reset be lost, the next
    /// copy is the first one.
    fn reset(&mut self, cx: &mut Context<'_>, receipt: Receipt) {
        if self.is_datagram() {
            if let Some(seen) = &mut self.duplicates {
                seen.forget(receipt.message_id);
            }
            cx.scratch.clear();
            ack::reset(receipt.message_id, cx.scratch);
            self.send_reply(cx);
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, exchange: ExchangeId, message: CloudMessage) {
        // Whoever has the key that is no longer good is told only that.
        if message == CloudMessage::KeyChange {
            self.forget_exchanges(cx.now.mono);
        }
        if !self.busy().wait(exchange, message) {
            cx.counters.dropped_queue_full += 1;
            cx.out.event(LinkEvent::Unsendable { link: self.link, exchange });
            return;
        }
        self.send_waiting(cx);
    }

    /// Sends what waited and may go.
    pub(super) fn send_waiting(&mut self, cx: &mut Context<'_>) {
        self.send_replies(cx);
        while self.phase == Phase::Open
            && self.can_send()
            && let Some(busy) = &mut self.busy
            && busy.exchanges.len() < EXCHANGES_OPEN_MAX
            && let Some((exchange, message)) = busy.waiting.pop_front()
        {
            self.begin(cx, exchange, message);
        }
        if !self.can_send() {
            self.reserve(cx);
        }
    }

    fn send_replies(&mut self, cx: &mut Context<'_>) {
        while self.can_send()
            && let Some(busy) = &mut self.busy
            && let Some(reply) = busy.replies.pop_front()
        {
            cx.scratch.clear();
            cx.scratch.extend_from_slice(&reply);
            self.transmit(cx);
        }
    }

    /// Sends a message for the first time.
    fn begin(&mut self, cx: &mut Context<'_>, id: ExchangeId, message: CloudMessage) {
        let token = needs_token(&message).then(|| self.take_token(cx));
        let message_id = self.next_message_id();
        let dialect = self.traits.dialect(self.transport());
        cx.scratch.clear();
        // Messages without a token leave the argument alone.
        let byte = token.flatten().unwrap_or(0);
        let written = cloud::encode(&message, &dialect, message_id, byte, cx.scratch);
        let (Ok(message_type), false) = (written, token == Some(None)) else {
            cx.out.event(LinkEvent::Unsendable { link: self.link, exchange: id });
            return;
        };
        self.transmit(cx);
        cx.out.event(LinkEvent::Attempt { link: self.link, exchange: id });
        if self.is_unanswered(&message) {
            return;
        }
        if message_type == Type::NonConfirmable || self.is_pointless(&message) {
            let (link, answer) = (self.link, Answer::Accepted);
            cx.out.event(LinkEvent::Answered { link, exchange: id, answer });
            return;
        }
        let fetch = match message {
            CloudMessage::Describe(flags) => Some(Box::new(Fetch::new(flags))),
            _ => None,
        };
        let exchange = Exchange {
            id,
            asked: message,
            token: token.flatten(),
            message_id,
            state: self.state_of_sent(cx),
            answer_by: Exchange::answer_by(cx.now.mono),
            fetch,
        };
        self.busy().exchanges.push(exchange);
    }

    /// Over TCP an event is done with as it leaves: an answer would pass for a word of the device.
    fn is_unanswered(&self, message: &CloudMessage) -> bool {
        !self.is_datagram() && matches!(message, CloudMessage::Event { .. })
    }

    /// Over TCP nothing comes back for a key change that could be told from other acknowledgements,
    /// and nothing happens.
    fn is_pointless(&self, message: &CloudMessage) -> bool {
        !self.is_datagram() && *message == CloudMessage::KeyChange
    }

    /// TCP repeats by itself.
    pub(super) fn state_of_sent(&self, cx: &Context<'_>) -> State {
        match self.channel {
            Channel::Datagram(_) => State::sent_once(cx.scratch, cx.now.mono),
            Channel::Stream(_) => State::Arrived,
        }
    }

    pub(super) fn take_token(&mut self, cx: &Context<'_>) -> Option<u8> {
        let (mut counter, lap) = (self.token_counter, self.lap);
        let token = self.busy().take_token(&mut counter, lap, cx.now.mono);
        self.token_counter = counter;
        token
    }

    /// The id of the next message. Over UDP the low bits of its record number, which no other message
    /// of this session has within 65,536 records, restarts included.
    pub(super) fn next_message_id(&mut self) -> u16 {
        match &mut self.channel {
            Channel::Datagram(session) => session.next_record_number() as u16,
            Channel::Stream(stream) => {
                stream.next_message_id = stream.next_message_id.wrapping_add(1);
                stream.next_message_id
            }
        }
    }
}

fn needs_token(message: &CloudMessage) -> bool {
    match message {
        CloudMessage::Event { .. } | CloudMessage::Ping => false,
        CloudMessage::Describe(_)
        | CloudMessage::FunctionCall { .. }
        | CloudMessage::KeyChange
        | CloudMessage::Signal(_)
        | CloudMessage::VariableRequest { .. } => true,
    }
}
