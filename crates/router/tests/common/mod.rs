//! A shard in virtual time, with an endpoint that follows a script and a store that commits when told.
#![allow(dead_code, reason = "every test file uses another part")]

use std::collections::BTreeMap;
use std::time::Duration;

use metering::{Rules, Tally};
use model::UpdateReport;
use model::hello::{HelloFlags, HelloSystem};
use model::journal::{Charge, Entry};
use model::link::{Command, ExchangeId, LinkEvent, Opened, Receipt, Source, Transport, Verdict};
use model::message::{Goodbye, Publish, Subscribe, SubscriptionContent};
use model::{
    AccountId, Answer, ApplicationDescription, CloudMessage, DescribePart, DeviceId, DeviceMessage,
    DeviceRow, Event, EventData, EventId, EventName, EventPrefix, Hello, LinkId, Mono, Now, Origin,
    Platform, Refusal, RequestId, SystemDescription, Timestamp, VariableType,
};
use router::{Effect, Input, Reply, Request, Shard, ShardConfig};

pub(crate) const OWNER: AccountId = AccountId(1);
pub(crate) const OTHER: AccountId = AccountId(2);

pub(crate) const fn device(n: u8) -> DeviceId {
    DeviceId([n; 12])
}

pub(crate) const fn link(n: u8) -> LinkId {
    LinkId(n as u64)
}

/// How the endpoint's side of one connection behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) transport: Transport,
    /// The transmission that is acknowledged; 0: none is.
    pub(crate) acknowledges: u32,
    /// Whether a function or a variable request is answered once it is acknowledged.
    pub(crate) answers: bool,
    /// How long an answer takes.
    pub(crate) delay: Duration,
    /// How long a session waits before anything leaves by it.
    pub(crate) held: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            transport: Transport::Udp,
            acknowledges: 1,
            answers: true,
            delay: Duration::from_millis(10),
            held: Duration::ZERO,
        }
    }
}

pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) now: Now,
    pub(crate) rows: BTreeMap<DeviceId, DeviceRow>,
    pub(crate) scripts: BTreeMap<LinkId, Script>,
    /// Whether records stay without an answer until [`World::commit`].
    pub(crate) withholds_commits: bool,
    /// Every record, with its sequence, in order.
    pub(crate) records: Vec<(u64, Entry)>,
    /// Charges of what was committed.
    pub(crate) ledger: Tally,
    pub(crate) commands: Vec<(LinkId, Command)>,
    pub(crate) notified: Vec<Event>,
    /// How updates went.
    pub(crate) reports: Vec<UpdateReport>,
    /// Updates for other shards.
    pub(crate) handed_over: Vec<(DeviceId, router::Handover)>,
    pub(crate) replies: BTreeMap<RequestId, Result<Reply, Refusal>>,
    pub(crate) replied_at: BTreeMap<RequestId, Mono>,
    pub(crate) claims: Vec<(DeviceId, String)>,
    /// What was sent to devices, without repetitions.
    pub(crate) sent: Vec<(LinkId, ExchangeId, CloudMessage)>,
    /// What each function call returns, and what each variable holds.
    pub(crate) returned: i32,
    pub(crate) value: Box<[u8]>,
    committed: usize,
    next_event_id: u64,
    next_message_id: u16,
    next_request: u64,
    queue: BTreeMap<(Mono, u64), LinkEvent>,
    queued: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(ShardConfig::default())
    }

    pub(crate) fn with_rules(rules: Rules) -> Self {
        Self::with(ShardConfig { rules, ..ShardConfig::default() })
    }

    pub(crate) fn with(config: ShardConfig) -> Self {
        Self {
            shard: Shard::new(config),
            now: Now { mono: Mono(1_000_000_000), utc: Timestamp(1_770_000_000_000) },
            rows: BTreeMap::new(),
            scripts: BTreeMap::new(),
            withholds_commits: false,
            records: Vec::new(),
            ledger: Tally::default(),
            commands: Vec::new(),
            notified: Vec::new(),
            reports: Vec::new(),
            handed_over: Vec::new(),
            replies: BTreeMap::new(),
            replied_at: BTreeMap::new(),
            claims: Vec::new(),
            sent: Vec::new(),
            returned: 42,
            value: Box::from(7i32.to_be_bytes()),
            committed: 0,
            next_event_id: 1,
            next_message_id: 0,
            next_request: 0,
            queue: BTreeMap::new(),
            queued: 0,
        }
    }

    /// A device of `account`, online and described.
    pub(crate) fn online(&mut self, n: u8, account: AccountId) -> LinkId {
        self.register(n, Some(account));
        self.hello(n);
        self.describe(n);
        link(n)
    }

    pub(crate) fn register(&mut self, n: u8, account: Option<AccountId>) {
        let row = DeviceRow { account, name: Some("lamp".into()), ..DeviceRow::default() };
        self.rows.insert(device(n), row);
    }

    pub(crate) fn hello(&mut self, n: u8) {
        self.hello_on(n, link(n), true);
    }

    pub(crate) fn hello_on(&mut self, n: u8, link: LinkId, full_handshake: bool) {
        let opened = self.opened(n, link, full_handshake);
        self.link(LinkEvent::Opened(Box::new(opened)));
    }

    pub(crate) fn opened(&mut self, n: u8, link: LinkId, full_handshake: bool) -> Opened {
        let transport = self.script(link).transport;
        Opened {
            link,
            device: device(n),
            transport,
            hello: hello(),
            peer: "192.0.2.7:5000".parse().expect("an address"),
            full_handshake,
            snapshot: model::link::Snapshot::new(Box::from([1, 2, 3])),
            receipt: (transport == Transport::Udp).then(|| self.receipt()),
            source: source(0),
        }
    }

    pub(crate) fn describe(&mut self, n: u8) {
        for part in [DescribePart::Application(application()), system()] {
            self.say(n, DeviceMessage::Describe(part));
        }
    }

    pub(crate) fn script(&mut self, link: LinkId) -> &mut Script {
        self.scripts.entry(link).or_default()
    }

    pub(crate) fn receipt(&mut self) -> Receipt {
        self.next_message_id += 1;
        Receipt { message_id: self.next_message_id, token_len: 0, token: [0; 8] }
    }

    /// A confirmable message of a device.
    pub(crate) fn say(&mut self, n: u8, message: DeviceMessage) -> Receipt {
        let receipt = self.receipt();
        self.say_as(n, message, Some(receipt));
        receipt
    }

    pub(crate) fn say_as(&mut self, n: u8, message: DeviceMessage, receipt: Option<Receipt>) {
        let source = source(receipt.map_or(0, |receipt| receipt.message_id));
        self.link(LinkEvent::Message { link: link(n), message, receipt, source });
    }

    pub(crate) fn say_again(&mut self, n: u8, message: DeviceMessage, receipt: Receipt) {
        let source = source(receipt.message_id);
        self.link(LinkEvent::Copy { link: link(n), message, receipt: Some(receipt), source });
    }

    pub(crate) fn publish(&mut self, n: u8, name: &str) -> Receipt {
        self.say(n, publish(name, None))
    }

    pub(crate) fn subscribe(&mut self, n: u8, prefix: &str) -> Receipt {
        self.say(n, subscribe(prefix))
    }

    pub(crate) fn goodbye(&mut self, n: u8) -> Receipt {
        self.say(n, DeviceMessage::Goodbye(Goodbye::default()))
    }

    pub(crate) fn api_publish(&mut self, account: AccountId, name: &str) -> RequestId {
        self.request(Request::Publish { event: api_event(account, name, self.now.utc) })
    }

    pub(crate) fn call(&mut self, n: u8, name: &str) -> RequestId {
        let (device, name, argument) = (device(n), name.into(), "on".into());
        self.request(Request::Call { device, name, argument })
    }

    pub(crate) fn read(&mut self, n: u8, name: &str) -> RequestId {
        self.request(Request::Read { device: device(n), name: name.into() })
    }

    pub(crate) fn request(&mut self, request: Request) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.input(Input::Request { id, request });
        id
    }

    pub(crate) fn link(&mut self, event: LinkEvent) {
        self.input(Input::Link(event));
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        self.carry();
    }

    /// Commits everything recorded so far.
    pub(crate) fn commit(&mut self) {
        self.commit_some(usize::MAX);
        self.carry();
    }

    /// Commits the next `count` records, and nothing of what follows.
    pub(crate) fn commit_some(&mut self, count: usize) {
        let end = self.committed.saturating_add(count).min(self.records.len());
        let batch = &self.records[self.committed..end];
        let Some((through, _)) = batch.last() else { return };
        let through = *through;
        let charges: Vec<Charge> = batch.iter().filter_map(|(_, entry)| charge_of(entry)).collect();
        let is_publish = |(_, entry): &&(u64, Entry)| matches!(entry, Entry::Publish { .. });
        let published = batch.iter().filter(is_publish).count() as u64;
        charges.iter().for_each(|charge| self.ledger.add(charge));
        let first_event_id = EventId(self.next_event_id);
        self.next_event_id += published;
        self.committed = end;
        self.shard.handle(self.now, Input::Committed { through, first_event_id });
    }

    /// The store refuses everything recorded so far.
    pub(crate) fn refuse(&mut self) {
        let batch = &self.records[self.committed..];
        let Some(((from, _), (to, _))) = batch.first().zip(batch.last()) else { return };
        let (from, to) = (*from, *to);
        self.committed = self.records.len();
        self.shard.handle(self.now, Input::CommitFailed { from, to });
        self.carry();
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = [queued, self.shard.next_timeout()].into_iter().flatten().min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.advance(at.max(self.now.mono));
            while let Some(entry) = self.queue.first_entry()
                && entry.key().0 <= self.now.mono
            {
                let event = entry.remove();
                self.link(event);
            }
            self.shard.handle_timeout(self.now);
            self.carry();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Mono) {
        self.now.utc = self.now.utc.after(to.since(self.now.mono));
        self.now.mono = to;
    }

    fn carry(&mut self) {
        loop {
            while let Some(effect) = self.shard.poll_effect() {
                self.carry_out(effect);
            }
            if self.withholds_commits || self.committed == self.records.len() {
                return;
            }
            self.commit_some(usize::MAX);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Claim { device, code, .. } => self.claims.push((device, code.into())),
            Effect::Command(link, command) => {
                if let Command::Send { exchange, message } = &command {
                    self.sent.push((link, *exchange, message.clone()));
                    self.transmit(link, *exchange, message.clone());
                }
                self.commands.push((link, command));
            }
            Effect::Load { link, device } => {
                let row = self.rows.get(&device).cloned();
                self.shard.handle(self.now, Input::Loaded { link, device, row });
            }
            Effect::Notify(event) => self.notified.push((*event).clone()),
            Effect::Record(sequence, entry) => self.records.push((sequence, entry)),
            Effect::Reply(id, result) => {
                self.replied_at.insert(id, self.now.mono);
                assert!(self.replies.insert(id, result).is_none(), "one reply for each request");
            }
            Effect::HandOver { device, update } => self.handed_over.push((device, *update)),
            Effect::Report(report) => self.reports.push(report),
        }
    }

    /// What the endpoint does with a message, by its script.
    fn transmit(&mut self, link: LinkId, exchange: ExchangeId, message: CloudMessage) {
        let script = *self.script(link);
        let attempts: &[u64] = match script.transport {
            Transport::Tcp => &[0],
            Transport::Udp => &[0, 4, 12],
        };
        let leaves = self.now.mono.after(script.held);
        for (attempt, at_s) in (1..).zip(attempts) {
            let at = leaves.after(Duration::from_secs(*at_s));
            self.plan(at, LinkEvent::Attempt { link, exchange });
            if attempt == script.acknowledges {
                let answered_at = at.after(script.delay);
                if let Some(answer) = self.answer(&script, &message) {
                    self.plan(answered_at, LinkEvent::Answered { link, exchange, answer });
                }
                return;
            }
        }
        if script.transport == Transport::Udp {
            let at = leaves.after(Duration::from_secs(20));
            self.plan(at, LinkEvent::Unanswered { link, exchange });
        }
    }

    fn answer(&self, script: &Script, message: &CloudMessage) -> Option<Answer> {
        let is_event = matches!(message, CloudMessage::Event { .. });
        match message {
            // Over TCP nothing acknowledges an event.
            _ if is_event && script.transport == Transport::Tcp => None,
            CloudMessage::FunctionCall { .. } => {
                script.answers.then_some(Answer::Returned(self.returned))
            }
            CloudMessage::VariableRequest { .. } => {
                script.answers.then(|| Answer::Value(self.value.clone()))
            }
            CloudMessage::Describe(flags) => script.answers.then(|| described(*flags)),
            CloudMessage::Event { .. }
            | CloudMessage::KeyChange
            | CloudMessage::Ping
            | CloudMessage::Signal(_) => Some(Answer::Accepted),
        }
    }

    fn plan(&mut self, at: Mono, event: LinkEvent) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    /// The verdicts a message got so far.
    pub(crate) fn verdicts(&self, receipt: Receipt) -> Vec<Verdict> {
        let of = |(_, command): &(LinkId, Command)| match command {
            Command::Acknowledge { receipt: other, verdict } if *other == receipt => Some(*verdict),
            _ => None,
        };
        self.commands.iter().filter_map(of).collect()
    }

    /// The names of the events sent to a connection.
    pub(crate) fn delivered_to(&self, link: LinkId) -> Vec<String> {
        let of = |(to, _, message): &(LinkId, ExchangeId, CloudMessage)| match message {
            CloudMessage::Event { event, .. } if *to == link => Some(event.name.to_string()),
            _ => None,
        };
        self.sent.iter().filter_map(of).collect()
    }

    /// The data of each `spark/status` shown for a device.
    pub(crate) fn statuses(&self, n: u8) -> Vec<String> {
        let of_device = |event: &&Event| event.device() == Some(device(n));
        let events = self.notified.iter().filter(of_device);
        let statuses = events.filter(|event| event.name.as_str() == "spark/status");
        statuses.map(text).collect()
    }

    /// The names of the events that were shown.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.notified.iter().map(|event| event.name.to_string()).collect()
    }

    pub(crate) fn state(&mut self, n: u8) -> model::DeviceState {
        let id = self.request(Request::States { devices: vec![device(n)] });
        let Some(Ok(Reply::States(states))) = self.replies.get(&id) else { panic!("no states") };
        states[0].clone()
    }

    pub(crate) fn is_online(&mut self, n: u8) -> bool {
        self.state(n).online
    }

    pub(crate) fn operations(&self) -> u64 {
        self.ledger.operations(OWNER)
    }

    pub(crate) fn forget_what_happened(&mut self) {
        self.commands.clear();
        self.notified.clear();
        self.sent.clear();
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        product_id: 0xFFFF,
        product_version: 0xFFFF,
        flags: HelloFlags(0x00F6),
        platform: Platform(13),
        device_id: None,
        system: Some(HelloSystem {
            version: 6200,
            message_bytes_max: 1152,
            binary_bytes_max: 1_500_000,
            chunk_bytes: 512,
        }),
    }
}

