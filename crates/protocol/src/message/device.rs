//! Requests of a device, told apart by code and first path segment (`messages.md` §4).

use model::link::Transport;
use model::message::{Goodbye, Subscribe};
use model::{DeviceMessage, Hello};

use super::describe::{self, DescribePost};
use super::event::{self, PublishRequest};
use super::ledger::{self, LedgerRequest};
use super::ota::OtaRequest;
use super::ota::legacy::ChunkMissed;
use super::ota::v3::UpdateAck;
use super::{CoapError, goodbye, hello, subscribe, time};
use crate::coap::{Code, Packet, Type};

/// A request of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Request<'a> {
    /// A part of its description, or one block of it.
    Describe(DescribePost<'a>),
    /// It is about to go.
    Goodbye(Goodbye),
    /// Hello.
    Hello(Hello),
    /// About ledgers.
    Ledger(LedgerRequest<'a>),
    /// A command of the former mesh devices: acknowledged with 2.04 and ignored (`messages.md` §13).
    Mesh,
    /// About an update.
    Ota(OtaRequest<'a>),
    /// Are you there?
    Ping,
    /// An event, or one block of it.
    Publish(PublishRequest<'a>),
    /// A subscription.
    Subscribe(Subscribe),
    /// What time is it?
    Time,
    /// A resource nobody knows: 4.04 if confirmable.
    Unknown,
}

/// Reads a request. Acknowledgements, resets and answers are for [`super::Response::read`]; here they are
/// [`Request::Unknown`].
///
/// # Errors
/// What a confirmable request is answered with; see the messages' own readers.
pub fn decode<'a>(packet: &Packet<'a>, transport: Transport) -> Result<Request<'a>, CoapError> {
    if matches!(packet.message_type(), Type::Acknowledgement | Type::Reset) {
        return Ok(Request::Unknown);
    }
    if packet.code() == Code::EMPTY {
        return Ok(if packet.is_confirmable() { Request::Ping } else { Request::Unknown });
    }
    let &[letter] = packet.path().next().unwrap_or_default() else { return Ok(Request::Unknown) };
    Ok(match (packet.code(), letter) {
        (Code::GET, subscribe::RESOURCE) => Request::Subscribe(subscribe::parse(packet)?),
        (Code::GET, time::RESOURCE) => Request::Time,
        (Code::GET, b'c') => Request::Ota(OtaRequest::ChunkMissed(ChunkMissed(packet.payload))),
        (Code::POST, event::RESOURCE | event::RESOURCE_PUBLIC) => {
            Request::Publish(event::parse(packet)?)
        }
        (Code::POST, hello::RESOURCE) => Request::Hello(read_hello(packet, transport)?),
        (Code::POST, describe::RESOURCE) => Request::Describe(DescribePost::parse(packet)?),
        (Code::POST, goodbye::RESOURCE) => Request::Goodbye(goodbye::parse(packet.payload)?),
        (Code::POST, ledger::RESOURCE) => Request::Ledger(ledger::parse(packet)),
        (Code::POST, b'A') => Request::Ota(OtaRequest::UpdateAck(UpdateAck::parse(packet)?)),
        (Code::PUT, b'u') => Request::Ota(OtaRequest::UpdateDone(packet.payload)),
        (Code::PUT, b'm') => Request::Mesh,
        (_, _) => Request::Unknown,
    })
}

/// Over UDP the Hello is the only place of the device id.
fn read_hello(packet: &Packet<'_>, transport: Transport) -> Result<Hello, CoapError> {
    let hello = hello::parse(packet.payload)?;
    if transport == Transport::Udp && hello.device_id.is_none() {
        return Err(CoapError::bad_request("the Hello names no device"));
    }
    Ok(hello)
}

impl Request<'_> {
    /// What the shard must hear, for a request that is complete in one message; absent for requests
    /// that the session answers itself, for blocks, and for descriptions.
    pub fn to_device_message(&self) -> Option<DeviceMessage> {
        match self {
            Self::Goodbye(goodbye) => Some(DeviceMessage::Goodbye(*goodbye)),
            Self::Publish(publish) if publish.block.is_none() => {
                Some(DeviceMessage::Publish(publish.to_publish()))
            }
            Self::Subscribe(subscribe) => Some(DeviceMessage::Subscribe(subscribe.clone())),
            Self::Describe(_)
            | Self::Hello(_)
            | Self::Ledger(_)
            | Self::Mesh
            | Self::Ota(_)
            | Self::Ping
            | Self::Publish(_)
            | Self::Time
            | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &[u8]) -> Result<Request<'_>, CoapError> {
        decode(&Packet::decode(bytes).expect("well formed"), Transport::Udp)
    }

    #[test]
    fn the_resource_is_found_behind_options_that_come_first() {
        let etag_first = [0x41, 2, 0, 0xc2, 0x83, 0x44, 1, 2, 3, 4, 0x71, b'L', 0xc1, 0x16];
        assert!(matches!(request(&etag_first), Ok(Request::Ledger(_))));
    }

    #[test]
    fn unknown_resources_and_codes_are_unknown_not_errors() {
        for bytes in [
            &[0x40, 2, 0, 1][..],
            &[0x40, 2, 0, 1, 0xb1, b'Z'],
            &[0x40, 2, 0, 1, 0xb2, b'h', b'h'],
            &[0x40, 4, 0, 1, 0xb1, b'h'],
            &[0x50, 0, 0, 1],
            &[0x60, 0, 0, 1],
        ] {
            assert_eq!(request(bytes), Ok(Request::Unknown), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_hello_without_a_device_id_is_taken_over_tcp_only() {
        let bytes = [0x40, 2, 0, 1, 0xb1, b'h', 0xff, 0, 1, 0, 1, 0, 0, 0, 6];
        assert_eq!(request(&bytes).map_err(|e| e.code), Err(Code::BAD_REQUEST));
        let packet = Packet::decode(&bytes).expect("well formed");
        assert!(decode(&packet, Transport::Tcp).is_ok());
    }

    #[test]
    fn mesh_and_update_messages_are_told_apart() {
        let mesh = [0x41, 3, 0, 1, 9, 0xb1, b'm', 0x01, b'n'];
        assert_eq!(request(&mesh), Ok(Request::Mesh));
        let missed = [0x40, 1, 0, 1, 0xb1, b'c', 0xff, 0, 3];
        let told = OtaRequest::ChunkMissed(ChunkMissed(&[0, 3]));
        assert_eq!(request(&missed), Ok(Request::Ota(told)));
    }
}
