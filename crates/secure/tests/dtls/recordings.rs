//! Conversations of real Device OS 3.0.0 and 6.2.0, replayed through the engine.

use std::collections::BTreeMap;

use secure::dtls::codec::{HandshakeHeader, Reader, handshake_type};
use secure::dtls::{
    CidMode, Class, ClientHello, ContentType, Dropped, Established, Handshake, HandshakeConfig,
    RecordNumbers, Role, ServerIdentity, Session, SessionKeys, classify,
};
use secure::p256::SigningKey;
use serde_json::Value;

use crate::support::{NOW, array, config, drive, hex, recording, recording_names, records, text};

#[test]
fn every_record_of_every_recording_opens_to_the_recorded_plaintext() {
    let mut opened_count = 0;
    for name in recording_names() {
        let (header, lines) = recording(&name);
        let mut ends = Ends::new(&header);
        for (line, record, expected) in protected_records(&lines) {
            let receiver = ends.receiver(line);
            let mut bytes = record.clone();
            let opened = receiver.open(&mut bytes).expect(&name);
            assert_eq!(opened.plaintext, hex(&expected["plaintext_hex"]), "{name}");
            let inner = expected["content_type_inner"].as_u64().unwrap();
            assert_eq!(u64::from(opened.content_type as u8), inner, "{name}");
            opened_count += 1;
        }
        for (line, record, _) in protected_records(&lines) {
            let again = ends.receiver(line).open(&mut record.clone()).map(drop);
            assert_eq!(again, Err(Dropped::Replayed), "{name}");
        }
    }
    assert_eq!(opened_count, 1459);
}

#[test]
fn sealing_the_recorded_plaintexts_gives_the_recorded_bytes() {
    for name in recording_names() {
        let (header, lines) = recording(&name);
        for (line, record, expected) in protected_records(&lines) {
            let session = &header["sessions"][line["session"].as_u64().unwrap() as usize - 1];
            let next = expected["seq"].as_u64().unwrap();
            let numbers = RecordNumbers { next, limit: Session::UNLIMITED, seen: 0 };
            let mut sender = Session::resume(sender_role(line), &keys_of(session), numbers);
            let content =
                ContentType::from_byte(expected["content_type_inner"].as_u64().unwrap() as u8);
            let mut sealed = Vec::new();
            sender.seal(content.unwrap(), &hex(&expected["plaintext_hex"]), &mut sealed).unwrap();
            // Byte 0 may be marked, and a trailer may stand behind the record.
            assert_eq!(sealed[1..], record[1..sealed.len()], "{name}");
        }
    }
}

#[test]
fn every_recorded_handshake_is_finished_with_the_recorded_bytes() {
    let mut finished = 0;
    for name in recording_names() {
        let (header, lines) = recording(&name);
        for session in header["sessions"].as_array().unwrap() {
            let of_session = lines_of(&lines, session);
            let (established, last_flight) = replay_handshake(&header, session, &of_session);
            let (_, last_record) = last_flight.last().unwrap();
            let recorded = of_session.iter().find_map(|line| server_finished(line));
            assert_eq!(Some(last_record), recorded.as_ref(), "{name}");
            check_traffic(&name, *established, &of_session);
            finished += 1;
        }
    }
    assert!(finished >= 17, "{finished}");
}

/// Every later record of the device opens in the session that came out of the replayed handshake.
fn check_traffic(name: &str, established: Established, lines: &[&Value]) {
    let mut session = established.session;
    for (line, record, expected) in protected_records(lines.iter().copied()) {
        if line["dir"] == "device" && expected["seq"] != 0 {
            let mut bytes = record.clone();
            let opened = session.open(&mut bytes).expect(name);
            assert_eq!(opened.plaintext, hex(&expected["plaintext_hex"]), "{name}");
        }
    }
}

