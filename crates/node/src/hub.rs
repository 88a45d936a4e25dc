//! Committed events on their way to the readers of event streams.
//!
//! The commit thread leaves events here in the order of the journal, and the shards hand them out once
//! they are told: whichever is first does it for all, one at a time. So every reader sees rising ids,
//! however long a shard takes, and whoever saw an event has seen all before it: it can go on behind
//! the last id it saw.
//!
//! A reader takes everything that waits for it at once. One that is too slow loses the newest events
//! and is told how many; nobody waits for it.
//!
//! An event of an account with thousands of readers wakes them a few at a time, so that other tasks
//! have their turns between: what comes meanwhile reaches the readers that still sleep in one piece.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::journal::Entry;
use model::{AccountId, DeviceId, Event, EventId, ProductId};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

/// Which events a stream shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFilter {
    /// Whose events.
    pub account: AccountId,
    /// Only events made by this device.
    pub device: Option<DeviceId>,
    /// Only events of devices of this product.
    pub product: Option<ProductId>,
    /// Beginning of the names wanted, byte by byte; empty for all.
    pub prefix: String,
}

impl StreamFilter {
    /// Every event of an account.
    pub fn account(account: AccountId) -> Self {
        Self { account, device: None, product: None, prefix: String::new() }
    }

    /// Whether the stream shows `event`.
    pub fn matches(&self, event: &Event) -> bool {
        self.account == event.account
            && self.device.is_none_or(|device| event.device() == Some(device))
            && self.product.is_none_or(|product| event.product == Some(product))
            && event.name.as_str().starts_with(&self.prefix)
    }
}

/// How much may wait for a stream's reader. Whatever is over either bound is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBound {
    /// Events.
    pub events: usize,
    /// Bytes of names and data.
    pub bytes: usize,
}

impl Default for StreamBound {
    /// 8,192 events or 4 MiB.
    fn default() -> Self {
        Self { events: 8192, bytes: 4 << 20 }
    }
}

/// Readers woken before other tasks have their turns.
const WOKEN_AT_ONCE: usize = 64;

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// One or more events, in the order of their ids.
    Events(Vec<Arc<Event>>),
    /// This many events came between the last ones and the next ones and found the queue full.
    Missed(u64),
    /// The server is stopping; nothing follows.
    Closed,
}

/// All open event streams. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct EventHub {
    shared: Arc<Shared>,
}

/// One reader's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct EventStream {
    hub: Arc<Shared>,
    /// Also held by the hub, which pushes.
    stream: Arc<Stream>,
    /// Taken from the queue together with the events before them.
    missed: u64,
}

impl EventHub {
    /// A hub without streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a stream that begins with the next event pushed. After [`EventHub::close`] the stream
    /// is closed from the start.
    pub fn subscribe(&self, filter: StreamFilter, bound: StreamBound) -> EventStream {
        let stream = Arc::new(Stream {
            filter,
            bound,
            queue: Mutex::new(Queue::default()),
            news: Notify::new(),
            is_to_wake: AtomicBool::new(false),
        });
        self.shared.insert(&stream);
        EventStream { hub: Arc::clone(&self.shared), stream, missed: 0 }
    }

    /// Takes the events among entries that became durable, the first at this place. To be called by
    /// the thread that appends, in its order and before it tells the shards: they hand out, and that
    /// thread waits for no reader.
    pub(crate) fn committed(&self, first: EventId, entries: &[Entry]) {
        if self.shared.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let shown = entries.iter().zip(first.0..).filter_map(|(entry, place)| match entry {
            Entry::Publish { event, .. } => Some((EventId(place), Arc::clone(event))),
            _ => None,
        });
        lock(&self.shared.committed).extend(shown);
    }

    /// Hands all that is committed to the streams.
    pub(crate) fn hand_out(&self) {
        if lock(&self.shared.committed).is_empty() {
            return;
        }
        let _turn = lock(&self.shared.handing_out);
        let committed = std::mem::take(&mut *lock(&self.shared.committed));
        self.push(&self.shown(committed));
    }

