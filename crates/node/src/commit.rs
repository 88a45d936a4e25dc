//! Group commit: the records of all shards become durable in one append, then the shards are told.
//!
//! While one append is on its way to the disk the next records gather here, so that the group grows
//! with the load and an idle server answers at once.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::journal::Entry;
use model::{EventId, Timestamp};
use store::{AppendError, Journal};
use tracing::{error, info};

use crate::clock;
use crate::health::CommitHealth;
use crate::metrics;

/// A group is not made larger than about this; the journal refuses twice as much.
const GROUP_BYTES: usize = 8 << 20;

/// Where entries become durable. The journal of the store, or a test's.
pub(crate) trait Log: Send + 'static {
    /// Writes all or nothing; tells the place of the first one.
    fn append(&mut self, at: Timestamp, entries: &[Entry]) -> Result<EventId, AppendError>;
}

impl Log for Journal {
    fn append(&mut self, at: Timestamp, entries: &[Entry]) -> Result<EventId, AppendError> {
        Self::append(self, at, entries)
    }
}

/// What became of records of one shard, which numbers them without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommitNotice {
    /// They are durable.
    Committed {
        /// The shard's numbers.
        records: RangeInclusive<u64>,
        /// The id of the first event among them; those of the others follow without a gap.
        first_event_id: EventId,
    },
    /// The store refused; none of them is kept.
    Failed {
        /// The shard's numbers.
        records: RangeInclusive<u64>,
    },
}

/// The queue in front of the commit thread. It is bounded by the shards: each stops reading its
/// socket while too many of its records wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    groups: VecDeque<Group>,
    closed: bool,
}

/// Entries of one append, and whose they are.
#[derive(Debug, Default)]
struct Group {
    entries: Vec<Entry>,
    runs: Vec<Run>,
    bytes: usize,
}

/// Records of one shard that follow each other and whose publishes follow each other, too: an
/// event's id is its place in the journal, so the ids of a run are known by the first one.
#[derive(Debug)]
struct Run {
    shard: u8,
    first: u64,
    last: u64,
    first_publish: Option<u64>,
    last_publish: Option<u64>,
}

impl CommitQueue {
    /// Takes the records of a shard, in order, leaving the vector empty.
    pub(crate) fn submit(&self, shard: u8, records: &mut Vec<(u64, Entry)>) {
        if records.is_empty() {
            return;
        }
        let mut pending = lock(&self.shared.pending);
        for (number, entry) in records.drain(..) {
            pending.push(shard, number, entry);
        }
        drop(pending);
        self.shared.news.notify_one();
    }

    /// Ends [`run`] once everything submitted before is written.
    pub(crate) fn close(&self) {
        lock(&self.shared.pending).closed = true;
        self.shared.news.notify_one();
    }

    /// The next group; `None` when closed and empty.
    fn next(&self, wait_for_company: Duration) -> Option<Group> {
        let mut pending = lock(&self.shared.pending);
        while pending.groups.is_empty() {
            if pending.closed {
                return None;
            }
            pending = self.shared.news.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        if !wait_for_company.is_zero() && !pending.closed {
            drop(pending);
            std::thread::sleep(wait_for_company);
            pending = lock(&self.shared.pending);
        }
        pending.groups.pop_front()
    }
}

impl Pending {
    fn push(&mut self, shard: u8, number: u64, entry: Entry) {
        if self.groups.back().is_none_or(|group| group.bytes >= GROUP_BYTES) {
            self.groups.push_back(Group::default());
        }
        if let Some(group) = self.groups.back_mut() {
            group.push(shard, number, entry);
        }
    }
}

impl Group {
    fn push(&mut self, shard: u8, number: u64, entry: Entry) {
        self.bytes += size_estimate(&entry);
        let publish = matches!(entry, Entry::Publish { .. });
        self.entries.push(entry);
        match self.runs.last_mut() {
            Some(run) if run.continues(shard, number, publish) => run.extend(number, publish),
            Some(_) | None => self.runs.push(Run::new(shard, number, publish)),
        }
    }
}

impl Run {
    fn new(shard: u8, number: u64, publish: bool) -> Self {
        let publish = publish.then_some(number);
        Self { shard, first: number, last: number, first_publish: publish, last_publish: publish }
    }

