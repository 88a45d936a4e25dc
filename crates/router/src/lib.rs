//! What messages mean: one shard of devices as a state machine.
//!
//! A [`Shard`] takes an [`Input`] and the time, and gives [`Effect`]s. It owns no socket, clock,
//! thread, database or source of randomness, and knows no CoAP. It never lets an acknowledgement or
//! a reply go before what it vouches for is durable.
//!
//! Contract: after every [`Shard::handle`] and [`Shard::handle_timeout`] carry out
//! [`Shard::poll_effect`] until it gives nothing; call `handle_timeout` not later than
//! [`Shard::next_timeout`]. Answer [`Effect::Load`] at once, before the next link event.

mod api;
mod calls;
mod counters;
mod delivery;
mod describe;
mod device;
mod devices;
mod events;
mod gate;
mod internal;
mod interner;
mod ota;
mod ping;
mod presence;
mod rate;
pub mod rollout;
mod sending;
mod session;
mod shard;
mod subscriptions;
mod timers;
mod traffic;

pub use api::{ClaimOutcome, Effect, Input, Pause, Reply, Request, Restored, ShardConfig};
pub use counters::Counters;
pub use ota::Handover;
pub use shard::Shard;
