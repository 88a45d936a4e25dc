//! Rate limits of the API (`api/rate-limits.md`): who may ask how often.
//!
//! [`window`] counts without a clock; [`mod@guard`] puts it before every route.

mod address;
mod bodies;
mod guard;
mod streams;
mod window;

use std::net::IpAddr;

pub use address::Network;
pub(crate) use bodies::hold_bodies;
pub(crate) use guard::guard;
pub(crate) use guard::{FailedGrant, Limits};

/// What the operator may set. The defaults are the documented limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Requests of any kind from one address in 300 s; 0 switches the limit off.
    pub requests_max: u32,
    /// Tokens asked for from one address in 300 s.
    pub token_requests_max: u32,
    /// Requests about tokens and users from one address in 300 s.
    pub management_requests_max: u32,
    /// Event streams opened from one address in 300 s.
    pub streams_opened_max: u32,
    /// Event streams open at once from one address.
    pub streams_open_max: u32,
    /// Failed sign-ins in a row after which an address is locked out for 30 minutes.
    pub failed_sign_ins_max: u32,
    /// Serial numbers looked up by one user in an hour; 0 switches the limit off.
    pub serial_lookups_max: u32,
    /// HTTP connections, in total.
    pub connections_max: usize,
    /// Addresses that no limit holds for.
    pub exempt: Vec<Network>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_max: 10_000,
            token_requests_max: 100,
            management_requests_max: 100,
            streams_opened_max: 100,
            streams_open_max: 100,
            failed_sign_ins_max: 10,
            serial_lookups_max: 50,
            connections_max: 10_000,
            exempt: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// An address as limits see it: IPv6 counts by /64, what one household or host has.
pub(crate) fn key_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        },
    }
}
