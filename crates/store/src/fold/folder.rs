//! Reads behind the writer of the journal.

use std::io;
use std::sync::Arc;

use super::Tally;
use crate::StoreError;
use crate::journal::log::Log;
use crate::journal::reader::SegmentReader;
use crate::sqlite::Tables;

/// Rows that a tally may touch before it must be written: bounds its memory and its transaction.
const ROWS_MAX: usize = 500_000;

/// The journal on its way into the tables.
pub(crate) struct Folder {
    log: Arc<Log>,
    pub(super) tables: Tables,
    pub(super) tally: Tally,
    reader: Option<(u64, SegmentReader)>,
}

impl Folder {
    /// Goes on at `folded`, the place that the tables reach.
    pub(crate) fn new(log: Arc<Log>, tables: Tables, folded: u64) -> Self {
        Self { log, tables, tally: Tally::new(folded), reader: None }
    }

    /// The place behind the last entry read.
    pub(crate) fn position(&self) -> u64 {
        self.tally.next
    }

    /// The place behind the last entry written.
    pub(crate) fn folded(&self) -> u64 {
        self.tally.from
    }

    /// Whether something was read and not written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.tally.is_empty()
    }

    /// Whether the tally must be written before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.tally.rows() >= ROWS_MAX
    }

    /// Adds up the entries that are there, until the tally is full.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        while !self.is_full() && self.position() < self.log.next() {
            self.read_segment()?;
        }
        Ok(())
    }

    /// Writes the tally.
    ///
    /// # Errors
    /// The tables cannot be written; nothing is lost, call again.
    pub(crate) async fn write(&mut self) -> Result<(), StoreError> {
        if !self.is_dirty() {
            return Ok(());
        }
        let place = self.tables.fold(&self.tally).await?;
        if place != self.tally.next {
            self.reader = None;
        }
        self.tally = Tally::new(place);
        Ok(())
    }

    /// Removes what the fold wrote for devices that are gone, and descriptions that no device has.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        self.tables.sweep().await
    }

    /// Reads and writes until nothing is left.
    ///
    /// # Errors
    /// The journal cannot be read or the tables not be written.
    pub(crate) async fn catch_up(&mut self) -> Result<(), StoreError> {
        while self.folded() < self.log.next() {
            self.read().map_err(unreadable)?;
            self.write().await?;
        }
        Ok(())
    }

    /// Reads what is there of the segment that holds the next entry.
    fn read_segment(&mut self) -> io::Result<()> {
        let position = self.position();
        let Some(segment) = self.log.segments_from(position).first().copied() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a journal segment is missing"));
        };
        let mut reader = match self.reader.take() {
            Some((first, mut reader)) if first == segment.first => {
                reader.extend(segment);
                reader
            }
            _ => self.log.read(&segment)?,
        };
        while self.tally.rows() < ROWS_MAX {
            let Some(batch) = reader.next_batch()? else { break };
            if batch.next() <= position {
                continue;
            }
            for entry in batch.entries() {
                let (place, entry) = entry?;
                if place >= position {
                    self.tally.add(place, entry);
                }
            }
        }
        self.reader = Some((segment.first, reader));
        Ok(())
    }
}

/// The store's word for a journal that cannot be read.
pub(crate) fn unreadable(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("the journal cannot be read: {error}"))
}
