//! Simulated devices: as a library for tests in virtual time, and over real sockets.
//!
//! * [`device`]: a device that behaves as the firmware does, without a socket or a clock.
//! * [`firmware`]: binaries that are well formed and do nothing.
//! * [`fleet`]: many devices over real sockets.
//! * [`guest`]: threads that leave the processor to the server.
//! * [`harness`] and [`network`]: devices and a server in virtual time, with a bad network between.
//! * [`identity`]: ids, keys and the lines that register them.
//! * [`live`]: one device over a real socket, for tests against a running server.
//! * [`probe`]: is there a server at all?
//! * [`world`]: the whole cloud in one thread, in virtual time, with everything that can go wrong.

pub mod device;
pub mod firmware;
pub mod fleet;
pub mod guest;
pub mod harness;
pub mod identity;
pub mod live;
pub mod network;
pub mod probe;
pub mod world;
