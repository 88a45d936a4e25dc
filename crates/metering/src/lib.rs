//! What counts, and what it costs.
//!
//! The rules of `metering/rules.md` as data and arithmetic. This crate never knows who is connected,
//! what time it is, or where counts are kept. Start with [`Rules`] (what an operation costs) and
//! [`Tally`] (sums of charges).

mod kind;
mod rules;
mod tally;

pub use kind::{bytes_of_message, kind_of_delivery, kind_of_message, kind_of_publish};
pub use rules::{Catalogue, Payer, Rules};
pub use tally::{HourUtc, Sum, Tally, TallyKey};
