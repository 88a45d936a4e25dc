//! One device, a bad network, and a server of an endpoint and a shard whose journal is a list.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::journal::Entry;
use model::link::{LinkEvent, RestoredSession};
use model::update::{Expected, Image, UpdateReport};
use model::{
    AccountId, DescribePart, DeviceId, DeviceRow, EventId, Hello, LinkId, Mono, Now, Refusal,
    RequestId, Timestamp, Update, UpdateId, UpdateState,
};
use openssl::sha::sha256;
use protocol::endpoint::{Need, NeedAnswer, Output};
use protocol::{Endpoint, EndpointConfig};
use router::{ClaimOutcome, Effect, Input, Reply, Request, Restored, Shard, ShardConfig};
use secure::dtls::ServerIdentity;
use secure::keys::{KeyKind, PrivateKey, PublicKey};
use secure::p256::{OpensslP256, SigningKey};
use secure::tcp::{HandshakeOutput, RsaServerKeys, ServerHandshake};
use sim::device::profile::Generation;
use sim::device::{Device, Observation, Setup, Trust, UpdateFault, UpdateStep};
use sim::harness::{Harness, Server, StreamId, StreamOutput};
use sim::identity::Identity;
use sim::network::Conditions;

/// Loses, doubles and reorders.
pub(crate) fn bad_network(loss_percent: u32) -> Conditions {
    Conditions {
        loss: f64::from(loss_percent) / 100.0,
        duplication: 0.05,
        corruption: 0.0,
        delay_min: Duration::from_millis(20),
        delay_max: Duration::from_millis(60),
    }
}

/// A user part of `bytes` bytes with its header, suffix and checksum (`ota.md` §5); no byte is that of
/// another version.
pub(crate) fn image(bytes: usize, version: u8) -> Vec<u8> {
    let mut file: Vec<u8> = (0..bytes - 44).map(|at| (at * 7 + at / 251) as u8 ^ version).collect();
    file[10..12].copy_from_slice(&u16::from(version).to_le_bytes());
    file[14] = 5;
    file[15] = 1;
    // Product id and version, reserved.
    file.extend([12, 0, version, 0, 0, 0]);
    let hash = sha256(&file);
    file.extend(hash);
    file.extend(40_u16.to_le_bytes());
    let crc = crc32fast::hash(&file);
    file.extend(crc.to_be_bytes());
    file
}

pub(crate) struct Bench {
    harness: Harness<Cloud>,
    device: DeviceId,
}

impl Bench {
    pub(crate) fn new(seed: u64, conditions: Conditions, v3: bool) -> Self {
        let generation = if v3 { Generation::Os6 } else { Generation::Os3 };
        Self::of(seed, conditions, generation, true)
    }

    pub(crate) fn disabled(seed: u64, v3: bool) -> Self {
        let generation = if v3 { Generation::Os6 } else { Generation::Os3 };
        Self::of(seed, Conditions::perfect(), generation, false)
    }

    pub(crate) fn of(
        seed: u64,
        conditions: Conditions,
        generation: Generation,
        enabled: bool,
    ) -> Self {
        let mut cloud = Cloud::new(seed);
        let mut trust = Trust::new([cloud.rsa_public.clone()]).expect("good");
        trust.p256 = Some(*SigningKey::from_scalar(&[5; 32]).expect("good").point());
        let mut setup = Setup::new(generation, trust);
        setup.profile.binary_bytes_max = 2 << 20;
        let identity = Identity::of_fleet("e00fce68", 1, 7, generation == Generation::Tcp);
        let device = identity.id;
        let key = identity.key.public_key().expect("good");
        cloud.keys.insert(key.hash(), device);
        cloud.device_key = Some(key);
        let mut harness = Harness::new(cloud, seed, conditions);
        let mut placed = Device::new(identity, Arc::new(setup), seed);
        placed.set_updates_enabled(enabled || generation == Generation::Tcp);
        harness.add(placed);
        harness.with(0, |device, now| device.power_on(now));
        let mut bench = Self { harness, device };
        let ready = bench.harness.run_until(Duration::from_secs(600), |harness| {
            harness.observations(0).iter().any(|(_, o)| *o == Observation::Settled)
        });
        assert!(ready, "{:?}", bench.harness.observations(0));
        bench.run(Duration::from_secs(20));
        bench
    }

