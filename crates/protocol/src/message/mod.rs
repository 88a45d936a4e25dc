//! Each message of the device protocol, with its bytes: one file per message, for both sides.
//!
//! The cloud reads what devices say with [`device::decode`] and [`Response::read`], and speaks with
//! [`cloud::encode`], [`ack`], [`time::answer`] and [`ledger::answer_unbuilt`]. The simulator reads with
//! [`cloud::decode`], which does what the firmware does, and speaks with the `emit` of each message.

use crate::coap::{Code, packet::BadOption};

pub mod ack;
pub mod cloud;
pub mod content;
pub mod delivery;
pub mod describe;
pub mod device;
pub mod dialect;
pub mod event;
pub mod function;
pub mod goodbye;
pub mod hello;
pub mod key_change;
pub mod ledger;
pub mod ota;
pub mod ping;
pub mod response;
pub mod signal;
pub mod subscribe;
pub mod time;
pub mod variable;

pub use device::Request;
pub use dialect::Dialect;
pub use response::Response;

/// A message with a good header that cannot be taken: what a confirmable one is answered with, and
/// why, for a log line. A non-confirmable one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct CoapError {
    /// Code of the acknowledgement.
    pub code: Code,
    /// Why.
    pub reason: &'static str,
}

impl CoapError {
    /// 4.00 for this reason.
    pub const fn bad_request(reason: &'static str) -> Self {
        Self { code: Code::BAD_REQUEST, reason }
    }

    /// 4.13 for this reason.
    pub const fn too_large(reason: &'static str) -> Self {
        Self { code: Code::REQUEST_ENTITY_TOO_LARGE, reason }
    }
}

impl From<BadOption> for CoapError {
    fn from(_: BadOption) -> Self {
        Self::bad_request("an option has a value of the wrong form")
    }
}
