//! The device side of the server at run time: sockets, threads and the commit around the quiet
//! crates. It carries what they say to each other and decides nothing about devices.
//!
//! Begin with [`Node`], which starts it, and [`Handle`], which the rest of the server uses.

mod billing;
mod carry;
mod clock;
mod commit;
mod config;
mod errands;
mod handle;
mod health;
mod hub;
mod mail;
pub mod metrics;
mod node;
mod places;
mod polled;
mod pool;
mod quota;
mod registry;
mod reports;
mod restore;
mod roll_up;
mod safe_modes;
mod shard_task;
mod shared;
mod stop;
mod tcp;
mod tcp_connection;
mod tcp_traffic;
mod threads;
mod udp;
mod updates;

pub use billing::{Billing, BillingError, DevicesPermit, NewTerms, Standing};
pub use config::{NodeConfig, SHARDS_MAX, StartError};
pub use handle::Handle;
pub use health::Health;
pub use hub::{EventHub, EventStream, StreamBound, StreamFilter, StreamItem};
pub use node::Node;
pub use places::{Bounds, Place, Places};
/// Firmware files, read and checked; the HTTP side has no other way to them.
pub use protocol::firmware;
/// Structured event data as people read it; the HTTP side has no other way to the codec.
pub use protocol::message::content::{STRUCTURED, cbor_to_json};
pub use registry::FleetRow;
pub use reports::UpdateReports;
/// How a release goes.
pub use router::rollout;
pub use safe_modes::SafeModes;
pub use updates::{
    Flash, MemberView, NewRelease, Reason, ReleaseView, UpdateView, Updates, UpdatesConfig,
    UpdatesError,
};
