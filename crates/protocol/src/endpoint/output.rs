//! What comes out of an endpoint.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use model::link::LinkEvent;
use model::traffic::datagrams_on_the_wire;
use model::{DeviceId, KeyHash, LinkId};
use secure::dtls::{Job, JobDone};

/// Names one open handshake; unique until the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandshakeId(pub u64);

/// One thing for the shell to carry.
#[derive(Debug)]
pub enum Output {
    /// Something for the shard.
    Event(LinkEvent),
    /// Something to look up or to compute; answered by [`NeedAnswer`].
    Need(Need),
    /// Bytes for a stream.
    Stream {
        /// Which connection.
        link: LinkId,
        /// Whole frames: to be written in one piece (`tcp-session.md` §3).
        bytes: Vec<u8>,
    },
    /// A stream to close. What was given out for it before is written first.
    CloseStream {
        /// Which connection.
        link: LinkId,
    },
}

/// What the endpoint cannot find out by itself.
#[derive(Debug)]
pub enum Need {
    /// Whose key is this?
    Key {
        /// Who asks.
        handshake: HandshakeId,
        /// SHA-256 of the key's SubjectPublicKeyInfo.
        hash: KeyHash,
    },
    /// Public-key arithmetic, to be run on a pool.
    Job {
        /// Who asks.
        handshake: HandshakeId,
        /// What to run.
        job: Job,
    },
    /// Whose key is this now that its holder says Hello? It may be another's, or nobody's, since the
    /// handshake.
    Owner {
        /// Who asks.
        link: LinkId,
        /// SHA-256 of the key's SubjectPublicKeyInfo.
        hash: KeyHash,
    },
    /// How many more frames can wait for this stream? Answered at once.
    Room {
        /// Which connection.
        link: LinkId,
    },
    /// Trust on first use: may this key, which nobody registered, be bound to this device?
    Bind {
        /// Who asks.
        link: LinkId,
        /// The id that its Hello claims.
        device: DeviceId,
        /// The key in SubjectPublicKeyInfo: 91 bytes, over TCP 162.
        public_key: Box<[u8]>,
    },
}

/// The answer to a [`Need`].
#[derive(Debug)]
pub enum NeedAnswer {
    /// The devices this key is registered for; none if it is unknown.
    Key {
        /// Who asked.
        handshake: HandshakeId,
        /// The ids.
        ids: Vec<DeviceId>,
    },
    /// The job is done.
    Job {
        /// Who asked.
        handshake: HandshakeId,
        /// Its result.
        done: JobDone,
    },
    /// The devices this key is registered for; none if it is unknown.
    Owner {
        /// Who asked.
        link: LinkId,
        /// The ids.
        ids: Vec<DeviceId>,
    },
    /// So many more frames can wait.
    Room {
        /// Who asked.
        link: LinkId,
        /// How many.
        frames: usize,
    },
    /// Whether the key was bound.
    Bind {
        /// Who asked.
        link: LinkId,
        /// Whether the device's id had no key and has this one from now on.
        bound: bool,
    },
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It was handled here, or dropped and counted.
    Taken,
    /// It is for another shard and was left as it is. A datagram that was forwarded once and comes
    /// back with this again is to be dropped.
    Forward(Where),
}

/// Which shard a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// The one that knows a session by the sender's address, if any does.
    Address,
    /// The one that holds this device's session.
    Device(DeviceId),
    /// This one.
    Shard(u8),
}

/// Datagrams to send, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Transmits {
    bytes: Vec<u8>,
    datagrams: Vec<(SocketAddr, Range<usize>)>,
}

impl Transmits {
    /// The datagrams in the order they are to be sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> {
        self.datagrams.iter().map(|(to, range)| (*to, &self.bytes[range.clone()]))
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// How many datagrams there are.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Forgets all datagrams, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    /// Bytes of all datagrams.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a datagram.
    pub(crate) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push((to, start..self.bytes.len()));
    }

    /// Adds the datagram that `write` appends; nothing if it fails.
    pub(crate) fn add<T, E>(
        &mut self,
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        if result.is_ok() {
            self.datagrams.push((to, start..self.bytes.len()));
        } else {
            self.bytes.truncate(start);
        }
        result
    }
}

/// How much was given out to be sent at some moment.
pub(crate) struct Sent {
    datagrams: usize,
    bytes: usize,
}

impl Sent {
    /// Up to here.
    pub(crate) fn before(out: &Outbox) -> Self {
        Self { datagrams: out.transmits.len(), bytes: out.transmits.bytes_len() }
    }

    /// What was given out since takes on the wire to `peer`.
    pub(crate) fn since(&self, out: &Outbox, peer: SocketAddr) -> u32 {
        let Self { datagrams, bytes } = Self::before(out);
        datagrams_on_the_wire(peer, datagrams - self.datagrams, bytes - self.bytes)
    }
}

/// Everything that waits for the shell.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) transmits: Transmits,
}

impl Outbox {
    pub(crate) fn event(&mut self, event: LinkEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn need(&mut self, need: Need) {
        self.outputs.push_back(Output::Need(need));
    }
}
