//! The vectors of `tests/vectors/dtls-*.json`.

use ccm::aead::inout::InOutBuf;
use ccm::consts::{U8, U12};
use ccm::{AeadInOut, Ccm, KeyInit};
use secure::dtls::prf::{Sender, key_block, master_secret, verify_data};
use secure::dtls::record::{mark_moved, mark_moved_cid};
use secure::dtls::{
    CidMode, Class, ClientHello, ContentType, Cookies, Dropped, Established, Handshake,
    HandshakeConfig, HelloOutcome, RecordNumbers, Role, ServerIdentity, Session, SessionKeys,
    classify,
};
use secure::p256::SigningKey;
use serde_json::Value;

use crate::support::{NOW, array, config, drive, hex, text, vector};

const RECORDS: &str = "dtls-prf-and-records.json";
const HANDSHAKES: [&str; 2] = ["dtls-handshake-cid.json", "dtls-handshake-nocid-move254.json"];

#[test]
fn secrets_are_derived_as_in_the_vectors() {
    let vector = vector(RECORDS);
    let master = array(&vector["master_secret"]);
    let block =
        key_block(&master, &array(&vector["client_random"]), &array(&vector["server_random"]));
    assert_eq!(*block, array(&vector["key_block"]));

    let derivation = &vector["master_secret_derivation"];
    let derived = master_secret(
        &array(&derivation["premaster"]),
        &array(&derivation["client_random"]),
        &array(&derivation["server_random"]),
    );
    assert_eq!(*derived, array(&derivation["master_secret"]));

    let finished = &vector["finished"];
    let hash = array(&finished["transcript_hash"]);
    assert_eq!(verify_data(&master, Sender::Client, &hash), array(&finished["verify_data"]));
    assert_eq!(verify_data(&master, Sender::Server, &hash), array(&finished["server_verify_data"]));
}

#[test]
fn every_isolated_record_opens() {
    let vector = vector(RECORDS);
    let records = vector["records"].as_array().unwrap();
    assert_eq!(records.len(), 12);
    for record in records {
        let name = text(&record["name"]);
        let (mut receiver, _) = ends(&vector, record);
        let mut datagram = hex(&record["datagram"]);
        let opened = receiver.open(&mut datagram).expect(name);
        assert_eq!(opened.plaintext, hex(&record["plaintext"]), "{name}");
        assert_eq!(u64::from(opened.content_type as u8), record["inner_type"], "{name}");
        assert_eq!(opened.record_number, record["sequence"].as_u64().unwrap(), "{name}");
        assert!(opened.newest, "{name}");
        let again = receiver.open(&mut hex(&record["datagram"])).map(drop);
        assert_eq!(again, Err(Dropped::Replayed), "{name}");
    }
}

#[test]
fn every_isolated_record_is_sealed_byte_for_byte() {
    let vector = vector(RECORDS);
    for record in vector["records"].as_array().unwrap() {
        let (_, mut sender) = ends(&vector, record);
        let content = ContentType::from_byte(record["inner_type"].as_u64().unwrap() as u8).unwrap();
        let mut datagram = Vec::new();
        sender.seal(content, &hex(&record["plaintext"]), &mut datagram).unwrap();
        let expected = hex(&record["datagram"]);
        match record["outer_type"].as_u64().unwrap() {
            253 => mark_moved_cid(&mut datagram),
            254 => {
                mark_moved(
                    &mut datagram,
                    expected[expected.len() - 13..][..12].try_into().unwrap(),
                );
            }
            _ => {}
        }
        assert_eq!(datagram, expected, "{}", record["name"]);
    }
}

#[test]
fn a_record_with_any_covered_byte_changed_does_not_open() {
    let vector = vector(RECORDS);
    for record in vector["records"].as_array().unwrap() {
        let (mut receiver, _) = ends(&vector, record);
        let before = receiver.to_snapshot();
        let original = hex(&record["datagram"]);
        let is_moved = original[0] == 254;
        let covered = original.len() - if is_moved { 13 } else { 0 };
        for (at, bit) in (0..covered).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut datagram = original.clone();
            datagram[at] ^= 1 << bit;
            let outcome = receiver.open(&mut datagram);
            assert!(outcome.is_err(), "{} byte {at} bit {bit}", record["name"]);
        }
        assert_eq!(receiver.to_snapshot(), before);
        assert!(receiver.open(&mut original.clone()).is_ok(), "{}", record["name"]);
    }
}

