//! Every example as a CoAP message: types, ids, tokens, options, payloads.

use protocol::coap::Packet;
use serde_json::Value;

use crate::support::{Vector, rebuilt, type_name, unhex, vectors};

#[test]
fn every_worked_example_is_decoded_as_other_libraries_decode_it() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 157);
    for vector in &vectors {
        let packet = Packet::decode(&vector.bytes).expect(&vector.name);
        assert_same(&packet, vector);
    }
}

#[test]
fn every_canonical_example_is_written_again_byte_for_byte() {
    let mut canonical = 0;
    for vector in vectors() {
        let packet = Packet::decode(&vector.bytes).expect(&vector.name);
        assert_eq!(rebuilt(&packet), vector.bytes, "{}", vector.name);
        canonical += usize::from(vector.canonical);
    }
    assert_eq!(canonical, 155);
}

#[test]
fn every_cut_of_every_example_is_read_or_refused_without_a_panic() {
    for vector in vectors() {
        for length in 0..vector.bytes.len() {
            let _ = Packet::decode(&vector.bytes[..length]);
        }
    }
}

fn assert_same(packet: &Packet<'_>, vector: &Vector) {
    let (name, decoded) = (&vector.name, &vector.decoded);
    assert_eq!(type_name(packet.message_type()), decoded["type"], "{name}");
    assert_eq!(packet.code().to_string(), decoded["code"].as_str().expect("a code"), "{name}");
    assert_eq!(u64::from(packet.message_id()), decoded["message_id"], "{name}");
    assert_eq!(packet.token().as_slice(), unhex(&decoded["token"]), "{name}");
    assert_eq!(packet.payload, unhex(&decoded["payload_hex"]), "{name}");
    let options: Vec<_> = packet.options().collect();
    let expected = decoded["options"].as_array().expect("a list");
    assert_eq!(options.len(), expected.len(), "{name}");
    for (option, expected) in options.iter().zip(expected) {
        assert_eq!(u64::from(option.number), expected["number"], "{name}");
        assert_eq!(option.value, unhex(&expected["hex"]), "{name}");
        assert_number(packet, option.number, expected, name);
    }
}

/// Options that the file spells as a number or a block as well.
fn assert_number(packet: &Packet<'_>, number: u16, expected: &Value, name: &str) {
    if let Some(value) = expected["uint"].as_u64() {
        assert_eq!(packet.uint(number).expect(name).map(u64::from), Some(value), "{name}");
    }
    if let Some(expected) = expected.get("block") {
        let block = packet.block(number).expect(name).expect(name);
        assert_eq!(u64::from(block.num), expected["num"], "{name}");
        assert_eq!(block.more, expected["more"], "{name}");
        assert_eq!(u64::from(block.szx), expected["szx"], "{name}");
    }
}
