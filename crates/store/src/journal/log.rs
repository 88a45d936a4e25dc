//! The segments and how far they are durable: what the writer and its readers share.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use model::Timestamp;
use model::limits::DUPLICATES_KEPT;

use super::disk::{Disk, held};
use super::reader::SegmentReader;

/// How long events are kept for streams that come back.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(300);
/// How many bytes of journal are kept for them at most.
pub const REPLAY_WINDOW_BYTES: u64 = 64 * 1024 * 1024;

/// A segment with at least one durable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The place of its first entry; its name.
    pub(crate) first: u64,
    /// The place behind its last entry.
    pub(crate) next: u64,
    /// The mark of its batches.
    pub(crate) salt: u32,
    /// Where its durable bytes end.
    pub(crate) end: u64,
    /// When its first batch was committed.
    pub(crate) began: Timestamp,
    /// When its last batch was committed.
    pub(crate) at: Timestamp,
    /// The time from its first batch to its last, by [`pause`].
    pub(crate) lasted: Duration,
}

/// Longer pauses between commits count as this. A clock that is set forward takes no more than this
/// off what is remembered, and as much is added to it.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// From one commit to the next one, as far as it is believed: nothing if the clock was set back between
/// them, and not more than [`PAUSE_MAX`].
pub(crate) fn pause(earlier: Timestamp, later: Timestamp) -> Duration {
    let ms = u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0);
    Duration::from_millis(ms).min(PAUSE_MAX)
}

impl Segment {
    /// One without batches, whose header ends at `end`.
    pub(crate) fn new(first: u64, salt: u32, end: u64) -> Self {
        let at = Timestamp(0);
        Self { first, next: first, salt, end, began: at, at, lasted: Duration::ZERO }
    }

    /// Adds a batch that was committed at `at`, has so many bytes and ends before the place `next`.
    pub(crate) fn add(&mut self, at: Timestamp, bytes: u64, next: u64) {
        if self.next == self.first {
            self.began = at;
        } else {
            self.lasted += pause(self.at, at);
        }
        self.at = at;
        self.end += bytes;
        self.next = next;
    }
}

/// How many of these segments, the newest ones, may hold something of the last [`DUPLICATES_KEPT`]
/// before the newest batch.
pub(crate) fn recent<'a>(segments: impl DoubleEndedIterator<Item = &'a Segment>) -> usize {
    let mut age = Duration::ZERO;
    let mut newer: Option<&Segment> = None;
    let is_recent = |segment: &&'a Segment| {
        if let Some(newer) = newer.replace(segment) {
            age += newer.lasted + pause(segment.at, newer.began);
        }
        age <= DUPLICATES_KEPT + PAUSE_MAX
    };
    segments.rev().take_while(is_recent).count()
}

/// The durable part of the journal.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    grown: Condvar,
}

struct State {
    segments: VecDeque<Segment>,
    next: u64,
    wake: bool,
}

impl Log {
    /// A journal with these segments, whose next entry gets the place `next`.
    pub(crate) fn new(disk: Arc<dyn Disk>, segments: Vec<Segment>, next: u64) -> Self {
        let state = State { segments: segments.into(), next, wake: false };
        Self { disk, state: Mutex::new(state), grown: Condvar::new() }
    }

    /// Where the segments lie.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The place that the next entry gets.
    pub(crate) fn next(&self) -> u64 {
        self.state().next
    }

    /// The segments that hold anything at or behind `from`.
    pub(crate) fn segments_from(&self, from: u64) -> Vec<Segment> {
        self.state().segments.iter().filter(|segment| segment.next > from).copied().collect()
    }

    /// Tells of a batch that is durable: `segment` as it is with it.
    pub(crate) fn grow(&self, segment: Segment) {
        let mut state = self.state();
        match state.segments.back_mut() {
            Some(last) if last.first == segment.first => *last = segment,
            _ => state.segments.push_back(segment),
        }
        state.next = segment.next;
        drop(state);
        self.grown.notify_all();
    }

    /// Blocks until there is an entry at `from`, [`Self::wake`] is called or `deadline` comes.
    pub(crate) fn wait(&self, from: u64, deadline: Option<Instant>) {
        let mut state = self.state();
        while state.next <= from && !state.wake {
            let Some(deadline) = deadline else {
                state = self.grown.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.grown.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state.wake = false;
    }

    /// Ends a [`Self::wait`], or the next one if none is under way.
    pub(crate) fn wake(&self) {
        self.state().wake = true;
        self.grown.notify_all();
    }

    /// Opens a segment to read its durable part.
    pub(crate) fn read(&self, segment: &Segment) -> io::Result<SegmentReader> {
        Ok(SegmentReader::new(self.disk.open(segment.first)?, *segment))
    }

    /// Removes the segments that nobody needs: folded up to `folded`, [older](recent) than what is
    /// remembered of copies, and out of the replay window. The newest one stays, and all stay while somebody holds
    /// them: what is left is removed by a later call.
    pub(crate) fn prune(&self, folded: u64, now: Timestamp) {
        let Some(_leave) = self.disk.leave_to_remove() else { return };
        while let Some(first) = self.take_prunable(folded, now) {
            if let Err(error) = self.disk.remove(first) {
                let path = self.disk.path(first);
                tracing::warn!(?path, %error, "a journal segment cannot be removed");
            }
        }
    }

    fn take_prunable(&self, folded: u64, now: Timestamp) -> Option<u64> {
        let mut state = self.state();
        let oldest = *state.segments.front()?;
        let newer_bytes: u64 = state.segments.iter().skip(1).map(|segment| segment.end).sum();
        // The clock may have been set back since: what lies in the future is old, too.
        let age = Duration::from_millis(now.0.abs_diff(oldest.at.0));
        let unseen = age > REPLAY_WINDOW || newer_bytes >= REPLAY_WINDOW_BYTES;
        let is_recent = recent(state.segments.iter()) == state.segments.len();
        if oldest.next > folded || is_recent || !unseen {
            return None;
        }
        state.segments.pop_front();
        Some(oldest.first)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::{Folder, hold};

    #[test]
    fn no_segment_is_removed_while_somebody_holds_the_folder() {
        let path = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(path.path()).expect("a folder");
        let segment = |first| Segment {
            next: first + 1,
            lasted: Duration::from_secs(100),
            ..Segment::new(first, 1, 32)
        };
        for first in [1, 2] {
            folder.create(first).expect("a segment");
        }
        let log = Log::new(Arc::new(folder), vec![segment(1), segment(2)], 3);
        let names = || log.disk().list().expect("readable");
        let held = hold(path.path());
        assert!(held.is_some());
        log.prune(3, Timestamp(1_000_000));
        assert_eq!(names(), [1, 2]);
        drop(held);
        log.prune(3, Timestamp(1_000_000));
        assert_eq!(names(), [2]);
    }
}