    /// Those that any stream may show, with their ids.
    fn shown(&self, committed: Vec<(EventId, Arc<Event>)>) -> Vec<Arc<Event>> {
        let streams = read(&self.shared.streams_by_account);
        let shown = committed.into_iter().filter(|(_, event)| streams.contains_key(&event.account));
        shown.map(|(id, event)| Arc::new(Event { id, ..Arc::unwrap_or_clone(event) })).collect()
    }

    /// Hands a batch of committed events, in order, to the streams that show them.
    pub fn push(&self, batch: &[Arc<Event>]) {
        if self.shared.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let streams = read(&self.shared.streams_by_account);
        for run in batch.chunk_by(|a, b| a.account == b.account) {
            if let Some(account) = run.first().and_then(|event| streams.get(&event.account)) {
                self.shared.push_run(account, run);
            }
        }
    }

    /// Wakes readers, a few at a time, for as long as the hub is open. Without it each push wakes
    /// all that it concerns.
    pub async fn wake_readers(&self) {
        self.shared.is_paced.store(true, Ordering::Release);
        while !self.shared.closed.load(Ordering::Relaxed) {
            let next = self.shared.next_to_wake();
            if next.is_empty() {
                self.shared.to_wake_news.notified().await;
                continue;
            }
            next.iter().for_each(|stream| stream.wake());
            tokio::task::yield_now().await;
        }
    }

    /// Ends every stream, also those opened later.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Open streams.
    pub fn streams_open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Events that found a reader's queue full, since the start.
    pub fn events_missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

impl EventStream {
    /// Waits for the next item. Cancelling loses nothing.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            self.stream.news.notified().await;
        }
    }

    /// The next item, if one waits.
    pub fn take(&mut self) -> Option<StreamItem> {
        if self.missed > 0 {
            return Some(StreamItem::Missed(std::mem::take(&mut self.missed)));
        }
        let mut queue = lock(&self.stream.queue);
        if !queue.events.is_empty() {
            self.missed = std::mem::take(&mut queue.missed);
            queue.bytes = 0;
            return Some(StreamItem::Events(std::mem::take(&mut queue.events)));
        }
        queue.closed.then_some(StreamItem::Closed)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.hub.remove(&self.stream);
    }
}

#[derive(Debug, Default)]
struct Shared {
    streams_by_account: RwLock<FxHashMap<AccountId, AccountStreams>>,
    /// How many streams are open, so that a server without any pays one load for a batch.
    open: AtomicUsize,
    missed: AtomicU64,
    /// What no stream has yet, in the order of the journal. Each of it is a record that its shard
    /// still waits for, so that the bound of those is its bound.
    committed: Mutex<Vec<(EventId, Arc<Event>)>>,
    /// Held while events are handed out: what was committed first comes first.
    handing_out: Mutex<()>,
    /// Set under the lock of `streams_by_account`.
    closed: AtomicBool,
    /// Whether [`EventHub::wake_readers`] is at work.
    is_paced: AtomicBool,
    /// Streams with news whose readers sleep, each once: as many as are open at most.
    to_wake: Mutex<VecDeque<Arc<Stream>>>,
    to_wake_news: Notify,
}

/// The streams of one account; those of a single device are found by its id.
#[derive(Debug, Default)]
struct AccountStreams {
    all_devices: Vec<Arc<Stream>>,
    by_device: FxHashMap<DeviceId, Vec<Arc<Stream>>>,
}

#[derive(Debug)]
struct Stream {
    filter: StreamFilter,
    bound: StreamBound,
    queue: Mutex<Queue>,
    news: Notify,
    /// Whether it waits to be woken.
    is_to_wake: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Arc<Event>>,
    bytes: usize,
    /// Events dropped since the queue became full. While it is not 0 nothing is queued, so that
    /// the gap is one.
    missed: u64,
    closed: bool,
}

