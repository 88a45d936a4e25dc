//! The commit stage: entries of all shards become durable in groups, after a while.

use std::collections::VecDeque;
use std::time::Duration;

use model::journal::Entry;
use model::{EventId, Mono, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::journal::Journal;

/// How the disk fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// A group takes up to 3 ms.
    Fine,
    /// A group takes up to 3 s.
    Slow,
    /// Every group is refused, after up to 3 s.
    Refusing,
}

/// What became of records of one shard.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) shard: usize,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The id of the first event among them; absent: they were refused.
    pub(crate) first_event_id: Option<EventId>,
}

/// Gathers, writes one group at a time, and tells.
pub(crate) struct Commits {
    pub(crate) journal: Journal,
    pub(crate) disk: Disk,
    waiting: VecDeque<Record>,
    writing: Option<Group>,
    refused_at: Option<Mono>,
    random: SmallRng,
}

struct Record {
    shard: usize,
    sequence: u64,
    entry: Entry,
}

struct Group {
    records: Vec<Record>,
    done_at: Mono,
    is_refused: bool,
}

impl Commits {
    pub(crate) fn new(journal: Journal, disk: Disk, seed: u64) -> Self {
        Self {
            journal,
            disk,
            waiting: VecDeque::new(),
            writing: None,
            refused_at: None,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Takes the records of a shard, leaving the vector empty.
    pub(crate) fn submit(&mut self, now: Mono, shard: usize, records: &mut Vec<(u64, Entry)>) {
        let records = records.drain(..);
        self.waiting.extend(records.map(|(sequence, entry)| Record { shard, sequence, entry }));
        self.begin(now);
    }

    /// Records that are not durable.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.writing.as_ref().map_or(0, |group| group.records.len())
    }

    /// Whether devices may begin what has to be written: not for 5 s after a refusal.
    pub(crate) fn accepts(&self, now: Mono) -> bool {
        self.refused_at.is_none_or(|at| now.since(at) > KEPT_OUT)
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.writing.as_ref().map(|group| group.done_at)
    }

    /// Ends the group that is done by now.
    pub(crate) fn handle_timeout(&mut self, now: Mono, utc: Timestamp) -> Vec<Notice> {
        let Some(group) = self.writing.take_if(|group| group.done_at <= now) else {
            return Vec::new();
        };
        let is_refused = group.is_refused;
        self.refused_at = is_refused.then_some(now);
        let notices = notices(&group.records, (!is_refused).then(|| self.journal.next_place()));
        if !is_refused {
            self.keep(group, utc);
        }
        self.begin(now);
        notices
    }

    /// The machine stops: what was being written may or may not have reached the disk, as a whole.
    pub(crate) fn crash(mut self, utc: Timestamp) -> Journal {
        if let Some(group) = self.writing.take()
            && !group.is_refused
            && self.random.random_bool(0.5)
        {
            self.keep(group, utc);
        }
        self.journal
    }

    fn keep(&mut self, group: Group, utc: Timestamp) {
        let entries = group.records.into_iter().map(|record| (utc, record.entry));
        self.journal.entries.extend(entries);
    }

    fn begin(&mut self, now: Mono) {
        if self.writing.is_some() || self.waiting.is_empty() {
            return;
        }
        let longest = if self.disk == Disk::Fine { FINE } else { SLOWEST };
        let micros = self.random.random_range(100..=longest.as_micros());
        let span = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let is_refused = self.disk == Disk::Refusing;
        let records = self.waiting.drain(..).collect();
        self.writing = Some(Group { records, done_at: now.after(span), is_refused });
    }
}

const FINE: Duration = Duration::from_millis(3);
const SLOWEST: Duration = Duration::from_secs(3);
/// See `node`'s health: then one more try is allowed.
const KEPT_OUT: Duration = Duration::from_secs(5);

/// One notice for each run of records of a shard in which the events follow each other, so that
/// their ids are known by the first one.
fn notices(records: &[Record], first_place: Option<u64>) -> Vec<Notice> {
    let mut notices = Vec::<Notice>::new();
    let mut last_publish: Option<u64> = None;
    for (offset, record) in (0..).zip(records) {
        let place = first_place.map(|first| EventId(first + offset));
        let is_publish = matches!(record.entry, Entry::Publish { .. });
        let follows = !is_publish || last_publish.is_none_or(|last| last + 1 == record.sequence);
        match notices.last_mut() {
            Some(run) if run.shard == record.shard && follows => run.last = record.sequence,
            Some(_) | None => {
                let (shard, first, last) = (record.shard, record.sequence, record.sequence);
                notices.push(Notice { shard, first, last, first_event_id: place });
                last_publish = None;
            }
        }
        if is_publish {
            if last_publish.is_none()
                && let Some(run) = notices.last_mut()
            {
                run.first_event_id = place;
            }
            last_publish = Some(record.sequence);
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{AccountId, DeviceId, Event, EventName};

    use super::*;

    fn record(shard: usize, sequence: u64, is_publish: bool) -> Record {
        let event = Event {
            id: EventId(0),
            account: AccountId(1),
            origin: model::Origin::Api,
            product: None,
            name: EventName::parse(b"a").unwrap(),
            data: None,
            ttl_s: 60,
            published_at: Timestamp(0),
        };
        let entry = if is_publish {
            Entry::Publish { event: Arc::new(event), source: None, charge: None, point: None }
        } else {
            Entry::Forget { device: DeviceId([1; 12]) }
        };
        Record { shard, sequence, entry }
    }

    #[test]
    fn ids_of_events_are_their_places_whatever_lies_between_them() {
        let records = [
            record(0, 1, false),
            record(0, 2, true),
            record(0, 3, true),
            record(0, 4, false),
            record(0, 5, true),
            record(1, 1, true),
        ];
        let told: Vec<_> = notices(&records, Some(100))
            .iter()
            .map(|n| (n.shard, n.first, n.last, n.first_event_id.map(|id| id.0)))
            .collect();
        assert_eq!(told, [(0, 1, 4, Some(101)), (0, 5, 5, Some(104)), (1, 1, 1, Some(105))]);
    }
}
