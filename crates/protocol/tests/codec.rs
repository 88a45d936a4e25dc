//! The codec against another library, and against anything at all.

use std::collections::BTreeMap;

use model::VariableType;
use model::link::Transport;
use model::message::SubscriptionContent;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::coap::{Builder, Code, Header, Packet, Token, Type, option};
use protocol::message::{Response, cloud, content, describe, device, goodbye, hello};

/// The parts of a message, free of any library.
#[derive(Debug, Clone, PartialEq)]
struct Parts {
    message_type: u8,
    code: u8,
    message_id: u16,
    token: Vec<u8>,
    options: BTreeMap<u16, Vec<Vec<u8>>>,
    payload: Vec<u8>,
}

fn ours(bytes: &[u8]) -> Option<Parts> {
    let packet = Packet::decode(bytes).ok()?;
    let mut options: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    for option in packet.options() {
        options.entry(option.number).or_default().push(option.value.to_vec());
    }
    Some(Parts {
        message_type: packet.message_type() as u8,
        code: packet.code().0,
        message_id: packet.message_id(),
        token: packet.token().as_slice().to_vec(),
        options,
        payload: packet.payload.to_vec(),
    })
}

fn theirs(bytes: &[u8]) -> Option<Parts> {
    let packet = coap_lite::Packet::from_bytes(bytes).ok()?;
    let options = packet.options();
    let options = options.map(|(number, values)| (*number, values.iter().cloned().collect()));
    Some(Parts {
        message_type: packet.header.to_raw_type(),
        code: packet.header.code.into(),
        message_id: packet.header.message_id,
        token: packet.get_token().to_vec(),
        options: options.collect(),
        payload: packet.payload.clone(),
    })
}

trait RawType {
    fn to_raw_type(&self) -> u8;
}

impl RawType for coap_lite::Header {
    fn to_raw_type(&self) -> u8 {
        match self.get_type() {
            coap_lite::MessageType::Confirmable => 0,
            coap_lite::MessageType::NonConfirmable => 1,
            coap_lite::MessageType::Acknowledgement => 2,
            coap_lite::MessageType::Reset => 3,
        }
    }
}

fn written_by_us(parts: &Parts) -> Vec<u8> {
    let message_type = match parts.message_type {
        0 => Type::Confirmable,
        1 => Type::NonConfirmable,
        2 => Type::Acknowledgement,
        _ => Type::Reset,
    };
    let token = Token::new(&parts.token).expect("at most 8 bytes");
    let header =
        Header { message_type, code: Code(parts.code), message_id: parts.message_id, token };
    let mut out = Vec::new();
    let mut builder = Builder::new(header, &mut out);
    for (number, values) in &parts.options {
        for value in values {
            builder = builder.option(*number, value);
        }
    }
    builder.payload(&parts.payload);
    out
}

fn written_by_them(parts: &Parts) -> Vec<u8> {
    let mut packet = coap_lite::Packet::new();
    packet.header.set_type(match parts.message_type {
        0 => coap_lite::MessageType::Confirmable,
        1 => coap_lite::MessageType::NonConfirmable,
        2 => coap_lite::MessageType::Acknowledgement,
        _ => coap_lite::MessageType::Reset,
    });
    packet.header.code = parts.code.into();
    packet.header.message_id = parts.message_id;
    packet.set_token(parts.token.clone());
    for (number, values) in &parts.options {
        packet.set_option((*number).into(), values.iter().cloned().collect());
    }
    packet.payload = parts.payload.clone();
    packet.to_bytes_unlimited().expect("writable")
}

/// Codes that coap-lite has a name for; it reads all others as one and the same.
const CODES: [u8; 12] = [1, 2, 3, 4, 0x41, 0x44, 0x45, 0x5f, 0x80, 0x84, 0x8d, 0xa3];

fn parts() -> impl Strategy<Value = Parts> {
    let code = prop::sample::select(CODES.to_vec());
    let number = prop_oneof![0..40_u16, 200..400_u16, 2000..2100_u16, any::<u16>()];
    let value = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 250..300)];
    let options = prop::collection::btree_map(number, vec(value, 1..3), 0..6);
    let (token, payload) = (vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..100));
    (0..4_u8, code, any::<u16>(), token, options, payload).prop_map(
        |(message_type, code, message_id, token, options, payload)| Parts {
            message_type,
            code,
            message_id,
            token,
            options,
            payload,
        },
    )
}

/// A good message with a few bytes changed and its end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (parts(), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(parts, changes, cut, whole)| {
            let mut bytes = written_by_us(&parts);
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

/// Reads the bytes as everything they could be.
fn read_as_everything(bytes: &[u8]) {
    for version in [0, 3005, 6200] {
        let _ = cloud::decode(bytes, version);
    }
    for flags in [0, describe::SYSTEM, describe::APPLICATION, describe::METRICS, 7] {
        let _ = describe::parse(flags, bytes);
    }
    let _ = (hello::parse(bytes), goodbye::parse(bytes), content::cbor_to_json(bytes));
    for handler in [SubscriptionContent::Text, SubscriptionContent::Cbor] {
        let _ = content::for_handler(handler, content::STRUCTURED, bytes);
    }
    for variable_type in [VariableType::Bool, VariableType::Double, VariableType::String] {
        let _ = model::VariableValue::read(variable_type, bytes);
    }
    let Ok(packet) = Packet::decode(bytes) else { return };
    let _ = Response::read(&packet);
    for transport in [Transport::Tcp, Transport::Udp] {
        if let Ok(request) = device::decode(&packet, transport) {
            let _ = request.to_device_message();
        }
    }
    for number in [option::BLOCK1, option::BLOCK2, option::MAX_AGE] {
        let _ = (packet.block(number), packet.uint(number));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_we_write_another_library_reads_the_same(parts in parts()) {
        let bytes = written_by_us(&parts);
        prop_assert_eq!(theirs(&bytes), Some(parts.clone()));
        prop_assert_eq!(ours(&bytes), Some(parts));
    }

    #[test]
    fn what_another_library_writes_we_write_too(parts in parts()) {
        prop_assert_eq!(written_by_us(&parts), written_by_them(&parts));
    }

    #[test]
    fn damaged_messages_are_read_as_another_library_reads_them(bytes in damaged()) {
        let is_version_1 = bytes.first().is_some_and(|first| first >> 6 == 1);
        let is_empty_code = bytes.get(1) == Some(&0);
        if is_version_1 && !is_empty_code {
            let (ours, theirs) = (ours(&bytes), theirs(&bytes));
            let same_code = |parts: Parts| Parts { code: 0, ..parts };
            prop_assert_eq!(ours.map(same_code), theirs.map(same_code));
        }
    }

    #[test]
    fn nothing_that_arrives_makes_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn nothing_that_looks_like_a_message_makes_a_reader_panic(
        damaged in damaged(),
        code in 0..4_u8,
        letter in prop::sample::select(b"EehdxLtcAuvfskmMSCF".to_vec()),
        rest in vec(any::<u8>(), 0..60),
    ) {
        read_as_everything(&damaged);
        let mut bytes = vec![0x40, code, 0, 1, 0xb1, letter];
        bytes.extend_from_slice(&rest);
        read_as_everything(&bytes);
    }
}
