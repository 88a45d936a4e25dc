//! The legacy update protocol, the device's side (`ota.md` §2).

use model::Mono;

use super::flash::crc32;
use super::{DISABLED, Receiving, UpdateStep};
use crate::device::exchange::Purpose;
use crate::device::wire::{
    BAD_REQUEST, CHANGED, GET, Kind, Received, SERVICE_UNAVAILABLE, URI_PATH, URI_QUERY, Writer,
};
use crate::device::{Device, Observation};

/// Indices in one ChunkMissed.
const MISSED_MAX: usize = 40;

/// A transfer that runs.
pub(in crate::device) struct LegacyTransfer {
    size: usize,
    chunk_bytes: usize,
    fast: bool,
    file: Vec<u8>,
    there: Vec<bool>,
    /// The next one, without indices.
    next: usize,
    received_in_round: usize,
    pub(super) heard_at: Mono,
}

impl LegacyTransfer {
    fn store(&mut self, index: usize, data: &[u8]) {
        let start = index * self.chunk_bytes;
        let end = (start + data.len()).min(self.size);
        if let Some(place) = self.file.get_mut(start..end) {
            place.copy_from_slice(&data[..end - start]);
            self.there[index] = true;
            self.received_in_round += 1;
        }
    }

    /// What to ask for: not many more than came in the last round.
    fn missed(&mut self) -> Vec<u8> {
        let received = std::mem::take(&mut self.received_in_round);
        let most = (received * 6 / 5).max(received + 2).min(MISSED_MAX);
        let missing = self.there.iter().enumerate().filter(|(_, there)| !**there);
        missing.take(most).flat_map(|(index, _)| (index as u16).to_be_bytes()).collect()
    }
}

impl Device {
    /// The fields are read at their absolute offsets.
    pub(super) fn begin_legacy(&mut self, now: Mono, message: &Received<'_>) {
        let byte = |offset| message.byte_at(offset).map(usize::from);
        let field = |start, end| (start..end).try_fold(0, |sum, at| Some(sum << 8 | byte(at)?));
        let (Some(flags), Some(chunk_bytes @ 1..), Some(size @ 1..), Some(_), Some(0xFF)) =
            (byte(8), field(9, 11), field(11, 15), byte(19), byte(7))
        else {
            return;
        };
        // From 3.0 on a device believes in the transfer that runs.
        let refusal = match self.may_update(size) {
            _ if self.is_updating() => Some(super::OTA_ERROR),
            Ok(()) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = refusal {
            if error != DISABLED {
                self.fail_update(error);
            }
            return self.acknowledge_coded(message, SERVICE_UNAVAILABLE);
        }
        self.acknowledge_empty(message);
        let fast = flags & 1 == 1 && !self.setup.takes_chunks_slowly;
        let chunks = size.div_ceil(chunk_bytes);
        self.flash().receiving = Some(Receiving::Legacy(LegacyTransfer {
            size,
            chunk_bytes,
            fast,
            file: vec![0; size],
            there: vec![false; chunks],
            next: 0,
            received_in_round: 0,
            heard_at: now,
        }));
        self.respond(now, message, CHANGED, &[u8::from(fast)]);
        self.observe(Observation::Update(UpdateStep::Begun { offset: 0 }));
    }

    pub(super) fn take_legacy_chunk(&mut self, now: Mono, message: &Received<'_>) {
        let Some(Receiving::Legacy(transfer)) = &mut self.flash().receiving else { return };
        transfer.heard_at = now;
        let mut queries = message.values(URI_QUERY);
        let crc = queries.next().and_then(|crc| crc.try_into().ok()).map(u32::from_be_bytes);
        let index = queries.next().and_then(|index| index.try_into().ok());
        let data = message.payload().unwrap_or_default();
        let is_good = crc == Some(crc32(data));
        let fast = transfer.fast;
        let index = match index {
            Some(index) if fast => usize::from(u16::from_be_bytes(index)),
            Some(_) | None => transfer.next,
        };
        if is_good {
            transfer.store(index, data);
            transfer.next = index + 1;
        }
        if self.loses_power_now(now) || fast {
            return;
        }
        self.acknowledge_empty(message);
        self.respond(now, message, if is_good { CHANGED } else { BAD_REQUEST }, &[]);
    }

    pub(super) fn finish_legacy(&mut self, now: Mono, message: &Received<'_>) {
        let is_udp = self.is_udp();
        let Some(Receiving::Legacy(transfer)) = &mut self.flash().receiving else {
            return self.acknowledge_coded(message, BAD_REQUEST);
        };
        transfer.heard_at = now;
        let missed = if transfer.fast { transfer.missed() } else { Vec::new() };
        if missed.is_empty() {
            let file = std::mem::take(&mut transfer.file);
            return self.judge_legacy(now, message, file);
        }
        self.acknowledge_coded(message, BAD_REQUEST);
        let kind = if is_udp { Kind::Con } else { Kind::Non };
        let ask = Writer::new(kind, GET, self.next_id(), &[]).option(URI_PATH, b"c");
        let ask = ask.payload(&missed);
        if is_udp {
            self.send_confirmable(now, Purpose::Answer, ask);
        } else {
            self.send(&ask);
        }
    }

    /// The result goes with the acknowledgement; then the device restarts, or stays as it is.
    fn judge_legacy(&mut self, now: Mono, message: &Received<'_>, file: Vec<u8>) {
        let modules = self.modules();
        let flash = self.flash();
        flash.receiving = None;
        let checked = flash.check(&file, None, &modules);
        let result = format!(r#"{{"r":{}}}"#, checked.err().unwrap_or(0));
        let answer = Writer::new(Kind::Ack, CHANGED, message.id, message.token);
        self.acknowledge(message, answer.payload(result.as_bytes()));
        match checked {
            Ok(()) => {
                self.flash().accepted = Some(file);
                self.apply(now);
            }
            Err(error) => self.fail_update(error),
        }
    }
}
