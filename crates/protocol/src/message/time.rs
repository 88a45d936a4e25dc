//! The time (`messages.md` §9.2).

use crate::coap::{Builder, Code, Header, Token};

/// The resource letter.
pub const RESOURCE: u8 = b't';

/// Writes a device's request for the time.
pub fn emit_request(message_id: u16, token: u8, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::GET, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .payload(&[]);
}

/// Writes the answer: piggy-backed, seconds since 1970. The device reads them at offset 6 of the
/// message, so it holds only with the one-byte token that every device sends.
pub fn answer(seconds: u32, message_id: u16, token: Token, out: &mut Vec<u8>) {
    Builder::new(Header::acknowledgement(Code::CONTENT, message_id, token), out)
        .payload(&seconds.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seconds_stand_at_offset_6() {
        let mut out = Vec::new();
        answer(0x6553_f100, 0x70, Token::one(0x61), &mut out);
        assert_eq!(out, [0x61, 0x45, 0, 0x70, 0x61, 0xff, 0x65, 0x53, 0xf1, 0x00]);
    }

    #[test]
    fn the_request_names_its_resource_and_nothing_else() {
        let mut out = Vec::new();
        emit_request(0x70, 0x61, &mut out);
        assert_eq!(out, [0x41, 1, 0, 0x70, 0x61, 0xb1, b't']);
    }
}
