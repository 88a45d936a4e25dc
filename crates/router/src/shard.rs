//! The shard: what it is told, what it wants done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use metering::Rules;
use model::journal::Entry;
use model::link::{Command, LinkEvent, Receipt, Verdict};
use model::{AccountId, Bearer, EventId, LinkId, Mono, Now, Refusal, RequestId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::device::{Device, Slot};
use crate::devices::Devices;
use crate::gate::{Gate, Publisher, Then};
use crate::interner::Interner;
use crate::rate::Rate;
use crate::subscriptions::Index;
use crate::timers::{Timer, Timers};
use crate::traffic::Departed;
use crate::{Counters, Effect, Input, Pause, Reply, Request, ShardConfig};

/// How long calls are refused after the store refused something. Then the next one tries again.
const STORE_REFUSAL_KEPT: Duration = Duration::from_secs(1);

/// One shard of devices.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) rate: Option<Rate>,
    pub(crate) devices: Devices,
    pub(crate) subscriptions: Index,
    pub(crate) descriptions: Interner,
    pub(crate) paused: BTreeMap<AccountId, Pause>,
    /// Of accounts whose catalogue is not the one of the settings.
    rules: BTreeMap<AccountId, Rules>,
    /// Connections whose device's row is being fetched, with what they told meanwhile.
    pub(crate) loading: BTreeMap<LinkId, Vec<LinkEvent>>,
    pub(crate) gate: Gate,
    pub(crate) timers: Timers,
    /// Whose presence may be due, soonest first; each device once.
    pub(crate) presence_due: VecDeque<(Mono, Slot)>,
    pub(crate) departed: Departed,
    pub(crate) counters: Counters,
    pub(crate) random: StdRng,
    pub(crate) exchanges: u64,
    store_refused_at: Option<Mono>,
    effects: VecDeque<Effect>,
}

impl Shard {
    /// A shard without devices.
    pub fn new(config: ShardConfig) -> Self {
        Self {
            rate: Rate::new(config.publish_burst, config.publish_rate_ms),
            random: StdRng::from_seed(config.seed),
            config,
            devices: Devices::default(),
            subscriptions: Index::default(),
            descriptions: Interner::default(),
            paused: BTreeMap::new(),
            rules: BTreeMap::new(),
            loading: BTreeMap::new(),
            gate: Gate::default(),
            timers: Timers::default(),
            presence_due: VecDeque::new(),
            departed: Departed::default(),
            counters: Counters::default(),
            exchanges: 0,
            store_refused_at: None,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input. Afterwards poll the effects until there are none.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::AccountPaused { account, pause: Some(pause) } => {
                self.paused.insert(account, pause);
            }
            Input::AccountPaused { account, pause: None } => {
                self.paused.remove(&account);
            }
            Input::AccountRules { account, rules: Some(rules) } => {
                self.rules.insert(account, rules);
            }
            Input::AccountRules { account, rules: None } => {
                self.rules.remove(&account);
            }
            Input::Changed { device, row } => self.row_changed(now, device, row),
            Input::Claimed { device, outcome, row } => self.claimed(now, device, outcome, row),
            Input::CommitFailed { to, .. } => self.commit_failed(now, to),
            Input::Committed { through, first_event_id } => {
                self.committed(now, through, first_event_id);
            }
            Input::Deliver(event) => self.deliver(now, &event),
            Input::Displaced { device } => self.displaced(now, device),
            Input::Link(event) => self.link_event(now, event),
            Input::Loaded { link, device, row } => self.loaded(now, link, device, row),
            Input::Request { id, request } => self.request(now, id, request),
            Input::Restored(restored) => self.restored(now, *restored),
            Input::TakeOver { device, update } => self.take_over(now, device, *update),
        }
    }