    /// What is sent from now on has this network before it.
    pub(crate) fn set_network(&mut self, conditions: Conditions) {
        self.harness.network.set_conditions(conditions);
    }

    pub(crate) fn run(&mut self, span: Duration) {
        self.harness.run(span);
    }

    pub(crate) fn run_to_end(&mut self, span: Duration) -> bool {
        self.run_until_state(span, UpdateState::is_terminal)
    }

    pub(crate) fn run_until_state(
        &mut self,
        span: Duration,
        wanted: impl Fn(&UpdateState) -> bool,
    ) -> bool {
        self.harness.run_until(span, |harness| {
            let last = harness.server.reports.last();
            let last = last.filter(|report| Some(report.id) == harness.server.asked);
            last.is_some_and(|report| wanted(&report.state))
        })
    }

    fn ask_update(&mut self, bytes: &[u8], id: u64, forced: bool) -> Result<(), Refusal> {
        let at = bytes.len() - 38;
        let expected = Expected {
            sha256: bytes[at..at + 32].try_into().ok(),
            version: u16::from_le_bytes([bytes[10], bytes[11]]),
            product_version: Some(u16::from_le_bytes([bytes[at - 4], bytes[at - 3]])),
        };
        let image = Image { sha256: sha256(bytes), function: 5, index: 1, bytes: bytes.into() };
        let update = Update {
            id: UpdateId(id),
            image: Arc::new(image),
            forced,
            automatic: false,
            expected: Some(expected),
        };
        let (device, now) = (self.device, self.harness.now());
        if id != 99 {
            self.harness.server.asked = Some(UpdateId(id));
        }
        let result = self.harness.server.ask(now, Request::Update { device, update });
        self.harness.run(Duration::ZERO);
        result.map(drop)
    }

    /// Asks for an update; a device that is away for a moment is waited for.
    pub(crate) fn update(&mut self, bytes: &[u8], id: u64) {
        for _ in 0..200 {
            match self.ask_update(bytes, id, false) {
                Err(Refusal::Offline) => self.run(Duration::from_secs(30)),
                other => return other.expect("the shard takes it"),
            }
        }
        panic!("the device did not come back");
    }

    pub(crate) fn update_forced(&mut self, bytes: &[u8], id: u64) {
        self.ask_update(bytes, id, true).expect("the shard takes it");
    }

    pub(crate) fn refused_second(&mut self, bytes: &[u8]) -> Refusal {
        self.ask_update(bytes, 99, false).expect_err("one is under way")
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        let (device, now) = (self.device, self.harness.now());
        let request = Request::CancelUpdate { device, update: UpdateId(id) };
        assert_eq!(self.harness.server.ask(now, request), Ok(Reply::Done));
        self.run(Duration::from_millis(1));
    }

    pub(crate) fn set_fault(&mut self, fault: UpdateFault) {
        self.harness.with(0, |device, _| device.set_update_fault(fault));
    }

    /// The device restarts; its session and what it has of the file stay.
    pub(crate) fn reset_device(&mut self) {
        self.harness.with(0, |device, now| device.reset(now));
    }

    /// Calls a function of the device; whatever comes of it.
    pub(crate) fn call(&mut self) {
        let (device, now) = (self.device, self.harness.now());
        let (name, argument) = ("echo".into(), "1".into());
        self.harness.server.request(now, Request::Call { device, name, argument });
        self.run(Duration::ZERO);
    }

    /// How often functions ran, and attempts of calls that were recorded.
    pub(crate) fn calls(&self) -> (usize, usize) {
        let is_call = |(_, seen): &&(Mono, Observation)| matches!(seen, Observation::Called { .. });
        let ran = self.harness.observations(0).iter().filter(is_call).count();
        (ran, self.harness.server.attempts)
    }

    /// Everything but the sessions and what was described is lost.
    pub(crate) fn restart_server(&mut self) {
        let now = self.harness.now();
        self.harness.server.restart(now);
    }

    pub(crate) fn states(&self) -> Vec<UpdateState> {
        self.harness.server.reports.iter().map(|report| report.state.clone()).collect()
    }

    pub(crate) fn states_of(&self, id: UpdateId) -> Vec<UpdateState> {
        let reports = self.harness.server.reports.iter().filter(|report| report.id == id);
        reports.map(|report| report.state.clone()).collect()
    }

