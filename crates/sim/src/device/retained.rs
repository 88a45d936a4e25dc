//! What a device keeps in retained memory over a reset, and loses with its power
//! (`session-resume.md` §3, §4).

use std::hash::{DefaultHasher, Hash, Hasher};

use secure::dtls::{CidMode, RecordNumbers, Role, Session, SessionKeys};
use serde::{Deserialize, Serialize};

/// A stored session with everything that goes with it.
#[derive(Debug)]
pub(crate) struct Retained {
    pub(crate) session: Session,
    /// Resume attempts that got no reply yet.
    pub(crate) uses: u8,
    /// Digest of both keys when the session was made.
    pub(crate) keys: u64,
    /// What the server was told over this session.
    pub(crate) told: Told,
}

/// Digests of what the server acknowledged; `None` if it did not, or never was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The fields of Hello that are compared, and the system Describe.
    pub(crate) hello: Option<u64>,
    pub(crate) system: Option<u64>,
    pub(crate) application: Option<u64>,
    pub(crate) subscriptions: Option<u64>,
}

/// Retained memory in a form that can be written to a file. It holds keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetainedMemory {
    key_block: String,
    cid: Option<[u8; 8]>,
    next: u64,
    seen: u64,
    uses: u8,
    keys: u64,
    told: Told,
    message_id: u16,
    clock_is_set: bool,
}

impl super::Device {
    /// Takes the session out of a device, with the last message id it used, for a load that goes on
    /// by itself at less cost.
    pub fn into_session(self) -> Option<(Session, u16)> {
        self.retained.map(|retained| (retained.session, self.message_id))
    }
}

impl Retained {
    /// How many restores a stored session survives without a reply.
    pub(crate) const USES_MAX: u8 = 3;

    /// The session for one more attempt; `None` once it was used up.
    pub(crate) fn restore(mut self, keys: u64, keeps_window: bool) -> Option<Self> {
        if self.uses >= Self::USES_MAX || self.keys != keys {
            return None;
        }
        self.uses += 1;
        if !keeps_window {
            let numbers = RecordNumbers {
                next: self.session.next_record_number(),
                limit: Session::UNLIMITED,
                seen: 0,
            };
            self.session = Session::resume(Role::Client, &self.session.keys(), numbers);
        }
        Some(self)
    }

    pub(crate) fn save(&self, message_id: u16, clock_is_set: bool) -> RetainedMemory {
        RetainedMemory {
            key_block: hex::encode(*self.session.keys().key_block),
            cid: self.session.cid(),
            next: self.session.next_record_number(),
            seen: self.session.record_seen(),
            uses: self.uses,
            keys: self.keys,
            told: self.told,
            message_id,
            clock_is_set,
        }
    }

    /// `(session, last message id, whether the clock is set)`; `None` if the text is damaged.
    pub(crate) fn load(memory: &RetainedMemory) -> Option<(Self, u16, bool)> {
        let mut key_block = [0; 40];
        hex::decode_to_slice(&memory.key_block, &mut key_block).ok()?;
        let cid_mode = if memory.cid.is_some() { CidMode::Draft05 } else { CidMode::None };
        let key_block = key_block.into();
        let keys = SessionKeys { key_block, cid_mode, cid: memory.cid.unwrap_or_default() };
        let numbers =
            RecordNumbers { next: memory.next, limit: Session::UNLIMITED, seen: memory.seen };
        let retained = Self {
            session: Session::resume(Role::Client, &keys, numbers),
            uses: memory.uses,
            keys: memory.keys,
            told: memory.told,
        };
        Some((retained, memory.message_id, memory.clock_is_set))
    }
}

/// Stands for the firmware's CRCs, which never appear on the wire.
pub(crate) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
