//! Reads the durable batches of one segment, in order.

use std::io;
use std::sync::Arc;

use model::Timestamp;

use super::disk::SegmentFile;
use super::frame::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, check_batch};
use super::log::Segment;
use super::stored::{Stored, decode};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// A position in a segment.
pub(crate) struct SegmentReader {
    file: Arc<dyn SegmentFile>,
    segment: Segment,
    /// What was read and not yet given: bytes `taken..` of `buffer`, from `offset` of the file on.
    buffer: Vec<u8>,
    taken: usize,
    offset: u64,
}

/// Some entries that were committed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// The place of the first one.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u32,
    /// When they were committed.
    pub(crate) at: Timestamp,
    body: &'a [u8],
}

impl SegmentReader {
    /// Begins with the segment's first batch.
    pub(crate) fn new(file: Arc<dyn SegmentFile>, segment: Segment) -> Self {
        let offset = SEGMENT_HEADER_BYTES as u64;
        Self { file, segment, buffer: Vec::new(), taken: 0, offset }
    }

    /// Takes note that the segment grew.
    pub(crate) fn extend(&mut self, segment: Segment) {
        debug_assert_eq!(segment.first, self.segment.first);
        self.segment = segment;
    }

    /// The next batch; `None` at the durable end.
    ///
    /// # Errors
    /// The file cannot be read, or a durable batch is damaged (`InvalidData`).
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<Batch<'_>>> {
        if self.offset >= self.segment.end {
            return Ok(None);
        }
        self.fill(BATCH_HEADER_BYTES)?;
        let header = BatchHeader::decode(&self.buffer[self.taken..]).ok_or_else(damaged)?;
        self.fill(header.total_bytes())?;
        let start = self.taken;
        let header = check_batch(&self.buffer[start..], self.segment.salt).ok_or_else(damaged)?;
        self.taken += header.total_bytes();
        self.offset += header.total_bytes() as u64;
        let body = &self.buffer[start + BATCH_HEADER_BYTES..self.taken];
        Ok(Some(Batch { first: header.first, count: header.count, at: header.at, body }))
    }

    /// Sees to it that `wanted` bytes are in the buffer.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.buffer.len() - self.taken >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let durable = usize::try_from(self.segment.end - self.offset).unwrap_or(usize::MAX);
        let mut filled = self.buffer.len();
        self.buffer.resize(wanted.max(CHUNK_BYTES).min(durable), 0);
        while filled < self.buffer.len() {
            let count =
                self.file.read_at(&mut self.buffer[filled..], self.offset + filled as u64)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        self.buffer.truncate(filled);
        if filled < wanted { Err(damaged()) } else { Ok(()) }
    }
}

impl<'a> Batch<'a> {
    /// The place behind its last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// The entries with their places.
    ///
    /// An entry that cannot be read ends the iteration with an error.
    pub(crate) fn entries(self) -> impl Iterator<Item = io::Result<(u64, Stored<'a>)>> {
        let mut rest = Some(self.body);
        (self.first..).take(self.count as usize).map_while(move |place| {
            let decoded = decode(rest.take()?).map_err(|_| damaged());
            Some(decoded.map(|(entry, behind)| {
                rest = Some(behind);
                (place, entry)
            }))
        })
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a durable batch is damaged")
}
