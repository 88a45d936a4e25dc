//! A journal in memory, and what a start makes of it, as the store's does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use model::journal::Entry;
use model::limits::{DUPLICATES_KEPT, DUPLICATES_MAX, RECORD_NUMBERS_RESERVED};
use model::link::{Snapshot, Source, Transport};
use model::message::Subscribe;
use model::{ApplicationDescription, DescribePart, DeviceId, Hello, Origin, Timestamp};

/// Everything that is durable, in order. The place of an entry is its index plus one.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// With the time of their commit.
    pub(crate) entries: Vec<(Timestamp, Entry)>,
}

/// What is known of a device after a start.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) session: Option<RecoveredSession>,
    pub(crate) record_limit: u64,
    pub(crate) record_seen: u64,
    pub(crate) online: bool,
    pub(crate) last_heard: Timestamp,
    pub(crate) last_handshake_at: Option<Timestamp>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) subscriptions: Vec<Subscribe>,
    pub(crate) description: Option<Arc<ApplicationDescription>>,
    pub(crate) recent: Vec<Source>,
}

/// The session of a device as it was made durable.
#[derive(Debug)]
pub(crate) struct RecoveredSession {
    pub(crate) transport: Transport,
    pub(crate) snapshot: Snapshot,
    pub(crate) hello: Hello,
}

impl Journal {
    /// The place of the next entry.
    pub(crate) fn next_place(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// Folds all entries.
    pub(crate) fn recover(&self) -> BTreeMap<DeviceId, Recovered> {
        let mut devices = BTreeMap::<DeviceId, Recovered>::new();
        for (_, entry) in &self.entries {
            if let Some(device) = device_of(entry) {
                devices.entry(device).or_default().fold(entry);
            }
        }
        for (device, recent) in self.recent_sources() {
            devices.entry(device).or_default().recent = recent;
        }
        devices
    }

    /// Where the messages of the last 90 s came from.
    fn recent_sources(&self) -> BTreeMap<DeviceId, Vec<Source>> {
        let mut sources = BTreeMap::<DeviceId, Vec<Source>>::new();
        for (_, entry) in &self.entries[self.first_recent()..] {
            let Some(device) = device_of(entry) else { continue };
            let begins_anew =
                matches!(entry, Entry::Forget { .. } | Entry::Session { full_handshake: true, .. });
            let kept = sources.entry(device).or_default();
            if begins_anew {
                kept.clear();
            }
            kept.extend(source_of(entry));
            let surplus = kept.len().saturating_sub(DUPLICATES_MAX);
            kept.drain(..surplus);
        }
        sources
    }

    /// What was committed up to 90 s before the newest, as the store has it: between commits, where the
    /// clock was set back, no time passed, and nowhere more than [`PAUSE_MAX_MS`].
    fn first_recent(&self) -> usize {
        let kept = i64::try_from(DUPLICATES_KEPT.as_millis()).unwrap_or(0) + PAUSE_MAX_MS;
        let mut age = 0;
        for (index, pair) in self.entries.windows(2).enumerate().rev() {
            let [(earlier, _), (later, _)] = pair else { continue };
            age += (later.0 - earlier.0).clamp(0, PAUSE_MAX_MS);
            if age > kept {
                return index + 1;
            }
        }
        0
    }
}

impl Recovered {
    fn fold(&mut self, entry: &Entry) {
        if let Some(source) = source_of(entry)
            && !matches!(entry, Entry::Session { .. })
        {
            self.record_seen = self.record_seen.max(source.record);
        }
        match entry {
            Entry::Attempt { .. } | Entry::Copy { .. } | Entry::Traffic(_) => {}
            Entry::Publish { event, source, .. } => {
                if source.is_some() {
                    self.last_heard = event.published_at;
                }
            }
            Entry::Describe { part, .. } => {
                if let DescribePart::Application(description) = &**part {
                    self.description = Some(Arc::new(description.clone()));
                }
            }
            Entry::Forget { .. } => {
                let kept = self.description.take();
                *self = Self { description: kept, peer: self.peer, ..Self::default() };
            }
            Entry::Presence { online, peer, last_heard, record_seen, .. } => {
                self.record_seen = self.record_seen.max(*record_seen);
                self.online = *online;
                self.last_heard = *last_heard;
                self.peer = peer.or(self.peer);
            }
            Entry::Reserve { record_limit, .. } => {
                self.record_limit = self.record_limit.max(*record_limit);
            }
            Entry::Session { .. } => self.fold_session(entry),
            Entry::Subscribe { subscribe, .. } => self.subscriptions.push(subscribe.clone()),
        }
    }

    fn fold_session(&mut self, entry: &Entry) {
        let Entry::Session { transport, snapshot, peer, hello, full_handshake, source, at, .. } =
            entry
        else {
            return;
        };
        if *full_handshake {
            self.record_limit = RECORD_NUMBERS_RESERVED;
            self.record_seen = 0;
            self.last_handshake_at = Some(*at);
        }
        self.record_seen = self.record_seen.max(source.record);
        self.online = true;
        self.last_heard = *at;
        self.peer = Some(*peer);
        self.subscriptions.clear();
        self.session = Some(RecoveredSession {
            transport: *transport,
            snapshot: snapshot.clone(),
            hello: hello.clone(),
        });
    }
}

/// See the store's.
const PAUSE_MAX_MS: i64 = 5_000;

/// The device whose state an entry changes.
fn device_of(entry: &Entry) -> Option<DeviceId> {
    match entry {
        Entry::Attempt { .. } | Entry::Traffic(_) => None,
        Entry::Copy { charge, .. } => Some(charge.device),
        Entry::Describe { device, .. }
        | Entry::Forget { device }
        | Entry::Presence { device, .. }
        | Entry::Reserve { device, .. }
        | Entry::Session { device, .. }
        | Entry::Subscribe { device, .. } => Some(*device),
        Entry::Publish { event, .. } => match event.origin {
            Origin::Device(device) => Some(device),
            Origin::Api | Origin::Internal => None,
        },
    }
}

fn source_of(entry: &Entry) -> Option<Source> {
    match entry {
        Entry::Copy { source, .. }
        | Entry::Session { source, .. }
        | Entry::Subscribe { source, .. } => Some(*source),
        Entry::Describe { source, .. } | Entry::Publish { source, .. } => *source,
        Entry::Attempt { .. }
        | Entry::Forget { .. }
        | Entry::Presence { .. }
        | Entry::Reserve { .. }
        | Entry::Traffic(_) => None,
    }
}
