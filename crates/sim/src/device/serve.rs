//! Requests of the server, told apart by code and letter as the firmware does (`messages.md` §2.1).

use std::time::Duration;

use model::Mono;

use super::application::{Called, ReceivedEvent};
use super::exchange::Purpose;
use super::greet::{APPLICATION, METRICS, PreparedAnswer, SYSTEM};
use super::wire::{
    BAD_REQUEST, BLOCK2, CHANGED, CONTENT, CONTENT_FORMAT, EMPTY, ETAG, GET, Kind, NOT_FOUND, POST,
    PUT, Received, URI_PATH, URI_QUERY, Writer,
};
use super::{Device, Loss, Observation, Phase};

impl Device {
    /// Dispatch by position. What this release does not know is dropped without acknowledgement.
    pub(super) fn serve(&mut self, now: Mono, message: &Received<'_>) {
        match (message.code, message.letter()) {
            (EMPTY, _) => self.answer_ping(message),
            (CONTENT, _) => self.set_clock(message),
            (GET, Some(b'd')) => self.answer_describe(now, message),
            (GET, Some(b'v')) => self.answer_variable(now, message),
            (POST, Some(b'E' | b'e')) => self.take_event(now, message),
            (POST, Some(b'f')) => self.call_function(now, message),
            (POST, Some(b'h')) => self.take_server_hello(now, message),
            (POST, Some(b'S' | b'C' | b'F' | b'u' | b's' | b'c')) | (PUT, Some(b'u')) => {
                self.take_update_message(now, message);
            }
            (PUT, Some(b'k')) => self.change_key(now, message),
            (PUT, Some(b's')) => self.take_signal(message),
            _ => {}
        }
    }

    fn answer_ping(&mut self, message: &Received<'_>) {
        if message.kind == Kind::Con {
            let id = self.own_id_over_tcp(message.id);
            self.acknowledge(message, Writer::new(Kind::Ack, EMPTY, id, &[]).done());
        }
    }

    fn answer_variable(&mut self, now: Mono, message: &Received<'_>) {
        let name = message.values(URI_PATH).nth(1).unwrap_or_default();
        let value = self.application.read(name);
        self.observe(Observation::Read { name: lossy(name) });
        self.acknowledge_empty(message);
        match value {
            Some(value) => self.respond(now, message, CONTENT, &value),
            None => self.respond(now, message, NOT_FOUND, &[]),
        }
    }

    fn call_function(&mut self, now: Mono, message: &Received<'_>) {
        let name = message.values(URI_PATH).nth(1).unwrap_or_default();
        let argument = message.values(URI_QUERY).next().unwrap_or_default();
        if argument.len() > self.setup.profile.value_bytes_max {
            let answer = Writer::new(Kind::Ack, BAD_REQUEST, message.id, message.token).done();
            return self.acknowledge(message, answer);
        }
        self.acknowledge_empty(message);
        let called = self.application.call(name, argument);
        let returned = if let Called::Returned(number) = called { Some(number) } else { None };
        let (name, argument) = (lossy(name), argument.to_vec());
        self.observe(Observation::Called { name, argument, returned });
        match called {
            Called::Returned(number) => {
                self.respond(now, message, CHANGED, &number.to_be_bytes());
            }
            Called::Reset => self.reset(now),
            Called::Unknown => {}
        }
    }

    fn take_event(&mut self, now: Mono, message: &Received<'_>) {
        if message.kind == Kind::Con && self.is_udp() {
            self.acknowledge_empty(message);
        }
        let event = read_event(message);
        if self.is_handled(&event) {
            self.observe(Observation::Event(event.clone()));
        }
        self.obey_system_event(now, &event);
    }

    /// The events that the system layer itself understands (§10.2).
    fn obey_system_event(&mut self, now: Mono, event: &ReceivedEvent) {
        if event.name.starts_with("spark/device/claim/") {
            self.claim_code = None;
        }
        if event.name.starts_with("spark/device/reset") {
            match event.data.as_deref() {
                Some(b"network") => self.roam(),
                Some(b"reboot" | b"safe mode" | b"dfu") => self.reset(now),
                _ => {}
            }
        }
        if event.name.starts_with("particle/device/updates/forced") {
            let data = event.data.as_deref().map_or_else(String::new, lossy);
            self.flash().forced = data == "true";
            self.publish_system(now, "particle/device/updates/forced", &data);
        }
    }

    /// Whether a handler of the application takes it; plain handlers of 6.2 take text only.
    fn is_handled(&self, event: &ReceivedEvent) -> bool {
        let is_text = matches!(event.format, 0 | 40 | 41 | 50);
        self.setup.program.subscriptions.iter().any(|subscription| {
            event.name.starts_with(&subscription.prefix) && (is_text || subscription.any_content)
        })
    }

    fn take_server_hello(&mut self, now: Mono, message: &Received<'_>) {
        if message.kind == Kind::Con {
            self.acknowledge_empty(message);
        }
        if !self.is_udp() && matches!(self.phase, Phase::Hello { .. }) {
            self.hello_taken(now);
        }
    }

    /// The acknowledgement carries the device's own next id, on both transports.
    fn change_key(&mut self, now: Mono, message: &Received<'_>) {
        if message.kind == Kind::Con {
            let id = self.next_id();
            self.acknowledge(message, Writer::new(Kind::Ack, EMPTY, id, &[]).done());
        }
        if self.is_udp() && message.values(URI_QUERY).next() == Some(&[1]) {
            self.lose(now, Loss::KeyChange);
        }
    }

