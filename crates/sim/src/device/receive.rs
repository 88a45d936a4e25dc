//! What a device does with a message that arrived: acknowledgements of its own messages here,
//! requests of the server in [`super::serve`].

use model::Mono;

use super::exchange::{Arrival, Outgoing, Purpose};
use super::wire::{CONTENT, Kind, Received};
use super::{Device, Loss, Observation, Phase};

impl Device {
    /// Takes one message. Anything that arrives is a sign of life.
    pub(super) fn receive(&mut self, now: Mono, bytes: &[u8]) {
        self.last_received = now;
        self.ping_sent = None;
        let Some(message) = Received::read(bytes) else { return };
        match message.kind {
            Kind::Ack => self.acknowledged(now, &message),
            Kind::Rst => self.was_reset(now, &message),
            // The synchronous wait for Hello's acknowledgement drops everything else.
            Kind::Con | Kind::Non if self.is_waiting_for_hello() => {}
            Kind::Con | Kind::Non => self.requested(now, &message),
        }
    }

    fn is_waiting_for_hello(&self) -> bool {
        self.is_udp() && matches!(self.phase, Phase::Hello { .. })
    }

    fn acknowledged(&mut self, now: Mono, message: &Received<'_>) {
        if message.code == CONTENT {
            self.set_clock(message);
        }
        if let Some(sent) = self.outbox.remove(message.id) {
            self.fulfilled(now, &sent, message.code);
        }
        self.check_settled();
    }

    /// One of our confirmable messages was acknowledged with this code.
    fn fulfilled(&mut self, now: Mono, sent: &Outgoing, code: u8) {
        match sent.purpose {
            Purpose::Answer | Purpose::Ping | Purpose::System | Purpose::Time => {}
            Purpose::Describe { flag, last } => self.described(now, flag, last),
            Purpose::Goodbye => self.leave(),
            Purpose::Hello => self.hello_taken(now),
            Purpose::Publish(publish) => self.observe(Observation::PublishAnswered {
                publish,
                code: u16::from(code >> 5) * 100 + u16::from(code & 0x1F),
                after: now.since(sent.first_sent),
            }),
            Purpose::Subscribe => self.subscribed(code),
            Purpose::UpdateApplied | Purpose::UpdateBroken => {
                self.update_settled(now, sent.purpose);
            }
        }
    }

    /// Over UDP any reset ends the session, even for an unknown id (`reliability.md` §3).
    fn was_reset(&mut self, now: Mono, message: &Received<'_>) {
        if self.is_udp() {
            return self.lose(now, Loss::Reset);
        }
        if let Some(sent) = self.outbox.remove(message.id) {
            self.fulfilled(now, &sent, INTERNAL_ERROR);
        }
    }

    /// A confirmable message is executed once; copies get the acknowledgement again.
    fn requested(&mut self, now: Mono, message: &Received<'_>) {
        if message.kind == Kind::Con
            && self.is_udp()
            && let Arrival::Duplicate(answer) = self.inbox.arrive(now, message.id)
        {
            if !answer.is_empty() {
                self.send(&answer);
            }
            return;
        }
        self.serve(now, message);
    }

    /// A 2.05 of any kind is read as the answer to a time request (`messages.md` §2.1).
    pub(super) fn set_clock(&mut self, message: &Received<'_>) {
        if let Some(seconds) = message.time() {
            self.clock_is_set = true;
            self.observe(Observation::TimeSet(seconds));
        }
    }
}

const INTERNAL_ERROR: u8 = 0xA0;
