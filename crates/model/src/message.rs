//! What a device and the cloud say to each other, free of bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{DescribePart, DeviceId, Event, EventData, EventName, EventPrefix};

/// What a device says that the cloud must understand. Pings and time requests are answered by the
/// session itself and never get here; a Hello opens a link (`link::LinkEvent::Opened`).
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceMessage {
    /// A complete part of its description.
    Describe(DescribePart),
    /// It is about to go, for this reason.
    Goodbye(Goodbye),
    /// An event.
    Publish(Publish),
    /// It wants events whose names begin so.
    Subscribe(Subscribe),
}

/// An event as a device sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Event name.
    pub name: EventName,
    /// Data, if there was a payload.
    pub data: Option<EventData>,
    /// Time to live in seconds; 60 if the device did not say.
    pub ttl_s: u32,
}

/// A subscription as a device sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Beginning of the names wanted.
    pub prefix: EventPrefix,
    /// Only events of this device (the form with 24 hex characters).
    pub device: Option<DeviceId>,
    /// Which contents the handler takes.
    pub content: SubscriptionContent,
}

/// Which contents a subscription's handler takes (`messages.md` §7.2, §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubscriptionContent {
    /// Text formats only (the plain form).
    Text,
    /// Every format (query `b`).
    Any,
    /// CBOR only (query `c`).
    Cbor,
}

/// Why a device goes (`messages.md` §9.4); every field is told only by some devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goodbye {
    /// Cloud disconnect reason.
    pub cloud_reason: Option<u32>,
    /// System reset reason.
    pub reset_reason: Option<u32>,
    /// How long it will sleep, in seconds.
    pub sleep_s: Option<u32>,
    /// Network disconnect reason.
    pub network_reason: Option<u32>,
}

/// What the cloud says to a device.
#[derive(Debug, Clone, PartialEq)]
pub enum CloudMessage {
    /// Send the parts of the description named by these flags: 1 system, 2 application, 4 metrics;
    /// 0 is the query-less form, for devices without [`crate::hello::HelloFlags::DEVICE_INITIATED_DESCRIBE`].
    Describe(u8),
    /// An event for a subscription, or a system event for this device. The session converts the
    /// content format to one that the subscription and the Device OS version take.
    Event {
        /// What to deliver.
        event: Arc<Event>,
        /// What the matching handler takes.
        content: SubscriptionContent,
    },
    /// Call a function. The name is as described.
    FunctionCall {
        /// Function name.
        name: Box<str>,
        /// Argument text; may be empty.
        argument: Box<str>,
    },
    /// Forget the session and make a full handshake (UDP).
    KeyChange,
    /// Are you there?
    Ping,
    /// Start (true) or stop shouting rainbows.
    Signal(bool),
    /// Read a variable. The name is as described.
    VariableRequest {
        /// Variable name.
        name: Box<str>,
    },
}

/// What a device answers to a [`CloudMessage`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It took it (event, signal, ping, key change).
    Accepted,
    /// The parts of its description that were asked for.
    Described(Vec<DescribePart>),
    /// It refused with this CoAP code, in the form class × 100 + detail: 404.
    Failed(u16),
    /// What the function returned.
    Returned(i32),
    /// The raw payload of a variable; its type is in the description.
    Value(Box<[u8]>),
}
