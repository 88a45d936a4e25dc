//! The private-key work of a handshake, cut out so that it can run on another thread.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use openssl::pkey::Private;
use openssl::rsa::Rsa;
use sha1::Sha1;

use super::rsa::{self, ANSWER_PADDING_BYTES, DeviceCredentials};
use super::{DEVICE_CREDENTIALS_BYTES, NONCE_BYTES, SESSION_KEY_BYTES, SessionCredentials};
use crate::keys::{KeyError, KeyKind, PrivateKey, PublicKey, ServerKeys};

/// The server's RSA keys: the current one, and the one before it while devices still know it.
///
/// Make it once and share it: what the library computes ahead for a key is kept with the key.
pub struct RsaServerKeys {
    current: Rsa<Private>,
    previous: Option<Rsa<Private>>,
}

impl RsaServerKeys {
    /// Takes RSA-2048 keys; any other is [`KeyError::Unsupported`].
    pub fn new(current: &PrivateKey, previous: Option<&PrivateKey>) -> Result<Self, KeyError> {
        let previous = previous.map(server_key).transpose()?;
        Ok(Self { current: server_key(current)?, previous })
    }

    /// The RSA half of a server's keys.
    pub fn of(keys: &ServerKeys) -> Result<Self, KeyError> {
        Self::new(keys.rsa(), keys.previous_rsa())
    }

    fn get(&self, age: KeyAge) -> Option<&Rsa<Private>> {
        match age {
            KeyAge::Current => Some(&self.current),
            KeyAge::Previous => self.previous.as_ref(),
        }
    }
}

impl fmt::Debug for RsaServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaServerKeys")
            .field("previous", &self.previous.is_some())
            .finish_non_exhaustive()
    }
}

fn server_key(key: &PrivateKey) -> Result<Rsa<Private>, KeyError> {
    match (key.kind(), key.rsa()) {
        (KeyKind::Rsa2048, Some(key)) => Ok(key.clone()),
        _ => Err(KeyError::Unsupported),
    }
}

/// Which server key a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyAge {
    Current,
    Previous,
}

/// About 0.6 ms of private-key work of one handshake. Run it anywhere, hand the result back to
/// [`super::ServerHandshake::job_done`].
pub struct Job(pub(super) Task);

pub(super) enum Task {
    Open(Box<OpenTask>),
    Answer(Box<AnswerTask>),
}

pub(super) struct OpenTask {
    pub(super) ciphertext: [u8; DEVICE_CREDENTIALS_BYTES],
    pub(super) nonce: [u8; NONCE_BYTES],
}

pub(super) struct AnswerTask {
    pub(super) credentials: SessionCredentials,
    pub(super) padding: [u8; ANSWER_PADDING_BYTES],
    pub(super) device_key: PublicKey,
    pub(super) server_key: KeyAge,
}

/// What a [`Job`] found.
pub struct JobDone(pub(super) Done);

pub(super) enum Done {
    Opened(Option<(DeviceCredentials, KeyAge)>),
    Answered(Option<Vec<u8>>),
}

impl Job {
    /// Does the work. It never fails: a refusal is a result, too.
    pub fn run(self, keys: &RsaServerKeys) -> JobDone {
        JobDone(match self.0 {
            Task::Open(task) => Done::Opened(task.run(keys)),
            Task::Answer(task) => Done::Answered(task.run(keys)),
        })
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Task::Open(_) => "Job(open)",
            Task::Answer(_) => "Job(answer)",
        })
    }
}

impl fmt::Debug for JobDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Done::Opened(_) => "JobDone(opened)",
            Done::Answered(_) => "JobDone(answered)",
        })
    }
}

impl OpenTask {
    fn run(&self, keys: &RsaServerKeys) -> Option<(DeviceCredentials, KeyAge)> {
        [KeyAge::Current, KeyAge::Previous].into_iter().find_map(|age| {
            let opened =
                rsa::open_device_credentials(keys.get(age)?, &self.ciphertext, &self.nonce);
            opened.map(|credentials| (credentials, age))
        })
    }
}

impl AnswerTask {
    /// `C || S`: the credentials for the device's key alone, and proof that they are the server's.
    fn run(&self, keys: &RsaServerKeys) -> Option<Vec<u8>> {
        let device_key = self.device_key.to_rsa().ok()?;
        let mut answer = vec![0; SESSION_KEY_BYTES];
        let (encrypted, signature) = answer.split_at_mut(128);
        rsa::encrypt(&device_key, &self.padding, self.credentials.as_bytes(), encrypted).ok()?;
        let mac = mac(&self.credentials, encrypted);
        rsa::sign(keys.get(self.server_key)?, &mac, signature).ok()?;
        Some(answer)
    }
}

/// HMAC-SHA1 over the encrypted credentials, its key the credentials themselves.
pub(super) fn mac(credentials: &SessionCredentials, encrypted: &[u8]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(credentials.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(encrypted);
    mac.finalize().into_bytes().into()
}
