//! Events: what is published, streamed and delivered.

use serde::{Deserialize, Serialize};

use crate::{AccountId, DeviceId, EventId, EventName, ProductId, Timestamp};

/// One accepted event. Immutable, shared by every stream and delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Order of acceptance; 0 until the commit assigns it.
    pub id: EventId,
    /// Whose event it is: who sees it and whose devices may subscribe to it.
    pub account: AccountId,
    /// Who made it.
    pub origin: Origin,
    /// The product of the device that made it, if it has one.
    pub product: Option<ProductId>,
    /// Its name.
    pub name: EventName,
    /// Its data, if any.
    pub data: Option<EventData>,
    /// Time to live in seconds, as told by the publisher; 60 if not told.
    pub ttl_s: u32,
    /// When the server took it.
    pub published_at: Timestamp,
}

/// Who made an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A caller of the API; shown as `api`.
    Api,
    /// This device.
    Device(DeviceId),
    /// The cloud itself (webhook results); shown as `particle-internal`.
    Internal,
}

/// application/cbor, a content format.
pub const CBOR: u16 = 60;
/// Structured data of Device OS 6.2, encoded as CBOR, shown to people as JSON.
pub const STRUCTURED: u16 = 65001;

/// The data of an event with its content format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventData {
    /// CoAP Content-Format; 0 is text (`messages.md` §2.3).
    pub format: u16,
    /// The bytes: at most 16,384 of a publish, at most 100,000 of a webhook's answer.
    pub bytes: Box<[u8]>,
}

impl Event {
    /// The device that made it, if one did.
    pub fn device(&self) -> Option<DeviceId> {
        match self.origin {
            Origin::Device(id) => Some(id),
            Origin::Api | Origin::Internal => None,
        }
    }

    /// Bytes of data; 0 without data.
    pub fn data_bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.bytes.len())
    }
}
