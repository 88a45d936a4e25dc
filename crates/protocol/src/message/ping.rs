//! Ping: an empty confirmable message, in both directions (`messages.md` §9.5). The answer is
//! [`super::ack::empty`] with the same id.

use crate::coap::{Builder, Code, Header, Token};

/// Writes a ping.
pub fn emit(message_id: u16, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::EMPTY, message_id, Token::EMPTY), out).payload(&[]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_ping_is_four_bytes() {
        let mut out = Vec::new();
        super::emit(0x7a10, &mut out);
        assert_eq!(out, [0x40, 0, 0x7a, 0x10]);
    }
}
