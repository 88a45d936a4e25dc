//! Variables (`messages.md` §8.2). The value in an answer is read by [`model::VariableValue::read`] once
//! its type is known from the description.

use crate::coap::{Builder, Code, Header, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'v';

/// Writes a request for the value of a variable.
pub fn emit_request(name: &str, message_id: u16, token: u8, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::GET, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .option(option::URI_PATH, name.as_bytes())
        .payload(&[]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_from_13_bytes_on_take_the_longer_form() {
        let mut out = Vec::new();
        super::emit_request("a_twenty_char_name_x", 0x4d61, 0x22, &mut out);
        assert_eq!(out, *b"\x41\x01\x4d\x61\x22\xb1v\x0d\x07a_twenty_char_name_x");
    }
}
