//! Key change: the device forgets its session and makes a full handshake (`messages.md` §9.3).

use crate::coap::{Builder, Code, Header, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'k';

/// Writes the request. A UDP device acknowledges with an id of its own, so the request counts as
/// unacknowledged and needs no token; over TCP it has no effect.
pub fn emit(message_id: u16, token: Token, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::PUT, message_id, token), out)
        .resource(RESOURCE)
        .option(option::URI_QUERY, &[1])
        .payload(&[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_with_and_without_a_token() {
        let mut out = Vec::new();
        emit(0x4d72, Token::one(0x33), &mut out);
        assert_eq!(out, [0x41, 3, 0x4d, 0x72, 0x33, 0xb1, b'k', 0x41, 1]);
        out.clear();
        emit(0x4d72, Token::EMPTY, &mut out);
        assert_eq!(out, [0x40, 3, 0x4d, 0x72, 0xb1, b'k', 0x41, 1]);
    }
}
