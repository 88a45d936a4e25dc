//! The device side of the server at run time: sockets, threads and the commit around the quiet
//! crates. It carries what they say to each other and decides nothing about devices.
//!
//! Begin with [`Node`], which starts it, and [`Handle`], which the rest of the server uses.

mod clock;
mod commit;
mod config;
mod handle;
mod health;
mod hub;
pub mod metrics;
mod pool;
mod registry;
mod udp;

pub use config::{NodeConfig, SHARDS_MAX, StartError};
pub use handle::Handle;
pub use health::Health;
pub use hub::{EventHub, EventStream, StreamBound, StreamFilter, StreamItem};
