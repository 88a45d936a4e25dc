//! The server of a world: endpoints, shards and a commit stage, carried as the node carries them, in
//! one thread. It can stop dead between any two effects.

mod carry;
mod commit;
mod journal;
mod registry;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use metering::Rules;
use model::journal::Entry;
use model::link::{ExchangeId, RestoredSession, Transport};
use model::{
    AccountId, DeviceId, DeviceState, Event, LinkId, Mono, Now, Refusal, RequestId, Timestamp,
    UpdateReport,
};
use protocol::endpoint::HandshakeId;
use protocol::{Endpoint, EndpointConfig};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use router::{Effect, Input, Pause, Reply, Restored, Shard, ShardConfig};

use super::administration::pause;
use super::keys::Secrets;
use crate::harness::StreamId;
use commit::Commits;
pub(crate) use commit::Disk;
pub(crate) use journal::Journal;
pub(crate) use registry::Registered;
use registry::Registry;
use streams::Stream;

/// What left the server, in order, and what its insides told that a judge may know.
#[derive(Debug)]
pub(crate) enum Out {
    /// A datagram left.
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    /// Bytes for a stream left.
    Stream { stream: StreamId, bytes: Vec<u8> },
    /// A stream was closed.
    CloseStream { stream: StreamId },
    /// An event was shown on the streams.
    Notify { shard: usize, event: Arc<Event> },
    /// A caller got an answer.
    Reply { id: RequestId, result: Result<Reply, Refusal> },
    /// The endpoint was told to send an event to a device.
    Delivery { device: DeviceId, event: Arc<Event> },
    /// How an update goes.
    Update(UpdateReport),
    /// Something that must never be.
    Broken(String),
}

/// One process of the server.
pub(crate) struct Cloud {
    halves: Vec<Half>,
    pub(crate) registry: Registry,
    pub(crate) commits: Commits,
    secrets: Arc<Secrets>,
    streams: BTreeMap<StreamId, Stream>,
    late: BTreeMap<(Mono, u64), Late>,
    mail: VecDeque<(usize, Mail)>,
    out: Vec<Out>,
    random: SmallRng,
    jobs: u64,
    /// How many more steps are made before the machine stops.
    fuse: Option<u32>,
    utc_offset_ms: i64,
}

/// The two machines of one shard.
struct Half {
    endpoint: Endpoint,
    shard: Shard,
    records: Vec<(u64, Entry)>,
    streams: BTreeMap<LinkId, StreamId>,
    peers: BTreeMap<LinkId, SocketAddr>,
    devices: BTreeMap<LinkId, DeviceId>,
    /// Counted messages that are on their way to devices.
    counted: BTreeSet<(LinkId, ExchangeId)>,
    /// Attempts of counted messages that were not recorded yet; none may be left after a turn.
    attempts: i64,
    /// The last of them.
    last_attempt: Option<(LinkId, ExchangeId)>,
    /// The same, of second copies of publishes, which wait for the fate of the first one: none may
    /// be left in the end, unless the disk refused some.
    copies: i64,
}

/// A result of a pool that comes later.
enum Late {
    Dtls { shard: usize, handshake: HandshakeId, done: secure::dtls::JobDone },
    Tcp { stream: StreamId, done: secure::tcp::JobDone },
}

/// What a shard tells another.
enum Mail {
    AddressTaken { link: LinkId, peer: SocketAddr },
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Input(Input),
}

/// How a server is started.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) shards: u8,
    pub(crate) devices: Arc<Vec<Registered>>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) disk: Disk,
    pub(crate) seed: u64,
    pub(crate) utc_offset_ms: i64,
    /// What the keeper of the accounts tells each shard at a start.
    pub(crate) paused: BTreeSet<AccountId>,
    pub(crate) rules: BTreeMap<AccountId, Rules>,
}

impl Start {
    /// What the server's clock says.
    pub(crate) fn utc(&self, now: Mono) -> Timestamp {
        Timestamp(i64::try_from(now.0 / 1000).unwrap_or(0) + self.utc_offset_ms)
    }

    /// Whether an account is paused, as shards are told.
    pub(crate) fn pause_of(&self, account: AccountId) -> Option<Pause> {
        self.paused.contains(&account).then(pause)
    }
}

