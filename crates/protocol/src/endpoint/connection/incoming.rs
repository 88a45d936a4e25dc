//! What the device says.

use model::DeviceMessage;
use model::limits::PRESENCE_WRITTEN;
use model::link::{LinkEvent, Transport};
use secure::dtls::codec::alert;
use secure::dtls::{ContentType, Opened};
use secure::tcp::FrameOpener;

use super::duplicates::{Fate, Kind};
use super::{Channel, Connection, Context, Greeting, Phase, Upshot};
use crate::coap::{Code, Header, Packet, Type};
use crate::message::{CoapError, Request, ack, device, ledger, time};

/// What a message tells beside its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It was said before: no sign that the device came back.
    Copy,
    /// A Hello: whoever takes it knows that the device is there, and where.
    Hello,
    /// The device lives.
    Life,
}

/// A message on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Number of its record; 0 over TCP.
    pub(super) record: u64,
    /// Nothing newer came before.
    newest: bool,
    /// It came from a new address.
    moved: bool,
}

impl Connection {
    /// Takes an authentic record.
    pub(crate) fn handle_record(
        &mut self,
        cx: &mut Context<'_>,
        opened: &Opened<'_>,
        moved: bool,
    ) -> Upshot {
        let arrival = Arrival { record: opened.record_number, newest: opened.newest, moved };
        match opened.content_type {
            ContentType::ApplicationData => self.handle_message(cx, arrival, opened.plaintext),
            ContentType::Alert => handle_alert(cx, opened.plaintext),
            ContentType::Handshake => self.repeat_final_flight(cx),
            ContentType::ChangeCipherSpec => Upshot::Done,
        }
    }

    /// A device that missed the end of the handshake.
    fn repeat_final_flight(&mut self, cx: &mut Context<'_>) -> Upshot {
        let Self { channel: Channel::Datagram(session), busy: Some(busy), peer, .. } = self else {
            return Upshot::Done;
        };
        let newcomer = busy.newcomer.as_mut();
        if let Some(flight) = newcomer.and_then(|newcomer| newcomer.final_flight.as_mut()) {
            let sent = cx.out.transmits.add(*peer, |out| flight.repeat(session, out));
            cx.counters.datagrams_sent += u64::from(sent.is_ok());
        }
        Upshot::Done
    }

