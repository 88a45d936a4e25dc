//! The journal.

use model::journal::Entry;
use model::{EventId, Timestamp};

use crate::AppendError;

/// Largest batch written at once, encoded.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The writing end of the journal. There is one for each store; whoever commits owns it.
#[derive(Debug)]
pub struct Journal {}

impl Journal {
    /// Makes entries durable, all or none: one write and one fdatasync, on the calling thread.
    ///
    /// Tells the place of the first one; the others follow it without a gap. The place of a
    /// [`Entry::Publish`] is the id of its event (whatever id the event in it has). `at` is the time
    /// of the commit. No entries: nothing is written.
    ///
    /// # Errors
    /// The disk is full or fails: nothing of this call is kept, and a later call may succeed.
    pub fn append(&mut self, at: Timestamp, entries: &[Entry]) -> Result<EventId, AppendError> {
        let _ = (at, entries);
        Err(AppendError::TooLarge(0))
    }

    /// The place that the next entry gets.
    pub fn next_id(&self) -> EventId {
        EventId(1)
    }
}
