//! Reading a message without copying it.

use super::{Block, Code, Header, Token, Type, option};

/// A decoded message (RFC 7252 §3). It borrows the datagram or frame it came in.
///
/// ```text
///  0x40 | type << 4 | token length, code, message id (2), token (0-8), options, [0xFF, payload]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type, code, message id and token.
    pub header: Header,
    options: &'a [u8],
    /// The payload; empty when there is none. A payload marker with nothing behind it is read as no
    /// payload: RFC 7252 §3 calls it an error, but no device should lose its session over it.
    pub payload: &'a [u8],
}

/// Why some bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than 4 bytes (keep-alive bytes among them) or not version 1: ignored.
    #[error("not a CoAP message")]
    Noise,
    /// The header can be read but not what follows. A confirmable one is answered, see
    /// [`DecodeError::answer`].
    #[error("malformed after the header")]
    Malformed(Header),
}

impl DecodeError {
    /// The acknowledgement that is due: 4.00 to a confirmable request, an empty one to a confirmable
    /// answer, nothing to all else. Never a reset, which would end the session
    /// (`reliability.md` §1, §3).
    pub fn answer(&self) -> Option<Header> {
        let Self::Malformed(header) = self else { return None };
        if header.message_type != Type::Confirmable {
            return None;
        }
        let id = header.message_id;
        Some(if header.code.is_response() {
            Header::acknowledgement(Code::EMPTY, id, Token::EMPTY)
        } else {
            Header::acknowledgement(Code::BAD_REQUEST, id, header.token)
        })
    }
}

impl<'a> Packet<'a> {
    /// Reads a message. Allocates nothing; every option is checked, so iterating cannot fail.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (&[first, code, id_high, id_low], rest) =
            bytes.split_first_chunk::<4>().ok_or(DecodeError::Noise)?;
        if first >> 6 != 1 {
            return Err(DecodeError::Noise);
        }
        let mut header = Header {
            message_type: Type::from_bits(first >> 4),
            code: Code(code),
            message_id: u16::from_be_bytes([id_high, id_low]),
            token: Token::EMPTY,
        };
        let malformed = DecodeError::Malformed(header);
        let (token, rest) = rest.split_at_checked(usize::from(first & 0x0f)).ok_or(malformed)?;
        header.token = Token::new(token).ok_or(malformed)?;
        let malformed = DecodeError::Malformed(header);
        if header.code == Code::EMPTY && bytes.len() > 4 {
            return Err(malformed);
        }
        let (options, payload) = split_payload(rest).ok_or(malformed)?;
        Ok(Self { header, options, payload })
    }

    /// Type of the message.
    pub fn message_type(&self) -> Type {
        self.header.message_type
    }

    /// Code of the message.
    pub fn code(&self) -> Code {
        self.header.code
    }

    /// Message id.
    pub fn message_id(&self) -> u16 {
        self.header.message_id
    }

    /// Token, 0 to 8 bytes.
    pub fn token(&self) -> Token {
        self.header.token
    }

    /// Whether the sender waits for an acknowledgement.
    pub fn is_confirmable(&self) -> bool {
        self.header.message_type == Type::Confirmable
    }

    /// All options in order.
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.options, number: 0 }
    }

    /// The values of every option of this number, in order.
    pub fn values(&self, number: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options().filter(move |option| option.number == number).map(|option| option.value)
    }

    /// The value of the first option of this number.
    pub fn value(&self, number: u16) -> Option<&'a [u8]> {
        self.values(number).next()
    }

    /// The first option of this number as an unsigned integer.
    ///
    /// # Errors
    /// It is longer than 4 bytes.
    pub fn uint(&self, number: u16) -> Result<Option<u32>, BadOption> {
        self.value(number).map(|value| option::read_uint(value).ok_or(BadOption)).transpose()
    }

    /// The first option of this number ([`option::BLOCK1`] or [`option::BLOCK2`]) as a block.
    ///
    /// # Errors
    /// It is longer than 3 bytes or has the reserved size 7.
    pub fn block(&self, number: u16) -> Result<Option<Block>, BadOption> {
        self.value(number).map(|value| Block::read(value).ok_or(BadOption)).transpose()
    }

    /// The segments of the path.
    pub fn path(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.values(option::URI_PATH)
    }
}

/// An option whose value cannot be what its number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an option has a value of the wrong form")]
pub struct BadOption;