    /// Takes the contents of a frame.
    pub(crate) fn handle_frame(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Upshot {
        let arrival = Arrival { record: 0, newest: true, moved: false };
        self.handle_message(cx, arrival, message)
    }

    /// The half that opens frames, for as long as messages are taken out of it.
    pub(crate) fn take_opener(&mut self) -> Option<FrameOpener> {
        match &mut self.channel {
            Channel::Stream(stream) => stream.opener.take(),
            Channel::Datagram(_) => None,
        }
    }

    /// Gives it back.
    pub(crate) fn put_opener(&mut self, opener: FrameOpener) {
        if let Channel::Stream(stream) = &mut self.channel {
            stream.opener = Some(opener);
        }
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, arrival: Arrival, message: &[u8]) -> Upshot {
        cx.counters.messages_received += 1;
        let packet = match Packet::decode(message) {
            Ok(packet) => packet,
            Err(error) => return self.handle_malformed(cx, arrival, error.answer()),
        };
        if self.phase == Phase::Silent {
            return self.handle_first(cx, arrival, &packet);
        }
        if packet.code().is_response() || is_reaction(&packet) {
            self.hear(cx, arrival, News::Life);
            self.handle_response(cx, &packet, arrival.record);
            self.device_listens(cx);
            return Upshot::Done;
        }
        let fate = self.fate(cx, packet.message_id());
        let request = device::decode(&packet, self.transport());
        self.hear(cx, arrival, news(fate, &request));
        match request {
            Ok(Request::Hello(hello)) => {
                return self.handle_hello(cx, arrival, packet.header, fate, hello);
            }
            Ok(request) => self.handle_request(cx, arrival, packet.header, fate, request),
            Err(error) => self.refuse(cx, packet.header, error.code),
        }
        self.device_listens(cx);
        Upshot::Done
    }

    /// What cannot be read. Over TCP nothing after it could be either.
    fn handle_malformed(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        answer: Option<Header>,
    ) -> Upshot {
        cx.counters.dropped_malformed_message += 1;
        if !self.is_datagram() {
            cx.counters.closed_malformed_stream += 1;
            return Upshot::Ended { forget: false };
        }
        if self.phase == Phase::Silent {
            return Upshot::Done;
        }
        self.hear(cx, arrival, News::Life);
        if let Some(header) = answer {
            self.acknowledge_with(cx, header.message_id, header.token, header.code);
        }
        Upshot::Done
    }

    /// Nothing is taken before the Hello. Over TCP, where nothing else proves the key, it ends the
    /// connection.
    fn handle_first(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        packet: &Packet<'_>,
    ) -> Upshot {
        match device::decode(packet, self.transport()) {
            Ok(Request::Hello(hello)) => {
                let header = packet.header;
                Upshot::Greeted(Box::new(Greeting { hello, header, record: arrival.record }))
            }
            Ok(_) | Err(_) => {
                cx.counters.dropped_before_hello += 1;
                match self.transport() {
                    Transport::Udp => Upshot::Done,
                    Transport::Tcp => Upshot::Ended { forget: false },
                }
            }
        }
    }

    fn handle_hello(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        hello: model::Hello,
    ) -> Upshot {
        match fate {
            None => {
                let record = arrival.record;
                return Upshot::Greeted(Box::new(Greeting { hello, header, record }));
            }
            Some(Fate::Waiting(_)) => cx.counters.copies += 1,
            Some(Fate::Answered(code)) => {
                cx.counters.copies += 1;
                self.refuse(cx, header, code);
                self.wait_for_device(cx);
            }
        }
        Upshot::Done
    }

    fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        request: Request<'_>,
    ) {
        match request {
            Request::Ping => self.handle_ping(cx, header),
            Request::Time => {
                let seconds = cx.now.utc.seconds();
                self.answer(cx, header, |h, out| time::answer(seconds, h.message_id, h.token, out));
            }
            Request::Ledger(request) => self.answer(cx, header, |h, out| {
                ledger::answer_unbuilt(&request, h.message_id, h.token, out);
            }),
            Request::Goodbye(goodbye) => {
                let message = DeviceMessage::Goodbye(goodbye);
                self.handle_goodbye(cx, arrival, header, fate, message);
            }
            Request::Subscribe(subscribe) => {
                let message = DeviceMessage::Subscribe(subscribe);
                self.take_once(cx, arrival, header, fate, Kind::Subscribe, message);
            }
            Request::Publish(request) => self.handle_publish(cx, arrival, header, fate, &request),
            Request::Describe(post) => self.handle_describe(cx, arrival, header, fate, &post),
            Request::Mesh => self.refuse(cx, header, Code::CHANGED),
            Request::Ota(request) => self.handle_ota(cx, arrival, header, fate, &request),
            Request::Unknown => self.refuse(cx, header, Code::NOT_FOUND),
            Request::Hello(_) => {}
        }
    }

