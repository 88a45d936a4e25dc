//! The sender of the legacy protocol (`ota.md` §2.6):
//!
//! ```text
//!                          ┌─ slow ─▶ one chunk after the other, each answered ─┐
//! Begin ─▶ Beginning ─2.04─┤                                                    ├─▶ Done ─▶ Finishing ─2.04─▶ applied
//!             └─ refused   └─ fast ─▶ all chunks, paced, unanswered ────────────┘    ▲          │ 4.00, ChunkMissed
//!                                          ▲                                        └─ those ◀─┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use model::Mono;
use model::link::{Transfer as Order, TransferEnd, TransferNews, Transport};

use super::{Asked, Verdict};
use crate::coap::Packet;
use crate::message::ota::legacy::{
    CHUNKS_MAX, Chunk, ChunkMissed, UpdateBegin, emit_done, is_failure,
};

/// Erasing flash delays the answer (§2.1), and the whole wait is that of §2.6.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const CHUNK_PATIENCE: Duration = Duration::from_secs(15);
const DONE_PATIENCE: Duration = Duration::from_secs(60);
/// After "something is missing" the device says what, and repeats that for up to 28 s; a classic one
/// asks again every 3 s.
const MISSED_PATIENCE: Duration = Duration::from_secs(15);
/// Time between two chunks over UDP, where nothing tells what arrives (§2.2).
const PACE_MIN: Duration = Duration::from_millis(20);
const PACE_MAX: Duration = Duration::from_millis(50);
/// A device asks for 50 at most; more are not remembered.
const MISSED_MAX: usize = 64;
/// Rounds in which the device asks for the same chunks again, or for none.
const ROUNDS_IDLE_MAX: u32 = 8;
/// From so many missed chunks on, if they are one in ten or more of those in between, the network is bad.
const MANY_MISSED: usize = 16;
const MANY_OF: usize = 10;
/// Passes over the rest of the file.
const PASSES_MAX: u32 = 6;
/// Times in a row that nothing comes back when it is asked what is missing.
const UNANSWERED_MAX: u32 = 4;
/// Rounds in all: a device that asks for ever is not served for ever.
const ROUNDS_MAX: u32 = 1000;
/// Without a chunk that could leave for so long the transfer ends (§2.6).
const INACTIVE: Duration = Duration::from_secs(300);
/// Times that one chunk of the slow form is sent.
const SLOW_ATTEMPTS_MAX: u32 = 5;
/// A chunk's message around its data.
const OVERHEAD_BYTES: u16 = 16;

#[derive(Debug)]
pub(super) struct Sender {
    transport: Transport,
    chunk_bytes: u16,
    stage: Stage,
    /// The chunk to send next if none is missed.
    next: u32,
    /// Chunks below this one were sent.
    sent: u32,
    passes: u32,
    /// Chunks to be sent again.
    missed: VecDeque<u16>,
    /// What was missed last.
    missed_before: Vec<u16>,
    rounds_idle: u32,
    rounds: u32,
    unanswered: u32,
    pace: Duration,
    chunk_at: Mono,
}

#[derive(Debug)]
enum Stage {
    Begin,
    Beginning,
    Fast,
    Slow {
        attempts: u32,
        waits: bool,
    },
    Done,
    Finishing,
    /// Something is missing; the device is about to say what.
    Missing {
        until: Mono,
    },
}

/// Bytes of a chunk for a device that takes messages of `message_bytes_max`.
pub(super) fn chunk_bytes(order: &Order, message_bytes_max: u16) -> u16 {
    order.chunk_bytes.min(message_bytes_max.saturating_sub(OVERHEAD_BYTES)).max(1)
}

impl Sender {
    pub(super) fn new(chunk_bytes: u16, transport: Transport) -> Self {
        Self {
            transport,
            chunk_bytes,
            stage: Stage::Begin,
            next: 0,
            sent: 0,
            passes: 0,
            missed: VecDeque::new(),
            missed_before: Vec::new(),
            rounds_idle: 0,
            rounds: 0,
            unanswered: 0,
            pace: PACE_MIN,
            chunk_at: Mono(0),
        }
    }

    fn total(&self, order: &Order) -> u32 {
        order.image.size().div_ceil(self.chunk_bytes.into())
    }

    /// Whether the file has more chunks than a device can number.
    pub(super) fn is_too_large(&self, order: &Order) -> bool {
        self.total(order) > CHUNKS_MAX
    }

    pub(super) fn request(&self) -> Option<Asked> {
        let patience = match self.stage {
            Stage::Begin => READY_PATIENCE,
            Stage::Slow { waits: false, .. } => CHUNK_PATIENCE,
            Stage::Done => DONE_PATIENCE,
            Stage::Beginning
            | Stage::Fast
            | Stage::Slow { waits: true, .. }
            | Stage::Finishing
            | Stage::Missing { .. } => return None,
        };
        Some(Asked { patience })
    }

