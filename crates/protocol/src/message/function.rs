//! Functions (`messages.md` §8.1).

use crate::coap::{Builder, Code, Header, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'f';

/// Writes a call. The argument has its option even when it is empty.
pub fn emit_call(name: &str, argument: &str, message_id: u16, token: u8, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::POST, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .option(option::URI_PATH, name.as_bytes())
        .option(option::URI_QUERY, argument.as_bytes())
        .payload(&[]);
}

/// The return value in the payload of a 2.04; absent if it is not 4 bytes long.
pub fn read_return(payload: &[u8]) -> Option<i32> {
    payload.try_into().ok().map(i32::from_be_bytes)
}

/// The payload that returns this value.
pub fn return_payload(value: i32) -> [u8; 4] {
    value.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_argument_keeps_its_option() {
        let mut out = Vec::new();
        emit_call("brew", "", 0x4d51, 0x12, &mut out);
        assert_eq!(out, *b"\x41\x02\x4d\x51\x12\xb1f\x04brew\x40");
    }

    #[test]
    fn return_values_are_signed_and_big_endian() {
        assert_eq!(read_return(&[0, 0, 0, 42]), Some(42));
        assert_eq!(read_return(&return_payload(-1)), Some(-1));
        assert_eq!(read_return(&[]), None);
    }
}
