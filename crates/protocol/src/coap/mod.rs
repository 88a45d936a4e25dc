//! CoAP messages as bytes (RFC 7252, 7959): a borrowed decoder, a builder, block options.
//!
//! Start with [`Packet::decode`] and [`Builder`]. Nothing here knows what a message is for.

pub mod block;
pub mod builder;
pub mod code;
pub mod header;
pub mod option;
pub mod packet;

pub use block::{Assembly, Block, Step};
pub use builder::Builder;
pub use code::{Code, Type};
pub use header::{Header, Token};
pub use packet::{CoapOption, DecodeError, Options, Packet};
