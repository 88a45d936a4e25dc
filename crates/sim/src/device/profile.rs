//! Which device is played: what the generations of Device OS do differently on the wire.

use std::time::Duration;

use model::Platform;

/// Device generations with a recording of their own (`protocol/recordings`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// Device OS 6.2 over DTLS: connection id, marker 253, protobuf system Describe.
    Os6,
    /// Device OS 3.0 over DTLS: no connection id, marker 254 with a trailer, JSON Describe.
    Os3,
    /// Device OS 3.0 over TCP: RSA handshake, AES frames, NON publishes.
    Tcp,
}

/// The constants of one kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which branch of behaviour.
    pub generation: Generation,
    /// Platform number told in Hello.
    pub platform: Platform,
    /// Product id told in Hello; the firmware sends its platform number when none is compiled in.
    pub product_id: u16,
    /// Product version told in Hello; `0xFFFF` for none.
    pub product_version: u16,
    /// Hello flags (`messages.md` §5.2).
    pub flags: u16,
    /// System module version: 6200 is 6.2.0.
    pub system_version: u16,
    /// Largest CoAP message, in bytes.
    pub message_bytes_max: u16,
    /// Largest firmware binary, in bytes.
    pub binary_bytes_max: u32,
    /// Preferred chunk of an update, in bytes.
    pub chunk_bytes: u16,
    /// A CoAP ping goes out after this span without receiving anything.
    pub keep_alive: Duration,
    /// The connection is dropped when nothing at all arrives for this long after a ping.
    pub ping_timeout: Duration,
    /// Longest function argument and string variable, in bytes (`limits.md` §1).
    pub value_bytes_max: usize,
}

impl Profile {
    /// The profile of a generation, with the values of the recordings.
    pub fn new(generation: Generation) -> Self {
        match generation {
            Generation::Os6 => Self::os6(),
            Generation::Os3 => Self::os3(),
            Generation::Tcp => Self::tcp(),
        }
    }

    /// A Gen 3 device on Device OS 6.2.0 behind Wi-Fi or Ethernet.
    pub fn os6() -> Self {
        Self {
            generation: Generation::Os6,
            platform: Platform(12),
            product_id: 12,
            product_version: 0xFFFF,
            flags: 0x00B6,
            system_version: 6200,
            message_bytes_max: 1152,
            binary_bytes_max: 655_360,
            chunk_bytes: 512,
            keep_alive: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(30),
            value_bytes_max: 1024,
        }
    }

    /// An Electron on Device OS 3.0.0: cellular, so it pings every 23 minutes.
    pub fn os3() -> Self {
        Self {
            generation: Generation::Os3,
            platform: Platform(10),
            product_id: 10,
            flags: 0x0036,
            system_version: 3005,
            message_bytes_max: 960,
            binary_bytes_max: 102_400,
            keep_alive: Duration::from_secs(23 * 60),
            value_bytes_max: 864,
            ..Self::os6()
        }
    }

    /// A Photon on Device OS 3.0.0.
    pub fn tcp() -> Self {
        Self {
            generation: Generation::Tcp,
            platform: Platform(6),
            product_id: 6,
            keep_alive: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
            ..Self::os3()
        }
    }

    /// Whether it speaks DTLS over UDP.
    pub fn is_udp(&self) -> bool {
        self.generation != Generation::Tcp
    }

    /// Whether it is 3.3 or newer: tokens on Describe, blocks, one flag in each Describe request.
    pub(crate) fn is_modern(&self) -> bool {
        self.generation == Generation::Os6
    }
}
