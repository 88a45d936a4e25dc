//! The routes over a store in memory and a node on loopback.

mod access;
mod console;
mod departures;
mod firmware;
mod health;
mod payers;
mod products;
mod sink;
mod streams;
mod support;
mod teams;
mod uploads;
mod usage;
mod users;
mod webhooks;
