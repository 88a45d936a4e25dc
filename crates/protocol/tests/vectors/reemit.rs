//! Reading a message into our types and writing it again from them.

use std::sync::Arc;

use model::event::Origin;
use model::link::Transport;
use model::message::SubscriptionContent;
use model::{AccountId, CloudMessage, Event, EventData, EventId, EventName, Timestamp};
use protocol::coap::{Code, Packet, Type, option};
use protocol::message::cloud::{self, FromCloud};
use protocol::message::device::{self, Request};
use protocol::message::ota::legacy::Chunk;
use protocol::message::ota::v3::UpdateStarted;
use protocol::message::ota::{self, OtaCommand, OtaRequest};
use protocol::message::{
    Dialect, Response, ack, describe, event, goodbye, hello, key_change, ledger, ping,
};
use protocol::message::{subscribe, time};

/// A device's message through our types. Absent if it is one that is told apart but not read.
pub(crate) fn device_message(bytes: &[u8], transport: Transport, version: u16) -> Option<Vec<u8>> {
    let packet = Packet::decode(bytes).expect("well formed");
    let id = packet.message_id();
    let mut out = Vec::new();
    match Response::read(&packet) {
        Some(Response::Acknowledged) => ack::empty(id, &mut out),
        Some(Response::Reset) => ack::reset(id, &mut out),
        Some(Response::Answer(_)) if packet.code() == Code::CREATED => {
            UpdateStarted::read(&packet).expect("a window").emit(packet.header, &mut out);
        }
        Some(Response::Answer(answer)) => answer.emit(packet.header, &mut out),
        None => {
            let request = device::decode(&packet, transport).expect("a request");
            return device_request(&request, &packet, transport, version);
        }
    }
    Some(out)
}

fn device_request(
    request: &Request<'_>,
    packet: &Packet<'_>,
    transport: Transport,
    version: u16,
) -> Option<Vec<u8>> {
    let (id, token) = (packet.message_id(), packet.token());
    let mut out = Vec::new();
    match request {
        Request::Describe(post) => post.emit(id, token, &mut out),
        Request::Goodbye(told) => goodbye::emit(told, transport, id, &mut out),
        Request::Hello(told) => hello::emit(told, transport, id, &mut out),
        Request::Ledger(told) if told.block.is_none() && !told.payload.is_empty() => {
            ledger::emit_request(told.payload, id, token.byte()?, &mut out);
        }
        Request::Ping => ping::emit(id, &mut out),
        Request::Publish(told) => {
            event::emit(told, publish_form(packet, version), packet.header, &mut out);
        }
        Request::Subscribe(told) => {
            subscribe::emit(told, subscribe_form(packet, version), transport, id, &mut out);
        }
        Request::Time => time::emit_request(id, token.byte()?, &mut out),
        Request::Ota(OtaRequest::ChunkMissed(missed)) => {
            missed.emit(packet.message_type(), id, &mut out);
        }
        Request::Ota(OtaRequest::UpdateAck(ack)) => ack.emit(id, &mut out),
        Request::Ota(OtaRequest::UpdateDone(result)) => {
            ota::legacy::emit_device_done(result, id, &mut out);
        }
        Request::Ledger(_) | Request::Mesh => return None,
        Request::Unknown => panic!("a device's request was not recognised"),
    }
    Some(out)
}

fn publish_form(packet: &Packet<'_>, version: u16) -> event::Form {
    match version {
        6300.. => event::Form::Split,
        6200.. => event::Form::Typed,
        _ => event::Form::Untyped { public: packet.path().next() == Some(b"e") },
    }
}

fn subscribe_form(packet: &Packet<'_>, version: u16) -> subscribe::Form {
    match packet.value(option::URI_QUERY) {
        Some(b"u") => subscribe::Form::OwnDevices,
        _ if version >= 6200 => subscribe::Form::Typed,
        _ => subscribe::Form::Unscoped,
    }
}