impl Cloud {
    /// A process that begins with what is durable.
    pub(crate) fn start(now: Mono, start: Start, journal: Journal) -> Self {
        let mut random = SmallRng::seed_from_u64(start.seed);
        let cookie_secret = random.random();
        let halves = (0..start.shards)
            .map(|number| {
                let seed = random.random();
                let config = EndpointConfig::new(number, start.shards, seed, cookie_secret);
                Half::new(config, ShardConfig { seed: random.random(), ..ShardConfig::default() })
            })
            .collect();
        let mut cloud = Self {
            halves,
            registry: Registry::new(usize::from(start.shards), &start.devices),
            commits: Commits::new(journal, start.disk, random.random()),
            secrets: start.secrets,
            streams: BTreeMap::new(),
            late: BTreeMap::new(),
            mail: VecDeque::new(),
            out: Vec::new(),
            random,
            jobs: 0,
            fuse: None,
            utc_offset_ms: start.utc_offset_ms,
        };
        for account in start.paused {
            cloud.tell_shards(now, || Input::AccountPaused { account, pause: Some(pause()) });
        }
        for (account, rules) in start.rules {
            cloud.tell_shards(now, || Input::AccountRules { account, rules: Some(rules) });
        }
        cloud.restore(now);
        cloud
    }

    /// Tells every shard the same.
    pub(crate) fn tell_shards(&mut self, now: Mono, input: impl Fn() -> Input) {
        for shard in 0..self.halves.len() {
            self.turn(now, shard, |cloud, now, shard| cloud.tell(now, shard, input()));
        }
    }

    /// The machine's clock is set.
    pub(crate) fn set_clock(&mut self, utc_offset_ms: i64) {
        self.utc_offset_ms = utc_offset_ms;
    }

    /// Stops the machine after so many steps.
    pub(crate) fn arm(&mut self, steps: u32) {
        self.fuse = Some(steps);
    }

    /// It goes on after all.
    pub(crate) fn disarm(&mut self) {
        self.fuse = None;
    }

    /// Second copies of publishes that were not counted.
    pub(crate) fn copies_left(&self) -> i64 {
        self.halves.iter().map(|half| half.copies).sum()
    }

    /// How a device is, as its shard knows it.
    pub(crate) fn state(&mut self, device: DeviceId) -> Option<DeviceState> {
        let shard = &mut self.halves[self.registry.session_shard(device)?].shard;
        let request = router::Request::States { devices: vec![device] };
        shard.handle(Now::default(), Input::Request { id: RequestId(0), request });
        match shard.poll_effect()? {
            Effect::Reply(_, Ok(Reply::States(states))) => states.into_iter().next(),
            _ => None,
        }
    }

    /// Whether it has stopped.
    pub(crate) fn is_dead(&self) -> bool {
        self.fuse == Some(0)
    }

    /// What is durable when it has stopped.
    pub(crate) fn crash(self, now: Mono) -> Journal {
        let utc = self.utc(now);
        self.commits.crash(utc)
    }

