//! Handshakes that go another way than the recorded ones: refused, repeated, in pieces, out of order.

use std::net::SocketAddr;

use secure::dtls::codec::{
    ContentType, HANDSHAKE_HEADER_BYTES, HandshakeHeader, Reader, write_plain_record,
};
use secure::dtls::{
    Class, Cookies, Dropped, Handshake, HandshakeConfig, HandshakeFailure, HelloOutcome,
    IdentityKey, ServerIdentity, classify,
};
use secure::p256::{OpensslP256, P256, P256Error, SigningKey, point_of_spki};
use sha2::{Digest, Sha256};

use crate::client::{Client, Kind};
use crate::support::{
    DeterministicP256, NOW, answer_repetition, config, drive, hex, records, vector,
};

#[test]
fn a_cookie_is_good_for_its_address_and_about_a_minute() {
    let cookies = Cookies::new([9; 32]);
    let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let hello = second_hello_to(&cookies, peer, NOW);
    let is_accepted = |now, peer: &str| {
        matches!(cookies.answer(now, peer.parse().unwrap(), &hello), HelloOutcome::Accepted(_))
    };
    assert!(is_accepted(NOW, "192.0.2.1:5000"));
    assert!(is_accepted(NOW + 60_000_000, "192.0.2.1:5000"));
    assert!(is_accepted(NOW, "[::ffff:192.0.2.1]:5000"), "the same address on a dual socket");
    assert!(!is_accepted(NOW + 120_000_000, "192.0.2.1:5000"));
    assert!(!is_accepted(NOW, "192.0.2.1:5001"));
    assert!(!is_accepted(NOW, "192.0.2.2:5000"));
    let others = Cookies::new([8; 32]);
    assert!(matches!(others.answer(NOW, peer, &hello), HelloOutcome::Verify(_)));
}

#[test]
fn a_hello_without_the_suite_or_raw_keys_is_refused_with_an_alert_once_its_address_is_proven() {
    let vector = vector("dtls-handshake-cid.json");
    let original = hex(&vector["datagrams"][0]["hex"]);
    let last = original.len() - 1;
    for (at, value) in [(64, 0xc0 ^ 1), (last, 0), (92, 24)] {
        let mut hello = original.clone();
        hello[at] = value;
        let cookies = Cookies::new([9; 32]);
        let peer = "192.0.2.1:5000".parse().unwrap();
        let HelloOutcome::Verify(_) = cookies.answer(NOW, peer, &hello) else { panic!("{at}") };
        let proven = with_cookie(&cookies, peer, NOW, &hello);
        match cookies.answer(NOW, peer, &proven) {
            HelloOutcome::Refused(alert) => assert_eq!(alert[13..], [2, 40], "byte {at}"),
            _ => panic!("byte {at}"),
        }
    }
}

#[test]
fn the_server_proves_itself_with_the_key_it_is_told_to_use() {
    let keys = || [[3; 32], [4; 32]].map(|scalar| SigningKey::from_scalar(&scalar).unwrap());
    let [current, previous] = keys();
    let identity = ServerIdentity::new(current, Some(previous));
    for (which, signer, other) in [(IdentityKey::Current, 0, 1), (IdentityKey::Previous, 1, 0)] {
        let (mut handshake, _) =
            begin(Kind::Device, HandshakeConfig { identity: which, ..config() });
        let flight = drive(&mut handshake, &identity, |_| true).sent.remove(0);
        let (_, exchange) = &records(&flight)[1];
        let body = &exchange[25..];
        let digest = Sha256::digest([&[7; 32], &[0x51; 32], &body[..69]].concat()).into();
        let p256 = OpensslP256::new().unwrap();
        assert_eq!(p256.verify(keys()[signer].point(), &digest, &body[73..]), Ok(()));
        assert!(p256.verify(keys()[other].point(), &digest, &body[73..]).is_err());
    }
}

#[test]
fn a_repeated_hello_is_answered_with_the_same_messages_under_fresh_record_numbers() {
    let (mut handshake, mut client) = begin(Kind::Device, config());
    let first = drive(&mut handshake, &identity(), |_| true).sent.remove(0);
    client.send(NOW);
    handshake.handle_datagram(NOW, &mut client.outputs.pop().unwrap());
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert_eq!(outcome.jobs, 0);
    let (first, second) = (records(&first), records(&outcome.sent[0]));
    let highest = first.last().unwrap().0.number;
    assert!(second.iter().all(|(header, _)| header.number > highest));
    for ((_, first), (_, second)) in first.iter().zip(&second) {
        assert_eq!(first[13..], second[13..]);
    }
}

