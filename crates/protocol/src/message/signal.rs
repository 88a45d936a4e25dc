//! Signal: the device shows or stops showing the rainbow (`messages.md` §9.1).

use crate::coap::{Builder, Code, Header, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b's';

/// Writes the request. The device reads the value at offset 8, so the token has one byte. The answer is
/// a piggy-backed 2.04; over TCP its message id can be wrong, so it is matched by token.
pub fn emit(on: bool, message_id: u16, token: u8, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::PUT, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .option(option::URI_QUERY, &[u8::from(on)])
        .payload(&[]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_value_stands_at_offset_8() {
        let mut out = Vec::new();
        super::emit(true, 0x4d70, 0x31, &mut out);
        assert_eq!(out, [0x41, 3, 0x4d, 0x70, 0x31, 0xb1, b's', 0x41, 1]);
        out.clear();
        super::emit(false, 0x4d71, 0x32, &mut out);
        assert_eq!(out[8], 0);
    }
}
