//! The nouns of the device cloud: what is said between its parts, in plain data.
//!
//! This crate never reads a clock, opens a socket or knows a byte layout. Start with [`message`]
//! (what devices and the cloud say to each other) and [`link`] (what the protocol half and the
//! routing half say to each other).

pub mod description;
pub mod device;
pub mod event;
pub mod hello;
pub mod id;
pub mod journal;
pub mod limits;
pub mod link;
pub mod message;
pub mod name;
pub mod planted;
pub mod platform;
pub mod refusal;
pub mod time;
pub mod traffic;
pub mod update;
pub mod vitals;

pub use description::{
    ApplicationDescription, DescribePart, Metric, SystemDescription, VariableType, VariableValue,
};
pub use device::{DeviceRow, DeviceState};
pub use event::{Event, EventData, Origin};
pub use hello::Hello;
pub use id::{AccountId, DeviceId, EventId, KeyHash, LinkId, ProductId, RequestId};
pub use message::{Answer, CloudMessage, DeviceMessage};
pub use name::{EventName, EventPrefix};
pub use platform::Platform;
pub use refusal::Refusal;
pub use time::{Mono, Now, Timestamp};
pub use traffic::{Bearer, Traffic};
pub use update::{Image, Update, UpdateId, UpdateReport, UpdateState};