#[test]
fn a_hello_of_another_client_does_not_repeat_the_flight() {
    let (mut handshake, _) = begin(Kind::Device, config());
    drive(&mut handshake, &identity(), |_| true);
    let mut other = Client::new(Kind::Device, 8);
    other.start(NOW);
    handshake.handle_datagram(NOW, &mut other.outputs.pop().unwrap());
    assert!(drive(&mut handshake, &identity(), |_| true).sent.is_empty());
}

#[test]
fn an_alert_of_epoch_0_ends_the_handshake_but_not_the_session() {
    let (mut handshake, _) = begin(Kind::Device, config());
    drive(&mut handshake, &identity(), |_| true);
    let mut alert = Vec::new();
    write_plain_record(ContentType::Alert, 9, &[2, 51], &mut alert);
    handshake.handle_datagram(NOW, &mut alert.clone());
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert_eq!(outcome.failed, Some(HandshakeFailure::Alert(51)));
    assert_eq!(handshake.next_timeout(), None);

    let mut session = complete(Kind::Device).0;
    let before = session.to_snapshot();
    assert_eq!(classify(&alert), Class::Plain);
    assert_eq!(session.open(&mut alert), Err(Dropped::WrongEpoch));
    assert_eq!(session.to_snapshot(), before);
}

#[test]
fn a_warning_is_ignored() {
    let (mut handshake, _) = begin(Kind::Device, config());
    drive(&mut handshake, &identity(), |_| true);
    let mut alert = Vec::new();
    write_plain_record(ContentType::Alert, 9, &[1, 90], &mut alert);
    handshake.handle_datagram(NOW, &mut alert);
    assert_eq!(drive(&mut handshake, &identity(), |_| true).failed, None);
}

#[test]
fn flight_5_may_come_in_pieces_and_out_of_order() {
    let (mut handshake, flight) = up_to_flight_5(Kind::DeviceWithCid);
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let records = records(&flight);
    for (header, record) in &records {
        if header.epoch == 1 || header.first_byte != 22 {
            pieces.push(record.clone());
            continue;
        }
        for fragment in fragments(&record[13..], 40) {
            let mut piece = Vec::new();
            write_plain_record(
                ContentType::Handshake,
                100 + pieces.len() as u64,
                &fragment,
                &mut piece,
            );
            pieces.push(piece);
        }
    }
    // The messages in reverse, each with its own fragments in order; the Finished first of all.
    pieces.sort_by_key(|piece| {
        std::cmp::Reverse(match (piece[0], piece[4]) {
            (20, _) => 0,
            (_, 1) => u16::MAX,
            _ => u16::from_be_bytes([piece[17], piece[18]]),
        })
    });
    let mut done = None;
    for piece in &mut pieces {
        handshake.handle_datagram(NOW, piece);
        let outcome = drive(&mut handshake, &identity(), |_| true);
        assert_eq!(outcome.failed, None);
        done = done.or(outcome.established);
    }
    assert!(done.is_some());
}

#[test]
fn the_end_of_the_handshake_is_repeated_under_fresh_numbers_of_both_epochs() {
    for kind in [Kind::Device, Kind::DeviceWithCid] {
        let (mut handshake, mut client) = begin(kind, config());
        let mut flight = drive(&mut handshake, &identity(), |_| true).sent.remove(0);
        client.handle(NOW, &mut flight);
        handshake.handle_datagram(NOW, &mut client.outputs.pop().unwrap());
        let mut outcome = drive(&mut handshake, &identity(), |_| true);
        let mut established = outcome.established.unwrap();
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let last = outcome.sent.pop().unwrap();
            numbers.extend(records(&last).iter().map(|(header, _)| (header.epoch, header.number)));
            client.send(NOW);
            let mut repeated = client.outputs.pop().unwrap();
            let answer = answer_repetition(&mut established, &mut repeated.clone());
            outcome.sent.push(answer.unwrap());
            assert_eq!(answer_repetition(&mut established, &mut repeated), None, "a copy");
        }
        assert_eq!(numbers, [(0, 5), (1, 0), (0, 6), (1, 1), (0, 7), (1, 2)], "{kind:?}");
    }
}