    /// Does what is due at `now`. Afterwards poll the effects until there are none.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((slot, timer)) = self.timers.first_due(now.mono) {
            match timer {
                Timer::Call => self.call_timer(now, slot),
                Timer::Describe => self.describe_timer(now, slot),
                Timer::Ping => self.ping_timer(slot),
                Timer::Presence => self.moved_timer(now, slot),
                Timer::Update => self.update_timer(now, slot),
            }
            self.rest(slot);
        }
        self.write_presence_due(now);
    }

    /// The next effect, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Shard::handle_timeout`] wants to be called at the latest; absent: never.
    pub fn next_timeout(&self) -> Option<Mono> {
        let presence = self.presence_due.front().map(|(at, _)| *at);
        self.timers.next().into_iter().chain(presence).min()
    }

    /// What happened so far, for metrics.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn link_event(&mut self, now: Now, event: LinkEvent) {
        let link = link_of(&event);
        if let Some(waiting) = self.loading.get_mut(&link) {
            return hold_back(waiting, event);
        }
        if let LinkEvent::Opened(opened) = event {
            return self.opened(now, *opened);
        }
        if let LinkEvent::Traffic { device, traffic, .. } = event {
            return self.traffic(now, device, traffic);
        }
        let Some(slot) = self.devices.slot_of_link(link) else {
            return self.unknown_link(event);
        };
        self.device_event(now, slot, event);
        self.rest(slot);
    }

    fn device_event(&mut self, now: Now, slot: Slot, event: LinkEvent) {
        match event {
            LinkEvent::Alive { .. } => self.heard(now, slot),
            LinkEvent::Answered { exchange, answer, .. } => {
                self.answered(now, slot, exchange, answer);
            }
            LinkEvent::Attempt { exchange, .. } => self.attempted(now, slot, exchange),
            LinkEvent::Closed { forget, .. } => self.closed(now, slot, forget),
            LinkEvent::Copy { message, receipt, source, .. } => {
                self.copied(now, slot, &message, receipt, source);
            }
            LinkEvent::Heard { at, record, .. } => self.heard_of(slot, at, record),
            LinkEvent::Message { message, receipt, source, .. } => {
                self.message(now, slot, message, receipt, source);
            }
            LinkEvent::Moved { peer, record, .. } => self.moved(now, slot, peer, record),
            LinkEvent::Opened(_) | LinkEvent::Traffic { .. } => {}
            LinkEvent::Reserve { link, record_limit } => {
                self.reserve(slot, link, record_limit);
            }
            LinkEvent::Silent { .. } => self.fall_silent(now, slot),
            LinkEvent::Transfer { update, news, .. } => {
                self.transfer_news(now, slot, update, news);
            }
            LinkEvent::Unanswered { exchange, .. } => self.unanswered(now, slot, exchange),
            LinkEvent::Unsendable { exchange, .. } => self.unsendable(now, slot, exchange),
        }
    }

    /// A connection of which nothing is known. A device that waits for an answer makes a new session.
    fn unknown_link(&mut self, event: LinkEvent) {
        let (LinkEvent::Message { link, receipt: Some(receipt), .. }
        | LinkEvent::Copy { link, receipt: Some(receipt), .. }) = event
        else {
            return;
        };
        self.counters.resets += 1;
        self.command(link, Command::Reset { receipt });
    }

    fn request(&mut self, now: Now, id: RequestId, request: Request) {
        match request {
            Request::AskVitals { device } => self.ask_vitals(now, id, device),
            Request::Call { device, name, argument } => self.call(now, id, device, name, argument),
            Request::CancelIfWaiting { device, request } => self.cancel(device, request),
            Request::CancelUpdate { device, update } => {
                self.cancel_update(now, id, device, update);
            }
            Request::KeyReplaced { device } => {
                self.key_replaced(now, device);
                self.reply(id, Ok(Reply::Done));
            }
            Request::Ping { device } => self.ping(now, id, device),
            Request::Publish { event } => self.publish_for_caller(id, event),
            Request::Read { device, name } => self.read(now, id, device, name),
            Request::Signal { device, on } => self.signal(now, id, device, on),
            Request::States { devices } => {
                let slots = devices.iter().filter_map(|device| self.devices.slot_of(*device));
                let known = slots.filter_map(|slot| self.devices.get(slot));
                let states = known.map(Device::state).collect();
                self.reply(id, Ok(Reply::States(states)));
            }
            Request::Update { device, update } => self.update(now, id, device, update),
        }
    }

    fn committed(&mut self, now: Now, through: u64, first_event_id: EventId) {
        self.store_refused_at = None;
        self.gate.settle(through);
        let mut next_event_id = first_event_id;
        while let Some(then) = self.gate.pop_settled() {
            self.is_durable(now, then, &mut next_event_id);
        }
    }

    fn is_durable(&mut self, now: Now, then: Then, next_event_id: &mut EventId) {
        match then {
            Then::Acknowledge { link, receipt, .. } | Then::SessionKept { link, receipt, .. } => {
                self.acknowledge(link, receipt, Verdict::Accepted);
            }
            Then::Attempted { .. } => {}
            Then::Copied { link, receipt, verdict } => self.acknowledge(link, receipt, verdict),
            Then::Copy { link, receipt, copy } => {
                let then = Then::Copied { link, receipt, verdict: Verdict::Accepted };
                self.record_copy(copy, Some(then));
            }
            Then::Published { event, publisher } => {
                let id = *next_event_id;
                next_event_id.0 += 1;
                self.published(now, event, id, publisher);
            }
            Then::Reply { id, result } => self.reply(id, result),
            Then::Reserved { link, record_limit } => {
                self.command(link, Command::Reserved { record_limit });
            }
        }
    }

    fn commit_failed(&mut self, now: Now, to: u64) {
        self.store_refused_at = Some(now.mono);
        self.gate.settle(to);
        while let Some(then) = self.gate.pop_settled() {
            self.counters.store_refusals += 1;
            self.is_refused(then);
        }
    }

    fn is_refused(&mut self, then: Then) {
        match then {
            Then::Acknowledge { link, receipt, refused } => {
                if let Some(verdict) = refused {
                    self.acknowledge(link, receipt, verdict);
                }
            }
            Then::Attempted { slot, exchange } => self.attempt_refused(slot, exchange),
            Then::Copied { link, receipt, .. } | Then::Copy { link, receipt, .. } => {
                self.acknowledge(link, receipt, Verdict::Unavailable);
            }
            Then::Published { publisher, .. } => self.publish_refused(publisher),
            Then::Reply { id, .. } => self.reply(id, Err(Refusal::Unavailable)),
            // The endpoint asks again by itself.
            Then::Reserved { .. } => {}
            Then::SessionKept { link, is_new, .. } => {
                if is_new {
                    self.command(link, Command::Close);
                }
            }
        }
    }

    fn publish_refused(&mut self, publisher: Publisher) {
        match publisher {
            Publisher::Caller(id) => self.reply(id, Err(Refusal::Unavailable)),
            Publisher::Device(link, receipt) => {
                self.gate.refuse_copies(link, receipt.message_id);
                self.acknowledge(link, receipt, Verdict::Unavailable);
            }
            Publisher::Nobody => {}
        }
    }

    /// Whether the store refused something a moment ago.
    pub(crate) fn store_refuses(&self, now: Now) -> bool {
        self.store_refused_at.is_some_and(|at| now.mono.since(at) < STORE_REFUSAL_KEPT)
    }

    /// Makes `entry` durable; `then` follows. Gives its sequence.
    pub(crate) fn record(&mut self, entry: Entry, then: Option<Then>) -> u64 {
        let sequence = self.gate.next_sequence();
        self.effects.push_back(Effect::Record(sequence, entry));
        if let Some(then) = then {
            let settled = self.gate.hold(sequence, then);
            debug_assert!(settled.is_none(), "the fate of a new record is open");
        }
        sequence
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn command(&mut self, link: LinkId, command: Command) {
        self.effects.push_back(Effect::Command(link, command));
    }

    pub(crate) fn acknowledge(&mut self, link: LinkId, receipt: Receipt, verdict: Verdict) {
        self.command(link, Command::Acknowledge { receipt, verdict });
    }

    pub(crate) fn reply(&mut self, id: RequestId, result: Result<Reply, Refusal>) {
        self.effects.push_back(Effect::Reply(id, result));
    }

    /// Answers a caller once `sequence` is durable.
    pub(crate) fn reply_after(
        &mut self,
        sequence: u64,
        id: RequestId,
        result: Result<Reply, Refusal>,
    ) {
        if model::planted!("call-answered-early") {
            return self.reply(id, result);
        }
        if let Some(Then::Reply { id, result }) =
            self.gate.hold(sequence, Then::Reply { id, result })
        {
            self.reply(id, result);
        }
    }

    /// Whether what the account pays for is paused for a device, or, without one, for the API.
    pub(crate) fn pause_of(&self, account: AccountId, device: Option<&Device>) -> Option<&Pause> {
        let is_cellular = device.is_some_and(|device| self.bearer_of(device) != Bearer::Wifi);
        self.paused.get(&account).filter(|pause| is_cellular || !pause.cellular_only)
    }

    /// What operations cost that the account pays for; absent if nothing is counted.
    pub(crate) fn rules_of(&self, account: AccountId) -> Option<Rules> {
        let rules = self.rules.get(&account).copied().unwrap_or(self.config.rules);
        self.config.counts.then_some(rules)
    }

    /// Gives the memory of what is done back.
    pub(crate) fn rest(&mut self, slot: Slot) {
        if let Some(device) = self.devices.get_mut(slot) {
            device.rest();
        }
    }
}

/// Events of one connection kept while its device's row is fetched; the shell answers at once, so
/// that there is hardly ever one.
const HELD_BACK_MAX: usize = 16;

fn hold_back(waiting: &mut Vec<LinkEvent>, event: LinkEvent) {
    if waiting.len() < HELD_BACK_MAX || matches!(event, LinkEvent::Closed { .. }) {
        waiting.push(event);
    }
}

fn link_of(event: &LinkEvent) -> LinkId {
    match event {
        LinkEvent::Opened(opened) => opened.link,
        LinkEvent::Alive { link }
        | LinkEvent::Answered { link, .. }
        | LinkEvent::Attempt { link, .. }
        | LinkEvent::Closed { link, .. }
        | LinkEvent::Copy { link, .. }
        | LinkEvent::Heard { link, .. }
        | LinkEvent::Message { link, .. }
        | LinkEvent::Moved { link, .. }
        | LinkEvent::Reserve { link, .. }
        | LinkEvent::Silent { link }
        | LinkEvent::Transfer { link, .. }
        | LinkEvent::Traffic { link, .. }
        | LinkEvent::Unanswered { link, .. }
        | LinkEvent::Unsendable { link, .. } => *link,
    }
}