    pub(crate) fn offsets(&self) -> Vec<u32> {
        let offset = |state: &UpdateState| match state {
            UpdateState::Started { offset } => Some(*offset),
            _ => None,
        };
        self.states().iter().filter_map(offset).collect()
    }

    /// The offsets behind which the device let the server send.
    pub(crate) fn device_offsets(&self) -> Vec<usize> {
        let offset = |(_, seen): &(Mono, Observation)| match seen {
            Observation::Update(UpdateStep::Begun { offset }) => Some(*offset),
            _ => None,
        };
        self.harness.observations(0).iter().filter_map(offset).collect()
    }

    /// How often an update was put into force.
    pub(crate) fn applied(&self) -> usize {
        let applied = Observation::Update(UpdateStep::Applied);
        self.harness.observations(0).iter().filter(|(_, seen)| *seen == applied).count()
    }

    pub(crate) fn observed(&self, wanted: &Observation) -> bool {
        self.harness.observations(0).iter().any(|(_, observation)| observation == wanted)
    }

    pub(crate) fn assert_installed(&self, image: &[u8]) {
        let states = self.states();
        assert_eq!(states.last(), Some(&UpdateState::Succeeded), "{states:#?}");
        let installed = self.harness.device(0).installed().expect("an update is applied");
        assert!(installed.image == image, "the image is not what was sent");
    }

    /// What `spark/flash/status` said.
    pub(crate) fn flash_statuses(&self) -> Vec<String> {
        let told = self.harness.server.events.iter();
        let told = told.filter(|(name, _)| name == "spark/flash/status");
        told.map(|(_, data)| data.clone()).collect()
    }

    /// Payload of datagrams, both directions.
    pub(crate) fn wire_bytes(&self) -> u64 {
        let counters = self.harness.server.endpoint.counters();
        counters.bytes_sent + counters.bytes_received
    }
}

struct Kept {
    snapshot: model::link::Snapshot,
    hello: Hello,
    peer: SocketAddr,
    record_limit: u64,
    record_seen: u64,
}

pub(crate) struct Cloud {
    seed: u64,
    endpoint: Endpoint,
    shard: Shard,
    curve: OpensslP256,
    identity: ServerIdentity,
    rsa: RsaServerKeys,
    rsa_public: PublicKey,
    keys: BTreeMap<[u8; 32], DeviceId>,
    device_key: Option<PublicKey>,
    row: DeviceRow,
    kept: Option<Kept>,
    settled: u64,
    recorded: u64,
    requests: u64,
    /// The last update that a test asked for.
    asked: Option<UpdateId>,
    replies: BTreeMap<RequestId, Result<Reply, Refusal>>,
    reports: Vec<UpdateReport>,
    events: Vec<(String, String)>,
    attempts: usize,
    streams: BTreeMap<StreamId, Stream>,
    stream_outputs: VecDeque<(StreamId, StreamOutput)>,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
}

enum Stream {
    Shaking(Box<ServerHandshake>),
    Attached(LinkId),
}

impl Cloud {
    fn new(seed: u64) -> Self {
        let rsa = PrivateKey::generate(KeyKind::Rsa2048).expect("good");
        let key = SigningKey::from_scalar(&[5; 32]).expect("good");
        Self {
            seed,
            endpoint: endpoint(seed),
            shard: Shard::new(ShardConfig::default()),
            curve: OpensslP256::new().expect("good"),
            identity: ServerIdentity::new(key, None),
            rsa_public: rsa.public_key().clone(),
            rsa: RsaServerKeys::new(&rsa, None).expect("good"),
            keys: BTreeMap::new(),
            device_key: None,
            row: DeviceRow { account: Some(AccountId(1)), ..DeviceRow::default() },
            kept: None,
            settled: 0,
            recorded: 0,
            requests: 0,
            asked: None,
            replies: BTreeMap::new(),
            reports: Vec::new(),
            events: Vec::new(),
            attempts: 0,
            streams: BTreeMap::new(),
            stream_outputs: VecDeque::new(),
            datagrams: VecDeque::new(),
        }
    }

