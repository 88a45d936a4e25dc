//! The sender of protocol version 3 (`ota.md` §3.5):
//!
//! ```text
//! Start ──asked──▶ Starting ──2.01──▶ Sending ──all there──▶ Finish ──asked──▶ Finishing ──2.04──▶ applied
//!                     └─ error: refused  └─ RST: lost, 90 s without news: stalled      └─ error: invalid
//! ```

use std::time::Duration;

use model::Mono;
use model::link::{Transfer as Order, TransferEnd, TransferNews};

use super::window::Window;
use super::{Asked, Verdict};
use crate::coap::{Code, Packet};
use crate::message::ota::v3::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunk, UpdateAck, UpdateFinish, UpdateStart, UpdateStarted,
};

/// The device erases flash and hashes what it has before it answers.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The device validates the file before it answers.
const FINISH_PATIENCE: Duration = Duration::from_secs(120);
/// Without anything new for so long the transfer ends; the device would wait 300 s.
const STALLED: Duration = Duration::from_secs(90);
/// A chunk's message around its data (§3.1).
const OVERHEAD_BYTES: u16 = 16;

#[derive(Debug)]
pub(super) struct Sender {
    chunk_bytes: u16,
    offset: u32,
    stage: Stage,
    /// Of the 2.01; what came in a record before it belongs to another transfer.
    record: u64,
}

#[derive(Debug)]
enum Stage {
    Start,
    Starting,
    Sending(Window),
    Finish,
    Finishing,
}

/// Bytes of a chunk for a device that takes messages of `message_bytes_max`.
pub(super) fn chunk_bytes(order: &Order, message_bytes_max: u16) -> u16 {
    let room = message_bytes_max.saturating_sub(OVERHEAD_BYTES);
    let wanted = if order.cautious { order.chunk_bytes } else { room };
    (wanted.min(CHUNK_BYTES_MAX) / 4 * 4).max(CHUNK_BYTES_MIN)
}

impl Sender {
    pub(super) fn new(chunk_bytes: u16) -> Self {
        Self { chunk_bytes, offset: 0, stage: Stage::Start, record: 0 }
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Starting)
    }

    pub(super) fn request(&self) -> Option<Asked> {
        match self.stage {
            Stage::Start => Some(Asked { patience: START_PATIENCE }),
            Stage::Finish => Some(Asked { patience: FINISH_PATIENCE }),
            Stage::Starting | Stage::Sending(_) | Stage::Finishing => None,
        }
    }

    /// Writes the request that is wanted.
    pub(super) fn write_request(&self, order: &Order, id: u16, token: u8, out: &mut Vec<u8>) {
        if matches!(self.stage, Stage::Finish) {
            return UpdateFinish::default().emit(id, token, out);
        }
        let start = UpdateStart {
            file_bytes: order.image.size(),
            sha256: Some(order.image.sha256),
            chunk_bytes: self.chunk_bytes,
            discard: order.afresh,
            function: Some(order.image.function),
        };
        start.emit(id, token, out);
    }

    pub(super) fn asked(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Starting) {
            Stage::Finish | Stage::Finishing => Stage::Finishing,
            Stage::Start | Stage::Starting => Stage::Starting,
            Stage::Sending(window) => Stage::Sending(window),
        };
    }

    /// The answer to the request that was asked last.
    pub(super) fn answered(
        &mut self,
        order: &Order,
        packet: &Packet<'_>,
        record: u64,
        now: Mono,
    ) -> Verdict {
        let (code, text) = (packet.code().number(), super::text(packet.payload));
        match (&self.stage, packet.code().is_success()) {
            (Stage::Starting, true) => self.started(order, packet, record, now),
            (Stage::Starting, false) => Verdict::ended(TransferEnd::Refused { code, text }),
            (Stage::Finishing, true) => Verdict::ended(TransferEnd::Applied),
            (Stage::Finishing, false) => Verdict::ended(TransferEnd::Invalid { code, text }),
            (Stage::Start | Stage::Sending(_) | Stage::Finish, _) => Verdict::default(),
        }
    }

    fn started(&mut self, order: &Order, packet: &Packet<'_>, record: u64, now: Mono) -> Verdict {
        let size = order.image.size();
        let told = UpdateStarted::read(packet).filter(|told| told.offset <= size);
        let Some(told) = told.filter(|_| packet.code() == Code::CREATED) else {
            let text = "an answer that makes no sense".to_owned();
            return Verdict::ended(TransferEnd::Refused { code: packet.code().number(), text });
        };
        let total = (size - told.offset).div_ceil(self.chunk_bytes.into());
        (self.offset, self.record) = (told.offset, record);
        self.stage = Stage::Sending(Window::new(total, told.window, now));
        let mut verdict = Verdict::news(TransferNews::Started { offset: told.offset });
        verdict.extend(self.finish_if_complete());
        verdict
    }

    fn finish_if_complete(&mut self) -> Option<TransferNews> {
        let Stage::Sending(window) = &self.stage else { return None };
        window.is_complete().then(|| {
            self.stage = Stage::Finish;
            TransferNews::Validating
        })
    }

    pub(super) fn update_ack(&mut self, ack: &UpdateAck<'_>, record: u64, now: Mono) -> Verdict {
        if let Stage::Sending(window) = &mut self.stage
            && record > self.record
        {
            window.acknowledged(ack, now);
        }
        self.finish_if_complete().map(Verdict::news).unwrap_or_default()
    }

    /// The device answers a chunk with a reset when it knows nothing of the transfer (any more).
    pub(super) fn reset(&self) -> Verdict {
        match self.stage {
            Stage::Sending(_) => Verdict::ended(TransferEnd::Lost),
            Stage::Start | Stage::Starting | Stage::Finish | Stage::Finishing => Verdict::default(),
        }
    }

    pub(super) fn wants_chunk(&self) -> bool {
        matches!(&self.stage, Stage::Sending(window) if window.next().is_some())
    }

    /// Writes the next chunk and counts it as sent; gives its bytes of the file.
    pub(super) fn write_chunk(
        &mut self,
        order: &Order,
        id: u16,
        now: Mono,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let Stage::Sending(window) = &mut self.stage else { return None };
        let index = window.next()?;
        let start = self.offset as usize + (index - 1) as usize * usize::from(self.chunk_bytes);
        let end = (start + usize::from(self.chunk_bytes)).min(order.image.bytes.len());
        let data = order.image.bytes.get(start..end)?;
        Chunk { index, data }.emit(id, out);
        window.sent(index, now);
        Some(data.len())
    }

    /// Bytes that are there.
    pub(super) fn bytes(&self, order: &Order) -> u32 {
        let there = match &self.stage {
            Stage::Start | Stage::Starting => return 0,
            Stage::Sending(window) => window.there(),
            Stage::Finish | Stage::Finishing => return order.image.size(),
        };
        (self.offset + there * u32::from(self.chunk_bytes)).min(order.image.size())
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let Stage::Sending(window) = &self.stage else { return None };
        let stalled = window.progress_at().after(STALLED);
        Some(window.deadline().map_or(stalled, |at| at.min(stalled)))
    }

    pub(super) fn expire(&mut self, now: Mono) -> Verdict {
        let Stage::Sending(window) = &mut self.stage else { return Verdict::default() };
        if window.progress_at().after(STALLED) <= now {
            return Verdict::ended(TransferEnd::Stalled);
        }
        window.expire(now);
        Verdict::default()
    }
}
