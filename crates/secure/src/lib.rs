//! secure

pub mod keys;
