//! Why was this counted: single operations out of the segments that are kept for that.

use std::collections::VecDeque;
use std::io;

use model::journal::{Charge, OperationKind};
use model::{AccountId, DeviceId, ProductId, Timestamp};

use super::disk::SegmentFile;
use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::log::{Log, Segment};
use super::reader::{Batch, SegmentReader};
use super::stored::Stored;

/// One thing that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedOperation {
    /// When.
    pub at: Timestamp,
    /// The device that sent or was sent to.
    pub device: DeviceId,
    /// Its product, if it had one.
    pub product: Option<ProductId>,
    /// What it was; tells the rule.
    pub kind: OperationKind,
    /// The name of the event, function or variable; empty for a ping.
    pub name: String,
    /// Which transmission to the device, from 1 on; absent for what a device sent.
    pub attempt: Option<u8>,
    /// Data Operations.
    pub operations: u32,
    /// Bytes of payload.
    pub bytes: u32,
}

/// What was counted in the recent past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Where the window begins: what was counted before is known by its sums alone. Absent: nothing
    /// was written down yet.
    pub since: Option<Timestamp>,
    /// The newest ones, oldest first.
    pub operations: Vec<CountedOperation>,
    /// How many more there are in the window, older than those.
    pub left_out: u64,
}

/// Whose operations are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhoseOperations {
    /// The account that paid.
    pub account: AccountId,
    /// One device of it, or all.
    pub device: Option<DeviceId>,
}

/// Reads what the window holds, at most the newest `limit`.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn counted(log: &Log, whose: WhoseOperations, limit: usize) -> io::Result<Counted> {
    let mut found = Found { whose, limit, since: None, operations: VecDeque::new(), left_out: 0 };
    let live = log.segments_from(0);
    let mut firsts = log.disk().kept()?;
    firsts.extend(live.iter().map(|segment| segment.first));
    firsts.sort_unstable();
    firsts.dedup();
    let limits = firsts.iter().skip(1).copied().chain([u64::MAX]);
    for (first, limit) in firsts.iter().copied().zip(limits) {
        let live = live.iter().find(|segment| segment.first == first);
        found.read_segment(log, first, limit, live)?;
    }
    let Found { since, operations, left_out, .. } = found;
    Ok(Counted { since, operations: operations.into(), left_out })
}

struct Found {
    whose: WhoseOperations,
    limit: usize,
    since: Option<Timestamp>,
    operations: VecDeque<CountedOperation>,
    left_out: u64,
}

impl Found {
    /// Reads a segment up to place `limit`; one that went meanwhile was out of the window.
    fn read_segment(
        &mut self,
        log: &Log,
        first: u64,
        limit: u64,
        live: Option<&Segment>,
    ) -> io::Result<()> {
        let file = match log.disk().open(first).or_else(|_| log.disk().open_kept(first)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let Some(segment) = live.copied().or(segment_of(&*file)?) else { return Ok(()) };
        let mut reader = SegmentReader::new(file, segment);
        // A bad batch is the end of a write that failed.
        while let Ok(Some(batch)) = reader.next_batch()
            && batch.first < limit
        {
            self.since.get_or_insert(batch.at);
            self.read(batch)?;
        }
        Ok(())
    }

    fn read(&mut self, batch: Batch<'_>) -> io::Result<()> {
        for entry in batch.entries() {
            match entry?.1 {
                Stored::Attempt { charge, name, attempt } => {
                    self.take(&charge, name, Some(attempt));
                }
                Stored::Copy { charge, name, .. } => self.take(&charge, name, None),
                Stored::Publish { event, charge, point, .. } => {
                    for charge in charge.iter().chain(&point) {
                        self.take(charge, event.name, None);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, charge: &Charge, name: &str, attempt: Option<u8>) {
        let WhoseOperations { account, device } = self.whose;
        if charge.account != account || device.is_some_and(|device| device != charge.device) {
            return;
        }
        self.operations.push_back(CountedOperation {
            at: charge.at,
            device: charge.device,
            product: charge.product,
            kind: charge.kind,
            name: name.to_owned(),
            attempt,
            operations: charge.operations,
            bytes: charge.bytes,
        });
        if self.operations.len() > self.limit {
            self.operations.pop_front();
            self.left_out += 1;
        }
    }
}

/// A segment of which only its file is known; `None` if it was written by another version.
fn segment_of(file: &dyn SegmentFile) -> io::Result<Option<Segment>> {
    let mut head = [0; SEGMENT_HEADER_BYTES];
    let count = file.read_at(&mut head, 0)?;
    let header = SegmentHeader::decode(&head[..count]);
    let end = file.bytes()?;
    Ok(header.map(|SegmentHeader { first, salt }| Segment::new(first, salt, end)))
}
