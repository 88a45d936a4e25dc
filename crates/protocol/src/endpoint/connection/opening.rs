//! A Hello that was accepted, and what is kept of it.

use model::limits::HELLO_QUIET;
use model::link::{LinkEvent, Opened, Source, Transport};
use model::{DeviceId, Mono};

use super::duplicates::{Fate, Kind};
use super::traits::Traits;
use super::{Connection, Context, Greeting, Phase};
use crate::coap::{Builder, Code, Header, Token};

impl Connection {
    /// Begins anew with this Hello: the device forgot whatever was under way.
    pub(crate) fn open(
        &mut self,
        cx: &mut Context<'_>,
        device: DeviceId,
        greeting: Greeting,
        full_handshake: bool,
    ) {
        let Greeting { hello, header, record } = greeting;
        self.traits = Traits::new(&hello, self.transport());
        self.online = true;
        self.unannounced = false;
        self.tell_at = None;
        self.forget_exchanges(cx.now.mono);
        match self.transport() {
            Transport::Udp => self.fall_quiet(cx, header),
            Transport::Tcp => self.greet_back(cx, header),
        }
        let opened = Opened {
            link: self.link,
            device,
            transport: self.transport(),
            hello,
            peer: self.peer,
            full_handshake,
            snapshot: self.snapshot(),
            receipt: header.receipt().filter(|_| self.is_datagram()),
            source: self.source(header, record),
        };
        cx.out.event(LinkEvent::Opened(Box::new(opened)));
    }

    /// What was under way is not repeated, what waits is not sent; nobody is told.
    pub(super) fn forget_exchanges(&mut self, now: Mono) {
        self.forget_transfer(now);
        let Some(busy) = &mut self.busy else { return };
        for exchange in std::mem::take(&mut busy.exchanges) {
            busy.retire(exchange.token, now);
        }
        busy.waiting.clear();
    }

    /// UDP: the Hello is answered when it is durable, and nothing is sent before the device has that
    /// answer.
    fn fall_quiet(&mut self, cx: &mut Context<'_>, header: Header) {
        let now = cx.now.mono;
        self.phase = Phase::Quiet;
        let seen = self.duplicates.get_or_insert_default();
        seen.insert(now, header.message_id, Fate::Waiting(Kind::Hello));
        self.busy().quiet_until = header.receipt().is_none().then(|| now.after(HELLO_QUIET));
    }

    /// TCP: the device waits for our Hello, and not for long.
    fn greet_back(&mut self, cx: &mut Context<'_>, header: Header) {
        if header.receipt().is_some() {
            self.acknowledge_with(cx, header.message_id, Token::EMPTY, Code::EMPTY);
        }
        let id = self.next_message_id();
        let ours = Header::non_confirmable(Code::POST, id, Token::EMPTY);
        self.reply(cx, ours, |message: Builder<'_>| message.resource(b'h').payload(&[]));
        self.open_up();
    }

    pub(super) fn source(&self, header: Header, record: u64) -> Source {
        let confirmable = header.receipt().is_some();
        Source { record, message_id: header.message_id, confirmable }
    }

    /// The messages that are durable: a copy of one is acknowledged and told as a copy.
    pub(crate) fn remember(&mut self, now: Mono, recent: &[Source]) {
        for source in recent {
            let fate = Fate::Answered(Code::EMPTY);
            self.duplicates.get_or_insert_default().insert(now, source.message_id, fate);
        }
    }

    pub(crate) fn traits_bytes(&self) -> [u8; Traits::BYTES] {
        self.traits.to_bytes()
    }

    pub(crate) fn set_traits(&mut self, bytes: [u8; Traits::BYTES]) {
        self.traits = Traits::from_bytes(bytes);
    }
}