#[test]
fn a_resumed_session_is_found_from_its_new_ports_and_moves_there() {
    for (name, marker) in [("udp-v6-resume.jsonl", 253), ("udp-v3-resume.jsonl", 254)] {
        let (header, lines) = recording(name);
        let first = &header["sessions"][0];
        let device_id: [u8; 12] = array(&header["device_id"]);
        let mut session = Session::new(Role::Server, &keys_of(first), 1024);
        let mut marked_from = BTreeMap::new();
        for line in lines_of(&lines, first).into_iter().filter(|line| line["dir"] == "device") {
            let mut datagram = hex(&line["hex"]);
            let peer = line["peer"].as_u64().unwrap();
            if datagram[0] == marker {
                let found = match classify(&datagram) {
                    Class::Cid(cid) => Some(cid) == session.cid(),
                    Class::Moved(id) => id == device_id,
                    _ => false,
                };
                assert!(found, "{name}");
                *marked_from.entry(peer).or_insert(0) += 1;
            }
            if datagram[4] == 1 {
                let is_first_from_peer = session.record_seen() == 0;
                // As if the server had been restarted before each record.
                let seen = session.record_seen();
                if !is_first_from_peer {
                    session = Session::from_snapshot(&*session.to_snapshot(), 0, seen).unwrap();
                }
                assert!(session.open(&mut datagram).unwrap().newest, "{name}");
            }
        }
        let peers: Vec<_> = marked_from.keys().copied().collect();
        assert_eq!(peers, [2, 3], "{name}: {marked_from:?}");
    }
}

#[test]
fn a_recorded_stranger_is_told_to_go_away_before_any_arithmetic() {
    let (header, lines) = recording("udp-v6-basic.jsonl");
    let session = &header["sessions"][0];
    let of_session = lines_of(&lines, session);
    let identity = identity_of(&header);
    let mut handshake = begin(session, &of_session);
    drive(&mut handshake, &identity, |_| false);
    handshake.handle_datagram(NOW, &mut client_flight(&of_session)[0].clone());
    let outcome = drive(&mut handshake, &identity, |_| false);
    assert_eq!(outcome.jobs, 0);
    let hash = outcome.asked_for.unwrap();
    assert_eq!(outcome.failed, Some(secure::dtls::HandshakeFailure::UnknownKey(hash)));
    let (alert, bytes) = &records(&outcome.sent[0])[0];
    assert_eq!((alert.first_byte, alert.epoch), (21, 0));
    assert_eq!(bytes[13..], [2, 49]);
}

/// Replays a handshake with the recorded server flight; gives the last datagram's records too.
fn replay_handshake(
    header: &Value,
    session: &Value,
    lines: &[&Value],
) -> (Box<Established>, Vec<(secure::dtls::codec::RecordHeader, Vec<u8>)>) {
    let identity = identity_of(header);
    let mut handshake = begin(session, lines);
    let outcome = drive(&mut handshake, &identity, |_| true);
    assert_eq!(outcome.sent.len(), 1, "the recorded flight leaves at once");
    let sent: Vec<u8> =
        records(&outcome.sent[0]).iter().flat_map(|(_, record)| record[13..].to_vec()).collect();
    assert_eq!(sent, server_flight(lines));
    for mut datagram in client_flight(lines) {
        handshake.handle_datagram(NOW, &mut datagram);
        let outcome = drive(&mut handshake, &identity, |_| true);
        assert_eq!(outcome.failed, None);
        if let Some(established) = outcome.established {
            assert_eq!(established.spki.as_slice(), hex(&header["device_public_key_der_hex"]));
            return (established, records(outcome.sent.last().unwrap()));
        }
    }
    panic!("the recorded flight does not finish the handshake");
}

pub(crate) fn begin(session: &Value, lines: &[&Value]) -> Handshake {
    let hello = ClientHello::parse(&second_hello(lines)).unwrap();
    let config = HandshakeConfig {
        server_random: array(&session["server_random"]),
        ephemeral_secret: array(&session["server_ecdhe_private_hex"]).into(),
        cid: if session["cid"].is_null() { [0; 8] } else { array(&session["cid"]) },
        recorded_flight: Some(server_flight(lines)),
        ..config()
    };
    Handshake::new(NOW, &hello, config)
}

