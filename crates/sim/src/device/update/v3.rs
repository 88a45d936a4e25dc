//! Version 3 of the update protocol, the device's side (`ota.md` §3).

use std::collections::BTreeMap;
use std::time::Duration;

use model::Mono;

use super::flash::Partial;
use super::{DISABLED, Receiving, TOO_LARGE, UpdateFault, UpdateStep, diagnostic};
use crate::device::exchange::Purpose;
use crate::device::wire::{
    CHANGED, CREATED, Kind, POST, Received, SERVICE_UNAVAILABLE, URI_PATH, Writer,
};
use crate::device::{Device, Loss, Observation};

const CHUNK_INDEX: u16 = 2049;
const WINDOW_SIZE: u16 = 2053;
const FILE_SIZE: u16 = 2057;
const FILE_SHA_256: u16 = 2061;
const CHUNK_SIZE: u16 = 2065;
const DISCARD_DATA: u16 = 2069;
const CANCEL_UPDATE: u16 = 2073;

/// Bytes of the device's window.
const WINDOW_BYTES: usize = 131_072;
/// What was not acknowledged is so after this.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// Later chunks that a device built for x86 must not hold when a missing one comes.
const TRAP: u32 = 31;
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 512..=1136;

/// A transfer that runs.
pub(in crate::device) struct V3Transfer {
    sha256: Option<[u8; 32]>,
    size: usize,
    chunk_bytes: usize,
    offset: usize,
    /// What is there without a gap, from the first byte of the file on.
    bytes: Vec<u8>,
    /// Chunks beyond a gap, by index.
    later: BTreeMap<u32, Vec<u8>>,
    /// Chunks that are there without a gap, of this transfer.
    base: u32,
    unacknowledged: u32,
    ack_at: Option<Mono>,
    received: u32,
    acks: u32,
    pub(super) heard_at: Mono,
}

impl V3Transfer {
    fn total(&self) -> u32 {
        (self.size - self.offset).div_ceil(self.chunk_bytes) as u32
    }

    fn length_of(&self, index: u32) -> usize {
        let start = self.offset + (index - 1) as usize * self.chunk_bytes;
        (self.size - start).min(self.chunk_bytes)
    }

    pub(super) fn into_partial(self) -> Option<Partial> {
        let (sha256, size, bytes) = (self.sha256?, self.size, self.bytes);
        Some(Partial { sha256, size, bytes })
    }

    pub(super) fn next_timeout(&self, idle: Duration) -> Mono {
        let idle = self.heard_at.after(idle);
        self.ack_at.map_or(idle, |at| at.min(idle))
    }

    /// Takes a chunk that is not there; whether it closed a gap of the kind that hangs an x86 build.
    fn store(&mut self, index: u32, data: &[u8]) -> bool {
        let is_next = index == self.base + 1;
        let held = (2..=TRAP + 1).all(|ahead| self.later.contains_key(&(self.base + ahead)));
        if !is_next {
            self.later.insert(index, data.to_vec());
            return false;
        }
        self.bytes.extend(data);
        self.base += 1;
        while let Some(data) = self.later.remove(&(self.base + 1)) {
            self.bytes.extend(data);
            self.base += 1;
        }
        held
    }

