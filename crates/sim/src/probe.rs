//! A question for a server that may be out of reach.

use rand::RngExt;

use crate::device::first_client_hello;

/// A ClientHello of Device OS 6.2 without a cookie: a server that is up answers with a
/// HelloVerifyRequest (handshake type 3) and remembers nothing.
pub fn client_hello() -> Vec<u8> {
    first_client_hello(true, &rand::rng().random())
}
