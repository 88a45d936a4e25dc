//! The routes over a store in memory and a node on loopback.

mod access;
mod support;
mod users;