#[test]
fn a_client_that_does_not_hold_its_key_is_refused() {
    let (mut handshake, flight) = up_to_flight_5(Kind::Device);
    let outcome = with_byte_flipped(&mut handshake, &flight, 2, 60);
    assert_eq!(outcome.failed, Some(HandshakeFailure::BadSignature));
    assert_eq!(alert_in(&outcome.sent), Some(51));
}

#[test]
fn a_share_that_is_not_on_the_curve_is_refused() {
    let (mut handshake, mut client) = begin(Kind::Device, config());
    client.spoils_its_share = true;
    let mut flight = drive(&mut handshake, &identity(), |_| true).sent.remove(0);
    client.handle(NOW, &mut flight);
    handshake.handle_datagram(NOW, &mut client.outputs.pop().unwrap());
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert_eq!(outcome.failed, Some(HandshakeFailure::BadKeyExchange));
    assert_eq!(alert_in(&outcome.sent), Some(47));
}

#[test]
fn only_uncompressed_points_of_the_curve_are_multiplied() {
    let p256 = OpensslP256::new().unwrap();
    let mut point = p256.public_point(&[5; 32]).unwrap();
    assert!(p256.agree(&[6; 32], &point).is_ok());
    point[40] ^= 1;
    assert_eq!(p256.agree(&[6; 32], &point), Err(P256Error::BadPoint));
    assert_eq!(p256.agree(&[6; 32], &[0; 65]), Err(P256Error::BadPoint));
    point[0] = 6;
    assert_eq!(p256.agree(&[6; 32], &point), Err(P256Error::BadPoint));
}

#[test]
fn a_certificate_of_another_shape_is_refused() {
    let (mut handshake, _) = up_to_flight_5(Kind::Device);
    let mut empty = Vec::new();
    let mut message = HandshakeHeader::whole(11, 2, 3).to_bytes().to_vec();
    message.extend_from_slice(&[0, 0, 0]);
    write_plain_record(ContentType::Handshake, 50, &message, &mut empty);
    handshake.handle_datagram(NOW, &mut empty);
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert_eq!(outcome.failed, Some(HandshakeFailure::BadCertificate));
    assert_eq!(alert_in(&outcome.sent), Some(40));
}

#[test]
fn a_message_out_of_turn_ends_the_handshake() {
    let (mut handshake, flight) = up_to_flight_5(Kind::Device);
    let (_, exchange) = &records(&flight)[1];
    let mut early = exchange.clone();
    early[18] -= 1;
    handshake.handle_datagram(NOW, &mut early);
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert_eq!(outcome.failed, Some(HandshakeFailure::UnexpectedMessage));
    assert_eq!(alert_in(&outcome.sent), Some(10));
}

#[test]
fn a_finished_that_does_not_open_is_noise_and_the_right_one_still_counts() {
    let (mut handshake, flight) = up_to_flight_5(Kind::DeviceWithCid);
    let mut spoiled = flight.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    handshake.handle_datagram(NOW, &mut spoiled);
    let outcome = drive(&mut handshake, &identity(), |_| true);
    assert!(outcome.failed.is_none() && outcome.established.is_none() && outcome.sent.is_empty());
    handshake.handle_datagram(NOW, &mut flight.clone());
    assert!(drive(&mut handshake, &identity(), |_| true).established.is_some());
}

#[test]
fn with_a_connection_id_agreed_records_without_are_refused() {
    let (mut session, client) = complete(Kind::DeviceWithCid);
    let mut plain_keys = client.keys();
    plain_keys.cid_mode = secure::dtls::CidMode::None;
    let mut plain = secure::dtls::Session::new(secure::dtls::Role::Client, &plain_keys, 10);
    let mut record = Vec::new();
    plain.seal(ContentType::ApplicationData, b"hello", &mut record).unwrap();
    assert_eq!(session.open(&mut record), Err(Dropped::WrongType));
}

#[test]
fn scalars_out_of_range_are_refused_and_both_implementations_agree() {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let order: [u8; 32] = order.unwrap().try_into().unwrap();
    let p256 = OpensslP256::new().unwrap();
    for scalar in [[0; 32], order, [0xff; 32]] {
        assert_eq!(p256.public_point(&scalar), Err(P256Error::BadKey));
        assert!(SigningKey::from_scalar(&scalar).is_err());
    }
    let key = SigningKey::from_scalar(&[7; 32]).unwrap();
    let other = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    assert_eq!(key.point().as_slice(), other.verifying_key().to_sec1_point(false).as_bytes());
    let signature = DeterministicP256::new().sign(&key, &[1; 32]).unwrap();
    assert_eq!(p256.verify(key.point(), &[1; 32], &signature), Ok(()));
    let signature = p256.sign(&key, &[1; 32]).unwrap();
    assert_eq!(p256.verify(key.point(), &[1; 32], &signature), Ok(()));
    assert_eq!(p256.verify(key.point(), &[2; 32], &signature), Err(P256Error::BadSignature));
    assert_eq!(p256.verify(key.point(), &[1; 32], &signature[1..]), Err(P256Error::BadSignature));
    assert_eq!(point_of_spki(&secure::p256::spki_of_point(key.point())), Some(*key.point()));
}

