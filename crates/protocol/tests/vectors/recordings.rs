//! Recorded conversations of Device OS: every message is read, recognised and written again.

use std::collections::BTreeMap;
use std::fs;

use model::link::Transport;
use protocol::coap::{Code, Packet};
use protocol::message::Response;
use protocol::message::cloud::{self, FromCloud};
use protocol::message::device::{self, Request};
use protocol::message::ota::OtaRequest;
use serde_json::Value;

use crate::reemit::{cloud_message, device_message, is_event_of_another_form};
use crate::support::{folder, rebuilt, type_name, unhex};

/// One message of a recording.
struct Line {
    file: String,
    from_device: bool,
    transport: Transport,
    version: u16,
    bytes: Vec<u8>,
    coap: Value,
}

#[test]
fn every_recorded_message_is_decoded_as_recorded_and_written_again() {
    for line in lines() {
        let packet = Packet::decode(&line.bytes).expect(&line.file);
        let coap = &line.coap;
        assert_eq!(type_name(packet.message_type()), coap["type"]);
        assert_eq!(packet.code().to_string(), coap["code"].as_str().expect("a code"));
        assert_eq!(u64::from(packet.message_id()), coap["id"]);
        assert_eq!(packet.token().as_slice(), unhex(&coap["token"]));
        assert_eq!(packet.payload, unhex(&coap["payload_hex"]));
        let options = coap["options"].as_array().expect("a list").iter();
        let expected: Vec<_> = options.map(|o| (o[0].as_u64(), unhex(&o[1]))).collect();
        let options = packet.options().map(|o| (Some(u64::from(o.number)), o.value.to_vec()));
        assert_eq!(options.collect::<Vec<_>>(), expected);
        assert_eq!(rebuilt(&packet), line.bytes, "{}", line.file);
    }
}

#[test]
fn every_message_of_a_device_is_recognised() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines().iter().filter(|line| line.from_device) {
        let packet = Packet::decode(&line.bytes).expect(&line.file);
        let kind = kind(&packet, line.transport);
        assert_eq!(kind, expected_kind(&packet), "{}: {:02x?}", line.file, line.bytes);
        *seen.entry(kind).or_default() += 1;
    }
    for kind in ["hello", "ping", "time", "subscribe", "publish", "describe", "ledger", "answer"] {
        assert!(seen.contains_key(kind), "no recording holds a {kind}: {seen:?}");
    }
}

#[test]
fn every_message_of_a_device_comes_back_from_our_types_byte_for_byte() {
    for line in lines().iter().filter(|line| line.from_device) {
        let packet = Packet::decode(&line.bytes).expect(&line.file);
        if packet.options().any(|option| option.number > 2048) {
            continue;
        }
        if let Some(bytes) = device_message(&line.bytes, line.transport, line.version) {
            assert_eq!(hex::encode(bytes), hex::encode(&line.bytes), "{}", line.file);
        }
    }
}

#[test]
fn every_description_that_a_device_sent_whole_is_understood() {
    let mut read = 0;
    for line in lines().iter().filter(|line| line.from_device) {
        let packet = Packet::decode(&line.bytes).expect(&line.file);
        if let Ok(Request::Describe(told)) = device::decode(&packet, line.transport)
            && told.block.is_none()
        {
            let parts = protocol::message::describe::parse(told.flags, told.payload);
            assert_eq!(parts.map(|parts| parts.len()), Ok(1), "{}", line.file);
            read += 1;
        }
    }
    assert!(read > 40, "{read}");
}

#[test]
fn every_message_that_a_device_took_is_one_that_our_device_takes() {
    let mut ours_again = 0;
    for line in lines().iter().filter(|line| !line.from_device) {
        let taken = cloud::decode(&line.bytes, line.version);
        assert!(!matches!(taken, Err(_) | Ok(FromCloud::Unknown)), "{}: {taken:?}", line.file);
        let packet = Packet::decode(&line.bytes).expect(&line.file);
        let ours = !is_event_of_another_form(&packet, line.transport)
            && !has_binary_answer(&packet)
            && !is_confirmable_fast_chunk(&packet);
        if let Some(bytes) = cloud_message(&line.bytes, line.transport, line.version)
            && ours
        {
            assert_eq!(hex::encode(bytes), hex::encode(&line.bytes), "{}", line.file);
            ours_again += 1;
        }
    }
    assert!(ours_again > 500, "{ours_again}");
}

