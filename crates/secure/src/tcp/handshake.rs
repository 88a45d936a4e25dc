//! The server's side of the handshake.
//!
//! ```text
//! new ── Send(nonce)
//!         │ handle: 256 bytes
//!         ├─ Job ── job_done ── NeedKey ── key_known ── Job ── job_done ── Send(384), Established
//!         └─ at any step: Failed
//! ```

use std::collections::VecDeque;
use std::fmt;

use super::job::{AnswerTask, Done, KeyAge, OpenTask, Task};
use super::rsa::{ANSWER_PADDING_BYTES, DEVICE_ID_BYTES, DeviceCredentials};
use super::{DEVICE_CREDENTIALS_BYTES, FrameKeys, Job, JobDone, NONCE_BYTES, SessionCredentials};
use crate::keys::{KeyKind, PublicKey};

/// One handshake, without IO. After each call poll [`Self::poll`] until it gives `None`.
///
/// A handshake that was established proves nothing yet: the device has shown its key when its
/// first frame decrypts. The caller sets the time limit, and ends a handshake by dropping it.
pub struct ServerHandshake {
    secrets: Box<Secrets>,
    state: State,
    outputs: VecDeque<HandshakeOutput>,
}

struct Secrets {
    nonce: [u8; NONCE_BYTES],
    credentials: SessionCredentials,
    padding: [u8; ANSWER_PADDING_BYTES],
}

enum State {
    /// Less than 256 bytes are here.
    Receiving(Vec<u8>),
    Opening,
    AwaitingKey {
        device_id: [u8; DEVICE_ID_BYTES],
        offered: Option<PublicKey>,
        server_key: KeyAge,
    },
    Answering {
        device_id: [u8; DEVICE_ID_BYTES],
        device_key: PublicKey,
    },
    Ended,
}

/// What a handshake wants done.
#[derive(Debug)]
pub enum HandshakeOutput {
    /// The last of a handshake: frames follow in both directions.
    Established {
        /// The id the device gave.
        device_id: [u8; 12],
        /// The key its credentials were encrypted with.
        device_key: PublicKey,
        /// For [`super::FrameOpener`] and [`super::FrameSealer`].
        keys: FrameKeys,
        /// See [`SessionCredentials::salt`].
        salt: [u8; 8],
    },
    /// Close the connection without a word.
    Failed(Refused),
    /// Run this, and bring the result to [`ServerHandshake::job_done`].
    Job(Job),
    /// Answer with [`ServerHandshake::key_known`]: which key is registered for this id?
    NeedKey {
        /// The id the device gave; not proved yet.
        device_id: [u8; 12],
        /// The key the device says it has, always RSA-1024; a stranger can say this of any key.
        offered: Option<PublicKey>,
    },
    /// Write these bytes, in one piece.
    Send(Vec<u8>),
}

/// Why a handshake failed: for a counter and the log. The peer sees a closed connection only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not decrypted by any of our keys, or the nonce of another connection: the device has
    /// another server's key, or is none.
    #[error("the device's credentials cannot be opened")]
    Credentials,
    /// More than 256 bytes before our answer.
    #[error("bytes before their time")]
    Early,
    /// The device offered another key than the one registered for its id.
    #[error("the device's key is not the registered one")]
    KeyDiffers,
    /// No key is registered for the id.
    #[error("no key is registered for the device")]
    KeyUnknown,
    /// The key offered or registered is not RSA-1024 with e = 65537.
    #[error("the device's key is not RSA with 1024 bits")]
    KeyUnsupported,
    /// The cryptographic library failed, or the work was lost.
    #[error("the answer could not be made")]
    Library,
}

impl ServerHandshake {
    /// Starts a handshake: the first output is the nonce. `fill` gives unpredictable bytes; it is
    /// asked for the nonce (40), the session's credentials (40) and padding (85), in this order.
    pub fn new(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut secrets = Box::new(Secrets {
            nonce: [0; NONCE_BYTES],
            credentials: SessionCredentials::new([0; 40]),
            padding: [0; ANSWER_PADDING_BYTES],
        });
        // Where they stay: a copy on the way would not be overwritten.
        fill(&mut secrets.nonce);
        fill(secrets.credentials.as_bytes_mut());
        fill(&mut secrets.padding);
        Self {
            outputs: VecDeque::from([HandshakeOutput::Send(secrets.nonce.to_vec())]),
            secrets,
            state: State::Receiving(Vec::new()),
        }
    }

