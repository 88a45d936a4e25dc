//! How devices and the cloud spell what they say: CoAP, the bytes of each message, sessions, the
//! endpoint. State machines without IO: time, keys and randomness are arguments.
//!
//! Start with [`Endpoint`], all sessions of one socket set, and with [`coap::Packet`] and [`message`] for
//! the bytes.

pub mod coap;
pub mod endpoint;
pub mod firmware;
pub mod message;
mod transfer;

pub use endpoint::{Endpoint, EndpointConfig};
