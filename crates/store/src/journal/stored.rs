//! Entries as bytes: the postcard encoding of [`Entry`], read back without copying.
//!
//! The types here mirror the model's field by field. The golden test below fails when one of them
//! changes: then the version in the segment header must change too.

use std::net::SocketAddr;

use model::event::Origin;
use model::journal::{Carried, Charge, Entry};
use model::link::{Source, Transport};
use model::message::Subscribe;
use model::{
    AccountId, DescribePart, DeviceId, Event, EventData, EventId, EventName, Hello, ProductId,
    Timestamp,
};
use serde::Deserialize;

/// [`Entry`], borrowed from the journal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) enum Stored<'a> {
    /// See [`Entry::Attempt`].
    Attempt { charge: Charge, name: &'a str, attempt: u8 },
    /// See [`Entry::Copy`].
    Copy { source: Source, charge: Charge, name: &'a str },
    /// See [`Entry::Describe`].
    Describe { device: DeviceId, part: DescribePart, source: Option<Source>, at: Timestamp },
    /// See [`Entry::Forget`].
    Forget { device: DeviceId },
    /// See [`Entry::Presence`].
    Presence {
        device: DeviceId,
        online: bool,
        peer: Option<SocketAddr>,
        last_heard: Timestamp,
        record_seen: u64,
    },
    /// See [`Entry::Publish`].
    Publish {
        #[serde(borrow)]
        event: StoredEvent<'a>,
        source: Option<Source>,
        charge: Option<Charge>,
        point: Option<Charge>,
    },
    /// See [`Entry::Reserve`].
    Reserve { device: DeviceId, record_limit: u64 },
    /// See [`Entry::Session`].
    Session(#[serde(borrow)] StoredSession<'a>),
    /// See [`Entry::Subscribe`].
    Subscribe { device: DeviceId, subscribe: Subscribe, source: Source },
    /// See [`Entry::Traffic`].
    Traffic(Carried),
}

/// The fields of [`Entry::Session`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct StoredSession<'a> {
    pub(crate) device: DeviceId,
    pub(crate) transport: Transport,
    pub(crate) snapshot: &'a [u8],
    pub(crate) peer: SocketAddr,
    pub(crate) hello: Hello,
    pub(crate) full_handshake: bool,
    pub(crate) source: Source,
    pub(crate) at: Timestamp,
}

/// [`Event`], borrowed. Its id is its place in the journal, not what is stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct StoredEvent<'a> {
    pub(crate) id: u64,
    pub(crate) account: AccountId,
    pub(crate) origin: Origin,
    pub(crate) product: Option<ProductId>,
    pub(crate) name: &'a str,
    #[serde(borrow)]
    pub(crate) data: Option<StoredData<'a>>,
    pub(crate) ttl_s: u32,
    pub(crate) published_at: Timestamp,
}

/// [`EventData`], borrowed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct StoredData<'a> {
    pub(crate) format: u16,
    pub(crate) bytes: &'a [u8],
}

impl StoredEvent<'_> {
    /// The event at this place; `None` if its name is none (we never wrote it).
    pub(crate) fn to_event(&self, id: u64) -> Option<Event> {
        Some(Event {
            id: EventId(id),
            account: self.account,
            origin: self.origin,
            product: self.product,
            name: EventName::parse(self.name.as_bytes()).ok()?,
            data: self
                .data
                .as_ref()
                .map(|data| EventData { format: data.format, bytes: data.bytes.into() }),
            ttl_s: self.ttl_s,
            published_at: self.published_at,
        })
    }
}

/// Writes an entry behind what is there.
pub(crate) fn encode(entry: &Entry, into: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(entry, into)
}

/// Reads the entry that begins here; gives the bytes behind it.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Stored<'_>, &[u8]), postcard::Error> {
    postcard::take_from_bytes(bytes)
}

/// The device and source of an entry that a copy could repeat.
pub(crate) fn source_of(entry: &Stored<'_>) -> Option<(DeviceId, Source)> {
    match entry {
        Stored::Copy { source, charge, .. } => Some((charge.device, *source)),
        Stored::Describe { device, source, .. } => Some((*device, (*source)?)),
        Stored::Publish { event, source, .. } => match event.origin {
            Origin::Device(device) => Some((device, (*source)?)),
            Origin::Api | Origin::Internal => None,
        },
        Stored::Session(session) => Some((session.device, session.source)),
        Stored::Subscribe { device, source, .. } => Some((*device, *source)),
        Stored::Attempt { .. }
        | Stored::Forget { .. }
        | Stored::Presence { .. }
        | Stored::Reserve { .. }
        | Stored::Traffic(_) => None,
    }
}