    /// Takes bytes of the device, cut anyhow. A device is silent from its 256th byte until our
    /// answer, so more than that ends the handshake, and nothing has to be kept for later.
    pub fn handle(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || matches!(self.state, State::Ended) {
            return;
        }
        let State::Receiving(received) = &mut self.state else {
            return self.fail(Refused::Early);
        };
        if bytes.len() > DEVICE_CREDENTIALS_BYTES - received.len() {
            return self.fail(Refused::Early);
        }
        received.extend_from_slice(bytes);
        if let Ok(ciphertext) = received.as_slice().try_into() {
            let task = OpenTask { ciphertext, nonce: self.secrets.nonce };
            self.request(Task::Open(Box::new(task)), State::Opening);
        }
    }

    /// Takes the result of the job that was asked for; any other is ignored.
    pub fn job_done(&mut self, done: JobDone) {
        match (done.0, std::mem::replace(&mut self.state, State::Ended)) {
            (Done::Opened(opened), State::Opening) => self.opened(opened),
            (Done::Answered(answer), State::Answering { device_id, device_key }) => {
                self.answered(answer, device_id, device_key);
            }
            (Done::Opened(_) | Done::Answered(_), state) => self.state = state,
        }
    }

    /// Answers [`HandshakeOutput::NeedKey`] with the key registered for the device, `None` if there
    /// is none. Without an id's key, whoever trusts on first use answers with the offered one.
    pub fn key_known(&mut self, registered: Option<PublicKey>) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::AwaitingKey { device_id, offered, server_key } = state else {
            self.state = state;
            return;
        };
        match choose_key(registered, offered) {
            Ok(device_key) => self.answer(device_id, device_key, server_key),
            Err(refused) => self.fail(refused),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<HandshakeOutput> {
        self.outputs.pop_front()
    }

    fn opened(&mut self, opened: Option<(DeviceCredentials, KeyAge)>) {
        let Some((DeviceCredentials { device_id, offered }, server_key)) = opened else {
            return self.fail(Refused::Credentials);
        };
        let offered = offered.map(|spki| PublicKey::from_spki(&spki[..])).transpose();
        let Ok(offered) = offered else {
            return self.fail(Refused::KeyUnsupported);
        };
        let need = HandshakeOutput::NeedKey { device_id, offered: offered.clone() };
        self.outputs.push_back(need);
        self.state = State::AwaitingKey { device_id, offered, server_key };
    }

    fn answer(&mut self, device_id: [u8; 12], device_key: PublicKey, server_key: KeyAge) {
        let task = AnswerTask {
            credentials: self.secrets.credentials.clone(),
            padding: self.secrets.padding,
            device_key: device_key.clone(),
            server_key,
        };
        let state = State::Answering { device_id, device_key };
        self.request(Task::Answer(Box::new(task)), state);
    }

    fn answered(&mut self, answer: Option<Vec<u8>>, device_id: [u8; 12], device_key: PublicKey) {
        let Some(answer) = answer else {
            return self.fail(Refused::Library);
        };
        let keys = self.secrets.credentials.frame_keys();
        let salt = self.secrets.credentials.salt();
        let established = HandshakeOutput::Established { device_id, device_key, keys, salt };
        self.outputs.extend([HandshakeOutput::Send(answer), established]);
    }

    fn request(&mut self, task: Task, state: State) {
        self.state = state;
        self.outputs.push_back(HandshakeOutput::Job(Job(task)));
    }

    fn fail(&mut self, refused: Refused) {
        self.state = State::Ended;
        self.outputs.push_back(HandshakeOutput::Failed(refused));
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Receiving(_) => "ServerHandshake(receiving)",
            State::Opening => "ServerHandshake(opening)",
            State::AwaitingKey { .. } => "ServerHandshake(awaiting key)",
            State::Answering { .. } => "ServerHandshake(answering)",
            State::Ended => "ServerHandshake(ended)",
        })
    }
}

/// The registered key, never blindly the offered one (`tcp-session.md` §2, checks 5 to 7).
fn choose_key(
    registered: Option<PublicKey>,
    offered: Option<PublicKey>,
) -> Result<PublicKey, Refused> {
    let registered = registered.ok_or(Refused::KeyUnknown)?;
    if registered.kind() != KeyKind::Rsa1024 {
        return Err(Refused::KeyUnsupported);
    }
    match offered {
        Some(offered) if offered != registered => Err(Refused::KeyDiffers),
        _ => Ok(registered),
    }
}
