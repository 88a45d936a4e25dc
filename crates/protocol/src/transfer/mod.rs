//! Images on their way to devices: the sending side of both update protocols, without IO.
//!
//! A [`Transfer`] says which request it wants to make ([`Transfer::request`]) and whether a chunk may
//! leave ([`Transfer::wants_chunk`]); the connection gives ids and tokens, sends, and tells what comes
//! back. What the shard has to know comes out of [`Transfer::poll_news`]; after
//! [`TransferNews::Ended`] it is over. The image is shared; beside it a transfer holds the state of at
//! most 31 chunks.

mod ask;
mod legacy;
mod v3;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use model::link::{Transfer as Order, TransferEnd, TransferNews, TransferProtocol, Transport};
use model::{Mono, UpdateId};

pub(crate) use self::ask::Ask;
use crate::coap::Packet;
use crate::message::ota::OtaRequest;

/// Shortest time between two reports of progress.
const PROGRESS_EACH: Duration = Duration::from_secs(1);
/// As many as there are tokens in turn, and more.
const ANSWERS_KEPT: usize = 80;
/// Longest text of a device that is told on.
const TEXT_BYTES_MAX: usize = 256;

/// One image on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    order: Order,
    sender: Sender,
    ask: Option<Ask>,
    /// Message ids of the last answers.
    answers: VecDeque<u16>,
    /// The token of requests and of legacy chunks.
    token: Option<u8>,
    news: VecDeque<TransferNews>,
    told_at: Mono,
    told_bytes: u32,
    ended: bool,
}

#[derive(Debug)]
enum Sender {
    Legacy(legacy::Sender),
    V3(v3::Sender),
}

/// A request that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// How long its answer may take.
    pub(crate) patience: Duration,
}

/// What an input changed.
#[derive(Debug, Default)]
struct Verdict(VecDeque<TransferNews>);

impl Verdict {
    fn news(news: TransferNews) -> Self {
        Self([news].into())
    }

    fn ended(end: TransferEnd) -> Self {
        Self::news(TransferNews::Ended(end))
    }

    fn extend(&mut self, news: Option<TransferNews>) {
        self.0.extend(news);
    }
}

impl Transfer {
    /// Begins; the device takes messages of `message_bytes_max`.
    pub(crate) fn new(order: Order, transport: Transport, message_bytes_max: u16) -> Self {
        let sender = match order.protocol {
            TransferProtocol::Legacy => {
                let chunk_bytes = legacy::chunk_bytes(&order, message_bytes_max);
                Sender::Legacy(legacy::Sender::new(chunk_bytes, transport))
            }
            TransferProtocol::V3 => {
                Sender::V3(v3::Sender::new(v3::chunk_bytes(&order, message_bytes_max)))
            }
        };
        let mut transfer = Self {
            order,
            sender,
            ask: None,
            answers: VecDeque::new(),
            token: None,
            news: VecDeque::new(),
            told_at: Mono(0),
            told_bytes: 0,
            ended: false,
        };
        if let Sender::Legacy(sender) = &transfer.sender
            && sender.is_too_large(&transfer.order)
        {
            let text = "more chunks than the device can count".to_owned();
            transfer.take(Verdict::ended(TransferEnd::Refused { code: 413, text }));
        }
        transfer
    }

    /// Whose part it is.
    pub(crate) fn update(&self) -> UpdateId {
        self.order.update
    }

    /// Whether the device can be told to call it off.
    pub(crate) fn is_v3(&self) -> bool {
        self.order.protocol == TransferProtocol::V3
    }

    /// Whether the device was asked to begin and has not answered.
    pub(crate) fn is_starting(&self) -> bool {
        matches!(&self.sender, Sender::V3(sender) if sender.is_starting()) && self.ask.is_some()
    }

    /// The token in use.
    pub(crate) fn token(&self) -> Option<u8> {
        self.token
    }