    fn continues(&self, shard: u8, number: u64, publish: bool) -> bool {
        let publishes_follow = !publish || self.last_publish.is_none_or(|last| last == self.last);
        self.shard == shard && self.last + 1 == number && publishes_follow
    }

    fn extend(&mut self, number: u64, publish: bool) {
        self.last = number;
        if publish {
            self.first_publish.get_or_insert(number);
            self.last_publish = Some(number);
        }
    }

    fn records(&self) -> RangeInclusive<u64> {
        self.first..=self.last
    }

    /// `place` is that of the run's first record.
    fn first_event_id(&self, place: EventId) -> EventId {
        EventId(place.0 + self.first_publish.map_or(0, |publish| publish - self.first))
    }
}

/// Not smaller than what the journal writes for an entry, to the order of magnitude.
fn size_estimate(entry: &Entry) -> usize {
    match entry {
        Entry::Describe { .. } => model::limits::DESCRIBE_PART_BYTES_MAX,
        Entry::Publish { event, .. } => 256 + event.data_bytes(),
        Entry::Session { snapshot, .. } => 256 + snapshot.len(),
        Entry::Attempt { .. }
        | Entry::Copy { .. }
        | Entry::Forget { .. }
        | Entry::Presence { .. }
        | Entry::Reserve { .. }
        | Entry::Subscribe { .. }
        | Entry::Traffic(_) => 256,
    }
}

/// The commit thread: writes groups until the queue is closed and empty. What is written is shown
/// first, so that a shard that is told can count on it.
pub(crate) fn run(
    queue: &CommitQueue,
    mut log: impl Log,
    wait_for_company: Duration,
    health: &CommitHealth,
    mut show: impl FnMut(EventId, &[Entry]),
    mut tell: impl FnMut(u8, CommitNotice),
) {
    while let Some(group) = queue.next(wait_for_company) {
        let begun = Instant::now();
        health.append_begins();
        let result = log.append(clock::utc(), &group.entries);
        report(health.append_ends(result.is_ok()), &result);
        metrics::commit(group.entries.len(), begun.elapsed(), result.is_ok());
        if let Ok(first) = &result {
            metrics::operations(&group.entries);
            show(*first, &group.entries);
        }
        group.tell(result.ok(), &mut tell);
    }
}

/// One line when it breaks and one when it is well again, however long that takes.
fn report(changed: bool, result: &Result<EventId, AppendError>) {
    match result {
        Err(error) if changed => error!(
            %error,
            "the journal refuses: publishes are refused and no device connects until it is writable"
        ),
        Ok(_) if changed => info!("the journal is written again"),
        Ok(_) | Err(_) => {}
    }
}

impl Group {
    fn tell(self, first_place: Option<EventId>, tell: &mut impl FnMut(u8, CommitNotice)) {
        let mut place = first_place;
        for run in self.runs {
            let records = run.records();
            let notice = match place {
                Some(place) => {
                    let first_event_id = run.first_event_id(place);
                    CommitNotice::Committed { records, first_event_id }
                }
                None => CommitNotice::Failed { records },
            };
            place = place.map(|EventId(place)| EventId(place + (run.last - run.first) + 1));
            tell(run.shard, notice);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use model::DeviceId;

    use super::*;

    /// Remembers what was written; appends wait for a permit, and fail where it says so.
    struct TestLog {
        permits: mpsc::Receiver<bool>,
        appended: mpsc::Sender<Vec<Entry>>,
        next: u64,
    }

    impl Log for TestLog {
        fn append(&mut self, _: Timestamp, entries: &[Entry]) -> Result<EventId, AppendError> {
            if self.permits.recv() != Ok(true) {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
            }
            self.appended.send(entries.to_vec()).unwrap();
            let first = self.next;
            self.next += entries.len() as u64;
            Ok(EventId(first))
        }
    }

    struct Rig {
        queue: CommitQueue,
        permits: mpsc::Sender<bool>,
        appended: mpsc::Receiver<Vec<Entry>>,
        notices: mpsc::Receiver<(u8, CommitNotice)>,
        health: Arc<CommitHealth>,
        thread: std::thread::JoinHandle<()>,
    }

    fn rig() -> Rig {
        let (permits, permitted) = mpsc::channel();
        let (appends, appended) = mpsc::channel();
        let (tells, notices) = mpsc::channel();
        let (queue, health) = (CommitQueue::default(), Arc::new(CommitHealth::default()));
        let log = TestLog { permits: permitted, appended: appends, next: 100 };
        let (its_queue, its_health) = (queue.clone(), Arc::clone(&health));
        let thread = std::thread::spawn(move || {
            run(
                &its_queue,
                log,
                Duration::ZERO,
                &its_health,
                |_, _| {},
                |shard, notice| {
                    tells.send((shard, notice)).unwrap();
                },
            );
        });
        Rig { queue, permits, appended, notices, health, thread }
    }

    fn record(number: u64) -> (u64, Entry) {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&number.to_be_bytes());
        (number, Entry::Forget { device: DeviceId(id) })
    }

    fn publish(number: u64) -> (u64, Entry) {
        let event = model::Event {
            id: EventId(0),
            account: model::AccountId(1),
            origin: model::Origin::Api,
            product: None,
            name: model::EventName::parse(b"a").unwrap(),
            data: None,
            ttl_s: 60,
            published_at: Timestamp(0),
        };
        (number, Entry::Publish { event: Arc::new(event), source: None, charge: None, point: None })
    }

    fn committed(records: RangeInclusive<u64>, place: u64) -> CommitNotice {
        CommitNotice::Committed { records, first_event_id: EventId(place) }
    }

    fn wait_until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn records_that_come_during_an_append_share_the_next_one_and_keep_their_order() {
        let rig = rig();
        rig.queue.submit(0, &mut vec![record(1)]);
        wait_until(|| lock(&rig.queue.shared.pending).groups.is_empty());
        rig.queue.submit(0, &mut vec![record(2), record(3)]);
        rig.queue.submit(1, &mut vec![record(1)]);
        rig.queue.submit(0, &mut vec![record(4)]);
        rig.permits.send(true).unwrap();
        rig.permits.send(true).unwrap();
        assert_eq!(rig.appended.recv().unwrap(), [record(1).1]);
        let second = rig.appended.recv().unwrap();
        assert_eq!(second, [record(2).1, record(3).1, record(1).1, record(4).1]);
        let told: Vec<_> = rig.notices.iter().take(4).collect();
        assert_eq!(
            told,
            [
                (0, committed(1..=1, 100)),
                (0, committed(2..=3, 101)),
                (1, committed(1..=1, 103)),
                (0, committed(4..=4, 104)),
            ]
        );
    }

    #[test]
    fn the_ids_of_events_are_their_places_whatever_lies_between_them() {
        let rig = rig();
        let mut records = vec![record(1), publish(2), publish(3), record(4), publish(5), record(6)];
        rig.queue.submit(0, &mut records);
        assert_eq!(records, []);
        rig.permits.send(true).unwrap();
        let told: Vec<_> = rig.notices.iter().take(2).collect();
        assert_eq!(told, [(0, committed(1..=4, 101)), (0, committed(5..=6, 104))]);
    }

    #[test]
    fn a_refused_append_fails_its_records_and_the_next_one_may_succeed() {
        let rig = rig();
        rig.queue.submit(3, &mut vec![record(1), record(2)]);
        rig.permits.send(false).unwrap();
        assert_eq!(rig.notices.recv().unwrap(), (3, CommitNotice::Failed { records: 1..=2 }));
        assert!(!rig.health.accepts());
        rig.queue.submit(3, &mut vec![record(3)]);
        rig.permits.send(true).unwrap();
        assert_eq!(rig.notices.recv().unwrap(), (3, committed(3..=3, 100)));
        assert!(rig.health.accepts());
    }

    #[test]
    fn closing_writes_what_was_submitted_before_and_ends_the_thread() {
        let rig = rig();
        rig.queue.submit(0, &mut vec![record(1)]);
        rig.queue.close();
        rig.permits.send(true).unwrap();
        rig.thread.join().unwrap();
        assert_eq!(rig.notices.recv().unwrap(), (0, committed(1..=1, 100)));
    }

    #[test]
    fn an_append_that_hangs_makes_the_server_degraded_while_it_hangs() {
        let health = CommitHealth::default();
        health.append_begins();
        assert_eq!(health.complaint(Instant::now()), None);
        let later = Instant::now() + Duration::from_millis(1500);
        assert!(health.complaint(later).is_some_and(|text| text.contains("slow")));
        health.append_ends(true);
        assert_eq!(health.complaint(later), None);
    }
}
