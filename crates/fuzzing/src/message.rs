//! Every message of devices and of the cloud, whichever way it goes.

use model::link::Transport;
use model::message::SubscriptionContent;
use protocol::coap::Packet;
use protocol::message::cloud;
use protocol::message::describe::{self, application, metrics, system};
use protocol::message::ledger::answer_unbuilt;
use protocol::message::ota::OtaCommand;
use protocol::message::{Response, content, device, function, goodbye, hello};

use crate::script::Script;

pub(crate) fn run(input: &[u8]) {
    let mut script = Script(input);
    let kind = script.byte();
    let rest = script.0;
    match kind % 8 {
        0 => application_part(rest),
        1 => metrics_part(rest),
        2 => drop((system::parse_json(rest), system::parse_protobuf(rest))),
        3 => drop(describe::parse(script.byte(), script.0)),
        4 => small(rest),
        5 => data(rest),
        _ => message(rest),
    }
}

fn message(bytes: &[u8]) {
    for version in [0, 12, 37] {
        let _ = cloud::decode(bytes, version);
    }
    let Ok(packet) = Packet::decode(bytes) else { return };
    for transport in [Transport::Tcp, Transport::Udp] {
        if let Ok(request) = device::decode(&packet, transport) {
            let _ = request.to_device_message();
            if let device::Request::Ledger(request) = request {
                let mut answer = Vec::new();
                answer_unbuilt(&request, packet.message_id(), packet.token(), &mut answer);
            }
        }
    }
    let _ = Response::read(&packet);
    let _ = OtaCommand::read(bytes, &packet);
}

fn application_part(json: &[u8]) {
    let Ok(part) = application::parse(json) else { return };
    let again = application::parse(application::to_json(&part).as_bytes());
    assert_eq!(again.as_ref(), Ok(&part));
}

fn metrics_part(payload: &[u8]) {
    let Ok(part) = metrics::parse(payload) else { return };
    assert_eq!(metrics::to_payload(&part), payload);
}

fn small(payload: &[u8]) {
    let _ = function::read_return(payload);
    if let Ok(told) = goodbye::parse(payload) {
        let mut bytes = Vec::new();
        goodbye::emit(&told, Transport::Udp, 1, &mut bytes);
        let packet = Packet::decode(&bytes).expect("a message");
        assert_eq!(goodbye::parse(packet.payload), Ok(told));
    }
    if let Ok(told) = hello::parse(payload) {
        let mut bytes = Vec::new();
        hello::emit(&told, Transport::Udp, 1, &mut bytes);
        let packet = Packet::decode(&bytes).expect("a message");
        assert!(hello::parse(packet.payload).is_ok());
    }
}

/// What subscribers get of structured data is no larger than a device could have sent by much.
fn data(bytes: &[u8]) {
    if let Some(json) = content::cbor_to_json(bytes) {
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        assert!(json.len() <= 64 + bytes.len() * 32, "{} of {}", json.len(), bytes.len());
    }
    for format in [0, 42, 50, 60, 65_001] {
        for wanted in
            [SubscriptionContent::Any, SubscriptionContent::Cbor, SubscriptionContent::Text]
        {
            let _ = content::for_handler(wanted, format, bytes);
        }
    }
}