#[test]
fn a_tag_over_the_marker_byte_or_the_other_layout_is_refused() {
    let vector = vector(RECORDS);
    let records = vector["records"].as_array().unwrap();
    let cid = hex(&records[3]["cid"]);
    let head = [0, 1, 0, 0, 0, 0, 0, 2];
    let draft_05 =
        |first_byte: u8| [&head[..], &[first_byte, 0xfe, 0xfd], &cid, &[8, 0, 16]].concat();
    let rfc_9146 = [&[0xff; 8][..], &[25, 8, 25, 0xfe, 0xfd], &head, &cid, &[0, 16]].concat();
    let mut inner = [0; 16];
    inner[..5].copy_from_slice(&[0x40, 0, 0, 10, 23]);
    let outcome_with = |additional: &[u8]| {
        let datagram = seal_by_hand(&vector, &records[3], additional, &inner);
        open_once(&vector, &records[3], &datagram)
    };
    assert_eq!(outcome_with(&draft_05(25)), Ok(()));
    assert_eq!(outcome_with(&draft_05(253)), Err(Dropped::NotAuthentic));
    assert_eq!(outcome_with(&rfc_9146), Err(Dropped::NotAuthentic));
    let moved = |first_byte: u8| {
        let additional = [&head[..], &[first_byte, 0xfe, 0xfd, 0, 4]].concat();
        let datagram = seal_by_hand(&vector, &records[5], &additional, &inner[..4]);
        open_once(&vector, &records[5], &datagram)
    };
    assert_eq!(moved(23), Ok(()));
    assert_eq!(moved(254), Err(Dropped::NotAuthentic));
}

#[test]
fn an_inner_text_of_zeros_is_refused() {
    let vector = vector(RECORDS);
    let record = &vector["records"][2];
    let additional = hex(&record["aad"]);
    let datagram = seal_by_hand(&vector, record, &additional, &[0; 16]);
    assert_eq!(open_once(&vector, record, &datagram), Err(Dropped::UnknownContent));
}

#[test]
fn a_trailer_whose_length_is_not_twelve_is_refused() {
    let vector = vector(RECORDS);
    let record = &vector["records"][5];
    for length in (0..=255).filter(|length| *length != 12) {
        let mut datagram = hex(&record["datagram"]);
        *datagram.last_mut().unwrap() = length;
        assert_eq!(open_once(&vector, record, &datagram), Err(Dropped::Malformed));
        assert_eq!(classify(&datagram), Class::Noise);
    }
}

#[test]
fn the_vectors_handshakes_are_answered_byte_for_byte() {
    for name in HANDSHAKES {
        let vector = vector(name);
        let datagrams = vector["datagrams"].as_array().unwrap();
        let hello = ClientHello::parse(&hex(&datagrams[2]["hex"])).unwrap();
        let identity = identity(&vector);
        let mut handshake = Handshake::new(NOW, &hello, config_of(&vector));
        let outcome = drive(&mut handshake, &identity, |_| true);
        let flight_4: Vec<u8> = datagrams[3..7].iter().flat_map(|line| hex(&line["hex"])).collect();
        assert_eq!(outcome.sent, [flight_4], "{name}: one datagram with the same records");

        let mut established = None;
        let mut at = 7;
        while text(&datagrams[at]["direction"]) == "device->server" {
            assert!(established.is_none());
            handshake.handle_datagram(NOW, &mut hex(&datagrams[at]["hex"]));
            let outcome = drive(&mut handshake, &identity, |_| true);
            assert_eq!(outcome.failed, None);
            if let Some(session) = outcome.established {
                assert_eq!(outcome.sent, [hex(&datagrams[at + 1]["hex"])], "{name}");
                established = Some(session);
            }
            at += 1;
        }
        check_conversation(&vector, established.unwrap(), &datagrams[at + 1..]);
    }
}

fn check_conversation(vector: &Value, established: Box<Established>, datagrams: &[Value]) {
    let Established { mut session, spki, .. } = *established;
    assert_eq!(spki.as_slice(), hex(&vector["keys"]["device_public_der"]));
    assert!(datagrams.len() >= 5);
    for line in datagrams {
        let record = &line["records"][0];
        let content = hex(&record["content"]);
        let mut datagram = hex(&line["hex"]);
        if text(&line["direction"]) == "device->server" {
            let opened = session.open(&mut datagram).unwrap();
            assert_eq!(opened.plaintext, content);
            assert_eq!(u64::from(opened.content_type as u8), record["inner_type"]);
        } else {
            let mut sealed = Vec::new();
            session.seal(ContentType::ApplicationData, &content, &mut sealed).unwrap();
            assert_eq!(sealed, datagram);
        }
    }
}

