//! Files of vectors and recordings, arithmetic with deterministic signatures, and a handshake driven
//! to its next halt.

use std::path::PathBuf;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey as Rfc6979Key};
use secure::dtls::codec::{RecordHeader, split_record};
use secure::dtls::{
    ContentType, Established, Handshake, HandshakeConfig, HandshakeFailure, HandshakeOutput,
    IdentityKey, ServerIdentity,
};
use secure::p256::{OpensslP256, P256, P256Error, Point, Scalar, SharedSecret, SigningKey};
use serde_json::Value;

pub(crate) const NOW: u64 = 1_000_000_000;

/// Answers a flight that the client repeats.
pub(crate) fn answer_repetition(
    established: &mut Established,
    mut datagram: &mut [u8],
) -> Option<Vec<u8>> {
    let Established { session, final_flight, .. } = established;
    let mut answer = Vec::new();
    while let Some((header, record, rest)) = split_record(datagram) {
        let opened = (header.epoch != 0).then(|| session.open(record));
        if let Some(Ok(opened)) = opened
            && opened.content_type == ContentType::Handshake
        {
            final_flight.repeat(session, &mut answer).unwrap();
        }
        datagram = rest;
    }
    (!answer.is_empty()).then_some(answer)
}

pub(crate) fn vector(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap()
}

/// The header and the lines of a recording.
pub(crate) fn recording(name: &str) -> (Value, Vec<Value>) {
    let text = read(&format!("recordings/{name}"));
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.next().unwrap(), lines.collect())
}

pub(crate) fn recording_names() -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("udp-"))
        .collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    names
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// The records of a datagram, each with its header.
pub(crate) fn records(datagram: &[u8]) -> Vec<(RecordHeader, Vec<u8>)> {
    let mut bytes = datagram.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut records = Vec::new();
    while let Some((header, record, after)) = split_record(rest) {
        records.push((header, record.to_vec()));
        rest = after;
    }
    records
}

/// OpenSSL, but signing by RFC 6979.
pub(crate) struct DeterministicP256(pub(crate) OpensslP256);

impl DeterministicP256 {
    pub(crate) fn new() -> Self {
        Self(OpensslP256::new().unwrap())
    }
}

impl P256 for DeterministicP256 {
    fn public_point(&self, secret: &Scalar) -> Result<Point, P256Error> {
        self.0.public_point(secret)
    }

    fn agree(&self, secret: &Scalar, peer: &Point) -> Result<SharedSecret, P256Error> {
        self.0.agree(secret, peer)
    }

    fn sign(&self, key: &SigningKey, digest: &[u8; 32]) -> Result<Vec<u8>, P256Error> {
        let key = Rfc6979Key::from_slice(key.scalar()).unwrap();
        let signature: Signature = key.sign_prehash(digest).unwrap();
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn verify(&self, key: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), P256Error> {
        self.0.verify(key, digest, signature)
    }
}

pub(crate) fn config() -> HandshakeConfig {
    HandshakeConfig {
        server_random: [0x51; 32],
        ephemeral_secret: [0x52; 32].into(),
        cid: *b"\0cid-no1",
        identity: IdentityKey::Current,
        record_limit: 1024,
        recorded_flight: None,
    }
}

/// What a handshake gave until it had to wait for the network.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) asked_for: Option<[u8; 32]>,
    pub(crate) jobs: usize,
    pub(crate) established: Option<Box<Established>>,
    pub(crate) failed: Option<HandshakeFailure>,
}

/// Runs jobs at once and knows the keys that `known` says.
pub(crate) fn drive(
    handshake: &mut Handshake,
    identity: &ServerIdentity,
    known: impl Fn(&[u8; 32]) -> bool,
) -> Outcome {
    let p256 = DeterministicP256::new();
    let mut outcome = Outcome::default();
    while let Some(output) = handshake.poll() {
        match output {
            HandshakeOutput::Send(datagram) => outcome.sent.push(datagram),
            HandshakeOutput::NeedKey { hash, .. } => {
                outcome.asked_for = Some(hash);
                handshake.key_known(known(&hash));
            }
            HandshakeOutput::Job(job) => {
                outcome.jobs += 1;
                handshake.job_done(NOW, job.run(&p256, identity));
            }
            HandshakeOutput::Established(established) => outcome.established = Some(established),
            HandshakeOutput::Failed(failure) => outcome.failed = Some(failure),
        }
    }
    outcome
}