    /// What left it since the last time.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let halves = self.halves.iter();
        let machines =
            halves.flat_map(|half| [half.endpoint.next_timeout(), half.shard.next_timeout()]);
        let late = self.late.keys().next().map(|(at, _)| *at);
        machines.flatten().chain(late).chain(self.commits.next_timeout()).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        for notice in self.commits.handle_timeout(now, self.utc(now)) {
            self.turn(now, notice.shard, |cloud, now, shard| cloud.committed(now, shard, &notice));
        }
        while let Some(late) = self.take_late(now) {
            self.late_result(now, late);
        }
        for shard in 0..self.halves.len() {
            self.turn(now, shard, Self::timeouts);
        }
    }

    /// A datagram arrives; the kernel chose a shard by its sender.
    pub(crate) fn handle_datagram(&mut self, now: Mono, from: SocketAddr, bytes: &mut [u8]) {
        let shard = usize::from(from.port()) % self.halves.len();
        self.turn(now, shard, |cloud, now, shard| cloud.datagram(now, shard, from, bytes, false));
    }

    /// A caller asks; answered by [`Out::Reply`].
    pub(crate) fn ask(&mut self, now: Mono, id: RequestId, request: router::Request) {
        let shard = match device_asked(&request) {
            Some(device) => self.registry.session_shard(device),
            None => Some(0),
        };
        let Some(shard) = shard else {
            if matches!(request, router::Request::CancelIfWaiting { .. }) {
                return;
            }
            return self.out.push(Out::Reply { id, result: Err(Refusal::Offline) });
        };
        self.turn(now, shard, |cloud, now, shard| {
            cloud.tell(now, shard, Input::Request { id, request });
        });
    }

    fn utc(&self, now: Mono) -> Timestamp {
        Timestamp(i64::try_from(now.0 / 1000).unwrap_or(0) + self.utc_offset_ms)
    }

    fn now(&self, now: Mono) -> Now {
        Now { mono: now, utc: self.utc(now) }
    }

    /// Whether there is power for one more step.
    fn step(&mut self) -> bool {
        match &mut self.fuse {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left > 0
            }
        }
    }

    fn take_late(&mut self, now: Mono) -> Option<Late> {
        let (at, _) = self.late.keys().next()?;
        (*at <= now).then(|| self.late.pop_first()).flatten().map(|(_, late)| late)
    }

    /// A pool takes up to 20 ms.
    fn later(&mut self, now: Mono, late: Late) {
        self.jobs += 1;
        let at = Mono(now.0 + self.random.random_range(500..20_000));
        self.late.insert((at, self.jobs), late);
    }

    fn restore(&mut self, now: Mono) {
        for (device, recovered) in self.commits.journal.recover() {
            if let Some(description) = recovered.description.clone() {
                self.registry.described(device, description);
            }
            let Some(session) = &recovered.session else { continue };
            if session.transport == Transport::Udp {
                let shard = self.shard_of_stored(device, &session.snapshot);
                self.turn(now, shard, |cloud, now, shard| {
                    cloud.restore_one(now, shard, device, recovered);
                });
            }
        }
    }

    fn shard_of_stored(&self, device: DeviceId, snapshot: &[u8]) -> usize {
        let shards = u8::try_from(self.halves.len()).unwrap_or(1);
        let of_cid = protocol::endpoint::shard_of(snapshot, shards);
        of_cid.map_or_else(|| self.registry.shard_of(device), usize::from)
    }

    fn restore_one(
        &mut self,
        now: Now,
        shard: usize,
        device: DeviceId,
        recovered: journal::Recovered,
    ) {
        let Some((session, row)) = recovered.session.zip(self.registry.row(device)) else { return };
        let Some(peer) = recovered.peer else { return };
        let online = recovered.online;
        let restored = RestoredSession {
            device,
            snapshot: session.snapshot,
            peer,
            record_limit: recovered.record_limit,
            record_seen: recovered.record_seen,
            recent: recovered.recent,
            online,
        };
        let is_found_by_address = self.is_found_by_address(&restored.snapshot);
        let Some(link) = self.halves[shard].endpoint.restore(now, restored) else {
            return self.out.push(Out::Broken(format!("the session of {device} is not restored")));
        };
        self.halves[shard].devices.insert(link, device);
        self.session_is_here(device, shard);
        if is_found_by_address {
            self.keep_address(shard, link, peer);
        }
        let restored = Restored {
            link,
            device,
            row,
            subscriptions: recovered.subscriptions,
            hello: session.hello,
            peer,
            online,
            last_heard: recovered.last_heard,
            last_handshake_at: recovered.last_handshake_at,
        };
        self.tell(now, shard, Input::Restored(Box::new(restored)));
    }
}

impl Half {
    fn new(endpoint: EndpointConfig, shard: ShardConfig) -> Self {
        Self {
            endpoint: Endpoint::new(endpoint),
            shard: Shard::new(shard),
            records: Vec::new(),
            streams: BTreeMap::new(),
            peers: BTreeMap::new(),
            devices: BTreeMap::new(),
            counted: BTreeSet::new(),
            attempts: 0,
            last_attempt: None,
            copies: 0,
        }
    }
}

fn device_asked(request: &router::Request) -> Option<DeviceId> {
    use router::Request::{
        AskVitals, Call, CancelIfWaiting, CancelUpdate, KeyReplaced, Ping, Publish, Read, Signal,
        States, Update,
    };
    match request {
        AskVitals { device }
        | Call { device, .. }
        | CancelIfWaiting { device, .. }
        | CancelUpdate { device, .. }
        | KeyReplaced { device }
        | Ping { device }
        | Read { device, .. }
        | Signal { device, .. }
        | Update { device, .. } => Some(*device),
        Publish { .. } => None,
        States { devices } => devices.first().copied(),
    }
}
