//! Handshake messages put together from their fragments and into their order.

use super::codec::HandshakeHeader;

/// Largest message taken; the largest a device sends has 94 bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2048;
/// Messages kept that came before their turn: a device's flight has four.
const AHEAD_MAX: u16 = 4;

/// Gives the messages of one direction in order, each once.
///
/// Kept are at most four messages of 2 KiB. Of a fragmented message the parts must come in order;
/// a part too early is dropped, as is a message too far ahead: the peer repeats its flight.
pub(crate) struct Reassembly {
    next_seq: u16,
    parts: Vec<Part>,
}

struct Part {
    header: HandshakeHeader,
    /// The beginning of the message, as far as it came without a gap.
    body: Vec<u8>,
}

impl Part {
    fn is_complete(&self) -> bool {
        self.body.len() == self.header.length
    }

    fn belongs_to_message_of(&self, other: &HandshakeHeader) -> bool {
        self.header.length == other.length && self.header.message_type == other.message_type
    }
}

impl Reassembly {
    /// The first message is number `next_seq`.
    pub(crate) fn new(next_seq: u16) -> Self {
        Self { next_seq, parts: Vec::new() }
    }

    /// Whether this is, whole, the message whose turn it is: then it needs no copy.
    pub(crate) fn take_in_order(&mut self, header: &HandshakeHeader) -> bool {
        let is_next = header.message_seq == self.next_seq && header.is_whole();
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Keeps a fragment, if it is of use.
    pub(crate) fn add(&mut self, header: &HandshakeHeader, fragment: &[u8]) {
        let in_window =
            header.message_seq.checked_sub(self.next_seq).is_some_and(|n| n < AHEAD_MAX);
        if !in_window || header.length > MESSAGE_BYTES_MAX {
            return;
        }
        let part = self.part(header);
        if !part.belongs_to_message_of(header) {
            *part = Part { header: *header, body: Vec::new() };
        }
        let have = part.body.len();
        let end = header.fragment_offset + fragment.len();
        if header.fragment_offset <= have && end > have {
            part.body.extend_from_slice(&fragment[have - header.fragment_offset..]);
        }
    }

    /// The message whose turn it is, if it is complete.
    pub(crate) fn take_next(&mut self) -> Option<(HandshakeHeader, Vec<u8>)> {
        let at = self
            .parts
            .iter()
            .position(|part| part.header.message_seq == self.next_seq && part.is_complete())?;
        let part = self.parts.swap_remove(at);
        self.advance();
        let whole = HandshakeHeader::whole(
            part.header.message_type,
            part.header.message_seq,
            part.header.length,
        );
        Some((whole, part.body))
    }

    fn part(&mut self, header: &HandshakeHeader) -> &mut Part {
        let seq = header.message_seq;
        let at = self.parts.iter().position(|part| part.header.message_seq == seq);
        let at = at.unwrap_or_else(|| {
            self.parts.push(Part { header: *header, body: Vec::new() });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }

    fn advance(&mut self) {
        let done = self.next_seq;
        self.parts.retain(|part| part.header.message_seq != done);
        self.next_seq += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(seq: u16, length: usize, at: usize, count: usize) -> HandshakeHeader {
        HandshakeHeader {
            fragment_offset: at,
            fragment_length: count,
            ..HandshakeHeader::whole(11, seq, length)
        }
    }

    #[test]
    fn fragments_in_order_make_the_message_even_if_some_come_twice() {
        let mut reassembly = Reassembly::new(2);
        reassembly.add(&fragment(2, 5, 0, 2), b"he");
        reassembly.add(&fragment(2, 5, 0, 2), b"he");
        reassembly.add(&fragment(2, 5, 1, 3), b"ell");
        assert!(reassembly.take_next().is_none());
        reassembly.add(&fragment(2, 5, 4, 1), b"o");
        let (header, body) = reassembly.take_next().unwrap();
        assert_eq!((header.is_whole(), body.as_slice()), (true, b"hello".as_slice()));
        assert!(reassembly.take_next().is_none());
    }

    #[test]
    fn a_message_ahead_of_its_turn_waits_and_an_old_one_is_dropped() {
        let mut reassembly = Reassembly::new(2);
        reassembly.add(&fragment(3, 1, 0, 1), b"b");
        assert!(reassembly.take_next().is_none());
        assert!(reassembly.take_in_order(&fragment(2, 1, 0, 1)));
        assert_eq!(reassembly.take_next().unwrap().1, b"b");
        reassembly.add(&fragment(2, 1, 0, 1), b"a");
        assert!(reassembly.take_next().is_none());
        assert!(reassembly.parts.is_empty());
    }

    #[test]
    fn nothing_large_or_far_ahead_is_kept() {
        let mut reassembly = Reassembly::new(2);
        reassembly.add(&fragment(2, MESSAGE_BYTES_MAX + 1, 0, 1), b"x");
        reassembly.add(&fragment(6, 1, 0, 1), b"x");
        assert!(reassembly.parts.is_empty());
        reassembly.add(&fragment(2, 5, 3, 2), b"lo");
        assert!(reassembly.parts[0].body.is_empty(), "a part too early leaves no bytes");
    }
}