    /// Answers at once, if the sender waits for an answer.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        header: Header,
        write: impl FnOnce(Header, &mut Vec<u8>),
    ) {
        if header.receipt().is_none() {
            cx.counters.dropped_unanswerable += 1;
            return;
        }
        cx.scratch.clear();
        write(header, cx.scratch);
        self.send_reply(cx);
    }

    /// Each ping is a sample of the keep-alive interval; its copies are not.
    fn handle_ping(&mut self, cx: &mut Context<'_>, header: Header) {
        if self.is_datagram() && header.message_id != self.last_ping_id {
            self.last_ping_id = header.message_id;
            self.keep_alive.sample(cx.now.mono.since(self.sent_at));
        }
        self.answer(cx, header, |header, out| ack::empty(header.message_id, out));
    }

    /// A Goodbye is not held: what it says is not kept.
    fn handle_goodbye(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        message: DeviceMessage,
    ) {
        if header.receipt().is_some() {
            self.acknowledge_with(cx, header.message_id, header.token, Code::EMPTY);
        }
        if fate.is_some() {
            cx.counters.copies += 1;
            return;
        }
        self.note(cx, header, Fate::Answered(Code::EMPTY));
        let source = self.source(header, arrival.record);
        let link = self.link;
        cx.out.event(LinkEvent::Message { link, message, receipt: None, source });
        self.give_up(cx);
    }

    /// Hands a message up; a copy of it waits for the same answer or gets it again.
    pub(super) fn take_once(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        kind: Kind,
        message: DeviceMessage,
    ) {
        match fate {
            None => {
                self.note(cx, header, Fate::Waiting(kind));
                let source = self.source(header, arrival.record);
                let (link, receipt) = (self.link, header.receipt());
                cx.out.event(LinkEvent::Message { link, message, receipt, source });
            }
            Some(fate) => self.repeat_answer(cx, header, fate),
        }
    }

    /// A copy: what was answered is answered again, with the token of this copy.
    pub(super) fn repeat_answer(&mut self, cx: &mut Context<'_>, header: Header, fate: Fate) {
        cx.counters.copies += 1;
        if let Fate::Answered(code) = fate
            && header.receipt().is_some()
        {
            self.acknowledge_with(cx, header.message_id, header.token, code);
        }
    }

    /// What became of a message with this id, if one came before. TCP has no copies.
    fn fate(&self, cx: &Context<'_>, message_id: u16) -> Option<Fate> {
        if !self.is_datagram() {
            return None;
        }
        self.duplicates.as_ref()?.find(cx.now.mono, message_id)
    }

    /// Remembers a message that must not be taken twice.
    pub(super) fn note(&mut self, cx: &Context<'_>, header: Header, fate: Fate) {
        if self.is_datagram() {
            let seen = self.duplicates.get_or_insert_default();
            seen.insert(cx.now.mono, header.message_id, fate);
        }
    }

    /// An authentic message. One that is not the newest tells nothing about the present.
    fn hear(&mut self, cx: &mut Context<'_>, arrival: Arrival, news: News) {
        if !arrival.newest {
            return;
        }
        self.heard_at = cx.now.mono;
        if let Channel::Stream(stream) = &mut self.channel {
            stream.probed = false;
        }
        self.answer_ping(cx);
        let returns = self.unannounced && news != News::Copy;
        cx.counters.resumes += u64::from(returns || arrival.moved);
        let (link, peer, record) = (self.link, self.peer, self.record_seen());
        if self.is_datagram() {
            self.untold = true;
            self.tell_at.get_or_insert_with(|| cx.now.mono.after(PRESENCE_WRITTEN));
        }
        if arrival.moved && news != News::Hello {
            cx.out.event(LinkEvent::Moved { link, peer, record });
        }
        if returns && news == News::Life {
            self.unannounced = false;
            self.online = true;
            cx.out.event(LinkEvent::Alive { link });
        }
    }

    /// A message after the Hello proves that the Hello's answer arrived.
    fn device_listens(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Quiet {
            self.open_up();
            self.send_waiting(cx);
        }
    }
}

fn news(fate: Option<Fate>, request: &Result<Request<'_>, CoapError>) -> News {
    match (fate, request) {
        (Some(_), _) => News::Copy,
        (None, Ok(Request::Hello(_))) => News::Hello,
        (None, _) => News::Life,
    }
}

/// Whether a message only tells that another one arrived.
fn is_reaction(packet: &Packet<'_>) -> bool {
    matches!(packet.message_type(), Type::Acknowledgement | Type::Reset)
}

/// The device ends the session and forgets it.
fn handle_alert(cx: &mut Context<'_>, content: &[u8]) -> Upshot {
    match *content {
        [alert::FATAL, _] | [_, alert::CLOSE_NOTIFY] => {
            cx.counters.closed_by_alert += 1;
            Upshot::Ended { forget: true }
        }
        _ => Upshot::Done,
    }
}
