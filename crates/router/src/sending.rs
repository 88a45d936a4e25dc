//! Messages to devices: sent, attempted, answered or not.

use metering::{bytes_of_message, kind_of_message, name_of_message};
use model::journal::Entry;
use model::link::{Command, ExchangeId, Transport};
use model::{Answer, CloudMessage, LinkId, Now};

use crate::device::{Sent, Slot, What};
use crate::gate::Then;
use crate::shard::Shard;

impl Shard {
    /// Hands a message to the device's connection. Absent: it has none.
    pub(crate) fn send(
        &mut self,
        now: Now,
        slot: Slot,
        what: What,
        message: CloudMessage,
    ) -> Option<ExchangeId> {
        let device = self.devices.get_mut(slot)?;
        let link = device.link?;
        self.exchanges += 1;
        let exchange = ExchangeId(self.exchanges);
        let sent = Sent {
            exchange,
            what,
            counted: kind_of_message(&message).zip(device.payer()),
            name: name_of_message(&message),
            bytes: bytes_of_message(&message),
            since: now.mono,
            attempts: 0,
            sequence: 0,
        };
        device.busy().sent.push(sent);
        self.command(link, Command::Send { exchange, message });
        Some(exchange)
    }

    /// One transmission left: it is counted whatever becomes of it.
    pub(crate) fn attempted(&mut self, now: Now, slot: Slot, exchange: ExchangeId) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let transport = device.facts.transport;
        let Some(sent) = device.sent(exchange) else { return };
        if sent.attempts == 0 {
            sent.since = now.mono;
        }
        sent.attempts = sent.attempts.saturating_add(1);
        let sent = sent.clone();
        self.count_attempt(now, slot, &sent);
        // Over TCP nothing acknowledges an event, and nothing repeats it.
        if sent.what == What::Delivery && transport == Transport::Tcp {
            self.take_sent(slot, exchange);
            self.delivered(now, slot, exchange);
        }
    }

    fn count_attempt(&mut self, now: Now, slot: Slot, sent: &Sent) {
        let Some((kind, payer)) = sent.counted else { return };
        if model::planted!("attempt-not-counted") && sent.exchange.0.is_multiple_of(4) {
            return;
        }
        let is_first = sent.attempts == 1;
        if sent.what == What::Ping && !is_first {
            return;
        }
        let rules = self.rules_of(payer.account);
        let charge = rules.and_then(|rules| rules.charge(kind, sent.bytes, payer, now.utc));
        let Some(charge) = charge else { return };
        let exchange = sent.exchange;
        let then = (sent.what == What::Call).then_some(Then::Attempted { slot, exchange });
        let sequence = self.record(
            Entry::Attempt { charge, name: sent.name.clone(), attempt: sent.attempts },
            then,
        );
        if let Some(sent) = self.devices.get_mut(slot).and_then(|device| device.sent(exchange)) {
            sent.sequence = sequence;
        }
    }

    pub(crate) fn take_sent(&mut self, slot: Slot, exchange: ExchangeId) -> Option<Sent> {
        self.devices.get_mut(slot)?.take_sent(exchange)
    }

    /// The device answered.
    pub(crate) fn answered(&mut self, now: Now, slot: Slot, exchange: ExchangeId, answer: Answer) {
        self.heard(now, slot);
        let Some(sent) = self.take_sent(slot, exchange) else {
            self.counters.answers_late += 1;
            return;
        };
        match sent.what {
            What::Call => self.call_answered(now, slot, &sent, answer),
            What::Delivery => self.delivered(now, slot, exchange),
            What::Describe => self.described(now, slot, answer),
            What::KeyChange => self.thrown_out(slot),
            What::Ping => {}
        }
    }

    /// No transmission was acknowledged: the device is offline, and whatever waits for it fails.
    pub(crate) fn unanswered(&mut self, now: Now, slot: Slot, exchange: ExchangeId) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let Some(sent) = device.sent(exchange).cloned() else { return };
        match sent.what {
            What::KeyChange => self.thrown_out(slot),
            What::Call | What::Delivery | What::Describe | What::Ping => {
                self.go_offline(now, slot);
            }
        }
    }

    /// The device cannot take a message so large; nothing was sent.
    pub(crate) fn unsendable(&mut self, now: Now, slot: Slot, exchange: ExchangeId) {
        let Some(sent) = self.take_sent(slot, exchange) else { return };
        match sent.what {
            What::Call => self.call_unsendable(now, slot, &sent),
            What::Delivery => {
                self.counters.deliveries_too_large += 1;
                if let Some(device) = self.devices.get_mut(slot) {
                    device.events_dropped = device.events_dropped.saturating_add(1);
                }
                self.delivered(now, slot, exchange);
            }
            What::Describe => self.described(now, slot, Answer::Described(Vec::new())),
            What::KeyChange => self.thrown_out(slot),
            What::Ping => {}
        }
    }

    pub(crate) fn link_of(&self, slot: Slot) -> Option<LinkId> {
        self.devices.get(slot)?.link
    }
}
