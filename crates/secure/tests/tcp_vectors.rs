//! Bytes from elsewhere decide: the fixed handshake and the recorded connections of Device OS 3.0.0.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::PathBuf;

use secure::keys::{KeyKind, PrivateKey, PublicKey};
use secure::tcp::{
    FrameKeys, FrameOpener, FrameSealer, HandshakeOutput, RsaServerKeys, ServerHandshake,
    SessionCredentials, device,
};
use serde_json::Value;

#[test]
fn the_vectors_handshake_is_answered_byte_for_byte() {
    let vector = vector();
    let (handshake, keys) = (&vector["handshake"], &vector["keys"]);
    let device_key = PublicKey::parse(&hex(&keys["device_public_der"])).unwrap();
    let (answer, established) = serve(
        handshake,
        &keys["server_private_pem"],
        |offered| {
            assert_eq!(offered, Some(device_key.clone()));
            device_key.clone()
        },
        &handshake["step2_device_to_server_ciphertext"],
    );
    assert_eq!(answer, hex(&handshake["step3_server_to_device"]));
    check_established(&established, handshake, &device_key);
}

#[test]
fn the_short_form_without_a_key_is_answered_like_the_long_one() {
    let vector = vector();
    let (handshake, keys) = (&vector["handshake"], &vector["keys"]);
    let device_key = PublicKey::parse(&hex(&keys["device_public_der"])).unwrap();
    let (answer, established) = serve(
        handshake,
        &keys["server_private_pem"],
        |offered| {
            assert_eq!(offered, None);
            device_key.clone()
        },
        &handshake["step2_short_ciphertext"],
    );
    assert_eq!(answer, hex(&handshake["step3_server_to_device"]));
    check_established(&established, handshake, &device_key);
}

#[test]
fn the_devices_half_makes_and_opens_the_vectors_messages() {
    let vector = vector();
    let (handshake, keys) = (&vector["handshake"], &vector["keys"]);
    let own = PrivateKey::parse(text(&keys["device_private_pem"]).as_bytes()).unwrap();
    let server = PublicKey::parse(&hex(&keys["server_public_der"])).unwrap();
    let nonce = array(&handshake["step1_server_to_device_nonce"]);
    let id = array(&handshake["device_id"]);
    let padding = hex(&handshake["step2_encoded_message"])[2..41].to_vec();
    let sealed =
        device::seal_credentials(&server, &nonce, &id, Some(own.public_key()), &mut |bytes| {
            bytes.copy_from_slice(&padding);
        });
    assert_eq!(sealed.unwrap().to_vec(), hex(&handshake["step2_device_to_server_ciphertext"]));

    let answer = array(&handshake["step3_server_to_device"]);
    let opened = device::open_answer(&own, &server, &answer).unwrap();
    assert!(opened == SessionCredentials::new(array(&handshake["session_credentials"])));
    for index in [0, 127, 128, 383] {
        let mut changed = answer;
        changed[index] ^= 1;
        assert!(device::open_answer(&own, &server, &changed).is_err(), "byte {index}");
    }
}

#[test]
fn the_vectors_frames_are_sealed_and_opened_in_both_directions() {
    let vector = vector();
    let keys =
        SessionCredentials::new(array(&vector["handshake"]["session_credentials"])).frame_keys();
    for direction in ["device_to_server", "server_to_device"] {
        let (mut opener, mut sealer) = (FrameOpener::new(&keys), FrameSealer::new(&keys));
        for frame in list(&vector["stream"][direction]) {
            let (plaintext, wire) = (hex(&frame["plaintext"]), hex(&frame["wire"]));
            check_frame(&mut opener, &mut sealer, &plaintext, &wire, text(&frame["name"]));
        }
    }
}

#[test]
fn the_recorded_basic_connection_is_understood_and_spoken_byte_for_byte() {
    assert_eq!(replay("tcp-v3-basic.jsonl"), 62);
}

#[test]
fn the_recorded_update_is_understood_and_spoken_byte_for_byte() {
    assert_eq!(replay("tcp-v3-ota.jsonl"), 154);
}

/// Plays both peers of a recording; gives the number of frames.
fn replay(name: &str) -> usize {
    let lines = recording(name);
    let (header, lines) = lines.split_first().unwrap();
    let of_kind = |kind| lines.iter().find(|line| line["kind"] == kind).unwrap();
    check_recorded_handshake(header, of_kind("device_credentials"), of_kind("session_key"));

    let keys = FrameKeys { key: array(&header["aes_key"]), iv: array(&header["aes_iv"]) };
    let mut directions = ["device", "server"]
        .map(|direction| (direction, FrameOpener::new(&keys), FrameSealer::new(&keys)));
    let frames = lines.iter().filter(|line| line["kind"] == "frame");
    frames
        .enumerate()
        .map(|(index, line)| {
            let (_, opener, sealer) =
                directions.iter_mut().find(|(name, ..)| line["dir"] == *name).unwrap();
            let (plaintext, wire) = (hex(&line["plaintext_hex"]), hex(&line["hex"]));
            check_frame(opener, sealer, &plaintext, &wire, &format!("frame {index}"));
        })
        .count()
}

