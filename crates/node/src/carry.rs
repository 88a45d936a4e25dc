//! Carries what the endpoint and the shard of one thread say to each other and to the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use model::journal::Entry;
use model::link::{LinkEvent, Opened, Transport};
use model::{DescribePart, DeviceId, Event, KeyHash, LinkId, Now, RequestId, Traffic};
use protocol::endpoint::{
    Disposition, Endpoint, HandshakeId, Need, NeedAnswer, Output, Where, shard_of,
};
use router::{Effect, Input, Shard};
use rustc_hash::FxHashMap;
use secure::dtls::Job;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::commit::CommitNotice;
use crate::errands::Errand;
use crate::mail::{Answer, Attach, Mail, Notice};
use crate::metrics;
use crate::pool::Tell;
use crate::registry::Registry;
use crate::shared::Shared;

/// The two machines of one shard, and what is on its way out of them.
pub(crate) struct Carrier {
    number: u8,
    pub(crate) endpoint: Endpoint,
    pub(crate) shard: Shard,
    shared: Arc<Shared>,
    /// Callers that wait for a reply.
    callers: FxHashMap<RequestId, oneshot::Sender<Answer>>,
    /// Where the frames of TCP devices go.
    streams: FxHashMap<LinkId, mpsc::Sender<Vec<u8>>>,
    /// Whose TCP connections are, until the last of their bytes was told.
    devices_by_stream: FxHashMap<LinkId, DeviceId>,
    /// Addresses of the UDP links, told to the registry when there are several shards.
    peers: FxHashMap<LinkId, SocketAddr>,
    /// Given to the commit thread once for each batch of work.
    records: Vec<(u64, Entry)>,
    /// Committed events, shown and delivered once for each batch of work.
    news: Vec<Arc<Event>>,
    recorded: u64,
    settled: u64,
}

