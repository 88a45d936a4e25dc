//! Folding: the journal's entries become rows, in order and exactly once.
//!
//! The [`Folder`] reads behind the writer, adds up what entries change in a [`Tally`], and now and
//! then writes the tally in one transaction together with the place it reaches. A crash between two
//! such transactions loses the tally, not the entries: reading begins again at the stored place.

mod folder;
mod tally;
mod thread;

pub(crate) use folder::Folder;
pub(crate) use tally::{
    CarriedKey, Changes, DescriptionId, LedgerKey, SessionBody, SessionChange, Tally,
    keep_subscription, pack,
};
pub(crate) use thread::FoldThread;

#[cfg(test)]
mod tests;