/// One option of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoapOption<'a> {
    /// Its number.
    pub number: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// Walks the options of a [`Packet`].
#[derive(Debug, Clone)]
pub struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Iterator for Options<'a> {
    type Item = CoapOption<'a>;

    fn next(&mut self) -> Option<CoapOption<'a>> {
        let (option, rest) = read_option(self.rest, self.number)?;
        self.rest = rest;
        self.number = option.number;
        Some(option)
    }
}

/// Splits what follows the token at the payload marker, checking every option before it.
fn split_payload(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let mut number = 0;
    loop {
        match rest.first() {
            None => return Some((bytes, &[])),
            Some(&PAYLOAD_MARKER) => return Some((&bytes[..bytes.len() - rest.len()], &rest[1..])),
            Some(_) => {
                let (option, after) = read_option(rest, number)?;
                number = option.number;
                rest = after;
            }
        }
    }
}

fn read_option(bytes: &[u8], previous: u16) -> Option<(CoapOption<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (delta, rest) = read_extended(first >> 4, rest)?;
    let (length, rest) = read_extended(first & 0x0f, rest)?;
    let number = u16::try_from(u32::from(previous) + delta).ok()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((CoapOption { number, value }, rest))
}

/// A delta or length: in the nibble, or after it in one byte (13) or two (14).
fn read_extended(nibble: u8, bytes: &[u8]) -> Option<(u32, &[u8])> {
    match nibble {
        13 => bytes.split_first().map(|(byte, rest)| (u32::from(*byte) + 13, rest)),
        14 => {
            let (&two, rest) = bytes.split_first_chunk::<2>()?;
            Some((u32::from(u16::from_be_bytes(two)) + 269, rest))
        }
        15 => None,
        _ => Some((u32::from(nibble), bytes)),
    }
}

/// Stands between the options and the payload.
pub(crate) const PAYLOAD_MARKER: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_four_bytes_and_other_versions_are_noise() {
        for bytes in [&[][..], &[0], &[0x40, 0, 0], &[0x00, 0, 0, 1], &[0x80, 1, 0, 1]] {
            assert_eq!(Packet::decode(bytes), Err(DecodeError::Noise), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_malformed_confirmable_request_is_answered_with_4_00_and_its_token() {
        let error = Packet::decode(&[0x41, 2, 0, 9, 0x55, 0xb5, b'x']).expect_err("cut option");
        let answer = error.answer().expect("confirmable");
        assert_eq!(answer, Header::acknowledgement(Code::BAD_REQUEST, 9, Token::one(0x55)));
    }

    #[test]
    fn a_malformed_confirmable_answer_gets_an_empty_acknowledgement() {
        let error = Packet::decode(&[0x41, 0x45, 0, 9, 0x55, 0xf0]).expect_err("delta 15");
        let answer = error.answer().expect("confirmable");
        assert_eq!(answer, Header::acknowledgement(Code::EMPTY, 9, Token::EMPTY));
    }

    #[test]
    fn malformed_messages_that_nobody_waits_for_are_not_answered() {
        for first in [0x51, 0x61, 0x71] {
            let error = Packet::decode(&[first, 2, 0, 9, 0x55, 0xf0]).expect_err("delta 15");
            assert_eq!(error.answer(), None);
        }
    }

    #[test]
    fn tokens_of_nine_bytes_and_cut_tokens_are_malformed() {
        let nine = [&[0x49, 1, 0, 1][..], &[7; 9]].concat();
        assert!(matches!(Packet::decode(&nine), Err(DecodeError::Malformed(_))));
        assert!(matches!(Packet::decode(&[0x42, 1, 0, 1, 7]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn an_empty_message_has_nothing_but_its_header() {
        assert!(Packet::decode(&[0x40, 0, 0, 1]).is_ok());
        assert!(matches!(Packet::decode(&[0x40, 0, 0, 1, 0]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn option_numbers_above_65535_are_malformed() {
        let bytes = [0x40, 1, 0, 1, 0xe0, 0xff, 0x00, 0xe0, 0xff, 0x00];
        assert!(matches!(Packet::decode(&bytes), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_marker_without_payload_reads_as_no_payload() {
        let packet = Packet::decode(&[0x40, 2, 0, 1, 0xb1, b'E', 0xff]).expect("well formed");
        assert!(packet.payload.is_empty());
        assert_eq!(packet.path().collect::<Vec<_>>(), [b"E"]);
    }
}
