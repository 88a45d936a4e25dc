//! Truncated, changed and invented bytes: never a panic, never a changed session.

use proptest::prelude::*;
use secure::dtls::{ClientHello, Cookies, HelloOutcome, Role, Session, classify};
use serde_json::Value;

use crate::client::Kind;
use crate::order::{begin, up_to_flight_5};
use crate::recordings::{client_flight, identity_of, keys_of, lines_of};
use crate::support::{NOW, config, drive, hex, recording, recording_names};

#[test]
fn no_truncation_or_flipped_bit_of_a_recorded_datagram_opens_or_alters_the_session() {
    for name in recording_names() {
        let (header, lines) = recording(&name);
        for session in header["sessions"].as_array().unwrap() {
            let device = lines_of(&lines, session).into_iter().filter(|line| is_record(line));
            for line in device {
                attack_session(&name, session, &hex(&line["hex"]));
            }
        }
    }
}

fn is_record(line: &Value) -> bool {
    line["dir"] == "device" && line["records"][0]["epoch"] == 1
}

fn attack_session(name: &str, session: &Value, datagram: &[u8]) {
    let mut server = Session::new(Role::Server, &keys_of(session), 1024);
    let before = server.to_snapshot();
    let trailer = if datagram[0] == 254 { 13 } else { 0 };
    let mut changed = Vec::with_capacity(datagram.len());
    for at in 0..datagram.len() {
        // All lengths of small datagrams, a sample of large ones.
        if datagram.len() < 200 || at % 13 == 0 {
            changed.clear();
            changed.extend_from_slice(&datagram[..at]);
            classify(&changed);
            assert!(server.open(&mut changed).is_err(), "{name}, first {at} bytes");
        }
        changed.clear();
        changed.extend_from_slice(datagram);
        changed[at] ^= 1 << (at % 8);
        classify(&changed);
        if at < datagram.len() - trailer {
            assert!(server.open(&mut changed).is_err(), "{name}, byte {at}");
        }
    }
    assert_eq!(server.to_snapshot(), before, "{name}");
    assert!(server.open(&mut datagram.to_vec()).unwrap().newest, "{name}");
}

#[test]
fn no_change_to_a_recorded_flight_5_establishes_another_session_than_the_recorded_one() {
    for name in ["udp-v6-basic.jsonl", "udp-v3-basic.jsonl"] {
        let (header, lines) = recording(name);
        let session = &header["sessions"][0];
        let of_session = lines_of(&lines, session);
        let identity = identity_of(&header);
        let flight = client_flight(&of_session).remove(0);
        let genuine = keys_of(session);
        for (at, cut) in (0..flight.len()).flat_map(|at| [(at, false), (at, true)]) {
            let mut changed = flight.clone();
            if cut {
                changed.truncate(at);
            } else {
                changed[at] ^= 1 << (at % 8);
            }
            let mut handshake = crate::recordings::begin(session, &of_session);
            handshake.handle_datagram(NOW, &mut changed);
            let outcome = drive(&mut handshake, &identity, |_| true);
            if let Some(established) = outcome.established {
                let keys = established.session.keys();
                assert!(keys.key_block == genuine.key_block, "{name} byte {at}");
                assert_eq!(established.spki.as_slice(), hex(&header["device_public_key_der_hex"]));
            }
        }
    }
}

#[test]
fn no_truncation_or_flipped_bit_of_a_hello_panics_and_none_keeps_its_cookie_good_for_another() {
    let cookies = Cookies::new([9; 32]);
    let peer = "192.0.2.1:5000".parse().unwrap();
    for name in recording_names() {
        let (_, lines) = recording(&name);
        let hellos = lines.iter().filter(|line| line["records"][0]["handshake"] == "ClientHello");
        for line in hellos {
            let original = hex(&line["hex"]);
            for at in 0..original.len() {
                let mut changed = original.clone();
                changed[at] ^= 1 << (at % 8);
                for bytes in [&changed[..], &original[..at]] {
                    let _ = ClientHello::parse(bytes);
                    let outcome = cookies.answer(NOW, peer, bytes);
                    assert!(!matches!(outcome, HelloOutcome::Accepted(_)), "{name} byte {at}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn invented_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), head in 0..6_usize) {
        let mut bytes = bytes;
        let heads: [&[u8]; 6] = [
            &[],
            &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0],
            &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0],
            &[25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, b'c', b'i', b'd', b'-', b'n', b'o', b'1', 0],
            &[254, 0xfe, 0xfd, 0, 1],
            &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 40, 11, 0, 0, 94, 0, 2, 0, 0],
        ];
        bytes.splice(0..0, heads[head].iter().copied());
        classify(&bytes);
        let _ = ClientHello::parse(&bytes);
        let (mut waiting, _) = up_to_flight_5(Kind::DeviceWithCid);
        waiting.handle_datagram(NOW, &mut bytes.clone());
        while waiting.poll().is_some() {}
        let (mut signing, _) = begin(Kind::Device, config());
        signing.handle_datagram(NOW, &mut bytes.clone());
        while signing.poll().is_some() {}
    }
}