pub(crate) fn application() -> ApplicationDescription {
    ApplicationDescription {
        functions: vec!["Led".into(), "echo".into()],
        variables: vec![("temp".into(), VariableType::Int)],
    }
}

pub(crate) fn system() -> DescribePart {
    DescribePart::System(SystemDescription::default())
}

pub(crate) fn described(flags: u8) -> Answer {
    let wants = |flag| flags == 0 || flags & flag != 0;
    let application = wants(2).then(|| DescribePart::Application(application()));
    Answer::Described(application.into_iter().chain(wants(1).then(system)).collect())
}

pub(crate) fn source(message_id: u16) -> Source {
    Source { record: u64::from(message_id), message_id, confirmable: true }
}

pub(crate) fn name(text: &str) -> EventName {
    EventName::parse(text.as_bytes()).expect("an event name")
}

pub(crate) fn publish(text: &str, data: Option<&[u8]>) -> DeviceMessage {
    let data = data.map(|bytes| EventData { format: 0, bytes: bytes.into() });
    DeviceMessage::Publish(Publish { name: name(text), data, ttl_s: 60 })
}

pub(crate) fn subscribe(prefix: &str) -> DeviceMessage {
    DeviceMessage::Subscribe(subscription(prefix))
}

pub(crate) fn subscription(prefix: &str) -> Subscribe {
    Subscribe {
        prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
        device: None,
        content: SubscriptionContent::Text,
    }
}

pub(crate) fn api_event(account: AccountId, text: &str, at: Timestamp) -> Event {
    Event {
        id: EventId(0),
        account,
        origin: Origin::Api,
        product: None,
        name: name(text),
        data: None,
        ttl_s: 60,
        published_at: at,
    }
}

pub(crate) fn text(event: &Event) -> String {
    let bytes = event.data.as_ref().map_or(&[][..], |data| &data.bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn charge_of(entry: &Entry) -> Option<Charge> {
    match entry {
        Entry::Attempt { charge, .. } | Entry::Copy { charge, .. } => Some(*charge),
        Entry::Publish { charge, .. } => *charge,
        _ => None,
    }
}
