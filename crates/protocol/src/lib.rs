//! How devices and the cloud spell what they say: CoAP, the bytes of each message, sessions, the
//! endpoint. State machines without IO: time, keys and randomness are arguments.
//!
//! Start with [`coap::Packet`] and [`message`].

pub mod coap;
pub mod message;