    fn restart(&mut self, at: Mono) {
        self.seed += 1000;
        self.endpoint = endpoint(self.seed);
        self.shard = Shard::new(ShardConfig::default());
        (self.settled, self.recorded) = (0, 0);
        self.datagrams.clear();
        let device = *self.keys.values().next().expect("good");
        let Some(kept) = &self.kept else { return };
        let session = RestoredSession {
            device,
            snapshot: kept.snapshot.clone(),
            peer: kept.peer,
            record_limit: kept.record_limit,
            record_seen: kept.record_seen,
            recent: Vec::new(),
            online: true,
        };
        let link = self.endpoint.restore(now(at), session).expect("the snapshot is good");
        let restored = Restored {
            link,
            device,
            row: self.row.clone(),
            subscriptions: Vec::new(),
            hello: kept.hello.clone(),
            peer: kept.peer,
            online: true,
            last_heard: Timestamp(1),
            last_handshake_at: None,
        };
        self.shard.handle(now(at), Input::Restored(Box::new(restored)));
        self.carry(now(at));
    }

    fn ask(&mut self, at: Mono, request: Request) -> Result<Reply, Refusal> {
        let id = self.request(at, request);
        self.replies.remove(&id).expect("answered at once")
    }

    fn request(&mut self, at: Mono, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.shard.handle(now(at), Input::Request { id, request });
        self.carry(now(at));
        id
    }

    fn carry(&mut self, now: Now) {
        loop {
            self.effects(now);
            if self.settled < self.recorded {
                self.settled = self.recorded;
                let (through, first_event_id) = (self.settled, EventId(self.settled));
                self.shard.handle(now, Input::Committed { through, first_event_id });
                continue;
            }
            let Some(output) = self.endpoint.poll_output() else { break };
            self.take(now, output);
        }
        let transmits = self.endpoint.transmits();
        self.datagrams.extend(transmits.iter().map(|(to, bytes)| (to, bytes.to_vec())));
        transmits.clear();
    }

    fn take(&mut self, now: Now, output: Output) {
        let answer = match output {
            Output::Event(event) => {
                self.keep_record(&event);
                return self.shard.handle(now, Input::Link(event));
            }
            Output::Stream { link, bytes } => {
                let stream = self.stream_of(link);
                return self.stream_outputs.push_back((stream, StreamOutput::Bytes(bytes)));
            }
            Output::CloseStream { link } => {
                let stream = self.stream_of(link);
                return self.stream_outputs.push_back((stream, StreamOutput::Close));
            }
            Output::Need(Need::Bind { link, .. }) => NeedAnswer::Bind { link, bound: false },
            Output::Need(Need::Room { link }) => NeedAnswer::Room { link, frames: 256 },
            Output::Need(Need::Job { handshake, job }) => {
                NeedAnswer::Job { handshake, done: job.run(&self.curve, &self.identity) }
            }
            Output::Need(Need::Key { handshake, hash }) => {
                let ids = self.keys.get(&hash.0).copied().into_iter().collect();
                NeedAnswer::Key { handshake, ids }
            }
            Output::Need(Need::Owner { link, hash }) => {
                let ids = self.keys.get(&hash.0).copied().into_iter().collect();
                NeedAnswer::Owner { link, ids }
            }
        };
        self.endpoint.handle_answer(now, answer);
    }

    fn keep_record(&mut self, event: &LinkEvent) {
        let record = match event {
            LinkEvent::Message { source, .. } => source.record,
            LinkEvent::Heard { record, .. } | LinkEvent::Moved { record, .. } => *record,
            _ => 0,
        };
        if let Some(kept) = &mut self.kept {
            kept.record_seen = kept.record_seen.max(record);
            if let LinkEvent::Moved { peer, .. } = event {
                kept.peer = *peer;
            }
        }
    }

    fn stream_of(&self, link: LinkId) -> StreamId {
        let is_it = |stream: &Stream| matches!(stream, Stream::Attached(of) if *of == link);
        *self.streams.iter().find(|(_, stream)| is_it(stream)).expect("a stream").0
    }

