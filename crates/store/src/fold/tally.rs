//! What a stretch of the journal changes in the tables, added up in memory.

use std::collections::HashMap;
use std::net::SocketAddr;

use metering::{Point, point_of};
use model::event::Origin;
use model::journal::{Carried, Charge, OperationKind};
use model::limits::{RECORD_NUMBERS_RESERVED, SUBSCRIPTIONS_MAX};
use model::link::{Snapshot, Source, Transport};
use model::message::Subscribe;
use model::{AccountId, Bearer, DescribePart, DeviceId, Hello, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::stored::{Stored, StoredEvent, StoredSession};
use crate::{CarriedSum, Hour, Sum};

/// So many bytes of a packed body weigh as much as a row; so does a subscription.
const BYTES_PER_ROW: usize = 128;

/// The changes of the entries from place `from` up to, not including, `next`.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The place of the first entry.
    pub(crate) from: u64,
    /// The place behind the last one.
    pub(crate) next: u64,
    /// By device.
    pub(crate) devices: HashMap<DeviceId, Changes>,
    /// Charges by account, hour, device, product and kind.
    pub(crate) ledger: HashMap<LedgerKey, Sum>,
    /// Bytes over the carrier by account, hour, device, product and bearer.
    pub(crate) carried: HashMap<CarriedKey, CarriedSum>,
    /// Application descriptions by their id.
    pub(crate) descriptions: HashMap<DescriptionId, Vec<u8>>,
    /// Vitals in the order they came, packed.
    pub(crate) vitals: Vec<(DeviceId, Timestamp, Vec<u8>)>,
    /// Locations to store, in the order they came.
    pub(crate) points: Vec<(DeviceId, Timestamp, Point)>,
    /// Rows that bodies and subscriptions weigh, those replaced since included: what a device sends
    /// again and again in another form must end a tally, too.
    weight: usize,
}

/// The first half of the SHA-256 of a packed application description.
pub(crate) type DescriptionId = [u8; 16];

/// What is summed up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LedgerKey {
    pub(crate) account: AccountId,
    pub(crate) hour: Hour,
    pub(crate) device: DeviceId,
    pub(crate) product: Option<ProductId>,
    pub(crate) kind: OperationKind,
}

/// What bytes over the carrier are summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CarriedKey {
    pub(crate) account: AccountId,
    pub(crate) hour: Hour,
    pub(crate) device: DeviceId,
    pub(crate) product: Option<ProductId>,
    pub(crate) bearer: Bearer,
}

/// What changes about one device. What is absent stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) session: Option<SessionChange>,
    /// Whether the two record numbers replace the stored ones; else they only raise them.
    pub(crate) records_reset: bool,
    pub(crate) record_limit: u64,
    pub(crate) record_seen: u64,
    pub(crate) online: Option<bool>,
    pub(crate) last_heard: Option<Timestamp>,
    pub(crate) handshake_at: Option<Timestamp>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) platform: Option<u16>,
    pub(crate) has_modem: Option<bool>,
    pub(crate) application: Option<DescriptionId>,
    pub(crate) system: Option<(Box<[u8]>, Timestamp)>,
    /// Subscriptions behind the session's, or behind the stored ones if the session stays.
    pub(crate) subscriptions: Vec<Subscribe>,
}

/// What becomes of the stored session.
#[derive(Debug)]
pub(crate) enum SessionChange {
    /// It goes.
    Forgotten,
    /// This one replaces it, without its subscriptions.
    Replaced(Box<SessionBody>),
}

/// A session's row, packed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionBody {
    pub(crate) transport: Transport,
    pub(crate) snapshot: Snapshot,
    pub(crate) hello: Hello,
    pub(crate) opened_at: Timestamp,
}

