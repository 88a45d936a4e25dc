//! What the journal still knows of the recent past: events for streams that come back, and where
//! messages came from, so that copies of them are recognised.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::limits::{DUPLICATES_KEPT, DUPLICATES_MAX};
use model::link::Source;
use model::{AccountId, DeviceId, Event, EventId, Timestamp};

use super::log::{Log, REPLAY_WINDOW, REPLAY_WINDOW_BYTES, Segment};
use super::reader::Batch;
use super::stored::{Stored, source_of};
use crate::{Missed, Replay};

/// Reads an account's events behind `after`, at most the newest `limit`.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn replay(
    log: &Log,
    account: AccountId,
    after: EventId,
    now: Timestamp,
    limit: usize,
) -> io::Result<Replay> {
    let upto = log.next();
    let segments = newest(log.segments_from(after.0.saturating_add(1)));
    let covered = after.0.saturating_add(1) >= segments.first().map_or(upto, |first| first.first);
    let mut found =
        Found { account, after, since: since(now), limit, events: VecDeque::new(), missed: 0 };
    for segment in &segments {
        let mut reader = log.read(segment)?;
        while let Some(batch) = reader.next_batch()? {
            if batch.next() > after.0 {
                found.read(batch)?;
            }
        }
    }
    let missed = match found.missed {
        _ if !covered || after.0 >= upto => Missed::Unknown,
        0 => Missed::Nothing,
        count => Missed::Events(count),
    };
    Ok(Replay { events: found.events.into(), missed, upto: EventId(upto.saturating_sub(1)) })
}

/// The newest segments that the window's size allows; the last one in any case.
fn newest(mut segments: Vec<Segment>) -> Vec<Segment> {
    let mut bytes = 0;
    let fits = |segment: &&Segment| {
        let before = bytes;
        bytes += segment.end;
        before < REPLAY_WINDOW_BYTES
    };
    let count = segments.iter().rev().take_while(fits).count();
    segments.split_off(segments.len() - count)
}

fn since(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(REPLAY_WINDOW.as_millis()).unwrap_or(0)))
}

struct Found {
    account: AccountId,
    after: EventId,
    since: Timestamp,
    limit: usize,
    events: VecDeque<Arc<Event>>,
    missed: u64,
}

impl Found {
    fn read(&mut self, batch: Batch<'_>) -> io::Result<()> {
        for entry in batch.entries() {
            let (place, Stored::Publish { event, .. }) = entry? else { continue };
            if place <= self.after.0 || event.account != self.account {
                continue;
            }
            let Some(event) = event.to_event(place) else { continue };
            if event.published_at < self.since {
                self.missed += 1;
                continue;
            }
            self.events.push_back(Arc::new(event));
            if self.events.len() > self.limit {
                self.events.pop_front();
                self.missed += 1;
            }
        }
        Ok(())
    }
}

/// Where the messages came from that were made durable in the last [`DUPLICATES_KEPT`] before the
/// newest one: for each device at most the newest [`DUPLICATES_MAX`], oldest first, and none from
/// before its last full handshake.
///
/// How long ago that was is the time that passed from one batch to the next. Where the clock was set
/// back none is known to have passed, so that copies of what came before are still recognised.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn recent_sources(log: &Log) -> io::Result<HashMap<DeviceId, Vec<Source>>> {
    let segments = log.segments_from(0);
    let recent = recent_segments(&segments);
    let mut sources = HashMap::<DeviceId, Vec<Source>>::new();
    let from = recent_batches(log, recent)?;
    for segment in recent {
        let mut reader = log.read(segment)?;
        while let Some(batch) = reader.next_batch()? {
            if batch.first >= from {
                remember(&mut sources, batch)?;
            }
        }
    }
    sources.values_mut().for_each(keep_newest);
    Ok(sources)
}

/// The last segments, of which only the first may hold what is too old.
fn recent_segments(segments: &[Segment]) -> &[Segment] {
    let mut age = Duration::ZERO;
    let mut newer: Option<Timestamp> = None;
    let is_recent = |segment: &&Segment| {
        age += newer.map_or(Duration::ZERO, |newer| passed(segment.at, newer));
        newer = Some(segment.at);
        age <= DUPLICATES_KEPT
    };
    let count = segments.iter().rev().take_while(is_recent).count();
    &segments[segments.len() - count..]
}

/// The place of the first batch that is recent.
fn recent_batches(log: &Log, segments: &[Segment]) -> io::Result<u64> {
    let mut times = Vec::new();
    for segment in segments {
        let mut reader = log.read(segment)?;
        while let Some(batch) = reader.next_batch()? {
            times.push((batch.first, batch.at));
        }
    }
    let mut age = Duration::ZERO;
    let mut from = u64::MAX;
    let mut newer: Option<Timestamp> = None;
    for (first, at) in times.into_iter().rev() {
        age += newer.map_or(Duration::ZERO, |newer| passed(at, newer));
        if age > DUPLICATES_KEPT {
            break;
        }
        (from, newer) = (first, Some(at));
    }
    Ok(from)
}

/// From one commit to the next one: nothing if the clock was set back between them.
fn passed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0))
}

fn remember(sources: &mut HashMap<DeviceId, Vec<Source>>, batch: Batch<'_>) -> io::Result<()> {
    for entry in batch.entries() {
        let (_, entry) = entry?;
        if let Some(device) = starts_empty(&entry) {
            sources.remove(&device);
        }
        let Some((device, source)) = source_of(&entry) else { continue };
        let kept = sources.entry(device).or_default();
        kept.push(source);
        if kept.len() >= 2 * DUPLICATES_MAX {
            keep_newest(kept);
        }
    }
    Ok(())
}

/// The device whose message ids begin anew with this entry.
fn starts_empty(entry: &Stored<'_>) -> Option<DeviceId> {
    match entry {
        Stored::Forget { device } => Some(*device),
        Stored::Session(session) => session.full_handshake.then_some(session.device),
        Stored::Attempt { .. }
        | Stored::Copy { .. }
        | Stored::Describe { .. }
        | Stored::Presence { .. }
        | Stored::Traffic(_)
        | Stored::Publish { .. }
        | Stored::Reserve { .. }
        | Stored::Subscribe { .. } => None,
    }
}

fn keep_newest(sources: &mut Vec<Source>) {
    let surplus = sources.len().saturating_sub(DUPLICATES_MAX);
    sources.drain(..surplus);
}
