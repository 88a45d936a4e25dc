//! Bytes from elsewhere: worked examples checked by other CoAP libraries and by the firmware's own
//! decoder, and recorded conversations of Device OS.

mod fields;
mod messages;
mod packets;
mod recordings;
mod reemit;
mod support;