impl Shared {
    fn insert(&self, stream: &Arc<Stream>) {
        let mut accounts = self.streams_by_account.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) {
            lock(&stream.queue).closed = true;
        }
        accounts
            .entry(stream.filter.account)
            .or_default()
            .list(stream.filter.device)
            .push(Arc::clone(stream));
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self, stream: &Arc<Stream>) {
        let mut accounts = self.streams_by_account.write().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = accounts.get_mut(&stream.filter.account) else { return };
        let list = account.list(stream.filter.device);
        list.retain(|other| !Arc::ptr_eq(other, stream));
        if let Some(device) = stream.filter.device.filter(|_| list.is_empty()) {
            account.by_device.remove(&device);
        }
        if account.all_devices.is_empty() && account.by_device.is_empty() {
            accounts.remove(&stream.filter.account);
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn push_run(&self, account: &AccountStreams, run: &[Arc<Event>]) {
        let mut to_wake = Vec::new();
        for stream in &account.all_devices {
            self.push_to(stream, run, &mut to_wake);
        }
        for event in run.iter().filter(|_| !account.by_device.is_empty()) {
            let device = event.device().and_then(|device| account.by_device.get(&device));
            for stream in device.into_iter().flatten() {
                self.push_to(stream, std::slice::from_ref(event), &mut to_wake);
            }
        }
        self.wake(to_wake);
    }

    /// Adds the stream to `to_wake` if there is news for its reader and nobody else wakes it.
    fn push_to(&self, stream: &Arc<Stream>, run: &[Arc<Event>], to_wake: &mut Vec<Arc<Stream>>) {
        let Some(missed) = stream.push(run) else { return };
        if missed > 0 {
            self.missed.fetch_add(missed, Ordering::Relaxed);
        }
        if !stream.is_to_wake.swap(true, Ordering::AcqRel) {
            to_wake.push(Arc::clone(stream));
        }
    }

    fn wake(&self, streams: Vec<Arc<Stream>>) {
        if !self.is_paced.load(Ordering::Acquire) {
            return streams.iter().for_each(|stream| stream.wake());
        }
        if !streams.is_empty() {
            lock(&self.to_wake).extend(streams);
            self.to_wake_news.notify_one();
        }
    }

    fn next_to_wake(&self) -> Vec<Arc<Stream>> {
        let mut to_wake = lock(&self.to_wake);
        let count = to_wake.len().min(WOKEN_AT_ONCE);
        to_wake.drain(..count).collect()
    }

    fn close(&self) {
        let accounts = self.streams_by_account.write().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Relaxed);
        for account in accounts.values() {
            for stream in account.all_devices.iter().chain(account.by_device.values().flatten()) {
                lock(&stream.queue).closed = true;
                stream.news.notify_one();
            }
        }
        self.to_wake_news.notify_one();
    }
}

impl AccountStreams {
    fn list(&mut self, device: Option<DeviceId>) -> &mut Vec<Arc<Stream>> {
        match device {
            Some(device) => self.by_device.entry(device).or_default(),
            None => &mut self.all_devices,
        }
    }
}

impl Stream {
    /// Queues what the filter shows, if that is anything; tells how many found the queue full.
    fn push(&self, run: &[Arc<Event>]) -> Option<u64> {
        let mut wanted = run.iter().filter(|event| self.filter.matches(event)).peekable();
        wanted.peek()?;
        let mut queue = lock(&self.queue);
        let missed_before = queue.missed;
        wanted.for_each(|event| queue.push(event, self.bound));
        Some(queue.missed - missed_before)
    }

    /// Wakes the reader. What is pushed from here on needs to wake it again.
    fn wake(&self) {
        self.is_to_wake.store(false, Ordering::Release);
        self.news.notify_one();
    }
}

impl Queue {
    fn push(&mut self, event: &Arc<Event>, bound: StreamBound) {
        let bytes = self.bytes + event.name.as_str().len() + event.data_bytes();
        if self.missed > 0 || self.events.len() >= bound.events || bytes > bound.bytes {
            self.missed += 1;
            return;
        }
        self.bytes = bytes;
        self.events.push(Arc::clone(event));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
