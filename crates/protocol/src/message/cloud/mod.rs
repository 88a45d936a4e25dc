//! What the cloud says to devices: [`encode()`] for the cloud, [`decode`] for the simulator.

mod encode;
mod firmware;

pub use encode::{Unsendable, encode};
pub use firmware::{DeviceFault, FromCloud, ReceivedEvent, decode};