    fn effects(&mut self, now: Now) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Claim { device, .. } => {
                    let (outcome, row) = (ClaimOutcome::Unknown, Some(self.row.clone()));
                    self.shard.handle(now, Input::Claimed { device, outcome, row });
                }
                Effect::Command(link, command) => self.endpoint.handle_command(now, link, command),
                Effect::HandOver { .. } => unreachable!("there is one shard"),
                Effect::Load { link, device } => {
                    let row = Some(self.row.clone());
                    self.shard.handle(now, Input::Loaded { link, device, row });
                }
                Effect::Notify(event) => {
                    let data = event.data.as_ref().map_or(&[][..], |data| &data.bytes);
                    let data = String::from_utf8_lossy(data).into_owned();
                    self.events.push((event.name.to_string(), data));
                }
                Effect::Record(sequence, entry) => self.record(sequence, entry),
                Effect::Reply(id, result) => {
                    self.replies.insert(id, result);
                }
                Effect::Report(report) => self.reports.push(report),
            }
        }
    }

    fn record(&mut self, sequence: u64, entry: Entry) {
        self.recorded = sequence;
        match entry {
            Entry::Describe { part, .. } => {
                if let DescribePart::Application(description) = &*part {
                    self.row.description = Some(Arc::new(description.clone()));
                }
            }
            Entry::Session { snapshot, hello, peer, source, full_handshake, .. } => {
                let before = self.kept.as_ref().filter(|_| !full_handshake);
                let record_limit =
                    before.map_or(model::limits::RECORD_NUMBERS_RESERVED, |b| b.record_limit);
                let record_seen = source.record;
                self.kept = Some(Kept { snapshot, hello, peer, record_limit, record_seen });
            }
            Entry::Attempt { .. } => self.attempts += 1,
            Entry::Reserve { record_limit, .. } => {
                if let Some(kept) = &mut self.kept {
                    kept.record_limit = record_limit;
                }
            }
            _ => {}
        }
    }

    fn advance(&mut self, at: Mono, stream: StreamId) {
        while let Some(Stream::Shaking(handshake)) = self.streams.get_mut(&stream)
            && let Some(output) = handshake.poll()
        {
            match output {
                HandshakeOutput::Send(bytes) => {
                    self.stream_outputs.push_back((stream, StreamOutput::Bytes(bytes)));
                }
                HandshakeOutput::NeedKey { .. } => handshake.key_known(self.device_key.clone()),
                HandshakeOutput::Job(job) => handshake.job_done(job.run(&self.rsa)),
                HandshakeOutput::Established { device_id, device_key, keys, .. } => {
                    let device = DeviceId(device_id);
                    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
                    let link =
                        self.endpoint.accept_stream(now(at), device, &device_key, &keys, peer);
                    self.streams.insert(stream, Stream::Attached(link.expect("good")));
                }
                HandshakeOutput::Failed(error) => panic!("{error:?}"),
            }
        }
        self.carry(now(at));
    }
}

fn endpoint(seed: u64) -> Endpoint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Endpoint::new(EndpointConfig::new(0, 1, bytes, [8; 32]))
}

fn now(mono: Mono) -> Now {
    Now { mono, utc: Timestamp(1_700_000_000_000 + (mono.0 / 1000) as i64) }
}

impl Server for Cloud {
    fn handle_datagram(&mut self, at: Mono, from: SocketAddr, datagram: &mut [u8]) {
        self.endpoint.handle_datagram(now(at), from, datagram);
        self.carry(now(at));
    }

    fn handle_timeout(&mut self, at: Mono) {
        self.endpoint.handle_timeout(now(at));
        self.carry(now(at));
        self.shard.handle_timeout(now(at));
        self.carry(now(at));
    }

    fn next_timeout(&self) -> Option<Mono> {
        self.endpoint.next_timeout().into_iter().chain(self.shard.next_timeout()).min()
    }

    fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.datagrams.pop_front()
    }

    fn open_stream(&mut self, at: Mono, stream: StreamId) {
        let mut number = self.seed as u8;
        let handshake = ServerHandshake::new(&mut |bytes| {
            for byte in bytes {
                number = number.wrapping_mul(5).wrapping_add(17);
                *byte = number;
            }
        });
        self.streams.insert(stream, Stream::Shaking(Box::new(handshake)));
        self.advance(at, stream);
    }

    fn handle_stream(&mut self, at: Mono, stream: StreamId, bytes: &[u8]) {
        match self.streams.get_mut(&stream) {
            Some(Stream::Shaking(handshake)) => handshake.handle(bytes),
            Some(Stream::Attached(link)) => self.endpoint.handle_stream(now(at), *link, bytes),
            None => {}
        }
        self.advance(at, stream);
    }

    fn close_stream(&mut self, at: Mono, stream: StreamId) {
        if let Some(Stream::Attached(link)) = self.streams.get(&stream) {
            self.endpoint.stream_closed(now(at), *link);
        }
        self.carry(now(at));
    }

    fn poll_stream(&mut self) -> Option<(StreamId, StreamOutput)> {
        self.stream_outputs.pop_front()
    }
}