/// Over TCP the recording server sends them so; nothing answers either form.
fn is_confirmable_fast_chunk(packet: &Packet<'_>) -> bool {
    packet.is_confirmable() && packet.values(protocol::coap::option::URI_QUERY).count() == 2
}

/// The recording server's block-wise ledger answers carry an ETag; ours are whole.
fn has_binary_answer(packet: &Packet<'_>) -> bool {
    packet.value(protocol::coap::option::ETAG).is_some()
}

fn kind(packet: &Packet<'_>, transport: Transport) -> &'static str {
    if Response::read(packet).is_some() {
        return "answer";
    }
    match device::decode(packet, transport).expect("a request") {
        Request::Describe(_) => "describe",
        Request::Goodbye(_) => "goodbye",
        Request::Hello(_) => "hello",
        Request::Ledger(_) => "ledger",
        Request::Mesh => "mesh",
        Request::Ota(OtaRequest::ChunkMissed(_)) => "chunk missed",
        Request::Ota(OtaRequest::UpdateAck(_)) => "update ack",
        Request::Ota(OtaRequest::UpdateDone(_)) => "update done",
        Request::Ping => "ping",
        Request::Publish(_) => "publish",
        Request::Subscribe(_) => "subscribe",
        Request::Time => "time",
        Request::Unknown => "unknown",
    }
}

/// The table of `messages.md` §4, by code and letter.
fn expected_kind(packet: &Packet<'_>) -> &'static str {
    let letter = packet.path().next().and_then(|segment| segment.first().copied());
    match (packet.code(), letter) {
        (Code::EMPTY, _) if packet.is_confirmable() => "ping",
        (_, None) => "answer",
        (Code::GET, Some(b'e')) => "subscribe",
        (Code::GET, Some(b't')) => "time",
        (Code::GET, Some(b'c')) => "chunk missed",
        (Code::POST, Some(b'E' | b'e')) => "publish",
        (Code::POST, Some(b'L')) => "ledger",
        (Code::POST, Some(b'd')) => "describe",
        (Code::POST, Some(b'h')) => "hello",
        (Code::POST, Some(b'A')) => "update ack",
        (code, letter) => panic!("{code} {letter:?} is not in the table"),
    }
}

fn lines() -> Vec<Line> {
    let folder = folder().join("recordings");
    let entries = fs::read_dir(&folder).expect("the recordings");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let lines: Vec<_> = files.iter().map(|path| (path, read(path))).collect();
    for (path, lines) in &lines {
        assert!(!lines.is_empty(), "{} holds no message", path.display());
    }
    assert!(!lines.is_empty(), "there are no recordings");
    lines.into_iter().flat_map(|(_, lines)| lines).collect()
}

fn read(path: &std::path::Path) -> Vec<Line> {
    let text = fs::read_to_string(path).expect("a recording");
    let mut values = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let header = values.next().expect("a header");
    let transport = if header["transport"] == "tcp" { Transport::Tcp } else { Transport::Udp };
    let version = if header["device_os"] == "6.2.0" { 6200 } else { 3005 };
    let file = path.display().to_string();
    values
        .filter(|line| line.get("coap").is_some_and(Value::is_object))
        .map(|line| Line {
            file: file.clone(),
            from_device: line["dir"] == "device",
            transport,
            version,
            bytes: plaintext(&line),
            coap: line["coap"].clone(),
        })
        .collect()
}

fn plaintext(line: &Value) -> Vec<u8> {
    let records = line["records"].as_array().map_or(&[][..], Vec::as_slice);
    let record = records.iter().find(|record| record["content_type_inner"] == 23);
    unhex(&record.unwrap_or(line)["plaintext_hex"])
}