/// The recorded server drew other padding than we can know, so the recorded answer is opened, and
/// ours to the recorded credentials is opened in turn; the signatures are over different bytes.
fn check_recorded_handshake(header: &Value, credentials: &Value, session_key: &Value) {
    let own = PrivateKey::parse(text(&header["device_private_key_pkcs8_pem"]).as_bytes()).unwrap();
    let server = PublicKey::parse(&hex(&header["server_public_key_der_hex"])).unwrap();
    assert_eq!(own.public_key().spki(), hex(&header["device_public_key_der_hex"]));
    let secret = SessionCredentials::new(array(&session_key["plaintext_hex"]));
    let recorded = device::open_answer(&own, &server, &array(&session_key["hex"])).unwrap();
    assert!(recorded == secret);

    let nonce = hex(&header["nonce"]);
    let mut draws = vec![vec![7; 85], hex(&session_key["plaintext_hex"]), nonce];
    let mut machine = ServerHandshake::new(&mut |bytes| {
        bytes.copy_from_slice(&draws.pop().unwrap());
    });
    let pem = &header["server_private_key_pkcs8_pem"];
    let (answer, established) =
        drive(&mut machine, pem, |offered| offered.unwrap(), &hex(&credentials["hex"]));
    let opened = device::open_answer(&own, &server, &answer.try_into().unwrap()).unwrap();
    assert!(opened == secret);
    let HandshakeOutput::Established { device_id, salt, .. } = established else { panic!() };
    assert_eq!(device_id.to_vec(), hex(&header["device_id"]));
    assert_eq!(salt.to_vec(), hex(&header["salt"]));
}

fn check_established(established: &HandshakeOutput, handshake: &Value, key: &PublicKey) {
    let HandshakeOutput::Established { device_id, device_key, keys, salt } = established else {
        panic!("{established:?}");
    };
    assert_eq!(device_id.to_vec(), hex(&handshake["device_id"]));
    assert_eq!(device_key, key);
    assert_eq!(keys.key.to_vec(), hex(&handshake["aes_key"]));
    assert_eq!(keys.iv.to_vec(), hex(&handshake["iv"]));
    assert_eq!(salt.to_vec(), hex(&handshake["salt"]));
}

/// A server whose randomness is the vector's.
fn serve(
    handshake: &Value,
    server_pem: &Value,
    key: impl Fn(Option<PublicKey>) -> PublicKey,
    ciphertext: &Value,
) -> (Vec<u8>, HandshakeOutput) {
    let nonce = hex(&handshake["step1_server_to_device_nonce"]);
    let padding = hex(&handshake["step3_encoded_message"])[2..87].to_vec();
    let mut draws = vec![padding, hex(&handshake["session_credentials"]), nonce];
    let mut machine = ServerHandshake::new(&mut |bytes| {
        bytes.copy_from_slice(&draws.pop().unwrap());
    });
    drive(&mut machine, server_pem, key, &hex(ciphertext))
}

fn drive(
    machine: &mut ServerHandshake,
    server_pem: &Value,
    key: impl Fn(Option<PublicKey>) -> PublicKey,
    ciphertext: &[u8],
) -> (Vec<u8>, HandshakeOutput) {
    let server = PrivateKey::parse(text(server_pem).as_bytes()).unwrap();
    assert_eq!(server.kind(), KeyKind::Rsa2048);
    let keys = RsaServerKeys::new(&server, None).unwrap();
    assert!(matches!(machine.poll(), Some(HandshakeOutput::Send(nonce)) if nonce.len() == 40));
    ciphertext.chunks(1).for_each(|byte| machine.handle(byte));
    let mut sent = Vec::new();
    while let Some(output) = machine.poll() {
        match output {
            HandshakeOutput::Job(job) => machine.job_done(job.run(&keys)),
            HandshakeOutput::NeedKey { offered, .. } => machine.key_known(Some(key(offered))),
            HandshakeOutput::Send(bytes) => sent = bytes,
            HandshakeOutput::Established { .. } | HandshakeOutput::Failed(_) => {
                return (sent, output);
            }
        }
    }
    panic!("the handshake stopped")
}

fn check_frame(
    opener: &mut FrameOpener,
    sealer: &mut FrameSealer,
    plaintext: &[u8],
    wire: &[u8],
    name: &str,
) {
    let mut input = wire;
    assert_eq!(opener.open(&mut input), Ok(Some(plaintext)), "{name}");
    assert!(input.is_empty(), "{name}");
    let mut sealed = Vec::new();
    sealer.seal(plaintext, &mut sealed).unwrap();
    assert_eq!(sealed, wire, "{name}");
}

fn vector() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path("tcp-handshake.json")).unwrap()).unwrap()
}

fn recording(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path("recordings").join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}
