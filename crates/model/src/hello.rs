//! What a device tells of itself when a connection begins (`messages.md` §5).

use serde::{Deserialize, Serialize};

use crate::link::Transport;
use crate::{DeviceId, Platform, limits};

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

impl Hello {
    /// The largest CoAP message this device takes, in bytes (`limits.md` §3). What the device tells
    /// counts; older ones tell nothing and are known by their platform.
    pub fn message_bytes_max(&self, transport: Transport) -> usize {
        match (self.system, self.platform.0, transport) {
            (Some(system), _, _) => usize::from(system.message_bytes_max),
            (None, 0, _) => 622,
            (None, _, Transport::Tcp) => 782,
            (None, 10, Transport::Udp) => 768,
            (None, _, Transport::Udp) => 800,
        }
    }

    /// The largest event data and variable value of this device, in bytes (`limits.md` §1).
    pub fn event_data_bytes_max(&self) -> usize {
        self.data_bytes_max().unwrap_or(255)
    }

    /// The longest function argument of this device, in bytes.
    pub fn argument_bytes_max(&self) -> usize {
        self.data_bytes_max().unwrap_or(ARGUMENT_BYTES_MIN)
    }

    fn data_bytes_max(&self) -> Option<usize> {
        let told = self.system.map(|system| system.message_bytes_max);
        data_bytes_max(self.platform, self.flags, told)
    }
}

/// The longest function argument of a device, in bytes (`limits.md` §1). Over it a device up to 0.7.0
/// runs the function with the argument of the call before.
pub fn argument_bytes_max(
    platform: Platform,
    flags: HelloFlags,
    message_bytes_max: Option<u16>,
) -> usize {
    data_bytes_max(platform, flags, message_bytes_max).unwrap_or(ARGUMENT_BYTES_MIN)
}

/// Absent for the small limits: those of a Core, and of devices that tell no message size and show none
/// of the flags of 1.2.1, if their platform is older than Device OS 0.8.
fn data_bytes_max(
    platform: Platform,
    flags: HelloFlags,
    message_bytes_max: Option<u16>,
) -> Option<usize> {
    if let Some(told) = message_bytes_max {
        let room = usize::from(told).saturating_sub(DATA_OVERHEAD);
        return Some(room.min(limits::EVENT_DATA_BYTES_MAX));
    }
    let is_recent = flags.0 & (HelloFlags::DIAGNOSTICS | HelloFlags::IMMEDIATE_UPDATES) != 0;
    let is_larger = platform.0 != CORE && is_recent || GEN_3.contains(&platform.0);
    is_larger.then_some(622)
}

const CORE: u16 = 0;
/// Argon, Boron, Xenon and their modules began with Device OS 0.8.
const GEN_3: [u16; 6] = [12, 13, 14, 22, 23, 24];
/// Of the oldest stack.
const ARGUMENT_BYTES_MIN: usize = 63;
/// The message around the data: 864 bytes fit a message of 960 (`limits.md` §1 and §3).
const DATA_OVERHEAD: usize = 96;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(platform: u16, flags: u16, message_bytes_max: Option<u16>) -> Hello {
        Hello {
            product_id: 0xffff,
            product_version: 0xffff,
            flags: HelloFlags(flags),
            platform: Platform(platform),
            device_id: None,
            system: message_bytes_max.map(|message_bytes_max| HelloSystem {
                version: 3005,
                message_bytes_max,
                binary_bytes_max: 0,
                chunk_bytes: 512,
            }),
        }
    }

    #[test]
    fn devices_that_tell_their_message_size_get_data_that_fits_it() {
        for (message, data) in [(1152, 1024), (960, 864), (512, 416), (0, 0)] {
            let hello = hello(13, 0xf6, Some(message));
            assert_eq!(hello.message_bytes_max(Transport::Udp), usize::from(message));
            assert_eq!(hello.event_data_bytes_max(), data);
            assert_eq!(hello.argument_bytes_max(), data);
        }
    }

    #[test]
    fn devices_that_do_not_are_known_by_platform_and_flags() {
        let photon = hello(6, 0x06, None);
        assert_eq!((photon.event_data_bytes_max(), photon.argument_bytes_max()), (622, 622));
        assert_eq!(photon.message_bytes_max(Transport::Tcp), 782);
        let boron = hello(13, 0, None);
        assert_eq!((boron.event_data_bytes_max(), boron.argument_bytes_max()), (622, 622));
        for old in [hello(6, 0, None), hello(10, 0, None), hello(0, 0x06, None)] {
            assert_eq!((old.event_data_bytes_max(), old.argument_bytes_max()), (255, 63));
        }
        assert_eq!(hello(10, 6, None).message_bytes_max(Transport::Udp), 768);
    }
}
