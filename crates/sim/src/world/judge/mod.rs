//! What must be true of a server, whatever happens to it: a small model that is told what goes in and
//! what comes out, and compares.
//!
//! It knows nothing of how the server works. What it knows of the insides it reads from the journal,
//! as an auditor would.

mod accounts;
mod calls;
mod ledger;
mod publications;
mod sessions;
mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{AccountId, DeviceId, EventId, Mono, RequestId};

use accounts::Paying;
pub(crate) use calls::{Asked, Wish};
use publications::Publication;

/// The model.
pub(crate) struct Judge {
    /// What was found wrong, oldest first.
    pub(crate) broken: Vec<String>,
    pub(crate) devices: Vec<Watched>,
    by_id: BTreeMap<DeviceId, usize>,
    publications: Vec<Publication>,
    /// Entries of the journal that were read.
    journal_read: usize,
    shown: BTreeSet<EventId>,
    last_shown: BTreeMap<usize, EventId>,
    sent_to: BTreeSet<(usize, EventId)>,
    nonces: BTreeSet<(usize, u32, u64)>,
    accounts: BTreeMap<AccountId, Paying>,
    clock_set_at: Mono,
    asked: BTreeMap<RequestId, Asked>,
    given_up: BTreeSet<RequestId>,
    /// How often the server was started.
    starts: u32,
    /// Until when the world is an excuse for what happens to devices.
    bad_until: Mono,
    /// The same, of the network.
    weather_until: Mono,
    /// When the server stopped last.
    stopped_at: Mono,
    shards: u8,
    updates: updates::Asked,
    pub(crate) tally: Tally,
}

/// Figures for the reader of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Publishes of devices and callers.
    pub publishes: u64,
    /// Of those, durable.
    pub durable: u64,
    /// Second copies that were counted.
    pub copies: u64,
    /// Events that an application on a device saw.
    pub received: u64,
    /// Attempts of counted messages to devices.
    pub attempts: u64,
    /// Calls, reads, pings and signals that got an answer.
    pub replies: u64,
    /// Full handshakes.
    pub handshakes: u64,
    /// Connections that went on with a stored session.
    pub resumes: u64,
    /// Records sealed for devices that left the server.
    pub records: u64,
    /// Updates that the server told to have succeeded.
    pub updates: u64,
    /// Files that a device put into force, or was to.
    pub applied: u64,
}

/// A device as the judge sees it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) id: DeviceId,
    pub(crate) account: Option<AccountId>,
    pub(crate) is_udp: bool,
    pub(crate) has_cid: bool,
    /// Its flash is not good: what it takes may fail.
    is_faulty: bool,
    /// It was flashed at least once.
    is_flashed: bool,
    /// Longest time until a device whose connection broke unseen notices it.
    notices_within: Duration,
    bad_until: Mono,
    pub(crate) is_online: bool,
    /// Everything that it tells when a connection begins was acknowledged.
    is_settled: bool,
    /// Until when the server may say that it does not know the rest of what was told.
    may_be_reset_until: Mono,
    /// Connections begun: what an application saw before is forgotten with each.
    connection: u32,
    received: BTreeSet<(u32, u64)>,
    executed: BTreeSet<(u32, Vec<u8>)>,
    by_number: BTreeMap<u64, u64>,
    last_status: Option<bool>,
    /// How much of the journal there was when its connection began, and where its last session is.
    journal_before: usize,
    last_session: usize,
    /// Attempts of calls and of reads in the journal, and how many of each got their answer.
    attempts: [u64; 2],
    answers: [u64; 2],
    /// Record numbers of counted messages of the session.
    records: BTreeSet<u64>,
    /// Copies by message id of the session.
    copies: BTreeMap<u16, u32>,
}

impl Judge {
    pub(crate) fn new(devices: Vec<Watched>, shards: u8) -> Self {
        let by_id = devices.iter().enumerate().map(|(index, device)| (device.id, index)).collect();
        Self {
            broken: Vec::new(),
            devices,
            by_id,
            publications: Vec::new(),
            journal_read: 0,
            shown: BTreeSet::new(),
            last_shown: BTreeMap::new(),
            sent_to: BTreeSet::new(),
            nonces: BTreeSet::new(),
            accounts: BTreeMap::new(),
            clock_set_at: Mono(0),
            asked: BTreeMap::new(),
            given_up: BTreeSet::new(),
            starts: 0,
            bad_until: Mono(0),
            weather_until: Mono(0),
            stopped_at: Mono(0),
            shards,
            updates: updates::Asked::default(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.broken.push(what);
    }

    fn index_of(&self, device: DeviceId) -> Option<usize> {
        self.by_id.get(&device).copied()
    }
}

impl Watched {
    pub(crate) fn new(
        id: DeviceId,
        account: Option<AccountId>,
        profile: &crate::device::profile::Profile,
    ) -> Self {
        Self {
            id,
            account,
            is_udp: profile.is_udp(),
            has_cid: profile.generation == crate::device::profile::Generation::Os6,
            is_faulty: false,
            is_flashed: false,
            notices_within: profile.keep_alive + profile.ping_timeout,
            bad_until: Mono(0),
            is_online: false,
            is_settled: false,
            may_be_reset_until: Mono(0),
            connection: 0,
            received: BTreeSet::new(),
            executed: BTreeSet::new(),
            by_number: BTreeMap::new(),
            last_status: None,
            journal_before: 0,
            last_session: 0,
            attempts: [0; 2],
            answers: [0; 2],
            records: BTreeSet::new(),
            copies: BTreeMap::new(),
        }
    }
}
