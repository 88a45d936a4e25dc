//! What the server knows of a device beside its session: who pays for it, and how it is.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::link::Transport;
use crate::{AccountId, ApplicationDescription, DeviceId, Platform, ProductId, Timestamp};

/// What the registry tells a shard of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceRow {
    /// Who sees its events and pays for its operations: the owner of its product if it has one, else
    /// its own owner. Absent: nobody owns it, nothing of it is routed or counted.
    pub account: Option<AccountId>,
    /// Its product, if it has one.
    pub product: Option<ProductId>,
    /// The name its owner gave it.
    pub name: Option<Box<str>>,
    /// The application part of its last Describe, shared by all devices that told the same.
    pub description: Option<Arc<ApplicationDescription>>,
    /// Its platform, if it ever said Hello.
    pub platform: Option<Platform>,
    /// Whether its Describe tells of a modem.
    pub has_modem: bool,
    /// Whether its product stores the locations it tells (`settings.location.opt_in`).
    pub stores_points: bool,
}

/// How a device is at this moment, as its shard knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// Which device.
    pub device: DeviceId,
    /// Whether a message sent now is believed to arrive.
    pub online: bool,
    /// When it was last heard.
    pub last_heard: Option<Timestamp>,
    /// When its last full handshake was.
    pub last_handshake_at: Option<Timestamp>,
    /// Its last known address.
    pub peer: Option<SocketAddr>,
    /// How it is connected, or was last.
    pub transport: Option<Transport>,
    /// Its platform, by its last Hello.
    pub platform: Option<Platform>,
    /// The product id of its firmware; absent when the firmware names none.
    pub firmware_product: Option<u16>,
    /// The product firmware version; absent when the firmware names none.
    pub firmware_version: Option<u16>,
    /// The system module version: 6200 is 6.2.0. Absent before Device OS 3.0.
    pub system_version: Option<u16>,
    /// The largest firmware file it takes, in bytes, if it told.
    pub binary_bytes_max: Option<u32>,
    /// Its functions and variables, if described and in force.
    pub description: Option<Arc<ApplicationDescription>>,
    /// Whether it said that it is in safe mode.
    pub safe_mode: bool,
    /// Whether its application allows updates, if it told.
    pub updates_enabled: Option<bool>,
    /// Whether updates are forced, if it told.
    pub updates_forced: Option<bool>,
    /// Events dropped because its queue was full, or because they were larger than it takes.
    pub events_dropped: u32,
    /// Full handshakes since the server knows the device in memory: since its start, or since the device
    /// was first connected; at most 255 are counted.
    pub handshakes: u8,
    /// Times since then that its session went on without one: by a new Hello, from a new address, or
    /// after the device was thought silent; at most 255 are counted.
    pub resumes: u8,
}