pub(crate) fn identity_of(header: &Value) -> ServerIdentity {
    let pem = text(&header["server_private_key_pkcs8_pem"]);
    ServerIdentity::new(SigningKey::from_pem(pem.as_bytes()).unwrap(), None)
}

pub(crate) fn keys_of(session: &Value) -> SessionKeys {
    let cid = (!session["cid"].is_null()).then(|| (CidMode::Draft05, array(&session["cid"])));
    SessionKeys::derive(
        &array(&session["master_secret"]),
        &array(&session["client_random"]),
        &array(&session["server_random"]),
        cid,
    )
}

pub(crate) fn lines_of<'a>(lines: &'a [Value], session: &Value) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["session"] == session["session"]).collect()
}

/// The last hello with a cookie.
pub(crate) fn second_hello(lines: &[&Value]) -> Vec<u8> {
    let last = lines.iter().rfind(|line| line["records"][0]["handshake"] == "ClientHello");
    hex(&last.unwrap()["hex"])
}

/// ServerHello to ServerHelloDone, each once.
fn server_flight(lines: &[&Value]) -> Vec<u8> {
    let mut messages = BTreeMap::new();
    for line in lines.iter().filter(|line| line["dir"] == "server") {
        for (header, record) in records(&hex(&line["hex"])) {
            let message = record[header.header_bytes()..].to_vec();
            let is_handshake = header.epoch == 0 && header.first_byte == 22;
            let Some(of) = HandshakeHeader::read(&mut Reader::new(&message)) else { continue };
            if is_handshake && of.message_type != handshake_type::HELLO_VERIFY_REQUEST {
                messages.insert(of.message_seq, message);
            }
        }
    }
    messages.into_values().flatten().collect()
}

/// The datagrams of the device from its Certificate to its Finished.
pub(crate) fn client_flight(lines: &[&Value]) -> Vec<Vec<u8>> {
    lines
        .iter()
        .filter(|line| line["dir"] == "device" && line["records"][0]["handshake"] == "Certificate")
        .map(|line| hex(&line["hex"]))
        .collect()
}

fn server_finished(line: &Value) -> Option<Vec<u8>> {
    if line["dir"] != "server" {
        return None;
    }
    let records = records(&hex(&line["hex"]));
    records
        .into_iter()
        .find(|(header, _)| header.epoch == 1 && header.first_byte == 22)
        .map(|r| r.1)
}

/// Each protected record with its line and its description.
fn protected_records<'a>(
    lines: impl IntoIterator<Item = &'a Value>,
) -> Vec<(&'a Value, Vec<u8>, &'a Value)> {
    let mut found = Vec::new();
    for line in lines.into_iter().filter(|line| line.get("hex").is_some()) {
        let datagram = hex(&line["hex"]);
        let descriptions = line["records"].as_array().unwrap();
        for ((header, mut record), described) in records(&datagram).into_iter().zip(descriptions) {
            if header.first_byte == 254 {
                record = datagram.clone();
            }
            if header.epoch == 1 {
                found.push((line, record, described));
            }
        }
    }
    found
}

fn sender_role(line: &Value) -> Role {
    if line["dir"] == "device" { Role::Client } else { Role::Server }
}

/// Both ends of all sessions of a recording.
struct Ends {
    sessions: Vec<(Session, Session)>,
}

impl Ends {
    fn new(header: &Value) -> Self {
        let sessions = header["sessions"].as_array().unwrap().iter().map(|session| {
            let keys = keys_of(session);
            (Session::new(Role::Server, &keys, 0), Session::new(Role::Client, &keys, 0))
        });
        Self { sessions: sessions.collect() }
    }

    fn receiver(&mut self, line: &Value) -> &mut Session {
        let (server, client) = &mut self.sessions[line["session"].as_u64().unwrap() as usize - 1];
        if line["dir"] == "device" { server } else { client }
    }
}
