//! What the journal still knows of the recent past: events for streams that come back, and where
//! messages came from, so that copies of them are recognised.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::limits::{DUPLICATES_KEPT, DUPLICATES_MAX};
use model::link::Source;
use model::{AccountId, DeviceId, Event, EventId, Timestamp};

use super::log::{self, Log, PAUSE_MAX, REPLAY_WINDOW, REPLAY_WINDOW_BYTES, Segment, pause};
use super::reader::Batch;
use super::stored::{Stored, source_of};
use crate::{Missed, Replay};

/// Bytes of events that one call of [`replay`] gives, and at most one event more.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Reads those of an account's events behind `after` that are wanted, the oldest ones first, until they
/// have so many bytes.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn replay(
    log: &Log,
    account: AccountId,
    after: EventId,
    now: Timestamp,
    wanted: impl Fn(&Event) -> bool,
    bytes: usize,
) -> io::Result<Replay> {
    let end = log.next();
    let segments = newest(log.segments_from(after.0.saturating_add(1)));
    // The journal may have grown between the two.
    let end = segments.last().map_or(end, |last| last.next);
    let covered = after.0.saturating_add(1) >= segments.first().map_or(end, |first| first.first);
    let since = since(now);
    let mut found = Found { account, after, since, wanted, bytes, events: Vec::new(), missed: 0 };
    let filled = found.read_all(log, &segments)?;
    let missed = match found.missed {
        _ if !covered || after.0 >= end => Missed::Unknown,
        0 => Missed::Nothing,
        count => Missed::Events(count),
    };
    let upto = EventId(filled.unwrap_or_else(|| end.saturating_sub(1)));
    Ok(Replay { events: found.events, missed, upto, is_whole: filled.is_none() })
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

struct Found<W> {
    account: AccountId,
    after: EventId,
    since: Timestamp,
    wanted: W,
    /// That there is room for.
    bytes: usize,
    events: Vec<Arc<Event>>,
    missed: u64,
}

impl<W: Fn(&Event) -> bool> Found<W> {
    /// Gives the place that filled it, if any did.
    fn read_all(&mut self, log: &Log, segments: &[Segment]) -> io::Result<Option<u64>> {
        for segment in segments {
            let mut reader = log.read(segment)?;
            while let Some(batch) = reader.next_batch()? {
                if batch.next() <= self.after.0 {
                    continue;
                }
                if let Some(filled) = self.read(batch)? {
                    return Ok(Some(filled));
                }
            }
        }
        Ok(None)
    }

    fn read(&mut self, batch: Batch<'_>) -> io::Result<Option<u64>> {
        for entry in batch.entries() {
            let (place, Stored::Publish { event, .. }) = entry? else { continue };
            if place <= self.after.0 || event.account != self.account {
                continue;
            }
            let Some(event) = event.to_event(place) else { continue };
            if !(self.wanted)(&event) {
                continue;
            }
            if event.published_at < self.since {
                self.missed += 1;
                continue;
            }
            let bytes = size_of::<Event>()
                + event.name.as_str().len()
                + event.data.as_ref().map_or(0, |data| data.bytes.len());
            self.events.push(Arc::new(event));
            if bytes >= self.bytes {
                return Ok(Some(place));
            }
            self.bytes -= bytes;
        }
        Ok(None)
    }
}

/// Where the messages came from that were made durable in the last [`DUPLICATES_KEPT`] before the
/// newest one: for each device at most the newest [`DUPLICATES_MAX`], oldest first, and none from
/// before its last full handshake.
///
/// How long ago that was is the time that passed from one batch to the next, of which nobody knows
/// more than the clock says, and that may be set. Where it was set back, none passed; and a step
/// forward makes a pause of [`PAUSE_MAX`], so that copies of what came before are still recognised. A
/// server that has little to write remembers for longer, which does no harm.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn recent_sources(log: &Log) -> io::Result<HashMap<DeviceId, Vec<Source>>> {
    let segments = log.segments_from(0);
    let mut recent = Recent::default();
    for segment in &segments[segments.len() - log::recent(segments.iter())..] {
        let mut reader = log.read(segment)?;
        while let Some(batch) = reader.next_batch()? {
            recent.read(batch)?;
        }
    }
    Ok(recent.sources())
}

/// What was read so far.
#[derive(Default)]
struct Recent {
    /// The time from the first batch to the newest one.
    passed: Duration,
    newest: Option<Timestamp>,
    /// For each device oldest first, with the time from the first batch to its own.
    sources: HashMap<DeviceId, Vec<(Duration, Source)>>,
}

impl Recent {
    fn read(&mut self, batch: Batch<'_>) -> io::Result<()> {
        self.passed += self.newest.map_or(Duration::ZERO, |newest| pause(newest, batch.at));
        self.newest = Some(batch.at);
        for entry in batch.entries() {
            let (_, entry) = entry?;
            if let Some(device) = starts_empty(&entry) {
                self.sources.remove(&device);
            }
            let Some((device, source)) = source_of(&entry) else { continue };
            let kept = self.sources.entry(device).or_default();
            kept.push((self.passed, source));
            if kept.len() >= 2 * DUPLICATES_MAX {
                keep_newest(kept);
            }
        }
        Ok(())
    }

    fn sources(self) -> HashMap<DeviceId, Vec<Source>> {
        let Self { passed, sources, .. } = self;
        let recent = |mut kept: Vec<(Duration, Source)>| {
            keep_newest(&mut kept);
            kept.retain(|(at, _)| passed.saturating_sub(*at) <= DUPLICATES_KEPT + PAUSE_MAX);
            kept.into_iter().map(|(_, source)| source).collect::<Vec<_>>()
        };
        let sources = sources.into_iter().map(|(device, kept)| (device, recent(kept)));
        sources.filter(|(_, kept)| !kept.is_empty()).collect()
    }
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

fn keep_newest(sources: &mut Vec<(Duration, Source)>) {
    let surplus = sources.len().saturating_sub(DUPLICATES_MAX);
    sources.drain(..surplus);
}
