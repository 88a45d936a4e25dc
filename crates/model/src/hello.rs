//! What a device tells of itself when a connection begins (`messages.md` §5).

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Platform};

/// The contents of a device's Hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Product id; `0xFFFF` when the firmware names none.
    pub product_id: u16,
    /// Product firmware version; `0xFFFF` when the firmware names none.
    pub product_version: u16,
    /// Feature bits, see [`HelloFlags`].
    pub flags: HelloFlags,
    /// Platform number.
    pub platform: Platform,
    /// The id the device claims; absent over TCP, where the key exchange carries it.
    pub device_id: Option<DeviceId>,
    /// The fields that Device OS 3.0 and later add.
    pub system: Option<HelloSystem>,
}

/// The part of Hello that Device OS 3.0 and later send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloSystem {
    /// System module version: 6200 is 6.2.0.
    pub version: u16,
    /// The largest CoAP message the device sends or receives, in bytes.
    pub message_bytes_max: u16,
    /// The largest firmware binary the device takes, in bytes.
    pub binary_bytes_max: u32,
    /// Preferred chunk of an update, in bytes.
    pub chunk_bytes: u16,
}

/// Feature bits of Hello (`messages.md` §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HelloFlags(pub u16);

impl HelloFlags {
    /// The last update was applied and this was not reported before.
    pub const OTA_SUCCESSFUL: u16 = 0x0001;
    /// Diagnostics (metrics Describe) are supported.
    pub const DIAGNOSTICS: u16 = 0x0002;
    /// The device understands the `particle/device/updates/*` events.
    pub const IMMEDIATE_UPDATES: u16 = 0x0004;
    /// A Goodbye will be sent before a disconnect.
    pub const GOODBYE: u16 = 0x0010;
    /// The device sends its system and application Describe by itself.
    pub const DEVICE_INITIATED_DESCRIBE: u16 = 0x0020;
    /// Compressed and combined binaries are accepted.
    pub const COMPRESSED_OTA: u16 = 0x0040;
    /// The device speaks version 3 of the update protocol.
    pub const OTA_V3: u16 = 0x0080;

    /// Whether every bit of `mask` is set.
    pub fn has(self, mask: u16) -> bool {
        self.0 & mask == mask
    }
}
