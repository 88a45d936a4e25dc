//! The fields of the examples, as the files spell them.

use model::{DescribePart, VariableType, VariableValue};
use protocol::coap::{Code, Packet};
use protocol::message::cloud::{self, FromCloud};
use protocol::message::device::{self, Request};
use protocol::message::ota::legacy::{ChunkMissed, UpdateBegin};
use protocol::message::ota::v3::{UpdateAck, UpdateFinish, UpdateStart};
use protocol::message::ota::{OtaCommand, OtaRequest};
use protocol::message::{describe, function, ledger};
use serde_json::{Value, json};

use crate::support::{Vector, named, unhex, vectors};

fn request<'a>(vector: &'a Vector) -> Request<'a> {
    let packet = Packet::decode(&vector.bytes).expect(&vector.name);
    device::decode(&packet, vector.transport).expect(&vector.name)
}

fn payload(vector: &Vector) -> &[u8] {
    Packet::decode(&vector.bytes).expect(&vector.name).payload
}

#[test]
fn the_fields_of_each_hello_are_read() {
    let hellos: Vec<_> = vectors().into_iter().filter(|v| v.name.starts_with("hello_")).collect();
    let from_devices: Vec<_> = hellos.iter().filter(|v| payload(v) != b"").collect();
    assert_eq!(from_devices.len(), 5);
    for vector in from_devices {
        let Request::Hello(hello) = request(vector) else { panic!("{}", vector.name) };
        let fields = &vector.decoded["payload_fields"];
        assert_eq!(hello.product_id, fields["product_id"]);
        assert_eq!(hello.product_version, fields["product_version"]);
        assert_eq!(hello.flags.0, fields["flags"]);
        assert_eq!(hello.platform.0, fields["platform_id"]);
        let id = hello.device_id.map(|id| id.to_string()).unwrap_or_default();
        assert_eq!(id, fields["device_id"].as_str().unwrap_or_default());
        let system = hello.system;
        let told = |key: &str| fields.get(key).and_then(Value::as_u64);
        assert_eq!(system.map(|s| s.version.into()), told("system_module_version"));
        assert_eq!(system.map(|s| s.message_bytes_max.into()), told("max_message_size"));
        assert_eq!(system.map(|s| s.binary_bytes_max.into()), told("max_binary_size"));
        assert_eq!(system.map(|s| s.chunk_bytes.into()), told("ota_chunk_size"));
    }
}

#[test]
fn the_reasons_of_each_goodbye_are_read() {
    for name in ["goodbye_udp_sleep", "goodbye_udp_reset_user", "goodbye_tcp"] {
        let vector = named(name);
        let Request::Goodbye(goodbye) = request(&vector) else { panic!("{name}") };
        let fields = &vector.decoded["payload_fields"];
        let told = |key: &str| fields.get(key).and_then(Value::as_u64);
        assert_eq!(goodbye.cloud_reason.map(u64::from), told("cloud_reason"), "{name}");
        assert_eq!(goodbye.reset_reason.map(u64::from), told("reset_reason"), "{name}");
        assert_eq!(goodbye.sleep_s.map(u64::from), told("sleep_s"), "{name}");
        assert_eq!(goodbye.network_reason.map(u64::from), told("network_reason"), "{name}");
    }
}

#[test]
fn the_system_description_is_read_from_protobuf_and_from_json() {
    let post = named("describe_post_system_protobuf");
    let fields = &post.decoded["payload_fields"];
    let Request::Describe(told) = request(&post) else { panic!("a Describe") };
    assert_eq!((told.flags, told.format, told.block), (describe::SYSTEM, Some(42), None));
    let parts = describe::parse(told.flags, told.payload).expect("well formed");
    let [DescribePart::System(system)] = &parts[..] else { panic!("a system part") };
    assert_eq!(system.imei.as_deref(), fields["imei"].as_str());
    assert_eq!(system.iccid.as_deref(), fields["iccid"].as_str());
    assert_eq!(system.modem_firmware.as_deref(), fields["modem_firmware_version"].as_str());
    let hash = fields["modules"][2]["hash"].as_str();
    assert_eq!(system.application_hash.map(hex::encode).as_deref(), hash);

    let both = named("describe_response_piggybacked_os1");
    let parts = describe::parse(0, payload(&both)).expect("well formed");
    let [DescribePart::Application(application), DescribePart::System(system)] = &parts[..] else {
        panic!("both parts")
    };
    assert_eq!(application.function("brew"), Some("brew"));
    assert_eq!(application.variable("temp"), Some(("temp", VariableType::Double)));
    assert_eq!(system.application_hash.map(hex::encode).as_deref(), hash);
}

