//! The device side from outside: event streams, whole servers with simulated devices, load.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cookies;
mod devices;
mod first_use;
mod hub;
mod load;
mod records;
mod support;
mod updates;
