//! Reading the cloud's messages the way the firmware does (`messages.md` §2.1), for the simulator: the
//! dispatcher looks at the code and at one byte, handlers read fixed offsets, and what a server must not
//! send does the harm it does to a device.

use crate::coap::{Block, Code, DecodeError, Packet, Type, option};
use crate::message::ota::OtaCommand;
use crate::message::{describe, event, function, hello, key_change, ledger, signal, variable};

/// A message of the cloud, as a device understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromCloud<'a> {
    /// An acknowledgement: empty, or with the code of a result.
    Acknowledged {
        /// [`Code::EMPTY`], or an answer.
        code: Code,
        /// Payload of a piggy-backed answer.
        payload: &'a [u8],
        /// Block1 of a piggy-backed answer.
        block: Option<Block>,
    },
    /// A separate answer, which only ledgers and the 6.3 events know.
    Answer {
        /// Its code.
        code: Code,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Describe request.
    Describe {
        /// The flag byte; absent without a query.
        flags: Option<u8>,
        /// The block asked for.
        block: Option<Block>,
    },
    /// An event.
    Event(ReceivedEvent<'a>),
    /// A function call.
    FunctionCall {
        /// Function name.
        name: String,
        /// Argument.
        argument: &'a [u8],
    },
    /// The cloud's Hello.
    Hello,
    /// Forget the session.
    KeyChange,
    /// A ledger request.
    Ledger(&'a [u8]),
    /// A message of an update.
    Ota(OtaCommand<'a>),
    /// Are you there?
    Ping,
    /// A reset: the session is void.
    Reset,
    /// ServerMoved, which a device takes only with a signature of its vendor.
    ServerMoved(&'a [u8]),
    /// Start or stop the signal.
    Signal(bool),
    /// A 2.05 of any type: the clock is set to this.
    Time(u32),
    /// Dropped without an acknowledgement.
    Unknown,
    /// A variable request.
    VariableRequest {
        /// Variable name.
        name: String,
    },
}

/// An event as its handler gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEvent<'a> {
    /// The name, its segments joined with `/`; cut at 64 bytes.
    pub name: String,
    /// Content-Format; 0 before 6.2.
    pub format: u16,
    /// The data. Up to 6.1 an option that the parser does not expect is part of it.
    pub data: &'a [u8],
}

/// What the message does to a device beyond being useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    /// The device answers with this code.
    #[error("the device refuses the request with {0}")]
    Answered(Code),
    /// Noise, which the device ignores.
    #[error("not a CoAP message")]
    Ignored,
    /// A protocol error: the device closes the connection and keeps the session.
    #[error("the device closes the connection")]
    ConnectionLost,
}

/// Reads a message of the cloud. `version` is the system version of Hello (6200 is 6.2.0); 0 for a device
/// that tells none.
///
/// # Errors
/// What the message does to the device.
pub fn decode(bytes: &[u8], version: u16) -> Result<FromCloud<'_>, DeviceFault> {
    let packet = Packet::decode(bytes).map_err(|error| match error {
        DecodeError::Noise => DeviceFault::Ignored,
        DecodeError::Malformed(_) => DeviceFault::ConnectionLost,
    })?;
    let content = packet.code() == Code::CONTENT;
    match packet.message_type() {
        Type::Reset => return Ok(FromCloud::Reset),
        _ if content => return Ok(FromCloud::Time(seconds(bytes)?)),
        Type::Acknowledgement => return Ok(acknowledged(&packet)),
        Type::Confirmable | Type::NonConfirmable => {}
    }
    if packet.code() == Code::EMPTY {
        return Ok(FromCloud::Ping);
    }
    if packet.code().is_response() {
        return Ok(FromCloud::Answer { code: packet.code(), payload: packet.payload });
    }
    request(bytes, &packet, version)
}

fn request<'a>(
    bytes: &'a [u8],
    packet: &Packet<'a>,
    version: u16,
) -> Result<FromCloud<'a>, DeviceFault> {
    let letter = bytes.get(5 + packet.token().as_slice().len()).copied().unwrap_or(0);
    Ok(match (packet.code(), letter) {
        (Code::GET, describe::RESOURCE) => describe_request(packet)?,
        (Code::GET, variable::RESOURCE) => FromCloud::VariableRequest { name: call_name(packet)? },
        (Code::POST, event::RESOURCE | event::RESOURCE_PUBLIC) => {
            FromCloud::Event(received_event(bytes, packet, version))
        }
        (Code::POST, function::RESOURCE) => FromCloud::FunctionCall {
            name: call_name(packet)?,
            argument: packet.value(option::URI_QUERY).ok_or(DeviceFault::ConnectionLost)?,
        },
        (Code::POST, hello::RESOURCE) => FromCloud::Hello,
        (Code::POST, ledger::RESOURCE) => FromCloud::Ledger(packet.payload),
        (Code::POST, b'M') => FromCloud::ServerMoved(packet.payload),
        (Code::PUT, key_change::RESOURCE) => FromCloud::KeyChange,
        (Code::PUT, signal::RESOURCE) => FromCloud::Signal(bytes.get(8).is_some_and(|v| *v != 0)),
        (_, _) => OtaCommand::read(bytes, packet).map_or(FromCloud::Unknown, FromCloud::Ota),
    })
}