#[test]
fn our_system_description_is_written_as_the_firmware_writes_it() {
    let vector = named("describe_post_system_protobuf");
    let told: describe::system::SystemDescribe =
        prost::Message::decode(payload(&vector)).expect("protobuf");
    assert_eq!(hex::encode(told.to_protobuf()), hex::encode(payload(&vector)));
}

#[test]
fn our_application_description_is_written_as_the_firmware_writes_it() {
    let vector = named("describe_post_application");
    let parts = describe::parse(describe::APPLICATION, payload(&vector)).expect("well formed");
    let [DescribePart::Application(application)] = &parts[..] else { panic!("one part") };
    assert_eq!(describe::application::to_json(application).as_bytes(), payload(&vector));
}

#[test]
fn metrics_are_read_and_written() {
    let vector = named("metrics_post");
    let Request::Describe(told) = request(&vector) else { panic!("a Describe") };
    let parts = describe::parse(told.flags, told.payload).expect("well formed");
    let [DescribePart::Metrics(metrics)] = &parts[..] else { panic!("metrics") };
    assert_eq!(describe::metrics::to_payload(metrics), told.payload);
    let read: Vec<_> = metrics.iter().map(|m| (m.id, m.value)).collect();
    assert_eq!(read, [(1, 40), (6, 3600), (19, -65), (0x8003, -120)]);
}

#[test]
fn a_block_wise_description_is_put_together_from_its_posts() {
    let (first, last) = (named("describe_post_block0"), named("describe_post_block1_last"));
    let mut assembly = protocol::coap::Assembly::new(65_536);
    let mut whole = None;
    for vector in [&first, &last] {
        let Request::Describe(told) = request(vector) else { panic!("a Describe") };
        match assembly.push(told.block.expect("a block"), told.payload) {
            protocol::coap::Step::Complete(bytes) => whole = Some(bytes),
            step => assert_eq!(step, protocol::coap::Step::Continue),
        }
    }
    let parts = describe::parse(describe::APPLICATION, &whole.expect("complete"));
    assert!(matches!(parts.as_deref(), Ok([DescribePart::Application(_)])));
}

#[test]
fn return_values_and_variables_are_read_by_their_types() {
    for vector in vectors().iter().filter(|v| v.name.starts_with("function_return")) {
        let fields = &vector.decoded["payload_fields"];
        let value = fields.as_object().expect("fields").values().next();
        assert_eq!(value, Some(&json!(function::read_return(payload(vector)))), "{}", vector.name);
    }
    for (name, value) in [
        ("variable_response_bool_udp", VariableValue::Bool(true)),
        ("variable_response_int_udp", VariableValue::Int(-5)),
        ("variable_response_double_udp", VariableValue::Double(21.5)),
        ("variable_response_string_udp", VariableValue::String("hello".into())),
        ("variable_response_empty_string_udp", VariableValue::String("".into())),
        ("variable_response_int_tcp", VariableValue::Int(7)),
        ("variable_response_piggybacked_int", VariableValue::Int(7)),
    ] {
        let variable_type = match value {
            VariableValue::Bool(_) => VariableType::Bool,
            VariableValue::Double(_) => VariableType::Double,
            VariableValue::Int(_) => VariableType::Int,
            VariableValue::String(_) => VariableType::String,
        };
        let vector = named(name);
        assert_eq!(VariableValue::read(variable_type, payload(&vector)), Some(value), "{name}");
    }
}

