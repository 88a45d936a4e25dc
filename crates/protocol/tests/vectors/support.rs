//! Reading the files of examples.

use std::fs;
use std::path::{Path, PathBuf};

use model::link::Transport;
use protocol::coap::{Packet, Type};
use serde_json::Value;

/// The folder of vectors.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// One worked example.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) from_device: bool,
    pub(crate) transport: Transport,
    pub(crate) versions: String,
    pub(crate) canonical: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) decoded: Value,
}

/// All of them.
pub(crate) fn vectors() -> Vec<Vector> {
    let text = fs::read_to_string(folder().join("coap-messages.json")).expect("the vectors");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(Some(vectors.len() as u64), file["count"].as_u64());
    vectors.iter().map(vector).collect()
}

/// The example of this name.
pub(crate) fn named(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).expect("a vector of this name")
}

fn vector(value: &Value) -> Vector {
    let text = |key: &str| value[key].as_str().expect("a text").to_owned();
    Vector {
        name: text("name"),
        from_device: text("direction") == "device_to_server",
        transport: if text("transport") == "tcp" { Transport::Tcp } else { Transport::Udp },
        versions: text("versions"),
        canonical: value["canonical_encoding"].as_bool().expect("a flag"),
        bytes: unhex(&value["hex"]),
        decoded: value["decoded"].clone(),
    }
}

/// The bytes in a member of hex digits.
pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("hex digits")).expect("hex digits")
}

/// The name of a type as the files write it.
pub(crate) fn type_name(message_type: Type) -> &'static str {
    match message_type {
        Type::Confirmable => "CON",
        Type::NonConfirmable => "NON",
        Type::Acknowledgement => "ACK",
        Type::Reset => "RST",
    }
}

/// Writes a packet's parts again.
pub(crate) fn rebuilt(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = protocol::coap::Builder::new(packet.header, &mut out);
    for option in packet.options() {
        builder = builder.option(option.number, option.value);
    }
    builder.payload(packet.payload);
    out
}