fn acknowledged<'a>(packet: &Packet<'a>) -> FromCloud<'a> {
    FromCloud::Acknowledged {
        code: packet.code(),
        payload: packet.payload,
        block: packet.block(option::BLOCK1).unwrap_or(None),
    }
}

/// Bytes 6 to 9, whatever stands there.
fn seconds(bytes: &[u8]) -> Result<u32, DeviceFault> {
    let field = bytes.get(6..10).and_then(|field| field.try_into().ok());
    field.map(u32::from_be_bytes).ok_or(DeviceFault::ConnectionLost)
}

fn describe_request<'a>(packet: &Packet<'a>) -> Result<FromCloud<'a>, DeviceFault> {
    if packet.token().byte().is_none() {
        return Err(DeviceFault::Answered(Code::BAD_REQUEST));
    }
    let flags = packet.value(option::URI_QUERY).and_then(|query| query.first().copied());
    let block =
        packet.block(option::BLOCK2).map_err(|_| DeviceFault::Answered(Code::BAD_OPTION))?;
    Ok(FromCloud::Describe { flags, block })
}

fn call_name(packet: &Packet<'_>) -> Result<String, DeviceFault> {
    packet.token().byte().ok_or(DeviceFault::ConnectionLost)?;
    let name = packet.path().nth(1).ok_or(DeviceFault::ConnectionLost)?;
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn received_event<'a>(bytes: &'a [u8], packet: &Packet<'a>, version: u16) -> ReceivedEvent<'a> {
    let segments: Vec<&[u8]> = packet.path().skip(1).collect();
    let mut name = segments.join(&b'/');
    name.truncate(model::limits::EVENT_NAME_BYTES_MAX);
    let name = String::from_utf8_lossy(&name).into_owned();
    if version < TYPED_EVENTS {
        let data = untyped_data(bytes, packet).unwrap_or_default();
        return ReceivedEvent { name, format: 0, data };
    }
    let format = packet.uint(option::CONTENT_FORMAT).unwrap_or(None);
    let format = format.and_then(|format| u16::try_from(format).ok()).unwrap_or(0);
    ReceivedEvent { name, format, data: packet.payload }
}

/// 6.2.0
const TYPED_EVENTS: u16 = 6200;

/// Skips the path and a Max-Age right behind it; then a payload marker, or else everything is data.
fn untyped_data<'a>(bytes: &'a [u8], packet: &Packet<'a>) -> Option<&'a [u8]> {
    let mut rest = bytes.get(6 + packet.token().as_slice().len()..)?;
    while rest.first().is_some_and(|byte| byte >> 4 == 0) {
        rest = skip_option(rest)?;
    }
    if rest.first().is_some_and(|byte| byte >> 4 == 3) {
        rest = skip_option(rest)?;
    }
    Some(rest.strip_prefix(&[0xff]).unwrap_or(rest))
}

fn skip_option(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? & 0x0f {
        13 => bytes.get(2 + 13 + usize::from(*bytes.get(1)?)..),
        length => bytes.get(1 + usize::from(length)..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u16 = 3005;
    const NEW: u16 = 6200;

    #[test]
    fn any_2_05_sets_the_clock() {
        let bytes = [0x41, 0x45, 0, 1, 9, 0xff, 1, 2, 3, 4];
        assert_eq!(decode(&bytes, NEW), Ok(FromCloud::Time(0x0102_0304)));
    }

    #[test]
    fn a_token_of_two_bytes_ends_the_connection_on_calls() {
        let bytes = [0x42, 2, 0, 1, 9, 9, 0xb1, b'f', 0x01, b'a', 0x40];
        assert_eq!(decode(&bytes, NEW), Err(DeviceFault::ConnectionLost));
        let bytes = [0x42, 1, 0, 1, 9, 9, 0xb1, b'd', 0x41, 1];
        assert_eq!(decode(&bytes, NEW), Err(DeviceFault::Answered(Code::BAD_REQUEST)));
    }

    #[test]
    fn a_content_format_becomes_data_before_6_2() {
        let bytes = b"\x40\x02\x00\x01\xb1e\x01a\x11\x32\xff{}";
        let Ok(FromCloud::Event(old)) = decode(bytes, OLD) else { panic!("an event") };
        assert_eq!(old.data, b"\x11\x32\xff{}");
        let Ok(FromCloud::Event(new)) = decode(bytes, NEW) else { panic!("an event") };
        assert_eq!((new.format, new.data), (50, &b"{}"[..]));
    }

    #[test]
    fn a_max_age_right_behind_the_path_is_skipped_before_6_2() {
        let bytes = b"\x40\x02\x00\x01\xb1e\x05spark\x04name\x33\x00\x00\x3c\xffx";
        let Ok(FromCloud::Event(event)) = decode(bytes, OLD) else { panic!("an event") };
        assert_eq!((event.name.as_str(), event.data), ("spark/name", &b"x"[..]));
    }

    #[test]
    fn a_call_without_its_argument_option_ends_the_connection() {
        let bytes = [0x41, 2, 0, 1, 9, 0xb1, b'f', 0x01, b'a'];
        assert_eq!(decode(&bytes, NEW), Err(DeviceFault::ConnectionLost));
    }
}