    pub(super) fn write_request(&self, order: &Order, id: u16, token: u8, out: &mut Vec<u8>) {
        match self.stage {
            Stage::Slow { .. } => {
                Chunk::of(None, &self.piece(order, self.next)).emit(id, token, out);
            }
            Stage::Done => emit_done(id, token, out),
            Stage::Begin
            | Stage::Beginning
            | Stage::Fast
            | Stage::Finishing
            | Stage::Missing { .. } => {
                let begin = UpdateBegin {
                    fast: true,
                    chunk_bytes: self.chunk_bytes,
                    file_bytes: order.image.size(),
                    store: 0,
                    address: 0,
                };
                begin.emit(id, token, out);
            }
        }
    }

    pub(super) fn asked(&mut self) {
        match &mut self.stage {
            Stage::Begin => self.stage = Stage::Beginning,
            Stage::Done => self.stage = Stage::Finishing,
            Stage::Slow { waits, .. } => *waits = true,
            Stage::Beginning | Stage::Fast | Stage::Finishing | Stage::Missing { .. } => {}
        }
    }

    /// A chunk, the last one filled up with zeros: the Core needs that, and no other minds (§2.2).
    fn piece(&self, order: &Order, index: u32) -> Vec<u8> {
        let size = usize::from(self.chunk_bytes);
        let start = index as usize * size;
        let end = (start + size).min(order.image.bytes.len());
        let mut piece = order.image.bytes.get(start..end).unwrap_or_default().to_vec();
        piece.resize(size, 0);
        piece
    }

    pub(super) fn answered(&mut self, order: &Order, packet: &Packet<'_>, now: Mono) -> Verdict {
        let (code, text) = (packet.code().number(), super::text(packet.payload));
        self.unanswered = 0;
        match (&self.stage, packet.code().is_success()) {
            (Stage::Beginning, true) => {
                let is_fast = packet.payload.first() == Some(&1);
                self.stage = match is_fast {
                    true => Stage::Fast,
                    false => Stage::Slow { attempts: 0, waits: false },
                };
                self.chunk_at = now;
                Verdict::news(TransferNews::Started { offset: 0 })
            }
            (Stage::Beginning, false) => Verdict::ended(TransferEnd::Refused { code, text }),
            (Stage::Slow { attempts, .. }, is_good) => {
                self.slow_answered(order, *attempts, is_good)
            }
            (Stage::Finishing, true) => Self::applied(packet.payload),
            (Stage::Finishing, false) => self.incomplete(now),
            (Stage::Begin | Stage::Fast | Stage::Done | Stage::Missing { .. }, _) => {
                Verdict::default()
            }
        }
    }

    /// Nothing came back. To ask once more whether anything is missing does no harm; a chunk without
    /// index would be taken for the next one.
    pub(super) fn unanswered(&mut self) -> Verdict {
        self.unanswered += 1;
        if matches!(self.stage, Stage::Finishing) && self.unanswered < UNANSWERED_MAX {
            self.stage = Stage::Done;
            return Verdict::default();
        }
        Verdict::ended(TransferEnd::Stalled)
    }

    fn slow_answered(&mut self, order: &Order, attempts: u32, is_good: bool) -> Verdict {
        let attempts = if is_good { 0 } else { attempts + 1 };
        self.next += u32::from(is_good);
        if attempts == SLOW_ATTEMPTS_MAX {
            return Verdict::ended(TransferEnd::Stalled);
        }
        if self.next < self.total(order) {
            self.stage = Stage::Slow { attempts, waits: false };
            return Verdict::default();
        }
        self.stage = Stage::Done;
        Verdict::news(TransferNews::Validating)
    }

    fn applied(result: &[u8]) -> Verdict {
        Verdict::ended(match is_failure(result) {
            true => TransferEnd::Invalid { code: 204, text: super::text(result) },
            false => TransferEnd::Applied,
        })
    }

    /// Something is missing; the device says what in a request of its own.
    fn incomplete(&mut self, now: Mono) -> Verdict {
        if !self.missed.is_empty() {
            self.stage = Stage::Fast;
            return Verdict::default();
        }
        self.stage = Stage::Missing { until: now.after(MISSED_PATIENCE) };
        Verdict::default()
    }

