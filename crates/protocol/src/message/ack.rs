//! Acknowledgements and resets (`reliability.md` §1, §3).

use model::link::{Receipt, Verdict};

use crate::coap::{Block, Builder, Code, Header, Token, Type, option};

/// Writes `60 00 id id`: success to Hello, publish, subscribe, Describe and Goodbye, and the answer to
/// a ping and to a separate response.
pub fn empty(message_id: u16, out: &mut Vec<u8>) {
    coded(Code::EMPTY, message_id, Token::EMPTY, out);
}

/// Writes an acknowledgement with this code and the token of the message. [`Code::EMPTY`] takes no
/// token.
pub fn coded(code: Code, message_id: u16, token: Token, out: &mut Vec<u8>) {
    let token = if code == Code::EMPTY { Token::EMPTY } else { token };
    Builder::new(Header::acknowledgement(code, message_id, token), out).payload(&[]);
}

/// Writes the acknowledgement that tells a verdict.
pub fn verdict(receipt: &Receipt, verdict: Verdict, out: &mut Vec<u8>) {
    coded(verdict_code(verdict), receipt.message_id, Token::from(receipt), out);
}

/// The code that tells a verdict.
pub fn verdict_code(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Accepted => Code::EMPTY,
        Verdict::BadRequest => Code::BAD_REQUEST,
        Verdict::Forbidden => Code::FORBIDDEN,
        Verdict::TooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
        Verdict::TooManyRequests => Code::TOO_MANY_REQUESTS,
        Verdict::Unavailable => Code::SERVICE_UNAVAILABLE,
    }
}

/// Writes the acknowledgement of a block: 2.31 while more follow, 2.04 for the last, with the block
/// echoed.
pub fn block(block: Block, message_id: u16, token: Token, out: &mut Vec<u8>) {
    let code = if block.more { Code::CONTINUE } else { Code::CHANGED };
    Builder::new(Header::acknowledgement(code, message_id, token), out)
        .block(option::BLOCK1, Some(block))
        .payload(&[]);
}

/// Writes a reset. Over UDP it ends the device's session, whatever the id.
pub fn reset(message_id: u16, out: &mut Vec<u8>) {
    let header =
        Header { message_type: Type::Reset, code: Code::EMPTY, message_id, token: Token::EMPTY };
    Builder::new(header, out).payload(&[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn acceptance_is_an_empty_ack_and_refusals_carry_code_and_token() {
        let header = Header::confirmable(Code::POST, 0x20, Token::one(7));
        let receipt = header.receipt().expect("confirmable");
        for (told, bytes) in [
            (Verdict::Accepted, &[0x60, 0x00, 0, 0x20][..]),
            (Verdict::BadRequest, &[0x61, 0x80, 0, 0x20, 7]),
            (Verdict::Forbidden, &[0x61, 0x83, 0, 0x20, 7]),
            (Verdict::TooLarge, &[0x61, 0x8d, 0, 0x20, 7]),
            (Verdict::TooManyRequests, &[0x61, 0x9d, 0, 0x20, 7]),
            (Verdict::Unavailable, &[0x61, 0xa3, 0, 0x20, 7]),
        ] {
            assert_eq!(written(|out| verdict(&receipt, told, out)), bytes);
        }
    }

    #[test]
    fn a_block_with_more_is_continued_and_the_last_is_done() {
        let more = Block { num: 0, more: true, szx: 6 };
        let bytes = written(|out| block(more, 4, Token::one(0x53), out));
        assert_eq!(bytes, [0x61, 0x5f, 0, 4, 0x53, 0xd1, 0x0e, 0x0e]);
        let last = Block { num: 1, more: false, szx: 6 };
        assert_eq!(written(|out| block(last, 4, Token::one(0x53), out))[1], Code::CHANGED.0);
    }

    #[test]
    fn a_reset_has_type_3_and_nothing_else() {
        assert_eq!(written(|out| reset(0x7a11, out)), [0x70, 0, 0x7a, 0x11]);
    }
}
