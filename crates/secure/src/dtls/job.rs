//! The public-key work of a handshake, to be run off the packet path: 0.05 ms for flight 4, 0.2 ms
//! for flight 5.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::codec::CURVE_SECP256R1;
use super::prf::{self, KeyBlock, MasterSecret};
use crate::p256::{P256, P256Error, Point, SPKI_BYTES, Scalar, SigningKey, spki_of_point};

/// Longest DER of an ECDSA signature on P-256: two numbers of 33 bytes with their headers.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 72;
/// `03 0017 41 ‖ point`
pub(crate) const KEY_EXCHANGE_PARAMS_BYTES: usize = 69;

/// The keys that prove the cloud to devices.
pub struct ServerIdentity {
    current: SigningKey,
    previous: Option<SigningKey>,
}

impl ServerIdentity {
    /// During a rotation some devices still hold the public half of the `previous` key.
    pub fn new(current: SigningKey, previous: Option<SigningKey>) -> Self {
        Self { current, previous }
    }

    /// The current key stands in where there is no previous one.
    pub fn key(&self, which: IdentityKey) -> &SigningKey {
        match which {
            IdentityKey::Current => &self.current,
            IdentityKey::Previous => self.previous.as_ref().unwrap_or(&self.current),
        }
    }
}

/// Which key of the [`ServerIdentity`] signs a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityKey {
    /// The one devices should hold.
    #[default]
    Current,
    /// For a device that refused the current one with alert 51.
    Previous,
}

/// A piece of public-key work of one handshake.
pub struct Job(pub(crate) Task);

/// The result of a [`Job`], for the handshake that gave it out.
pub struct JobDone(pub(crate) Done);

impl Job {
    /// Does the work; takes up to half a millisecond.
    pub fn run(self, p256: &dyn P256, identity: &ServerIdentity) -> JobDone {
        JobDone(match self.0 {
            Task::Answer(task) => Done::Answered(task.run(p256, identity)),
            Task::Verify(task) => Done::Verified(task.run(p256)),
        })
    }
}

pub(crate) enum Task {
    Answer(AnswerTask),
    Verify(Box<VerifyTask>),
}

pub(crate) enum Done {
    Answered(Result<ServerKey, P256Error>),
    Verified(Result<Box<Secrets>, P256Error>),
}

/// Flight 4: our half of the key exchange, signed.
pub(crate) struct AnswerTask {
    pub(crate) identity: IdentityKey,
    pub(crate) ephemeral_secret: Zeroizing<Scalar>,
    pub(crate) client_random: [u8; 32],
    pub(crate) server_random: [u8; 32],
}

pub(crate) struct ServerKey {
    pub(crate) params: [u8; KEY_EXCHANGE_PARAMS_BYTES],
    pub(crate) signature: Vec<u8>,
    pub(crate) spki: [u8; SPKI_BYTES],
}

impl AnswerTask {
    fn run(self, p256: &dyn P256, identity: &ServerIdentity) -> Result<ServerKey, P256Error> {
        let key = identity.key(self.identity);
        let params = key_exchange_params(&p256.public_point(&self.ephemeral_secret)?);
        let digest = Sha256::new()
            .chain_update(self.client_random)
            .chain_update(self.server_random)
            .chain_update(params)
            .finalize();
        let signature = p256.sign(key, &digest.into())?;
        Ok(ServerKey { params, signature, spki: spki_of_point(key.point()) })
    }
}

fn key_exchange_params(point: &Point) -> [u8; KEY_EXCHANGE_PARAMS_BYTES] {
    let mut params = [0; KEY_EXCHANGE_PARAMS_BYTES];
    params[0] = 3; // named_curve (RFC 8422 §5.4)
    params[1..3].copy_from_slice(&CURVE_SECP256R1.to_be_bytes());
    params[3] = point.len() as u8;
    params[4..].copy_from_slice(point);
    params
}

/// Flight 5: the client's signature, and the secrets.
pub(crate) struct VerifyTask {
    pub(crate) client_key: Point,
    pub(crate) signature: Vec<u8>,
    /// Hash of the handshake up to ClientKeyExchange: what the client signed.
    pub(crate) session_hash: [u8; 32],
    pub(crate) ephemeral_secret: Zeroizing<Scalar>,
    pub(crate) peer_point: Point,
    pub(crate) extended_master_secret: bool,
    pub(crate) client_random: [u8; 32],
    pub(crate) server_random: [u8; 32],
}

/// In a box on their way between threads: what is moved leaves its bytes behind.
pub(crate) struct Secrets {
    pub(crate) master: Zeroizing<MasterSecret>,
    pub(crate) key_block: Zeroizing<KeyBlock>,
}

impl VerifyTask {
    fn run(self, p256: &dyn P256) -> Result<Box<Secrets>, P256Error> {
        p256.verify(&self.client_key, &self.session_hash, &self.signature)?;
        let premaster = p256.agree(&self.ephemeral_secret, &self.peer_point)?;
        let master = if self.extended_master_secret {
            prf::extended_master_secret(&premaster, &self.session_hash)
        } else {
            prf::master_secret(&premaster, &self.client_random, &self.server_random)
        };
        let key_block = prf::key_block(&master, &self.client_random, &self.server_random);
        Ok(Box::new(Secrets { master, key_block }))
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Task::Answer(_) => "Job(flight 4)",
            Task::Verify(_) => "Job(flight 5)",
        })
    }
}

impl fmt::Debug for JobDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Done::Answered(_) => "JobDone(flight 4)",
            Done::Verified(_) => "JobDone(flight 5)",
        })
    }
}
