//! Strangers and broken peers over real sockets, beside healthy devices: the memory that the server
//! takes is bounded case by case, the devices are answered, a counter tells the operator.
//!
//! By itself each case is short and asks for any answer within seconds. `cargo xtask hostile` runs
//! the same cases longer, one after the other, and compares percentiles ([`scene`]).

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod elsewhere;
mod forgeries;
mod healthy;
mod http_clients;
mod messages;
mod registered;
mod rogue;
mod scene;
mod strangers;
mod streams;
