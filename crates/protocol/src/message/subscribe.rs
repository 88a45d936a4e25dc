//! Subscriptions (`messages.md` §7.3): GET `e/<prefix>`, in four forms.

use model::link::Transport;
use model::message::{Subscribe, SubscriptionContent};
use model::{DeviceId, EventPrefix};

use super::CoapError;
use crate::coap::{Builder, Code, Header, Packet, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'e';

/// Reads a device's subscription.
///
/// # Errors
/// 4.00: a prefix over 64 bytes or no text; a payload that is no device id.
pub fn parse(packet: &Packet<'_>) -> Result<Subscribe, CoapError> {
    let prefix = super::event::join_path(packet.path().skip(1))?;
    let prefix = EventPrefix::parse(&prefix)
        .map_err(|_| CoapError::bad_request("the prefix is no event prefix"))?;
    Ok(Subscribe { prefix, device: device(packet.payload)?, content: content(packet) })
}

fn device(payload: &[u8]) -> Result<Option<DeviceId>, CoapError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let id = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or(CoapError::bad_request("the subscription's payload is no device id"))
}

/// `u` (own devices, up to 6.1) is the plain form; a query nobody knows is read as it too.
fn content(packet: &Packet<'_>) -> SubscriptionContent {
    match packet.value(option::URI_QUERY) {
        Some(b"b") => SubscriptionContent::Any,
        Some(b"c") => SubscriptionContent::Cbor,
        _ => SubscriptionContent::Text,
    }
}

/// Which of a device's forms to write; the cloud takes them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Up to 6.1: `u` for own devices; always CON.
    OwnDevices,
    /// Up to 6.1 without a query, for all devices or one; always CON.
    Unscoped,
    /// 6.2: the query tells the content; NON over TCP.
    Typed,
}

/// Writes a subscription.
pub fn emit(
    subscribe: &Subscribe,
    form: Form,
    transport: Transport,
    message_id: u16,
    out: &mut Vec<u8>,
) {
    let query: Option<&[u8]> = match (form, subscribe.content) {
        (Form::OwnDevices, _) => Some(b"u"),
        (Form::Typed, SubscriptionContent::Any) => Some(b"b"),
        (Form::Typed, SubscriptionContent::Cbor) => Some(b"c"),
        (Form::Unscoped, _) | (Form::Typed, SubscriptionContent::Text) => None,
    };
    let header = if form == Form::Typed && transport == Transport::Tcp {
        Header::non_confirmable(Code::GET, message_id, Token::EMPTY)
    } else {
        Header::confirmable(Code::GET, message_id, Token::EMPTY)
    };
    let device = subscribe.device.map(|id| id.to_string()).unwrap_or_default();
    Builder::new(header, out)
        .resource(RESOURCE)
        .option(option::URI_PATH, subscribe.prefix.as_str().as_bytes())
        .maybe(option::URI_QUERY, query)
        .payload(device.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Subscribe, CoapError> {
        parse(&Packet::decode(bytes).expect("well formed"))
    }

    #[test]
    fn an_empty_prefix_comes_with_an_empty_option_or_with_none() {
        for bytes in [&[0x40, 1, 0, 1, 0xb1, b'e'][..], &[0x40, 1, 0, 1, 0xb1, b'e', 0x00]] {
            assert_eq!(parsed(bytes).map(|s| s.prefix.as_str().len()), Ok(0));
        }
    }

    #[test]
    fn a_payload_that_is_no_device_id_is_refused() {
        let bytes = [&[0x40, 1, 0, 1, 0xb1, b'e', 0x01, b'a', 0xff][..], b"xyz"].concat();
        assert_eq!(parsed(&bytes).map_err(|e| e.code), Err(Code::BAD_REQUEST));
    }
}
