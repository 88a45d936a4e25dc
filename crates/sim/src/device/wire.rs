//! CoAP as the firmware spells it. It classifies a message by its code and the one byte at offset
//! `5 + token length` (`messages.md` §2.1), so this reader does the same instead of sharing the
//! server's option parser: what real devices would misread is misread here too.

/// CoAP message types (RFC 7252 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Con = 0,
    Non = 1,
    Ack = 2,
    Rst = 3,
}

pub(crate) const EMPTY: u8 = 0x00;
pub(crate) const GET: u8 = 0x01;
pub(crate) const POST: u8 = 0x02;
pub(crate) const PUT: u8 = 0x03;
pub(crate) const CREATED: u8 = 0x41;
pub(crate) const CHANGED: u8 = 0x44;
pub(crate) const CONTENT: u8 = 0x45;
pub(crate) const BAD_REQUEST: u8 = 0x80;
pub(crate) const NOT_FOUND: u8 = 0x84;
pub(crate) const SERVICE_UNAVAILABLE: u8 = 0xA3;

pub(crate) const ETAG: u16 = 4;
pub(crate) const URI_PATH: u16 = 11;
pub(crate) const CONTENT_FORMAT: u16 = 12;
pub(crate) const MAX_AGE: u16 = 14;
pub(crate) const URI_QUERY: u16 = 15;
pub(crate) const BLOCK2: u16 = 23;
pub(crate) const BLOCK1: u16 = 27;
pub(crate) const NO_RESPONSE: u16 = 258;

/// Whether an acknowledgement with this code means success: empty, or class 2.
pub(crate) fn is_success(code: u8) -> bool {
    code == EMPTY || code >> 5 == 2
}

/// A message as the firmware takes it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    pub(crate) kind: Kind,
    pub(crate) code: u8,
    pub(crate) id: u16,
    pub(crate) token: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Received<'a> {
    /// Reads the header; `None` for anything under 4 bytes, of another version, or cut short.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let [first, code, high, low, ..] = *bytes else { return None };
        if first >> 6 != 1 {
            return None;
        }
        let kind = match first >> 4 & 3 {
            0 => Kind::Con,
            1 => Kind::Non,
            2 => Kind::Ack,
            _ => Kind::Rst,
        };
        let token = bytes.get(4..4 + usize::from(first & 0x0F))?;
        Some(Self { kind, code, id: u16::from_be_bytes([high, low]), token, bytes })
    }

    /// The resource letter at its fixed place.
    pub(crate) fn letter(&self) -> Option<u8> {
        self.bytes.get(5 + self.token.len()).copied()
    }

    /// The byte at an absolute offset, as several handlers read their argument.
    pub(crate) fn byte_at(&self, offset: usize) -> Option<u8> {
        self.bytes.get(offset).copied()
    }

    /// The seconds of a time answer: bytes 6 to 9, whatever is there.
    pub(crate) fn time(&self) -> Option<u32> {
        let bytes = self.bytes.get(6..10)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The options in order.
    pub(crate) fn options(&self) -> Options<'a> {
        Options { rest: &self.bytes[4 + self.token.len()..], number: 0 }
    }

    /// Values of all options with this number, in order.
    pub(crate) fn values(&self, number: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options().filter(move |(found, _)| *found == number).map(|(_, value)| value)
    }

    /// The payload; `None` without a marker.
    pub(crate) fn payload(&self) -> Option<&'a [u8]> {
        let mut options = self.options();
        while options.next().is_some() {}
        options.rest.split_first().and_then(|(marker, rest)| (*marker == 0xFF).then_some(rest))
    }
}

/// Walks the options of a message; stops at the payload marker, the end, or nonsense.
pub(crate) struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&head, rest) = self.rest.split_first()?;
        if head == 0xFF {
            return None;
        }
        let (delta, rest) = extended(head >> 4, rest)?;
        let (length, rest) = extended(head & 0x0F, rest)?;
        let value = rest.get(..usize::from(length))?;
        self.number = self.number.checked_add(delta)?;
        self.rest = &rest[value.len()..];
        Some((self.number, value))
    }
}

fn extended(nibble: u8, rest: &[u8]) -> Option<(u16, &[u8])> {
    match (nibble, rest) {
        (0..=12, _) => Some((u16::from(nibble), rest)),
        (13, [byte, rest @ ..]) => Some((u16::from(*byte) + 13, rest)),
        (14, [high, low, rest @ ..]) => {
            Some((u16::from_be_bytes([*high, *low]).checked_add(269)?, rest))
        }
        _ => None,
    }
}