impl Carrier {
    pub(crate) fn new(number: u8, endpoint: Endpoint, shard: Shard, shared: Arc<Shared>) -> Self {
        Self {
            number,
            endpoint,
            shard,
            shared,
            callers: FxHashMap::default(),
            streams: FxHashMap::default(),
            devices_by_stream: FxHashMap::default(),
            peers: FxHashMap::default(),
            records: Vec::new(),
            news: Vec::new(),
            recorded: 0,
            settled: 0,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Records that are not durable yet.
    pub(crate) fn records_waiting(&self) -> u64 {
        self.recorded - self.settled
    }

    /// Takes a datagram; `forwarded` if another shard had it first.
    pub(crate) fn datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        bytes: &mut [u8],
        forwarded: bool,
    ) {
        self.endpoint.set_admission(self.shared.admits());
        match self.endpoint.handle_datagram(now, from, bytes) {
            Disposition::Taken => self.carry(now),
            Disposition::Forward(_) if forwarded => metrics::datagram_dropped("forwarded_twice"),
            Disposition::Forward(place) => self.forward(place, from, bytes),
        }
    }

    /// To the shard that knows more; a datagram that nobody knows is dropped.
    fn forward(&self, place: Where, from: SocketAddr, bytes: &[u8]) {
        let registry = &self.shared.registry;
        let shard = match place {
            Where::Address => registry.shard_by_address(from),
            Where::Device(device) => registry.session_shard(device),
            Where::Shard(number) => Some(registry.shard(number)),
        };
        match shard.filter(|shard| *shard != self.number).and_then(|shard| self.shared.shard(shard))
        {
            Some(shard) => {
                let mail = Mail::Datagram { from, bytes: bytes.to_vec() };
                let _ = shard.try_send("datagram", mail);
            }
            None => metrics::datagram_dropped("unknown_session"),
        }
    }

    /// Takes a mail.
    pub(crate) fn mail(&mut self, now: Now, mail: Mail) {
        match mail {
            Mail::Attach(attach) => self.attach(now, *attach),
            Mail::Bytes { link, bytes } => self.endpoint.handle_stream(now, link, &bytes),
            Mail::Datagram { from, mut bytes } => {
                return self.datagram(now, from, &mut bytes, true);
            }
            Mail::Deliver(events) => {
                for event in events {
                    self.tell(now, Input::Deliver(event));
                }
            }
            Mail::GaveUp { device, request } => {
                self.callers.remove(&request);
                let request = router::Request::CancelIfWaiting { device, request };
                self.tell(now, Input::Request { id: self.shared.request_id(), request });
            }
            Mail::Request { id, request, reply } => {
                self.callers.insert(id, reply);
                self.tell(now, Input::Request { id, request });
            }
        }
        self.carry(now);
    }

    /// Takes a notice that is not about the thread itself.
    pub(crate) fn notice(&mut self, now: Now, notice: Notice) {
        match notice {
            Notice::AddressTaken { link, peer } => self.address_taken(link, peer),
            Notice::Answer(answer) => self.endpoint.handle_answer(now, answer),
            Notice::Closed { link, traffic } => {
                self.streams.remove(&link);
                self.endpoint.stream_closed(now, link);
                self.carry(now);
                self.carried(now, link, traffic);
                self.devices_by_stream.remove(&link);
            }
            Notice::Commit(commit) => self.committed(now, commit),
            Notice::Input(input) => self.tell(now, input),
            Notice::Traffic { link, traffic } => self.carried(now, link, traffic),
            Notice::Quiesce | Notice::Stop(_) => {}
        }
        self.carry(now);
    }

    /// A TCP connection carried this; if nobody said Hello on it, nobody pays.
    fn carried(&mut self, now: Now, link: LinkId, traffic: Traffic) {
        if let Some(device) = self.devices_by_stream.get(&link).copied() {
            self.tell(now, Input::Link(LinkEvent::Traffic { link, device, traffic }));
        }
    }

    fn attach(&mut self, now: Now, attach: Attach) {
        let Attach { device, device_key, keys, peer, writes, attached } = attach;
        // Without a link the answer is dropped, which closes the connection.
        let link = self.endpoint.accept_stream(now, device, &device_key, &keys, peer);
        if let Some(link) = link {
            self.streams.insert(link, writes);
            if attached.send(link).is_err() {
                self.streams.remove(&link);
                self.endpoint.stream_closed(now, link);
            }
        }
    }

    fn committed(&mut self, now: Now, commit: CommitNotice) {
        let (through, input) = match commit {
            CommitNotice::Committed { records, first_event_id } => {
                let through = *records.end();
                (through, Input::Committed { through, first_event_id })
            }
            CommitNotice::Failed { records } => {
                let (from, to) = records.into_inner();
                (to, Input::CommitFailed { from, to })
            }
        };
        self.settled = through;
        self.tell(now, input);
    }

    /// Does what is due.
    pub(crate) fn timeouts(&mut self, now: Now) {
        if self.endpoint.next_timeout().is_some_and(|at| at <= now.mono) {
            self.endpoint.handle_timeout(now);
        }
        if self.shard.next_timeout().is_some_and(|at| at <= now.mono) {
            self.shard.handle_timeout(now);
            self.effects(now);
        }
        self.carry(now);
    }

    /// Writes down what is written later otherwise.
    pub(crate) fn tell_all(&mut self, now: Now) {
        self.endpoint.tell_all(now);
        self.carry(now);
    }

    /// Carries until the machines have nothing more to say.
    pub(crate) fn carry(&mut self, now: Now) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::CloseStream { link } => drop(self.streams.remove(&link)),
                Output::Event(event) => {
                    self.observe(&event);
                    self.tell(now, Input::Link(event));
                }
                Output::Need(need) => self.need(now, need),
                Output::Stream { link, bytes } => self.write(now, link, bytes),
            }
        }
    }

    /// Tells the shard something and carries out what it wants.
    pub(crate) fn tell(&mut self, now: Now, input: Input) {
        self.shard.handle(now, input);
        self.effects(now);
    }

    fn effects(&mut self, now: Now) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Claim { device, code, link: _ } => {
                    self.errand(Errand::Claim { shard: self.number, device, code });
                }
                Effect::Command(link, command) => {
                    self.endpoint.handle_command(now, link, command);
                }
                Effect::HandOver { device, update } => {
                    let shard = self.shared.registry.session_shard(device);
                    if let Some(shard) = shard.and_then(|shard| self.shared.shard(shard)) {
                        shard.notify(Notice::Input(Input::TakeOver { device, update }));
                    }
                }
                Effect::Load { link, device } => {
                    let row = self.shared.registry.row(device);
                    self.shard.handle(now, Input::Loaded { link, device, row });
                }
                Effect::Notify(event) => {
                    self.shared.safe_modes.look_at(&event);
                    self.news.push(event);
                }
                Effect::Record(number, entry) => self.record(number, entry),
                Effect::Report(report) => self.shared.reports.post(report),
                Effect::Reply(id, answer) => {
                    if let Some(caller) = self.callers.remove(&id) {
                        let _ = caller.send(answer);
                    }
                }
            }
        }
    }

    fn record(&mut self, number: u64, entry: Entry) {
        if let Entry::Describe { device, part, .. } = &entry {
            match &**part {
                DescribePart::Application(description) => {
                    self.shared.registry.described(*device, description);
                }
                DescribePart::System(system) => {
                    self.shared.registry.told_modem(*device, system.imei.is_some());
                }
                DescribePart::Metrics(_) => {}
            }
        }
        self.recorded = number;
        self.records.push((number, entry));
    }

    fn need(&mut self, now: Now, need: Need) {
        match need {
            Need::Bind { link, device, public_key } => {
                self.errand(Errand::Bind { shard: self.number, link, device, public_key });
            }
            Need::Job { handshake, job } => self.compute(handshake, job),
            Need::Owner { link, hash } => {
                let ids = self.shared.registry.ids_by_key(hash);
                self.endpoint.handle_answer(now, NeedAnswer::Owner { link, ids });
            }
            Need::Room { link } => {
                let frames = self.streams.get(&link).map_or(0, mpsc::Sender::capacity);
                self.endpoint.handle_answer(now, NeedAnswer::Room { link, frames });
            }
            Need::Key { handshake, hash } => {
                let ids = self.shared.registry.ids_by_key(hash);
                if ids.is_empty() {
                    self.log_unknown(hash);
                }
                self.endpoint.handle_answer(now, NeedAnswer::Key { handshake, ids });
            }
        }
    }

    fn log_unknown(&self, key: KeyHash) {
        if let Some(left_out) = self.shared.unknown_keys.take() {
            info!(%key, left_out, "a device with an unknown key: register it with this key");
        }
    }

    fn compute(&self, handshake: HandshakeId, job: Job) {
        let (shared, number) = (Arc::clone(&self.shared), self.number);
        let task = move || {
            let done = job.run(&shared.keys.p256, &shared.keys.identity);
            let tell = move || {
                if let Some(shard) = shared.shard(number) {
                    shard.notify(Notice::Answer(NeedAnswer::Job { handshake, done }));
                }
            };
            Some(Box::new(tell) as Tell)
        };
        self.shared.pool.submit(Box::new(task));
    }

    fn errand(&self, errand: Errand) {
        if let Err(error) = self.shared.errands.try_send(errand)
            && let Some(shard) = self.shared.shard(self.number)
        {
            shard.notify(error.into_inner().refused(&self.shared));
        }
    }

    /// A device that does not read what it is sent is closed. One that has gone is when its last bytes
    /// were read.
    fn write(&mut self, now: Now, link: LinkId, bytes: Vec<u8>) {
        let Some(stream) = self.streams.get(&link) else { return };
        if let Err(TrySendError::Full(_)) = stream.try_send(bytes) {
            self.streams.remove(&link);
            metrics::connection_closed("slow_reader");
            self.endpoint.stream_closed(now, link);
        }
    }

    /// Keeps the directory: where each session lives.
    fn observe(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Opened(opened) => self.opened(opened),
            LinkEvent::Moved { link, peer, .. } if self.peers.contains_key(link) => {
                self.heard_from(*link, *peer);
            }
            LinkEvent::Closed { link, .. } => {
                if let Some(peer) = self.peers.remove(link) {
                    self.shared.registry.address_left(peer, self.number, *link);
                }
            }
            LinkEvent::Alive { .. }
            | LinkEvent::Answered { .. }
            | LinkEvent::Attempt { .. }
            | LinkEvent::Copy { .. }
            | LinkEvent::Heard { .. }
            | LinkEvent::Message { .. }
            | LinkEvent::Moved { .. }
            | LinkEvent::Reserve { .. }
            | LinkEvent::Silent { .. }
            | LinkEvent::Transfer { .. }
            | LinkEvent::Traffic { .. }
            | LinkEvent::Unanswered { .. }
            | LinkEvent::Unsendable { .. } => {}
        }
    }

    fn opened(&mut self, opened: &Opened) {
        let Opened { link, device, peer, transport, .. } = opened;
        self.shared.registry.said_hello(*device, opened.hello.platform);
        match transport {
            Transport::Tcp => drop(self.devices_by_stream.insert(*link, *device)),
            Transport::Udp if self.is_found_by_address(&opened.snapshot) => {
                self.heard_from(*link, *peer);
            }
            Transport::Udp => {}
        }
        self.session_is_here(*device);
    }

    /// A session that another shard held is over.
    pub(crate) fn session_is_here(&self, device: DeviceId) {
        let before = self.shared.registry.session_began(device, self.number);
        if let Some(shard) = before.and_then(|before| self.shared.shard(before)) {
            shard.notify(Notice::Input(Input::Displaced { device }));
        }
    }

    /// Whether other shards must know where a session is heard from: one with connection id tells its
    /// shard by that.
    pub(crate) fn is_found_by_address(&self, snapshot: &[u8]) -> bool {
        let shards = self.shared.shards.len();
        shards > 1 && shard_of(snapshot, u8::try_from(shards).unwrap_or(u8::MAX)).is_none()
    }

    /// Keeps the address of a session for the other shards; one of them may have had it.
    fn heard_from(&mut self, link: LinkId, peer: SocketAddr) {
        if let Some((shard, link)) = self.keep_address(link, peer)
            && let Some(shard) = self.shared.shard(shard)
        {
            shard.notify(Notice::AddressTaken { link, peer });
        }
    }

    /// Keeps the address where a session was heard last; tells which session of another shard was.
    pub(crate) fn keep_address(&mut self, link: LinkId, peer: SocketAddr) -> Option<(u8, LinkId)> {
        if let Some(before) = self.peers.insert(link, peer) {
            self.shared.registry.address_left(before, self.number, link);
        }
        self.shared.registry.address_is(peer, self.number, link)
    }

    /// Unless this session was heard from there again since.
    fn address_taken(&mut self, link: LinkId, peer: SocketAddr) {
        if !self.shared.registry.is_heard_from(peer, self.number, link) {
            self.endpoint.address_taken(link, peer);
        }
    }

    /// Lets everything out that is gathered for a batch of work, but for the datagrams.
    pub(crate) fn let_out(&mut self) {
        self.shared.commits.submit(self.number, &mut self.records);
        if self.news.is_empty() {
            return;
        }
        self.shared.hub.hand_out();
        self.deliver_elsewhere();
        self.news.clear();
    }

    fn deliver_elsewhere(&self) {
        if self.shared.shards.len() == 1 {
            return;
        }
        let events = self.news.iter().filter(|event| !event.name.is_internal());
        let events: Vec<_> = events.cloned().collect();
        if events.is_empty() {
            return;
        }
        for (number, shard) in self.shared.shards.iter().enumerate() {
            if number != usize::from(self.number) {
                let _ = shard.try_send("event", Mail::Deliver(events.clone()));
            }
        }
    }
}
