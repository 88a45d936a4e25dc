//! Ledgers (`messages.md` §11), as far as a cloud without ledgers answers them.

use crate::coap::{Block, Builder, Code, Header, Packet, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'L';

/// A device's ledger request, or one block of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRequest<'a> {
    /// What it asks; absent in blocks after the first and in requests for further blocks.
    pub kind: Option<Kind>,
    /// Whether a SUBSCRIBE names no ledger.
    pub is_bare: bool,
    /// Which block of the request this is.
    pub block: Option<Block>,
    /// The protobuf `Request`, or this block of it.
    pub payload: &'a [u8],
}

/// The types of the envelope (`messages.md` §11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 1
    GetInfo,
    /// 2
    SetData,
    /// 3
    GetData,
    /// 4
    Subscribe,
    /// Any other number, told as it came.
    Other(u32),
}

/// Reads a device's ledger request. Nothing in it is refused: what cannot be read has no kind.
pub fn parse<'a>(packet: &Packet<'a>) -> LedgerRequest<'a> {
    let block = packet.block(option::BLOCK1).unwrap_or(None);
    let first = block.is_none_or(|block| block.num == 0);
    let envelope = <Envelope as prost::Message>::decode(packet.payload).ok();
    let kind = envelope.as_ref().filter(|_| first).map(|envelope| kind(envelope.kind));
    let bare = envelope.is_some_and(|envelope| {
        envelope.subscribe.is_none_or(|subscribe| subscribe.ledgers.is_empty())
    });
    LedgerRequest { kind, is_bare: bare, block, payload: packet.payload }
}

fn kind(number: i32) -> Kind {
    match number {
        1 => Kind::GetInfo,
        2 => Kind::SetData,
        3 => Kind::GetData,
        4 => Kind::Subscribe,
        other => Kind::Other(other as u32),
    }
}

/// Writes the piggy-backed answer of a cloud that has no ledgers: to GET_INFO that none exists (the
/// device clears what was pending and is quiet), to a SUBSCRIBE without names success, to all else
/// LEDGER_NOT_FOUND.
pub fn answer_unbuilt(
    request: &LedgerRequest<'_>,
    message_id: u16,
    token: Token,
    out: &mut Vec<u8>,
) {
    let (code, payload) = match (request.kind, request.is_bare) {
        (Some(Kind::GetInfo), _) => (Code::CHANGED, GET_INFO_EMPTY),
        (Some(Kind::Subscribe), true) => (Code::CHANGED, SUBSCRIBE_EMPTY),
        _ => (Code::NOT_FOUND, LEDGER_NOT_FOUND),
    };
    Builder::new(Header::acknowledgement(code, message_id, token), out).payload(&payload);
}

/// Response with an empty `get_info` (field 3).
const GET_INFO_EMPTY: [u8; 2] = [0x1a, 0x00];
/// Response with an empty `subscribe` (field 6).
const SUBSCRIBE_EMPTY: [u8; 2] = [0x32, 0x00];
/// Response with result 2, zig-zag.
const LEDGER_NOT_FOUND: [u8; 2] = [0x08, 0x04];

/// Writes a device's request of one message.
pub fn emit_request(payload: &[u8], message_id: u16, token: u8, out: &mut Vec<u8>) {
    Builder::new(Header::confirmable(Code::POST, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .payload(payload);
}

/// The payload of a GET_INFO for these ledgers.
pub fn get_info_payload(ledgers: &[&str]) -> Vec<u8> {
    let names = Names { ledgers: ledgers.iter().map(|name| (*name).to_owned()).collect() };
    let envelope = Envelope { kind: 1, get_info: Some(names), subscribe: None };
    prost::Message::encode_to_vec(&envelope)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    get_info: Option<Names>,
    #[prost(message, optional, tag = "5")]
    subscribe: Option<Subscriptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Names {
    #[prost(string, repeated, tag = "1")]
    ledgers: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscriptions {
    #[prost(message, repeated, tag = "1")]
    ledgers: Vec<Subscription>,
}

/// Only counted.
#[derive(Clone, PartialEq, prost::Message)]
struct Subscription {}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(payload: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        emit_request(payload, 0xc0, 0x81, &mut request);
        let packet = Packet::decode(&request).expect("well formed");
        let mut out = Vec::new();
        answer_unbuilt(&parse(&packet), packet.message_id(), packet.token(), &mut out);
        out
    }

    #[test]
    fn get_info_is_told_that_no_ledger_exists() {
        let payload = get_info_payload(&["config"]);
        assert_eq!(payload, *b"\x08\x01\x12\x08\x0a\x06config");
        assert_eq!(answer_to(&payload), [0x61, 0x44, 0, 0xc0, 0x81, 0xff, 0x1a, 0]);
    }

    #[test]
    fn a_subscribe_succeeds_only_without_names() {
        assert_eq!(answer_to(&[8, 4, 0x2a, 0]), [0x61, 0x44, 0, 0xc0, 0x81, 0xff, 0x32, 0]);
        assert_eq!(answer_to(&[8, 4]), [0x61, 0x44, 0, 0xc0, 0x81, 0xff, 0x32, 0]);
        let named = b"\x08\x04\x2a\x05\x0a\x03\x0a\x01a";
        assert_eq!(answer_to(named), [0x61, 0x84, 0, 0xc0, 0x81, 0xff, 8, 4]);
    }

    #[test]
    fn everything_else_is_not_found() {
        for payload in [&[8, 2][..], &[8, 3], &[8, 77], &[], &[0xff, 0xff]] {
            assert_eq!(answer_to(payload), [0x61, 0x84, 0, 0xc0, 0x81, 0xff, 8, 4]);
        }
    }
}
