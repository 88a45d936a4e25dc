//! What is written down, in the order it happened, before anybody is told that it did.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::link::{Snapshot, Source, Transport};
use crate::message::Subscribe;
use crate::{
    AccountId, Bearer, DescribePart, DeviceId, Event, Hello, ProductId, Timestamp, Traffic,
};

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// One transmission of a counted message to a device.
    Attempt {
        /// What it costs.
        charge: Charge,
        /// The name of the event, function or variable; empty for a ping.
        name: MessageName,
        /// Which transmission, from 1 on.
        attempt: u8,
    },
    /// A second copy of a publish: counted, not routed.
    Copy {
        /// Where the copy came from.
        source: Source,
        /// What it costs.
        charge: Charge,
        /// The name of the event.
        name: MessageName,
    },
    /// A part of a device's description, replacing the one before. Metrics are appended.
    Describe {
        /// Whose.
        device: DeviceId,
        /// Which part, complete.
        part: Arc<DescribePart>,
        /// Where it came from; absent when the cloud asked for it.
        source: Option<Source>,
        /// When.
        at: Timestamp,
    },
    /// The stored session of a device is void.
    Forget {
        /// Whose.
        device: DeviceId,
    },
    /// Where a device is and whether it is believed online. Nothing waits for it.
    Presence {
        /// Whose.
        device: DeviceId,
        /// Whether it is believed online.
        online: bool,
        /// Its address.
        peer: Option<SocketAddr>,
        /// When it was last heard.
        last_heard: Timestamp,
        /// The highest record number of its session, so that no record up to it is taken again after a
        /// restart; 0 if this entry tells none.
        record_seen: u64,
    },
    /// An accepted event, kept for the replay window of the event streams. One that no account owns
    /// is never recorded.
    Publish {
        /// The event; its id is its place in the journal.
        event: Arc<Event>,
        /// Where it came from; absent for the API's and the cloud's own.
        source: Option<Source>,
        /// What it costs; absent if it is not counted.
        charge: Option<Charge>,
        /// What storing its location costs; absent if it tells none that is to be stored.
        point: Option<Charge>,
    },
    /// Record numbers of a session may be used up to this one.
    Reserve {
        /// Whose.
        device: DeviceId,
        /// Numbers below this one.
        record_limit: u64,
    },
    /// A session that began with this Hello, replacing the device's session and clearing its
    /// subscriptions.
    Session {
        /// Whose.
        device: DeviceId,
        /// How it is connected.
        transport: Transport,
        /// Opaque session state; empty over TCP.
        snapshot: Snapshot,
        /// Its address.
        peer: SocketAddr,
        /// What it told.
        hello: Hello,
        /// Whether a full handshake preceded.
        full_handshake: bool,
        /// Where the Hello came from.
        source: Source,
        /// When.
        at: Timestamp,
    },
    /// A subscription of a device.
    Subscribe {
        /// Whose.
        device: DeviceId,
        /// What it wants.
        subscribe: Subscribe,
        /// Where it came from.
        source: Source,
    },
    /// Bytes of a device over the carrier since they were written down last. Nothing waits for it.
    Traffic(Carried),
}

/// Bytes over the carrier, and who pays for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Who pays.
    pub account: AccountId,
    /// Whose they are.
    pub device: DeviceId,
    /// Its product, if it has one.
    pub product: Option<ProductId>,
    /// How the device is connected.
    pub bearer: Bearer,
    /// The bytes.
    pub traffic: Traffic,
    /// When they were written down.
    pub at: Timestamp,
}

/// What something costs, and whom. The ledger is the sum of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Who pays.
    pub account: AccountId,
    /// The device that sent or was sent to.
    pub device: DeviceId,
    /// Its product, if it has one.
    pub product: Option<ProductId>,
    /// What it was.
    pub kind: OperationKind,
    /// Data Operations.
    pub operations: u32,
    /// Bytes of payload.
    pub bytes: u32,
    /// When.
    pub at: Timestamp,
}

/// The counted kinds (`metering/rules.md` §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationKind {
    /// An event sent to a subscribed device (rule 4; webhook answers too, rule 7).
    Delivery,
    /// A function call sent to a device (rule 5).
    FunctionCall,
    /// A ping that a user asked for (rule 9).
    Ping,
    /// A publish that reached the cloud (rules 1 and 2).
    Publish,
    /// A stored location point (rule 8).
    StoredPoint,
    /// A variable request sent to a device (rule 6).
    VariableRequest,
    /// A second copy of a publish (rule 2).
    PublishCopy,
    /// A part of a webhook's answer sent to a subscribed device (rule 7).
    WebhookAnswer,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::PublishCopy,
        Self::Delivery,
        Self::FunctionCall,
        Self::VariableRequest,
        Self::WebhookAnswer,
        Self::StoredPoint,
        Self::Ping,
    ];

    /// The rule of `metering/rules.md` §2 that counts it.
    pub const fn rule(self) -> u8 {
        match self {
            Self::Publish => 1,
            Self::PublishCopy => 2,
            Self::Delivery => 4,
            Self::FunctionCall => 5,
            Self::VariableRequest => 6,
            Self::WebhookAnswer => 7,
            Self::StoredPoint => 8,
            Self::Ping => 9,
        }
    }

    /// Its name in the API, in metrics and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::FunctionCall => "function_call",
            Self::Ping => "ping",
            Self::Publish => "publish",
            Self::PublishCopy => "publish_copy",
            Self::StoredPoint => "stored_point",
            Self::VariableRequest => "variable_request",
            Self::WebhookAnswer => "webhook_answer",
        }
    }
}

/// What a counted message is named. To name it copies nothing.
#[derive(Debug, Clone, Default)]
pub enum MessageName {
    /// That of a call.
    Call(Arc<str>),
    /// That of an event.
    Event(Arc<Event>),
    /// None.
    #[default]
    None,
}

impl MessageName {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Call(name) => name,
            Self::Event(event) => event.name.as_str(),
            Self::None => "",
        }
    }
}

impl PartialEq for MessageName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for MessageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MessageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::Call(String::deserialize(deserializer)?.into()))
    }
}
