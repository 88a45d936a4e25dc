//! The journal: what happened, in the order it happened, durable before anybody is told.
//!
//! Batches of entries are appended to segment files, each with one write and one fdatasync. Every
//! entry has a *place*, counted from 1 without a gap over the life of the data folder; the place of
//! a publish is the id of its event. After a crash the journal is a prefix of the batches that were
//! appended, and holds every one whose append returned.

mod counted;
pub(crate) mod disk;
pub(crate) mod frame;
mod kept;
pub(crate) mod log;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod stored;
pub(crate) mod window;
mod writer;

pub(crate) use counted::counted;
pub use counted::{Counted, CountedOperation, WhoseOperations};
pub use disk::KeptBounds;
pub use frame::BATCH_BYTES_MAX;
pub use log::{REPLAY_WINDOW, REPLAY_WINDOW_BYTES};
pub use writer::Journal;

#[cfg(test)]
mod tests;