    /// The value is read at its absolute offset, right only for tokens of one byte (§9.1).
    fn take_signal(&mut self, message: &Received<'_>) {
        self.observe(Observation::Signal(message.byte_at(8).is_some_and(|value| value != 0)));
        let id = self.own_id_over_tcp(message.id);
        let answer = Writer::new(Kind::Ack, CHANGED, id, message.token).done();
        self.acknowledge(message, answer);
    }

    fn answer_describe(&mut self, now: Mono, message: &Received<'_>) {
        let modern = self.setup.profile.is_modern();
        let flag = message.values(URI_QUERY).next().and_then(|query| query.first().copied());
        match flag {
            None if modern => self.acknowledge_coded(message, BAD_REQUEST),
            Some(flag) if modern && !matches!(flag, SYSTEM | APPLICATION | METRICS) => {
                self.lose(now, Loss::Stream);
            }
            Some(flag) if flag != SYSTEM | APPLICATION => self.send_description(now, message, flag),
            _ => self.send_description(now, message, 0),
        }
    }

    fn send_description(&mut self, now: Mono, message: &Received<'_>, flag: u8) {
        self.acknowledge_empty(message);
        let block = message.values(BLOCK2).next().map(block_number);
        if let Some(number @ 1..) = block {
            return self.send_next_block(now, message, flag, number);
        }
        let bytes = self.description(flag);
        if self.setup.profile.is_modern() && bytes.len() > self.block_bytes().0 {
            self.etag += 1;
            self.answers.retain(|answer| answer.flag != flag);
            let etag = self.etag;
            self.answers.push(PreparedAnswer { flag, etag, bytes, last_access: now });
            return self.send_next_block(now, message, flag, 0);
        }
        let writer = self.description_answer(message);
        let writer = if flag == SYSTEM && self.setup.profile.is_modern() {
            writer.number(CONTENT_FORMAT, 42)
        } else {
            writer
        };
        self.send_confirmable(now, Purpose::Answer, writer.payload(&bytes));
    }

    fn send_next_block(&mut self, now: Mono, message: &Received<'_>, flag: u8, number: u32) {
        let (size, exponent) = self.block_bytes();
        let kept = |answer: &&mut PreparedAnswer| {
            answer.flag == flag && now.since(answer.last_access) < ANSWER_KEPT
        };
        let start = number as usize * size;
        let Some(answer) = self.answers.iter_mut().find(kept) else {
            return self.respond(now, message, NOT_FOUND, &[]);
        };
        if start >= answer.bytes.len() {
            return self.respond(now, message, NOT_FOUND, &[]);
        }
        answer.last_access = now;
        let end = answer.bytes.len().min(start + size);
        let more = u32::from(end < answer.bytes.len());
        let (etag, part) = (answer.etag, answer.bytes[start..end].to_vec());
        let mut writer = self.description_answer(message).number(ETAG, etag);
        if flag == SYSTEM {
            writer = writer.number(CONTENT_FORMAT, 42);
        }
        let writer = writer.number(BLOCK2, number << 4 | more << 3 | exponent);
        self.send_confirmable(now, Purpose::Answer, writer.payload(&part));
    }

    /// Descriptions are confirmable on TCP too.
    fn description_answer(&mut self, message: &Received<'_>) -> Writer {
        Writer::new(Kind::Con, CONTENT, self.next_id(), message.token)
    }

    /// A separate answer with the token of the request: CON over UDP, NON over TCP.
    pub(super) fn respond(&mut self, now: Mono, message: &Received<'_>, code: u8, payload: &[u8]) {
        let kind = if self.is_udp() { Kind::Con } else { Kind::Non };
        let answer = Writer::new(kind, code, self.next_id(), message.token).payload(payload);
        if self.is_udp() {
            self.send_confirmable(now, Purpose::Answer, answer);
        } else {
            self.send(&answer);
        }
    }

    pub(super) fn acknowledge_empty(&mut self, message: &Received<'_>) {
        self.acknowledge(message, Writer::new(Kind::Ack, EMPTY, message.id, &[]).done());
    }

    pub(super) fn acknowledge_coded(&mut self, message: &Received<'_>, code: u8) {
        let answer = Writer::new(Kind::Ack, code, message.id, message.token).done();
        self.acknowledge(message, answer);
    }

    pub(super) fn acknowledge(&mut self, message: &Received<'_>, answer: Vec<u8>) {
        if message.kind != Kind::Con {
            return;
        }
        self.send(&answer);
        if self.is_udp() {
            self.inbox.answered(message.id, &answer);
        }
    }

    /// Over TCP some acknowledgements carry a fresh id instead of the request's (§2.1).
    fn own_id_over_tcp(&mut self, id: u16) -> u16 {
        if self.is_udp() { id } else { self.next_id() }
    }
}

/// A prepared description is dropped this long after the last access.
const ANSWER_KEPT: Duration = Duration::from_secs(90);

fn read_event(message: &Received<'_>) -> ReceivedEvent {
    let parts: Vec<_> = message.values(URI_PATH).skip(1).map(lossy).collect();
    let format = message.values(CONTENT_FORMAT).next().map_or(0, number);
    ReceivedEvent {
        name: parts.join("/"),
        data: message.payload().map(<[u8]>::to_vec),
        format: u16::try_from(format).unwrap_or(u16::MAX),
    }
}

fn block_number(value: &[u8]) -> u32 {
    number(value) >> 4
}

fn number(value: &[u8]) -> u32 {
    value.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
