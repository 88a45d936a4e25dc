//! Simulated devices: as a library for tests in virtual time, and as a fleet over real sockets.
//!
//! Start with [`device`], a device that behaves as the firmware does, without a socket or a clock.

pub mod device;
pub mod identity;