#[test]
fn updates_are_told_apart() {
    for (name, expected) in [
        ("ota_legacy_chunk_missed", OtaRequest::ChunkMissed(ChunkMissed(&[0, 3, 0, 7, 1, 4]))),
        ("ota_legacy_update_done_from_device_classic", OtaRequest::UpdateDone(b"")),
        ("ota3_ack_none", OtaRequest::UpdateAck(UpdateAck { index: 0, bitmap: b"" })),
    ] {
        assert_eq!(request(&named(name)), Request::Ota(expected), "{name}");
    }
    let far = named("ota3_ack_2_gap_far");
    let Request::Ota(OtaRequest::UpdateAck(ack)) = request(&far) else { panic!("an ack") };
    assert_eq!(ack.index, 2);
    let there: Vec<_> = (0..100).filter(|ahead| ack.has(*ahead)).map(|i| 3 + i).collect();
    assert_eq!(there, [35, 66]);
}

#[test]
fn what_the_cloud_says_of_updates_is_read_as_a_device_reads_it() {
    let begin =
        |fast| UpdateBegin { fast, chunk_bytes: 512, file_bytes: 1300, store: 0, address: 0 };
    let start = UpdateStart {
        file_bytes: 1000,
        sha256: None,
        chunk_bytes: 512,
        discard: false,
        function: None,
    };
    let cancel = UpdateFinish { cancel: true, discard: false };
    for (name, expected) in [
        ("ota_legacy_update_begin_fast", OtaCommand::Begin(begin(true))),
        ("ota_legacy_update_begin_slow", OtaCommand::Begin(begin(false))),
        ("ota_legacy_update_done_from_server", OtaCommand::Done),
        ("ota3_update_start_minimal", OtaCommand::Start(Some(start))),
        ("ota3_cancel", OtaCommand::Finish(Some(cancel))),
    ] {
        let vector = named(name);
        assert_eq!(cloud::decode(&vector.bytes, 6200), Ok(FromCloud::Ota(expected)), "{name}");
    }
}

#[test]
fn ledger_requests_are_answered_as_long_as_there_are_no_ledgers() {
    for (name, code, answer) in [
        ("ledger_get_info_request", Code::CHANGED, [0x1a, 0]),
        ("ledger_get_data_request", Code::NOT_FOUND, [8, 4]),
        ("ledger_get_data_block1_request", Code::NOT_FOUND, [8, 4]),
        ("ledger_set_data_request", Code::NOT_FOUND, [8, 4]),
        ("ledger_set_data_block0", Code::NOT_FOUND, [8, 4]),
        ("ledger_set_data_block1", Code::NOT_FOUND, [8, 4]),
        ("ledger_subscribe_request", Code::NOT_FOUND, [8, 4]),
    ] {
        let vector = named(name);
        let packet = Packet::decode(&vector.bytes).expect(name);
        let Request::Ledger(told) = request(&vector) else { panic!("{name}") };
        let mut out = Vec::new();
        ledger::answer_unbuilt(&told, packet.message_id(), packet.token(), &mut out);
        let written = Packet::decode(&out).expect("well formed");
        assert_eq!((written.code(), written.payload), (code, &answer[..]), "{name}");
    }
    let not_found = named("ledger_error_not_found");
    let subscribe = named("ledger_subscribe_request");
    let Request::Ledger(told) = request(&subscribe) else { panic!("a ledger request") };
    let mut out = Vec::new();
    let packet = Packet::decode(&subscribe.bytes).expect("well formed");
    ledger::answer_unbuilt(&told, packet.message_id(), packet.token(), &mut out);
    assert_eq!(out, not_found.bytes);
}

#[test]
fn events_reach_their_handlers_whatever_their_form() {
    for vector in vectors().iter().filter(|v| !v.from_device && v.name.starts_with("event_")) {
        if vector.name.ends_with("ack") {
            continue;
        }
        let data = unhex(&vector.decoded["payload_hex"]);
        let path = vector.decoded["options"].as_array().expect("a list").iter();
        let path = path.filter(|option| option["number"] == 11).skip(1);
        let segments: Vec<_> = path.filter_map(|option| option["text"].as_str()).collect();
        let versions: &[u16] =
            if vector.versions == "6.2.0 only" { &[6200] } else { &[0, 3005, 6200] };
        for version in versions {
            let Ok(FromCloud::Event(event)) = cloud::decode(&vector.bytes, *version) else {
                panic!("{}", vector.name)
            };
            assert_eq!(
                (event.name, event.data),
                (segments.join("/"), &data[..]),
                "{}",
                vector.name
            );
        }
    }
}