    /// The device asks for chunks.
    pub(super) fn chunk_missed(&mut self, told: &ChunkMissed<'_>, now: Mono) -> Verdict {
        let can_be = match self.stage {
            Stage::Fast | Stage::Done | Stage::Finishing | Stage::Missing { .. } => true,
            Stage::Begin | Stage::Beginning | Stage::Slow { .. } => false,
        };
        // What was never sent is on its way anyhow.
        let sent = self.sent;
        let missed = told.indices().filter(|index| u32::from(*index) < sent).take(MISSED_MAX);
        let missed: Vec<_> = missed.collect();
        if !can_be || missed.is_empty() {
            return Verdict::default();
        }
        self.rounds_idle = if missed == self.missed_before { self.rounds_idle + 1 } else { 0 };
        self.rounds += 1;
        if self.rounds_idle == ROUNDS_IDLE_MAX || self.rounds == ROUNDS_MAX {
            return Verdict::ended(TransferEnd::Stalled);
        }
        self.pace = (self.pace * 5 / 4).min(PACE_MAX);
        self.missed = missed.iter().copied().collect();
        self.go_back_if_bad(&missed);
        self.missed_before = missed;
        if matches!(self.stage, Stage::Missing { .. }) {
            self.stage = Stage::Fast;
            self.chunk_at = now;
        }
        Verdict::default()
    }

    /// A device names few chunks at a time, and may lose its session when one of its requests gets no
    /// answer. When many are missing among those it can name, so they are behind: all that follow are
    /// sent again.
    fn go_back_if_bad(&mut self, missed: &[u16]) {
        let (Some(first), Some(last)) = (missed.iter().min(), missed.iter().max()) else { return };
        let named = usize::from(last - first) + 1;
        let is_bad = missed.len() >= MANY_MISSED && missed.len() * MANY_OF >= named;
        if is_bad && self.passes < PASSES_MAX {
            self.passes += 1;
            self.next = u32::from(*last) + 1;
        }
    }

    /// A classic device noticed by itself that it has everything.
    pub(super) fn device_done(&self, result: &[u8]) -> Verdict {
        match self.stage {
            Stage::Begin | Stage::Beginning => Verdict::default(),
            Stage::Fast
            | Stage::Slow { .. }
            | Stage::Done
            | Stage::Finishing
            | Stage::Missing { .. } => Self::applied(result),
        }
    }

    pub(super) fn wants_chunk(&self, now: Mono) -> bool {
        matches!(self.stage, Stage::Fast) && self.chunk_at <= now
    }

    /// Writes the next chunk and counts it as sent; gives its bytes of the file.
    pub(super) fn write_chunk(
        &mut self,
        order: &Order,
        id: u16,
        token: u8,
        now: Mono,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let again = self.missed.pop_front();
        let index = match again {
            Some(index) => u32::from(index),
            None => self.next,
        };
        let piece = self.piece(order, index);
        Chunk::of(Some(u16::try_from(index).ok()?), &piece).emit(id, token, out);
        self.next += u32::from(again.is_none());
        self.sent = self.sent.max(self.next);
        self.chunk_at = match self.transport {
            Transport::Udp => now.after(self.pace),
            Transport::Tcp => now,
        };
        Some(piece.len())
    }

    /// Whether the last chunk that is to be sent has been.
    pub(super) fn finish_if_sent(&mut self, order: &Order) -> Option<TransferNews> {
        let is_over = matches!(self.stage, Stage::Fast)
            && self.missed.is_empty()
            && self.next >= self.total(order);
        is_over.then(|| {
            self.stage = Stage::Done;
            TransferNews::Validating
        })
    }

    /// Bytes that were sent.
    pub(super) fn bytes(&self, order: &Order) -> u32 {
        let sent = self.sent.max(self.next);
        sent.saturating_mul(self.chunk_bytes.into()).min(order.image.size())
    }

    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        match self.stage {
            Stage::Fast if self.chunk_at > now => Some(self.chunk_at),
            Stage::Fast => Some(self.chunk_at.after(INACTIVE)),
            Stage::Missing { until } => Some(until),
            Stage::Begin
            | Stage::Beginning
            | Stage::Slow { .. }
            | Stage::Done
            | Stage::Finishing => None,
        }
    }

    /// The device did not say what is missing: it is asked once more.
    pub(super) fn expire(&mut self, now: Mono) -> Verdict {
        if matches!(self.stage, Stage::Fast) && self.chunk_at.after(INACTIVE) <= now {
            return Verdict::ended(TransferEnd::Stalled);
        }
        if let Stage::Missing { until } = self.stage
            && until <= now
        {
            self.rounds_idle += 1;
            if self.rounds_idle >= ROUNDS_IDLE_MAX {
                return Verdict::ended(TransferEnd::Stalled);
            }
            self.stage = Stage::Done;
        }
        Verdict::default()
    }
}
