//! What the server begins with after a start.

use std::sync::Arc;

use model::link::{RestoredSession, Transport};
use model::message::Subscribe;
use model::{AccountId, DeviceId, DeviceRow, EventId, Hello, KeyHash, Timestamp};

/// Everything the node keeps in memory, as of the last durable entry.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovery {
    /// All devices, by id.
    pub devices: Vec<Registered>,
    /// All sessions, by device id.
    pub sessions: Vec<StoredSession>,
}

/// What the registry in memory holds of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Which device.
    pub device: DeviceId,
    /// The hash of the key registered for it; absent: it cannot connect.
    pub key: Option<KeyHash>,
    /// Its own owner (`row.account` is the owner of its product, if it has one).
    pub owner: Option<AccountId>,
    /// What a shard is told of it. Devices with equal descriptions share one.
    pub row: DeviceRow,
    /// When it was last heard.
    pub last_heard: Option<Timestamp>,
    /// When its last full handshake was.
    pub last_handshake_at: Option<Timestamp>,
}

/// A session as it was made durable: the endpoint's part and the shard's.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// The endpoint's part. Over TCP its snapshot is empty: the socket is gone, the rest is for show.
    pub session: RestoredSession,
    /// How the device was connected.
    pub transport: Transport,
    /// What it told in its Hello.
    pub hello: Hello,
    /// Its subscriptions, in the order they came.
    pub subscriptions: Vec<Subscribe>,
    /// When the Hello came.
    pub opened_at: Timestamp,
    /// When the device was last heard.
    pub last_heard: Timestamp,
}

/// Events that a stream missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The account's events behind the one named, oldest first, as far as the window reaches.
    pub events: Vec<Arc<model::Event>>,
    /// Whether events before those may be missing.
    pub missed: Missed,
    /// The last event id that was looked at: the next replay, or a live stream, goes on behind it.
    pub upto: EventId,
    /// Whether that was the newest one in the journal: a live stream joined before the call lacks nothing.
    pub is_whole: bool,
}

/// Whether a replay is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Nothing is missing.
    #[default]
    Nothing,
    /// So many events of the account came before those and are no longer given.
    Events(u64),
    /// Some events may be missing, their number is not known.
    Unknown,
}
