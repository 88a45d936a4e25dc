//! Bytes as they cross the carrier.

use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Headers of a datagram over IPv4: 20 bytes of IP, 8 of UDP (`metering/rules.md` §4).
const HEADERS_IPV4: u32 = 28;
/// The same over IPv6: 40 and 8.
const HEADERS_IPV6: u32 = 48;

/// Bytes of one device in both directions, with their headers. Sums stay at the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// From the device.
    pub received: u32,
    /// To the device.
    pub sent: u32,
}

impl Traffic {
    /// Whether nothing crossed.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Both directions.
    pub fn total(self) -> u64 {
        u64::from(self.received) + u64::from(self.sent)
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
    }
}

/// What so many datagrams of so many bytes in all take between us and `peer`.
pub fn datagrams_on_the_wire(peer: SocketAddr, datagrams: usize, bytes: usize) -> u32 {
    let headers = match peer.ip().to_canonical() {
        IpAddr::V4(_) => HEADERS_IPV4,
        IpAddr::V6(_) => HEADERS_IPV6,
    };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    number(datagrams).saturating_mul(headers).saturating_add(number(bytes))
}

/// How a device is connected to the internet, by its platform (`config/plans.toml`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Bearer {
    /// By a modem.
    Cellular,
    /// By a modem, with an allowance of its own.
    Tracker,
    /// Otherwise: its bytes are shown and not limited.
    #[default]
    Wifi,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_takes_its_bytes_and_the_headers_of_its_network() {
        for (peer, bytes) in
            [("192.0.2.1:5684", 128), ("[2001:db8::1]:5684", 148), ("[::ffff:192.0.2.1]:5684", 128)]
        {
            let peer = peer.parse().expect("an address");
            assert_eq!(datagrams_on_the_wire(peer, 1, 100), bytes, "{peer}");
        }
    }

    #[test]
    fn sums_of_traffic_stay_at_the_largest_number() {
        let mut traffic = Traffic { received: u32::MAX, sent: 1 };
        traffic += Traffic { received: 1, sent: 1 };
        assert_eq!(traffic, Traffic { received: u32::MAX, sent: 2 });
    }
}
