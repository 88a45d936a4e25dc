//! Simulated devices: as a library for tests in virtual time, and over real sockets.
//!
//! * [`device`]: a device that behaves as the firmware does, without a socket or a clock.
//! * [`identity`]: ids, keys and the lines that register them.
//! * [`live`]: one device over a real socket, for tests against a running server.

pub mod device;
pub mod identity;
pub mod live;
