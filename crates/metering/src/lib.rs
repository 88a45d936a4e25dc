//! What counts, what it costs, and what happens at a limit.
//!
//! The rules of `metering/rules.md` as data and arithmetic. This crate never knows who is connected,
//! what time it is, or where counts are kept. Start with [`Rules`] (what an operation costs),
//! [`Tally`] (sums of charges), [`Catalogues`] (plans as data) and [`Keeper`] (the limits of one
//! account).

mod blocks;
mod calculator;
mod catalogue;
mod keeper;
mod kind;
mod notice;
mod period;
mod plan;
mod platforms;
mod point;
mod rules;
mod tally;
mod usage;

pub use blocks::{BlocksNeeded, blocks_needed};
pub use calculator::{
    Connectivity, Estimate, Interval, IntervalError, MESSAGE_OVERHEAD_BYTES, Mix, Question,
    Traffic, estimate,
};
pub use catalogue::{CatalogueError, Catalogues, PlanCatalogue};
pub use keeper::{Decision, GRACE, Keeper, KeeperState};
pub use kind::{
    bytes_of_message, kind_of_copy, kind_of_delivery, kind_of_message, kind_of_publish,
    name_of_message,
};
pub use notice::{Consequence, Matter, Notice, Pausing};
pub use period::{Anchor, AnchorError, Cycle, Period, parse_day};
pub use plan::{Agreement, Plan, PlanError, Terms};
pub use platforms::{Platforms, carried};
pub use point::{Point, point_of};
pub use rules::{Catalogue, Payer, Rules};
pub use tally::{HourUtc, Sum, Tally, TallyKey};
pub use usage::{Allowances, Limit, Usage, grouped};