impl Tally {
    /// Nothing yet, from this place on.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, next: from, ..Self::default() }
    }

    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.from
    }

    /// How many rows it will touch, about; large things in it are several.
    pub(crate) fn rows(&self) -> usize {
        self.devices.len()
            + self.ledger.len()
            + self.carried.len()
            + self.descriptions.len()
            + self.vitals.len()
            + self.points.len()
            + self.weight
    }

    /// Adds the entry at `place`, which is the next one.
    pub(crate) fn add(&mut self, place: u64, entry: Stored<'_>) {
        debug_assert_eq!(place, self.next);
        self.next = place + 1;
        match entry {
            Stored::Attempt { charge, .. } => self.charge(&charge),
            Stored::Copy { source, charge, .. } => {
                self.charge(&charge);
                self.seen(charge.device, source);
            }
            Stored::Describe { device, part, source, at } => {
                self.describe(device, &part, at);
                if let Some(source) = source {
                    self.seen(device, source);
                }
            }
            Stored::Forget { device } => self.forget(device),
            Stored::Presence { device, online, peer, last_heard, record_seen } => {
                let changes = self.device(device);
                changes.online = Some(online);
                changes.last_heard = Some(last_heard);
                changes.peer = peer.or(changes.peer);
                changes.record_seen = changes.record_seen.max(record_seen);
            }
            Stored::Publish { event, source, charge, point } => {
                self.publish(&event, source, charge.into_iter().chain(point));
                if let Some(point) = point {
                    self.point(place, &event, &point);
                }
            }
            Stored::Reserve { device, record_limit } => {
                let changes = self.device(device);
                changes.record_limit = changes.record_limit.max(record_limit);
            }
            Stored::Session(session) => self.session(session),
            Stored::Subscribe { device, subscribe, source } => {
                self.subscribe(device, subscribe);
                self.seen(device, source);
            }
            Stored::Traffic(carried) => self.carried(&carried),
        }
    }

    fn carried(&mut self, carried: &Carried) {
        let key = CarriedKey {
            account: carried.account,
            hour: Hour::of(carried.at),
            device: carried.device,
            product: carried.product,
            bearer: carried.bearer,
        };
        self.carried.entry(key).or_default().add(CarriedSum {
            received: u64::from(carried.traffic.received),
            sent: u64::from(carried.traffic.sent),
        });
    }

    fn device(&mut self, device: DeviceId) -> &mut Changes {
        self.devices.entry(device).or_default()
    }

    fn seen(&mut self, device: DeviceId, source: Source) {
        let changes = self.device(device);
        changes.record_seen = changes.record_seen.max(source.record);
    }

    fn charge(&mut self, charge: &Charge) {
        let key = LedgerKey {
            account: charge.account,
            hour: Hour::of(charge.at),
            device: charge.device,
            product: charge.product,
            kind: charge.kind,
        };
        self.ledger.entry(key).or_default().add(Sum {
            messages: 1,
            operations: u64::from(charge.operations),
            bytes: u64::from(charge.bytes),
        });
    }

    fn publish(
        &mut self,
        event: &StoredEvent<'_>,
        source: Option<Source>,
        charges: impl Iterator<Item = Charge>,
    ) {
        charges.for_each(|charge| self.charge(&charge));
        if let (Origin::Device(device), Some(source)) = (event.origin, source) {
            let changes = self.device(device);
            changes.last_heard = Some(event.published_at);
            changes.record_seen = changes.record_seen.max(source.record);
        }
    }

    fn point(&mut self, place: u64, event: &StoredEvent<'_>, charge: &Charge) {
        if let Some(point) = event.to_event(place).as_ref().and_then(point_of) {
            self.points.push((charge.device, charge.at, point));
        }
    }

    fn subscribe(&mut self, device: DeviceId, subscribe: Subscribe) {
        let kept = &mut self.device(device).subscriptions;
        let before = kept.len();
        keep_subscription(kept, subscribe);
        self.weight += kept.len() - before;
    }

    fn packed<T: Serialize>(&mut self, value: &T) -> Vec<u8> {
        let body = pack(value);
        self.weight += body.len() / BYTES_PER_ROW;
        body
    }

    fn describe(&mut self, device: DeviceId, part: &DescribePart, at: Timestamp) {
        match part {
            DescribePart::Application(application) => {
                let body = self.packed(application);
                let id = description_id(&body);
                self.descriptions.entry(id).or_insert(body);
                self.device(device).application = Some(id);
            }
            DescribePart::System(system) => {
                let body = self.packed(system).into();
                let changes = self.device(device);
                changes.system = Some((body, at));
                changes.has_modem = Some(system.imei.is_some());
            }
            DescribePart::Metrics(metrics) => {
                let body = self.packed(metrics);
                self.vitals.push((device, at, body));
            }
        }
    }

    fn forget(&mut self, device: DeviceId) {
        let changes = self.device(device);
        changes.session = Some(SessionChange::Forgotten);
        changes.subscriptions.clear();
        changes.records_reset = true;
        changes.record_limit = 0;
        changes.record_seen = 0;
        changes.online = Some(false);
    }

    fn session(&mut self, session: StoredSession<'_>) {
        let changes = self.device(session.device);
        if session.full_handshake {
            changes.records_reset = true;
            changes.record_limit = RECORD_NUMBERS_RESERVED;
            changes.record_seen = 0;
            changes.handshake_at = Some(session.at);
        }
        changes.record_seen = changes.record_seen.max(session.source.record);
        changes.online = Some(true);
        changes.last_heard = Some(session.at);
        changes.peer = Some(session.peer);
        changes.platform = Some(session.hello.platform.0);
        changes.subscriptions.clear();
        changes.session = Some(SessionChange::Replaced(Box::new(SessionBody {
            transport: session.transport,
            snapshot: Snapshot::new(session.snapshot.into()),
            hello: session.hello,
            opened_at: session.at,
        })));
    }
}

/// Puts a subscription among those of a session as the router does: in the place of one to the same
/// prefix, and none beyond [`SUBSCRIPTIONS_MAX`]. A device repeats them as often as it likes.
pub(crate) fn keep_subscription(kept: &mut Vec<Subscribe>, subscribe: Subscribe) {
    let is_same = |other: &&mut Subscribe| {
        (&other.prefix, other.device) == (&subscribe.prefix, subscribe.device)
    };
    if let Some(same) = kept.iter_mut().find(is_same) {
        *same = subscribe;
    } else if kept.len() < SUBSCRIPTIONS_MAX {
        kept.push(subscribe);
    }
}

/// Packs a value of ours for a column.
pub(crate) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

fn description_id(body: &[u8]) -> DescriptionId {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}