/// Writes one message; options in ascending order.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    number: u16,
}

impl Writer {
    /// Begins a message. The token has 0 or 1 byte (`messages.md` §2.1).
    pub(crate) fn new(kind: Kind, code: u8, id: u16, token: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(0x40 | (kind as u8) << 4 | (token.len() as u8 & 0x0F));
        bytes.push(code);
        bytes.extend(id.to_be_bytes());
        bytes.extend(token);
        Self { bytes, number: 0 }
    }

    /// Adds an option.
    pub(crate) fn option(mut self, number: u16, value: &[u8]) -> Self {
        let (delta, delta_more) = nibble(number - self.number);
        let (length, length_more) = nibble(value.len() as u16);
        self.number = number;
        self.bytes.push(delta << 4 | length);
        self.bytes.extend(delta_more.iter());
        self.bytes.extend(length_more.iter());
        self.bytes.extend(value);
        self
    }

    /// Adds an unsigned value in 0, 1, 2 or 4 bytes, as Device OS ≥ 3.0 does.
    pub(crate) fn number(self, number: u16, value: u32) -> Self {
        let bytes = value.to_be_bytes();
        let skip = match value {
            0 => 4,
            1..=0xFF => 3,
            0x100..=0xFFFF => 2,
            _ => 0,
        };
        self.option(number, &bytes[skip..])
    }

    /// Ends a message with a payload; an empty one has no marker.
    pub(crate) fn payload(mut self, payload: &[u8]) -> Vec<u8> {
        if !payload.is_empty() {
            self.bytes.push(0xFF);
            self.bytes.extend(payload);
        }
        self.bytes
    }

    /// Ends a message.
    pub(crate) fn done(self) -> Vec<u8> {
        self.bytes
    }
}

/// A message of nothing but its header: an empty ACK, a ping, a reset.
pub(crate) fn empty(kind: Kind, id: u16) -> Vec<u8> {
    Writer::new(kind, EMPTY, id, &[]).done()
}

struct More {
    bytes: [u8; 2],
    length: usize,
}

impl More {
    fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.bytes[..self.length].iter().copied()
    }
}

fn nibble(value: u16) -> (u8, More) {
    match value {
        0..=12 => (value as u8, More { bytes: [0; 2], length: 0 }),
        13..=268 => (13, More { bytes: [(value - 13) as u8, 0], length: 1 }),
        _ => (14, More { bytes: (value - 269).to_be_bytes(), length: 2 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_publish_is_spelled_byte_for_byte() {
        let bytes = Writer::new(Kind::Con, POST, 4, &[])
            .option(URI_PATH, b"E")
            .option(URI_PATH, b"particle/device/updates/enabled")
            .payload(b"true");
        let mut expected = hex::decode("40020004b1450d12").expect("hex");
        expected.extend(b"particle/device/updates/enabled\xFFtrue");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_letter_is_taken_from_its_place_and_not_from_the_options() {
        let call = hex::decode("4102e6c70ab166046563686f4b68656c6c6f20776f726c64").expect("hex");
        let message = Received::read(&call).expect("a message");
        assert_eq!(message.letter(), Some(b'f'));
        assert_eq!(message.values(URI_PATH).nth(1), Some(&b"echo"[..]));
        assert_eq!(message.values(URI_QUERY).next(), Some(&b"hello world"[..]));
        assert_eq!(message.payload(), None);
    }

    #[test]
    fn lengths_over_268_are_read_and_written() {
        let long = [7u8; 1024];
        let bytes = Writer::new(Kind::Con, POST, 1, &[9])
            .option(URI_PATH, b"f")
            .option(URI_QUERY, &long)
            .payload(b"x");
        let message = Received::read(&bytes).expect("a message");
        assert_eq!(message.values(URI_QUERY).next(), Some(&long[..]));
        assert_eq!(message.payload(), Some(&b"x"[..]));
    }

    #[test]
    fn cut_messages_have_no_payload_and_no_panic() {
        let bytes = Writer::new(Kind::Con, POST, 1, &[9])
            .option(URI_PATH, b"events")
            .option(NO_RESPONSE, b"")
            .payload(b"data");
        for end in 0..bytes.len() {
            if let Some(message) = Received::read(&bytes[..end]) {
                assert!(message.options().count() <= 2);
            }
        }
    }
}
