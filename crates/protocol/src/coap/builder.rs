//! Writing a message into a caller's buffer.

use super::packet::PAYLOAD_MARKER;
use super::{Block, Header, option};

/// Appends one message to a buffer. Options come in ascending order of their numbers; the message is
/// complete after each step.
#[derive(Debug)]
pub struct Builder<'o> {
    out: &'o mut Vec<u8>,
    number: u16,
}

impl<'o> Builder<'o> {
    /// Begins a message behind whatever `out` holds.
    pub fn new(header: Header, out: &'o mut Vec<u8>) -> Self {
        let token = header.token;
        let token = token.as_slice();
        // At most 8, see `Token`.
        let token_len = token.len() as u8;
        out.push(0x40 | (header.message_type as u8) << 4 | token_len);
        out.push(header.code.0);
        out.extend_from_slice(&header.message_id.to_be_bytes());
        out.extend_from_slice(token);
        Self { out, number: 0 }
    }

    /// Adds an option.
    ///
    /// # Panics
    /// `number` is below the one before, or `value` is longer than 65,804 bytes: our own mistakes,
    /// since encoders know their options and check sizes before they write.
    pub fn option(mut self, number: u16, value: &[u8]) -> Self {
        assert!(number >= self.number, "options are written in ascending order");
        let (delta, delta_bytes) = extended(usize::from(number - self.number));
        let (length, length_bytes) = extended(value.len());
        self.out.push(delta << 4 | length);
        self.out.extend_from_slice(delta_bytes.as_slice());
        self.out.extend_from_slice(length_bytes.as_slice());
        self.out.extend_from_slice(value);
        self.number = number;
        self
    }

    /// Adds an option if there is a value.
    pub fn maybe(self, number: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.option(number, value),
            None => self,
        }
    }

    /// Adds a number in its shortest form.
    pub fn uint(self, number: u16, value: u32) -> Self {
        self.option(number, &option::uint(value))
    }

    /// Adds a block option if there is a block.
    pub fn block(self, number: u16, block: Option<Block>) -> Self {
        match block {
            Some(block) => self.uint(number, block.to_uint()),
            None => self,
        }
    }

    /// Adds the one-letter resource that a device's dispatcher looks for.
    pub fn resource(self, letter: u8) -> Self {
        self.option(option::URI_PATH, &[letter])
    }

    /// Ends the message with a payload; an empty one leaves no marker.
    pub fn payload(self, payload: &[u8]) {
        if !payload.is_empty() {
            self.out.push(PAYLOAD_MARKER);
            self.out.extend_from_slice(payload);
        }
    }
}

/// The nibble and the bytes behind it for a delta or length.
fn extended(number: usize) -> (u8, smallvec::SmallVec<[u8; 2]>) {
    match number {
        0..=12 => (number as u8, smallvec::SmallVec::new()),
        13..=268 => (13, smallvec::SmallVec::from_slice(&[(number - 13) as u8])),
        _ => {
            let rest = u16::try_from(number - 269).expect("an option has at most 65,804 bytes");
            (14, smallvec::SmallVec::from_slice(&rest.to_be_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::{Code, Packet, Token};

    #[test]
    fn deltas_and_lengths_take_their_extended_forms_at_13_and_269() {
        for length in [0, 12, 13, 268, 269, 1000] {
            let value = vec![b'x'; length];
            let mut out = Vec::new();
            Builder::new(Header::confirmable(Code::POST, 1, Token::one(2)), &mut out)
                .option(option::URI_QUERY, &value)
                .option(option::URI_QUERY + 13, b"a")
                .option(option::URI_QUERY + 13 + 269, b"b")
                .payload(b"p");
            let packet = Packet::decode(&out).expect("well formed");
            let options: Vec<_> = packet.options().map(|o| (o.number, o.value.len())).collect();
            assert_eq!(options, [(15, length), (28, 1), (297, 1)]);
            assert_eq!(packet.payload, b"p");
        }
    }

    #[test]
    fn a_message_goes_behind_what_the_buffer_holds() {
        let mut out = vec![1, 2];
        Builder::new(Header::confirmable(Code::EMPTY, 0x1234, Token::EMPTY), &mut out).payload(&[]);
        assert_eq!(out, [1, 2, 0x40, 0, 0x12, 0x34]);
    }
}