fn identity() -> ServerIdentity {
    ServerIdentity::new(SigningKey::from_scalar(&[3; 32]).unwrap(), None)
}

/// A handshake after the good cookie, and its client.
pub(crate) fn begin(kind: Kind, config: HandshakeConfig) -> (Handshake, Client) {
    let cookies = Cookies::new([9; 32]);
    let peer = "192.0.2.1:5000".parse().unwrap();
    let mut client = Client::new(kind, 7);
    client.start(NOW);
    let first = client.outputs.pop().unwrap();
    let HelloOutcome::Verify(mut answer) = cookies.answer(NOW, peer, &first) else { panic!() };
    client.handle(NOW, &mut answer);
    let second = client.outputs.pop().unwrap();
    let HelloOutcome::Accepted(hello) = cookies.answer(NOW, peer, &second) else { panic!() };
    (Handshake::new(NOW, &hello, config), client)
}

/// A handshake that waits for flight 5, and that flight.
pub(crate) fn up_to_flight_5(kind: Kind) -> (Handshake, Vec<u8>) {
    let (mut handshake, mut client) = begin(kind, config());
    let mut flight = drive(&mut handshake, &identity(), |_| true).sent.remove(0);
    client.handle(NOW, &mut flight);
    (handshake, client.outputs.pop().unwrap())
}

fn complete(kind: Kind) -> (secure::dtls::Session, secure::dtls::Session) {
    let (mut handshake, mut client) = begin(kind, config());
    let mut flight = drive(&mut handshake, &identity(), |_| true).sent.remove(0);
    client.handle(NOW, &mut flight);
    handshake.handle_datagram(NOW, &mut client.outputs.pop().unwrap());
    let expected = client.key_hash();
    let mut outcome = drive(&mut handshake, &identity(), |hash| *hash == expected);
    client.handle(NOW, &mut outcome.sent[0]);
    assert!(client.is_done);
    (outcome.established.unwrap().session, client.session.unwrap())
}

fn second_hello_to(cookies: &Cookies, peer: SocketAddr, now: u64) -> Vec<u8> {
    let vector = vector("dtls-handshake-cid.json");
    with_cookie(cookies, peer, now, &hex(&vector["datagrams"][0]["hex"]))
}

/// The hello again, with the cookie it is given.
fn with_cookie(cookies: &Cookies, peer: SocketAddr, now: u64, hello: &[u8]) -> Vec<u8> {
    let HelloOutcome::Verify(answer) = cookies.answer(now, peer, hello) else { panic!() };
    let mut second = hello.to_vec();
    second[60] = 20;
    second.splice(61..61, answer[28..].iter().copied());
    for length in [12, 16, 24] {
        second[length] += 20;
    }
    second
}

fn fragments(message: &[u8], most: usize) -> Vec<Vec<u8>> {
    let whole = HandshakeHeader::read(&mut Reader::new(message)).unwrap();
    let body = &message[HANDSHAKE_HEADER_BYTES..];
    body.chunks(most)
        .enumerate()
        .map(|(index, part)| {
            let header = HandshakeHeader {
                fragment_offset: index * most,
                fragment_length: part.len(),
                ..whole
            };
            [&header.to_bytes()[..], part].concat()
        })
        .collect()
}

fn with_byte_flipped(
    handshake: &mut Handshake,
    flight: &[u8],
    record: usize,
    at: usize,
) -> crate::support::Outcome {
    let before: usize = records(flight)[..record].iter().map(|(_, bytes)| bytes.len()).sum();
    let mut flight = flight.to_vec();
    flight[before + at] ^= 1;
    handshake.handle_datagram(NOW, &mut flight);
    drive(handshake, &identity(), |_| true)
}

fn alert_in(sent: &[Vec<u8>]) -> Option<u8> {
    let record = sent.last()?;
    (record[0] == 21 && record[13] == 2).then_some(record[14])
}