    /// The chunks beyond the gap, whole words of 32 bits, little-endian.
    fn bitmap(&self) -> Vec<u8> {
        let mut words: Vec<u32> = Vec::new();
        for index in self.later.keys() {
            let bit = (index - self.base - 1) as usize;
            if words.len() <= bit / 32 {
                words.resize(bit / 32 + 1, 0);
            }
            words[bit / 32] |= 1 << (bit % 32);
        }
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

impl Device {
    pub(super) fn start_v3(&mut self, now: Mono, message: &Received<'_>) {
        let Some(transfer) = self.read_start(now, message) else {
            let text = diagnostic(super::OTA_ERROR, "Invalid options");
            let answer = Writer::new(Kind::Ack, SERVICE_UNAVAILABLE, message.id, message.token);
            return self.acknowledge(message, answer.payload(&text));
        };
        self.acknowledge_empty(message);
        if let Err(error) = self.may_update(transfer.size) {
            self.fail_update(error);
            let text = diagnostic(error, "The update is refused");
            let purpose = Purpose::Answer;
            return self.answer_update(now, message, SERVICE_UNAVAILABLE, &text, purpose);
        }
        let offset = transfer.offset;
        let window = WINDOW_BYTES / transfer.chunk_bytes;
        let answer = Writer::new(Kind::Con, CREATED, self.next_id(), message.token)
            .number(WINDOW_SIZE, window as u32)
            .number(FILE_SIZE, offset as u32)
            .done();
        self.flash().receiving = Some(Receiving::V3(transfer));
        self.send_confirmable(now, Purpose::Answer, answer);
        self.observe(Observation::Update(UpdateStep::Begun { offset }));
    }

    /// Whether an update of this size may begin.
    pub(super) fn may_update(&mut self, size: usize) -> Result<(), i32> {
        let size_max = self.setup.profile.binary_bytes_max as usize;
        let flash = self.flash();
        match flash.fault {
            _ if !flash.enabled && !flash.forced => Err(DISABLED),
            _ if size > size_max => Err(TOO_LARGE),
            UpdateFault::Refuses => Err(super::OTA_ERROR),
            _ => Ok(()),
        }
    }

    /// A running transfer gives way; the data of one with the same hash is gone on with.
    fn read_start(&mut self, now: Mono, message: &Received<'_>) -> Option<V3Transfer> {
        let number = |option| message.values(option).next().map(number);
        let size = number(FILE_SIZE).filter(|size| *size > 0)? as usize;
        let chunk_bytes = number(CHUNK_SIZE)? as usize;
        let sha256 = message.values(FILE_SHA_256).next().map(<[u8; 32]>::try_from);
        let sha256 = sha256.transpose().ok()?;
        let is_good = CHUNK_BYTES.contains(&chunk_bytes) && chunk_bytes.is_multiple_of(4);
        if !is_good || message.token.is_empty() {
            return None;
        }
        let discards = message.values(DISCARD_DATA).next().is_some();
        let flash = self.flash();
        let forced = flash.forced;
        flash.break_off();
        flash.forced = forced;
        let kept = flash
            .partial
            .take()
            .filter(|partial| !discards && Some(partial.sha256) == sha256 && partial.size == size);
        let bytes = kept.map_or_else(Vec::new, |partial| partial.bytes);
        Some(V3Transfer {
            sha256,
            size,
            chunk_bytes,
            offset: bytes.len(),
            bytes,
            later: BTreeMap::new(),
            base: 0,
            unacknowledged: 0,
            ack_at: None,
            received: 0,
            acks: 0,
            heard_at: now,
        })
    }

    pub(super) fn take_v3_chunk(&mut self, now: Mono, message: &Received<'_>) {
        let Some(Receiving::V3(transfer)) = &mut self.flash().receiving else {
            return self.reset_message(message.id);
        };
        let index = message.values(CHUNK_INDEX).next().map(number);
        let data = message.payload().unwrap_or_default();
        let fits = index.is_some_and(|index| {
            (1..=transfer.total()).contains(&index) && transfer.length_of(index) == data.len()
        });
        let Some(index) = index.filter(|_| fits && message.token.is_empty()) else {
            self.reset_message(message.id);
            self.fail_update(super::OTA_ERROR);
            return self.lose(now, Loss::UpdateFailed);
        };
        transfer.heard_at = now;
        let window = (WINDOW_BYTES / transfer.chunk_bytes) as u32;
        let is_new = index > transfer.base && !transfer.later.contains_key(&index);
        let had_gap = !transfer.later.is_empty();
        let mut is_trapped = false;
        if is_new && index <= transfer.base + window {
            transfer.received += 1;
            is_trapped = transfer.store(index, data);
        }
        transfer.unacknowledged += 1;
        let has_gap = !transfer.later.is_empty();
        let is_complete = transfer.base == transfer.total();
        let at_once = !is_new || had_gap || has_gap || is_complete || transfer.unacknowledged >= 2;
        transfer.ack_at = Some(now.after(ACK_DELAY));
        if is_trapped {
            self.observe(Observation::Update(UpdateStep::Trapped));
        }
        if is_new && self.loses_power_now(now) {
            return;
        }
        if at_once {
            self.acknowledge_v3();
        }
    }

    pub(super) fn acknowledge_v3_late(&mut self, now: Mono) {
        if let Some(Receiving::V3(transfer)) = &self.flash().receiving
            && transfer.ack_at.is_some_and(|at| at <= now)
        {
            self.acknowledge_v3();
        }
    }

    fn acknowledge_v3(&mut self) {
        let id = self.next_id();
        let Some(Receiving::V3(transfer)) = &mut self.flash().receiving else { return };
        transfer.ack_at = None;
        transfer.unacknowledged = 0;
        transfer.acks += 1;
        let message = Writer::new(Kind::Non, POST, id, &[])
            .option(URI_PATH, b"A")
            .number(CHUNK_INDEX, transfer.base)
            .payload(&transfer.bitmap());
        self.send(&message);
    }

    pub(super) fn finish_v3(&mut self, now: Mono, message: &Received<'_>) {
        self.acknowledge_empty(message);
        let cancels = message.values(CANCEL_UPDATE).next().is_some();
        let discards = message.values(DISCARD_DATA).next().is_some();
        let Some(Receiving::V3(transfer)) = &mut self.flash().receiving else {
            let text = diagnostic(super::OTA_ERROR, "No update is running");
            return self.answer_update(now, message, SERVICE_UNAVAILABLE, &text, Purpose::Answer);
        };
        transfer.heard_at = now;
        if cancels {
            let flash = self.flash();
            flash.break_off();
            flash.partial.take_if(|_| discards);
            return self.answer_update(now, message, CHANGED, &[], Purpose::Answer);
        }
        if transfer.base < transfer.total() {
            let text = diagnostic(super::OTA_ERROR, "Incomplete file transfer");
            let purpose = Purpose::UpdateBroken;
            return self.answer_update(now, message, SERVICE_UNAVAILABLE, &text, purpose);
        }
        let statistics = format!(
            r#"{{"recv_chunks":{},"dup_chunks":0,"ooo_chunks":0,"sent_acks":{},"proc_time":1}}"#,
            transfer.received, transfer.acks
        );
        let (file, sha256) = (std::mem::take(&mut transfer.bytes), transfer.sha256);
        self.judge_v3(now, message, file, sha256, statistics.as_bytes());
    }

    fn judge_v3(
        &mut self,
        now: Mono,
        message: &Received<'_>,
        file: Vec<u8>,
        sha256: Option<[u8; 32]>,
        statistics: &[u8],
    ) {
        let modules = self.modules();
        let flash = self.flash();
        flash.receiving = None;
        match flash.check(&file, sha256, &modules) {
            Ok(()) => {
                flash.accepted = Some(file);
                self.answer_update(now, message, CHANGED, statistics, Purpose::UpdateApplied);
            }
            Err(error) => {
                self.fail_update(error);
                let text = diagnostic(error, "Module integrity check failed");
                let purpose = Purpose::UpdateBroken;
                self.answer_update(now, message, SERVICE_UNAVAILABLE, &text, purpose);
            }
        }
    }
}

fn number(value: &[u8]) -> u32 {
    value.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