#[test]
fn the_first_hello_is_answered_like_the_vector_but_with_a_shorter_cookie() {
    for name in HANDSHAKES {
        let vector = vector(name);
        let hello = hex(&vector["datagrams"][0]["hex"]);
        let cookies = Cookies::new([3; 32]);
        let peer = "192.0.2.1:5000".parse().unwrap();
        let HelloOutcome::Verify(answer) = cookies.answer(NOW, peer, &hello) else { panic!() };
        let mut expected = hex(&vector["datagrams"][1]["hex"]);
        expected.truncate(28 + 20);
        expected[28..].copy_from_slice(&answer[28..]);
        for length in [12, 16, 24, 27] {
            expected[length] -= 12;
        }
        assert_eq!(answer, expected);
    }
}

#[test]
fn the_other_records_of_the_handshake_with_cid_open_and_seal() {
    let vector = vector(HANDSHAKES[0]);
    let keys = session_keys(&vector, CidMode::Draft05);
    let numbers = RecordNumbers { next: 3, limit: 10, seen: 1 };
    let mut session = Session::resume(Role::Server, &keys, numbers);
    for record in vector["extra_server_alert_records"].as_array().unwrap() {
        let mut sealed = Vec::new();
        session.seal(ContentType::Alert, &hex(&record["inner_plaintext"]), &mut sealed).unwrap();
        assert_eq!(sealed, hex(&record["datagram"]));
    }
    let mut resumed = hex(&vector["resume_datagram_as_sent_by_3_1_to_3_3"]);
    assert_eq!(session.open(&mut resumed).unwrap().plaintext, [0x40, 0, 0, 2]);
    for record in vector["extra_device_alert_records"].as_array().unwrap() {
        let mut datagram = hex(&record["datagram"]);
        let opened = session.open(&mut datagram).unwrap();
        assert_eq!(opened.content_type, ContentType::Alert);
        assert_eq!(opened.plaintext, &hex(&record["inner_plaintext"])[..2]);
    }
}

/// The end that opens a record of the vectors, and the one that made it.
fn ends(vector: &Value, record: &Value) -> (Session, Session) {
    let cid = hex(&record["cid"]);
    let cid = cid.first_chunk().map(|cid| (CidMode::Draft05, *cid));
    let keys = SessionKeys::derive(
        &array(&vector["master_secret"]),
        &array(&vector["client_random"]),
        &array(&vector["server_random"]),
        cid,
    );
    let next = record["sequence"].as_u64().unwrap();
    let numbers = RecordNumbers { next, limit: Session::UNLIMITED, seen: 0 };
    let server = Session::resume(Role::Server, &keys, numbers);
    let client = Session::resume(Role::Client, &keys, numbers);
    if text(&record["sender"]) == "device" { (server, client) } else { (client, server) }
}

fn open_once(vector: &Value, record: &Value, datagram: &[u8]) -> Result<(), Dropped> {
    ends(vector, record).0.open(&mut datagram.to_vec()).map(drop)
}

/// The record's datagram with another inner text, sealed under `additional`.
fn seal_by_hand(vector: &Value, record: &Value, additional: &[u8], inner: &[u8]) -> Vec<u8> {
    let key: [u8; 16] = array(&vector["client_write_key"]);
    let nonce: [u8; 12] = array(&record["nonce"]);
    let mut text = inner.to_vec();
    let tag = Ccm::<aes::Aes128, U8, U12>::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), additional, InOutBuf::from(text.as_mut_slice()))
        .unwrap();
    let mut datagram = hex(&record["datagram"]);
    let start = if hex(&record["cid"]).is_empty() { 21 } else { 29 };
    datagram[start..start + text.len()].copy_from_slice(&text);
    datagram[start + text.len()..][..8].copy_from_slice(&tag);
    datagram
}

fn config_of(vector: &Value) -> HandshakeConfig {
    HandshakeConfig {
        server_random: array(&vector["secrets"]["server_random"]),
        ephemeral_secret: array(&vector["secrets"]["ecdhe_server_private"]).into(),
        cid: vector.get("cid").map_or([0; 8], array),
        ..config()
    }
}

fn session_keys(vector: &Value, mode: CidMode) -> SessionKeys {
    let secrets = &vector["secrets"];
    SessionKeys::derive(
        &array(&secrets["master_secret"]),
        &array(&secrets["client_random"]),
        &array(&secrets["server_random"]),
        Some((mode, array(&vector["cid"]))),
    )
}

fn identity(vector: &Value) -> ServerIdentity {
    let key = SigningKey::from_der(&hex(&vector["keys"]["server_private_sec1_der"])).unwrap();
    ServerIdentity::new(key, None)
}