    /// Whether nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.news.is_empty()
    }

    /// What to tell the shard.
    pub(crate) fn poll_news(&mut self) -> Option<TransferNews> {
        self.news.pop_front()
    }

    /// The request to make now, if there is one.
    pub(crate) fn request(&self) -> Option<Asked> {
        if self.ended || self.ask.is_some() {
            return None;
        }
        match &self.sender {
            Sender::Legacy(sender) => sender.request(),
            Sender::V3(sender) => sender.request(),
        }
    }

    /// Writes that request.
    pub(crate) fn write_request(&self, message_id: u16, token: u8, out: &mut Vec<u8>) {
        match &self.sender {
            Sender::Legacy(sender) => sender.write_request(&self.order, message_id, token, out),
            Sender::V3(sender) => sender.write_request(&self.order, message_id, token, out),
        }
    }

    /// It was sent.
    pub(crate) fn asked(&mut self, ask: Ask) {
        self.token = Some(ask.token);
        self.ask = Some(ask);
        match &mut self.sender {
            Sender::Legacy(sender) => sender.asked(),
            Sender::V3(sender) => sender.asked(),
        }
    }

    /// The request that waits.
    pub(crate) fn ask(&mut self) -> Option<&mut Ask> {
        self.ask.as_mut()
    }

    /// An empty acknowledgement; whether it was of the request that waits.
    pub(crate) fn acknowledged(&mut self, message_id: u16) -> bool {
        let ask = self.ask.as_mut().filter(|ask| ask.message_id == message_id);
        ask.map(Ask::acknowledged).is_some()
    }

    /// An answer with a code, in record `record`; whether it was to the request that waits.
    pub(crate) fn answered(&mut self, packet: &Packet<'_>, record: u64, now: Mono) -> bool {
        let is_ours = |ask: &&mut Ask| match packet.token().byte() {
            Some(token) => token == ask.token,
            // A classic device refuses without the token.
            None => packet.message_id() == ask.message_id && !packet.is_confirmable(),
        };
        if self.ask.as_mut().filter(is_ours).is_none() || self.is_repeated(packet) {
            return false;
        }
        self.ask = None;
        let verdict = match &mut self.sender {
            Sender::Legacy(sender) => sender.answered(&self.order, packet, now),
            Sender::V3(sender) => sender.answered(&self.order, packet, record, now),
        };
        self.take(verdict);
        true
    }

    /// Whether this answer came before: its token may be in use again.
    fn is_repeated(&mut self, packet: &Packet<'_>) -> bool {
        if !packet.is_confirmable() {
            return false;
        }
        let id = packet.message_id();
        let is_known = self.answers.contains(&id);
        if !is_known {
            self.answers.truncate(ANSWERS_KEPT - 1);
            self.answers.push_front(id);
        }
        is_known
    }

    /// A reset of a message of ours that is no request.
    pub(crate) fn reset(&mut self) {
        if let Sender::V3(sender) = &self.sender {
            let verdict = sender.reset();
            self.take(verdict);
        }
    }

    /// A request of the device.
    pub(crate) fn requested(&mut self, request: &OtaRequest<'_>, record: u64, now: Mono) {
        let verdict = match (&mut self.sender, request) {
            (Sender::V3(sender), OtaRequest::UpdateAck(ack)) => sender.update_ack(ack, record, now),
            (Sender::Legacy(sender), OtaRequest::ChunkMissed(missed)) => {
                sender.chunk_missed(missed, now)
            }
            (Sender::Legacy(sender), OtaRequest::UpdateDone(result)) => sender.device_done(result),
            (Sender::V3(_), OtaRequest::ChunkMissed(_) | OtaRequest::UpdateDone(_))
            | (Sender::Legacy(_), OtaRequest::UpdateAck(_)) => Verdict::default(),
        };
        self.take(verdict);
        self.tell_progress(now);
    }

    /// Whether a chunk may leave now.
    pub(crate) fn wants_chunk(&self, now: Mono) -> bool {
        !self.ended
            && match &self.sender {
                Sender::Legacy(sender) => sender.wants_chunk(now),
                Sender::V3(sender) => sender.wants_chunk(),
            }
    }

    /// Writes the next chunk and counts it as sent; gives its bytes of the file.
    pub(crate) fn write_chunk(
        &mut self,
        message_id: u16,
        now: Mono,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let token = self.token.unwrap_or(0);
        let written = match &mut self.sender {
            Sender::Legacy(sender) => sender.write_chunk(&self.order, message_id, token, now, out),
            Sender::V3(sender) => sender.write_chunk(&self.order, message_id, now, out),
        };
        if let Sender::Legacy(sender) = &mut self.sender {
            let news = sender.finish_if_sent(&self.order);
            self.news.extend(news);
        }
        self.tell_progress(now);
        written
    }

    /// When [`Self::expire`] or a repetition is due.
    pub(crate) fn deadline(&self, now: Mono) -> Option<Mono> {
        let sender = match &self.sender {
            Sender::Legacy(sender) => sender.deadline(now),
            Sender::V3(sender) => sender.deadline(),
        };
        self.ask.as_ref().map(Ask::deadline).into_iter().chain(sender).min()
    }

    /// Does what is due, but for repetitions.
    pub(crate) fn expire(&mut self, now: Mono) {
        if self.ask.as_ref().is_some_and(|ask| ask.is_given_up(now)) {
            self.ask = None;
            let verdict = match &mut self.sender {
                Sender::Legacy(sender) => sender.unanswered(),
                Sender::V3(_) => Verdict::ended(TransferEnd::Stalled),
            };
            return self.take(verdict);
        }
        let verdict = match &mut self.sender {
            Sender::Legacy(sender) => sender.expire(now),
            Sender::V3(sender) => sender.expire(now),
        };
        self.take(verdict);
    }

    fn take(&mut self, verdict: Verdict) {
        if self.ended {
            return;
        }
        self.ended = verdict.0.iter().any(|news| matches!(news, TransferNews::Ended(_)));
        self.news.extend(verdict.0);
    }

    fn tell_progress(&mut self, now: Mono) {
        let bytes = match &self.sender {
            Sender::Legacy(sender) => sender.bytes(&self.order),
            Sender::V3(sender) => sender.bytes(&self.order),
        };
        if !self.ended && bytes > self.told_bytes && self.told_at.after(PROGRESS_EACH) <= now {
            (self.told_at, self.told_bytes) = (now, bytes);
            self.news.push_back(TransferNews::Progress { bytes });
        }
    }
}

/// What a device says, cut and without what could harm a terminal.
fn text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(&payload[..payload.len().min(TEXT_BYTES_MAX)]);
    text.chars().filter(|character| !character.is_control()).collect()
}
