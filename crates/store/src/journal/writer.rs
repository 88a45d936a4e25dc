//! The writing end of the journal.

use std::sync::Arc;

use model::journal::Entry;
use model::{EventId, Timestamp};

use super::disk::SegmentFile;
use super::frame::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, seal_batch,
};
use super::log::{Log, Segment};
use super::stored::encode;
use crate::AppendError;

/// A segment that holds this many bytes gets no more batches.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// A buffer is kept from batch to batch up to this size.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// The writing end of the journal. There is one for each store; whoever commits owns it.
pub struct Journal {
    log: Arc<Log>,
    writing: Option<Writing>,
    next: u64,
    buffer: Vec<u8>,
    /// Tells the store, by its existence, that there is a writer.
    _only: Arc<()>,
}

/// The segment that grows.
struct Writing {
    file: Arc<dyn SegmentFile>,
    segment: Segment,
}

impl Journal {
    /// The end of this log. It goes on in a segment of its own.
    pub(crate) fn new(log: Arc<Log>, only: Arc<()>) -> Self {
        let next = log.next();
        Self { log, writing: None, next, buffer: Vec::new(), _only: only }
    }

    /// Makes entries durable, all or none: one write and one fdatasync, on the calling thread.
    ///
    /// Tells the place of the first one; the others follow it without a gap. The place of a
    /// [`Entry::Publish`] is the id of its event (whatever id the event in it has). `at` is the time
    /// of the commit. No entries: nothing is written.
    ///
    /// # Errors
    /// The disk is full or fails: nothing of this call is kept, and a later call may succeed. More
    /// than [`BATCH_BYTES_MAX`] bytes at once: the caller must make smaller batches.
    pub fn append(&mut self, at: Timestamp, entries: &[Entry]) -> Result<EventId, AppendError> {
        let first = self.next;
        if entries.is_empty() {
            return Ok(EventId(first));
        }
        self.encode(entries)?;
        let written = self.write(at, entries.len());
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        if let Err(error) = written {
            self.abandon();
            return Err(error.into());
        }
        Ok(EventId(first))
    }

    /// The place that the next entry gets.
    pub fn next_id(&self) -> EventId {
        EventId(self.next)
    }

    fn encode(&mut self, entries: &[Entry]) -> Result<(), AppendError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        for entry in entries {
            buffer = encode(entry, buffer).map_err(std::io::Error::other)?;
        }
        self.buffer = buffer;
        if self.buffer.len() > BATCH_BYTES_MAX {
            return Err(AppendError::TooLarge(self.buffer.len()));
        }
        Ok(())
    }

    fn write(&mut self, at: Timestamp, count: usize) -> std::io::Result<()> {
        let count = u32::try_from(count).map_err(std::io::Error::other)?;
        if self.writing.as_ref().is_none_or(|writing| writing.segment.end >= SEGMENT_BYTES) {
            self.writing = Some(self.begin_segment()?);
        }
        let Some(Writing { file, segment }) = &mut self.writing else { return Ok(()) };
        seal_batch(&mut self.buffer, segment.salt, self.next, at, count);
        file.write_at(&self.buffer, segment.end)?;
        file.sync()?;
        segment.add(at, self.buffer.len() as u64, segment.next + u64::from(count));
        self.next = segment.next;
        self.log.grow(*segment);
        Ok(())
    }

    fn begin_segment(&self) -> std::io::Result<Writing> {
        let header = SegmentHeader { first: self.next, salt: rand::random() };
        let file = self.log.disk().create(header.first)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        let segment = Segment::new(header.first, header.salt, SEGMENT_HEADER_BYTES as u64);
        Ok(Writing { file, segment })
    }

    /// After a failed write or sync the state of the file's end is unknown: what may have got there
    /// is cut, and the next batch begins another segment, whose name makes the cut part void even if
    /// the cut is lost.
    fn abandon(&mut self) {
        let Some(Writing { file, segment }) = self.writing.take() else { return };
        let cut = file.truncate(segment.end).and_then(|()| file.sync());
        if let Err(error) = cut {
            let path = self.log.disk().path(segment.first);
            tracing::warn!(?path, %error, "the end of a journal segment cannot be cut");
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("next", &self.next).finish_non_exhaustive()
    }
}