/// A message of the cloud through our types. Absent if it is one that we do not write, or not so.
pub(crate) fn cloud_message(bytes: &[u8], transport: Transport, version: u16) -> Option<Vec<u8>> {
    let packet = Packet::decode(bytes).expect("well formed");
    let (id, token) = (packet.message_id(), packet.token());
    let mut out = Vec::new();
    let message = match cloud::decode(bytes, version).expect("a device takes it") {
        FromCloud::Acknowledged { code, payload: &[], block: Some(block) } => {
            ack::block(block, id, token, &mut out);
            assert_eq!(code.0, out[1]);
            return Some(out);
        }
        FromCloud::Acknowledged { code, payload: &[], block: None } => {
            ack::coded(code, id, token, &mut out);
            return Some(out);
        }
        FromCloud::Time(seconds) => {
            time::answer(seconds, id, token, &mut out);
            return Some(out);
        }
        FromCloud::Hello => {
            hello::emit_cloud(transport, id, &mut out);
            return Some(out);
        }
        FromCloud::Describe { flags, block } => {
            describe::emit_get(flags.unwrap_or(0), block, id, token.byte()?, &mut out);
            return Some(out);
        }
        FromCloud::Event(received) => event_message(&received, &packet),
        FromCloud::FunctionCall { name, argument } => CloudMessage::FunctionCall {
            name: name.into(),
            argument: String::from_utf8(argument.to_vec()).expect("text").into(),
        },
        FromCloud::KeyChange => {
            key_change::emit(id, token, &mut out);
            return Some(out);
        }
        FromCloud::Ping => CloudMessage::Ping,
        FromCloud::Signal(on) => CloudMessage::Signal(on),
        FromCloud::VariableRequest { name } => CloudMessage::VariableRequest { name: name.into() },
        FromCloud::Ota(command) => {
            ota_command(&command, id, token.byte().unwrap_or(0), &mut out);
            return Some(out);
        }
        FromCloud::Acknowledged { .. } | FromCloud::Ledger(_) | FromCloud::ServerMoved(_) => {
            return None;
        }
        other => panic!("the cloud says no such thing: {other:?}"),
    };
    let written = cloud::encode(
        &message,
        &dialect(transport, version),
        id,
        token.byte().unwrap_or_default(),
        &mut out,
    );
    assert_eq!(written.map(|sent| sent as u8), Ok(out[0] >> 4 & 3));
    Some(out)
}

fn ota_command(command: &OtaCommand<'_>, id: u16, token: u8, out: &mut Vec<u8>) {
    match command {
        OtaCommand::Begin(begin) => begin.emit(id, token, out),
        OtaCommand::LegacyChunk(chunk) => {
            assert_eq!(Chunk::of(chunk.index, chunk.data), *chunk);
            chunk.emit(id, token, out);
        }
        OtaCommand::Done => ota::legacy::emit_done(id, token, out),
        OtaCommand::Start(start) => start.expect("a good one").emit(id, token, out),
        OtaCommand::Chunk(chunk) => chunk.expect("a good one").emit(id, out),
        OtaCommand::Finish(finish) => finish.expect("a good one").emit(id, token, out),
    }
}

fn event_message(received: &cloud::ReceivedEvent<'_>, packet: &Packet<'_>) -> CloudMessage {
    let data = (!received.data.is_empty())
        .then(|| EventData { format: received.format, bytes: received.data.into() });
    let event = Event {
        id: EventId(1),
        account: AccountId(1),
        origin: Origin::Api,
        product: None,
        name: EventName::parse(received.name.as_bytes()).expect("a name"),
        data,
        ttl_s: packet.uint(option::MAX_AGE).expect("a number").unwrap_or(60),
        published_at: Timestamp(0),
    };
    CloudMessage::Event { event: Arc::new(event), content: SubscriptionContent::Any }
}

fn dialect(transport: Transport, version: u16) -> Dialect {
    Dialect {
        transport,
        typed_events: version >= 6200,
        message_bytes_max: 1152,
        event_data_bytes_max: 1024,
        argument_bytes_max: 1024,
    }
}

/// Whether we would write this message in another form: events with a split name, the letter `E`, a
/// token, a Max-Age that is the default or not in its shortest form, as NON over UDP or without a payload.
pub(crate) fn is_event_of_another_form(packet: &Packet<'_>, transport: Transport) -> bool {
    let is_event = packet.code() == Code::POST
        && packet.path().next().is_some_and(|letter| matches!(letter, b"E" | b"e"));
    let max_age = packet.value(option::MAX_AGE);
    is_event
        && (packet.path().count() > 2
            || packet.path().next() == Some(b"E")
            || packet.token().as_slice() != b""
            || max_age.is_some_and(|age| age.first() == Some(&0) || age == [60])
            || (transport == Transport::Udp && packet.message_type() == Type::NonConfirmable))
}
