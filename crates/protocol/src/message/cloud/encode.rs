//! Writing a [`CloudMessage`] for one device.

use std::borrow::Cow;

use model::CloudMessage;
use model::Event;
use model::link::Transport;
use model::message::SubscriptionContent;

use crate::coap::{Code, Header, Token, Type};
use crate::message::delivery::{self, Delivery};
use crate::message::{Dialect, content, describe, function, key_change, ping, signal, variable};

/// Why a message does not go to this device; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The handler takes neither this content format nor one it can be converted to.
    #[error("the handler takes no event of this format")]
    ContentNotTaken,
    /// Larger than the device takes.
    #[error("larger than this device takes")]
    TooLarge,
}

/// Appends the message to `out` and tells its type: CON, or NON for events over TCP. Events, key changes
/// and pings carry no token; all else carries `token`.
///
/// # Errors
/// The device would not take it.
pub fn encode(
    message: &CloudMessage,
    dialect: &Dialect,
    message_id: u16,
    token: u8,
    out: &mut Vec<u8>,
) -> Result<Type, Unsendable> {
    let start = out.len();
    let mut message_type = Type::Confirmable;
    match message {
        CloudMessage::Describe(flags) => describe::emit_get(*flags, None, message_id, token, out),
        CloudMessage::Event { event, content } => {
            message_type = event_type(dialect.transport);
            encode_event(event, *content, dialect, message_id, out)?;
        }
        CloudMessage::FunctionCall { name, argument } => {
            fits(argument.len(), dialect.argument_bytes_max)?;
            fits(name.len(), dialect.message_bytes_max)?;
            function::emit_call(name, argument, message_id, token, out);
        }
        CloudMessage::KeyChange => key_change::emit(message_id, Token::EMPTY, out),
        CloudMessage::Ping => ping::emit(message_id, out),
        CloudMessage::Signal(on) => signal::emit(*on, message_id, token, out),
        CloudMessage::VariableRequest { name } => {
            fits(name.len(), dialect.message_bytes_max)?;
            variable::emit_request(name, message_id, token, out);
        }
    }
    fits(out.len() - start, dialect.message_bytes_max).inspect_err(|_| out.truncate(start))?;
    Ok(message_type)
}

fn encode_event(
    event: &Event,
    handler: SubscriptionContent,
    dialect: &Dialect,
    message_id: u16,
    out: &mut Vec<u8>,
) -> Result<(), Unsendable> {
    let (format, data) = match &event.data {
        Some(data) => convert(data.format, &data.bytes, handler, dialect)?,
        None => (content::TEXT, Cow::default()),
    };
    fits(data.len(), dialect.event_data_bytes_max)?;
    let delivery = Delivery { name: event.name.as_str(), format, ttl_s: event.ttl_s, data: &data };
    let header = Header {
        message_type: event_type(dialect.transport),
        code: Code::POST,
        message_id,
        token: Token::EMPTY,
    };
    delivery::emit(&delivery, dialect.typed_events, header, out);
    Ok(())
}

/// Devices before 6.2 take text only, and none with a NUL in it (`limits.md` §1).
fn convert<'a>(
    format: u16,
    data: &'a [u8],
    handler: SubscriptionContent,
    dialect: &Dialect,
) -> Result<(u16, Cow<'a, [u8]>), Unsendable> {
    let handler = if dialect.typed_events { handler } else { SubscriptionContent::Text };
    let converted =
        content::for_handler(handler, format, data).ok_or(Unsendable::ContentNotTaken)?;
    if !dialect.typed_events && converted.1.contains(&0) {
        return Err(Unsendable::ContentNotTaken);
    }
    Ok(converted)
}

fn event_type(transport: Transport) -> Type {
    match transport {
        Transport::Tcp => Type::NonConfirmable,
        Transport::Udp => Type::Confirmable,
    }
}

fn fits(bytes: usize, bytes_max: usize) -> Result<(), Unsendable> {
    if bytes > bytes_max { Err(Unsendable::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::event::Origin;
    use model::{AccountId, EventData, EventId, EventName, Timestamp};

    use super::*;

    const MODERN: Dialect = Dialect {
        transport: Transport::Udp,
        typed_events: true,
        message_bytes_max: 1152,
        event_data_bytes_max: 1024,
        argument_bytes_max: 1024,
    };
    const OLD: Dialect = Dialect {
        transport: Transport::Tcp,
        typed_events: false,
        message_bytes_max: 782,
        event_data_bytes_max: 622,
        argument_bytes_max: 622,
    };

    fn event(format: u16, data: &[u8], content: SubscriptionContent) -> CloudMessage {
        let event = Event {
            id: EventId(1),
            account: AccountId(1),
            origin: Origin::Api,
            product: None,
            name: EventName::parse(b"data").expect("a name"),
            data: Some(EventData { format, bytes: data.into() }),
            ttl_s: 60,
            published_at: Timestamp(0),
        };
        CloudMessage::Event { event: Arc::new(event), content }
    }

    fn encoded(message: &CloudMessage, dialect: &Dialect) -> Result<(Type, Vec<u8>), Unsendable> {
        let mut out = Vec::new();
        let message_type = encode(message, dialect, 1, 2, &mut out);
        assert!(message_type.is_ok() || out.is_empty());
        Ok((message_type?, out))
    }

    #[test]
    fn events_are_confirmable_over_udp_only() {
        let message = event(content::TEXT, b"x", SubscriptionContent::Text);
        assert_eq!(encoded(&message, &MODERN).map(|e| e.0), Ok(Type::Confirmable));
        assert_eq!(encoded(&message, &OLD).map(|e| e.0), Ok(Type::NonConfirmable));
    }

    #[test]
    fn structured_data_goes_to_an_old_device_as_json_without_a_format() {
        let message = event(content::STRUCTURED, b"\xa1\x61a\x01", SubscriptionContent::Text);
        let (_, bytes) = encoded(&message, &OLD).expect("sendable");
        assert_eq!(bytes, *b"\x50\x02\x00\x01\xb1e\x04data\xff{\"a\":1}");
        let (_, bytes) = encoded(&message, &MODERN).expect("sendable");
        assert_eq!(bytes, *b"\x40\x02\x00\x01\xb1e\x04data\x11\x32\xff{\"a\":1}");
    }

    #[test]
    fn what_the_device_does_not_take_is_not_sent() {
        let binary = event(content::OCTET_STREAM, b"\x00\x01", SubscriptionContent::Text);
        assert_eq!(encoded(&binary, &MODERN), Err(Unsendable::ContentNotTaken));
        let nul = event(content::TEXT, b"a\x00b", SubscriptionContent::Text);
        assert!(encoded(&nul, &MODERN).is_ok());
        assert_eq!(encoded(&nul, &OLD), Err(Unsendable::ContentNotTaken));
        let large = event(content::TEXT, &[b'a'; 623], SubscriptionContent::Text);
        assert_eq!(encoded(&large, &OLD), Err(Unsendable::TooLarge));
        assert!(encoded(&large, &MODERN).is_ok());
    }

    #[test]
    fn long_names_and_arguments_are_too_large_and_leave_nothing_behind() {
        for (name, argument) in [(1, 1025), (1152, 1), (100_000, 0), (1, 100_000)] {
            let call = CloudMessage::FunctionCall {
                name: "n".repeat(name).into(),
                argument: "a".repeat(argument).into(),
            };
            assert_eq!(encoded(&call, &MODERN), Err(Unsendable::TooLarge));
        }
    }
}
