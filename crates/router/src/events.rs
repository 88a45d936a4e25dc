//! What devices say: events, subscriptions, descriptions, farewells.

use std::sync::Arc;

use metering::{kind_of_copy, kind_of_publish};
use model::event::Origin;
use model::journal::{Charge, Entry, MessageName, OperationKind};
use model::link::{Command, Receipt, Source, Verdict};
use model::message::{Publish, Subscribe};
use model::{DeviceMessage, Event, EventId, LinkId, Now, Refusal, RequestId};

use crate::device::Slot;
use crate::gate::{CopyOf, Publisher, Then};
use crate::presence::event_of;
use crate::shard::Shard;
use crate::{Effect, Reply};

impl Shard {
    /// A message of a device, the first time it came.
    pub(crate) fn message(
        &mut self,
        now: Now,
        slot: Slot,
        message: DeviceMessage,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        let Some(device) = self.devices.get(slot) else { return };
        if device.marks.leaving {
            return self.acknowledge_now(slot, receipt, verdict_of_leaving(&message));
        }
        let is_describe = matches!(message, DeviceMessage::Describe(_));
        if device.marks.unknown && !is_describe && receipt.is_some() {
            return self.reset(slot, receipt);
        }
        if let DeviceMessage::Goodbye(_) = message {
            return self.goodbye(now, slot, receipt);
        }
        self.heard(now, slot);
        match message {
            DeviceMessage::Describe(part) => {
                self.take_part(now, slot, part, receipt, Some(source));
            }
            DeviceMessage::Goodbye(_) => {}
            DeviceMessage::Publish(publish) => self.publish(now, slot, publish, receipt, source),
            DeviceMessage::Subscribe(subscribe) => {
                self.subscribe(slot, subscribe, receipt, source);
            }
        }
    }

    /// The session cannot go on: the device makes a new one.
    fn reset(&mut self, slot: Slot, receipt: Option<Receipt>) {
        if let Some((link, receipt)) = self.link_of(slot).zip(receipt) {
            self.counters.resets += 1;
            self.command(link, Command::Reset { receipt });
        }
    }

    /// Nobody waits for a farewell to be durable.
    fn goodbye(&mut self, now: Now, slot: Slot, receipt: Option<Receipt>) {
        self.acknowledge_now(slot, receipt, Verdict::Accepted);
        if let Some(device) = self.devices.get_mut(slot) {
            device.last_heard = now.utc;
        }
        self.go_offline(now, slot);
    }

    fn publish(
        &mut self,
        now: Now,
        slot: Slot,
        publish: Publish,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        if publish.name.is_internal() {
            return self.internal_event(now, slot, publish, receipt, source);
        }
        if let Err(verdict) = self.admit_publish(now, slot) {
            return self.acknowledge_now(slot, receipt, verdict);
        }
        let charge = self.charge_of(now, slot, &publish);
        if let Some(event) = self.event_of(now, slot, publish) {
            self.counters.publishes_accepted += 1;
            let publisher = self.publisher(slot, receipt);
            if model::planted!("publish-acked-early") {
                self.acknowledge_now(slot, receipt, Verdict::Accepted);
            }
            self.record_event(event, Some(source), charge, publisher);
        }
    }

    /// Whether a publish is taken; else what to answer. One of a device that nobody owns goes no
    /// further, but it is no failure of the device.
    fn admit_publish(&mut self, now: Now, slot: Slot) -> Result<(), Verdict> {
        let Some(device) = self.devices.get(slot) else { return Err(Verdict::Unavailable) };
        let Some(account) = device.row.account else {
            self.counters.messages_unowned += 1;
            return Err(Verdict::Accepted);
        };
        if self.pause_of(account, Some(device)).is_some() {
            self.counters.publishes_paused += 1;
            return Err(Verdict::Forbidden);
        }
        let rate = self.rate;
        let bucket = self.devices.get_mut(slot).map(|device| &mut device.bucket);
        let is_taken = bucket.zip(rate).is_none_or(|(bucket, rate)| bucket.take(now.mono, rate));
        if !is_taken {
            self.counters.publishes_over_rate += 1;
            return Err(Verdict::TooManyRequests);
        }
        Ok(())
    }

    fn charge_of(&self, now: Now, slot: Slot, publish: &Publish) -> Option<Charge> {
        self.charge_as(now, slot, kind_of_publish(publish)?, publish)
    }

    fn charge_as(
        &self,
        now: Now,
        slot: Slot,
        kind: OperationKind,
        publish: &Publish,
    ) -> Option<Charge> {
        self.charge(now, slot, kind, publish.data.as_ref().map_or(0, |data| data.bytes.len()))
    }

    fn charge(&self, now: Now, slot: Slot, kind: OperationKind, bytes: usize) -> Option<Charge> {
        let payer = self.devices.get(slot)?.payer()?;
        self.rules_of(payer.account)?.charge(kind, bytes, payer, now.utc)
    }

    /// What a location costs that is stored with its event (rule 8).
    fn charge_of_point(&self, event: &Event, publish: Charge) -> Option<Charge> {
        let slot = self.devices.slot_of(publish.device)?;
        let device = self.devices.get(slot)?;
        let is_stored =
            device.row.stores_points || self.config.platforms.is_tracker(device.facts.platform);
        metering::point_of(event).filter(|_| is_stored)?;
        let Charge { account, product, device, at, .. } = publish;
        let payer = metering::Payer { account, product, device };
        self.rules_of(account)?.charge(OperationKind::StoredPoint, 0, payer, at)
    }

    fn event_of(&self, now: Now, slot: Slot, publish: Publish) -> Option<Event> {
        let event = event_of(self.devices.get(slot)?, publish.name, publish.data, now)?;
        Some(Event { ttl_s: publish.ttl_s, ..event })
    }

    pub(crate) fn publisher(&self, slot: Slot, receipt: Option<Receipt>) -> Publisher {
        match self.link_of(slot).zip(receipt) {
            Some((link, receipt)) => Publisher::Device(link, receipt),
            None => Publisher::Nobody,
        }
    }

    pub(crate) fn record_event(
        &mut self,
        event: Event,
        source: Option<Source>,
        charge: Option<Charge>,
        publisher: Publisher,
    ) {
        let point = charge.and_then(|charge| self.charge_of_point(&event, charge));
        let event = Arc::new(event);
        let then = Then::Published { event: Arc::clone(&event), publisher };
        self.record(Entry::Publish { event, source, charge, point }, Some(then));
    }

    /// An event of the API or of the cloud itself.
    pub(crate) fn publish_for_caller(&mut self, id: RequestId, event: Event) {
        if let Some(pause) = self.pause_of(event.account, None) {
            let why = pause.why.to_string();
            self.counters.api_publishes_paused += u64::from(event.origin == Origin::Api);
            return self.reply(id, Err(Refusal::Paused(why)));
        }
        self.record_event(event, None, None, Publisher::Caller(id));
    }

    /// An event is durable: its publisher is told, it is shown and delivered.
    pub(crate) fn published(
        &mut self,
        now: Now,
        mut event: Arc<Event>,
        id: EventId,
        publisher: Publisher,
    ) {
        Arc::make_mut(&mut event).id = id;
        match publisher {
            Publisher::Caller(id) => self.reply(id, Ok(Reply::Done)),
            Publisher::Device(link, receipt) => {
                self.acknowledge(link, receipt, Verdict::Accepted);
            }
            Publisher::Nobody => {}
        }
        self.effect(Effect::Notify(Arc::clone(&event)));
        self.deliver(now, &event);
    }

    /// A second copy of a publish: counted, acknowledged as the first one was, not routed.
    pub(crate) fn copied(
        &mut self,
        now: Now,
        slot: Slot,
        message: &DeviceMessage,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        self.heard(now, slot);
        self.counters.publishes_copied += 1;
        let charge = match message {
            DeviceMessage::Publish(publish) => {
                kind_of_copy(publish).and_then(|kind| self.charge_as(now, slot, kind, publish))
            }
            DeviceMessage::Describe(_)
            | DeviceMessage::Goodbye(_)
            | DeviceMessage::Subscribe(_) => None,
        };
        let waits = self.link_of(slot).zip(receipt);
        if let Some(charge) = charge {
            return self.count_copy(waits, CopyOf { source, charge, name: name_of(message) });
        }
        let verdict = Verdict::Accepted;
        let then = waits.map(|(link, receipt)| Then::Copied { link, receipt, verdict });
        // The first copy may still be on its way to the disk.
        let settled = then.and_then(|then| self.gate.hold(self.gate.last_sequence(), then));
        if let Some(Then::Copied { link, receipt, verdict }) = settled {
            self.acknowledge(link, receipt, verdict);
        }
    }

    /// Nothing is counted of a publish that is refused: a copy waits for the fate of the first one.
    fn count_copy(&mut self, waits: Option<(LinkId, Receipt)>, copy: CopyOf) {
        if let Some((link, receipt)) = waits
            && let Some(first) = self.gate.publish_waiting(link, receipt.message_id)
        {
            self.gate.hold(first, Then::Copy { link, receipt, copy });
            return;
        }
        let verdict = Verdict::Accepted;
        let then = waits.map(|(link, receipt)| Then::Copied { link, receipt, verdict });
        self.record_copy(copy, then);
    }

    pub(crate) fn record_copy(&mut self, copy: CopyOf, then: Option<Then>) {
        let CopyOf { source, charge, name } = copy;
        self.record(Entry::Copy { source, charge, name }, then);
    }

    pub(crate) fn acknowledge_now(
        &mut self,
        slot: Slot,
        receipt: Option<Receipt>,
        verdict: Verdict,
    ) {
        if let Some((link, receipt)) = self.link_of(slot).zip(receipt) {
            self.acknowledge(link, receipt, verdict);
        }
    }

    fn subscribe(
        &mut self,
        slot: Slot,
        subscribe: Subscribe,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        let Some(device) = self.devices.get(slot) else { return };
        let id = device.id;
        if !self.take_subscription(slot, subscribe.clone()) {
            self.counters.subscriptions_refused += 1;
            return self.acknowledge_now(slot, receipt, Verdict::BadRequest);
        }
        let refused = Some(Verdict::Unavailable);
        let then = self.link_of(slot).zip(receipt).map(|(link, receipt)| Then::Acknowledge {
            link,
            receipt,
            refused,
        });
        self.record(Entry::Subscribe { device: id, subscribe, source }, then);
    }

    /// Adds a subscription to a device and to the index; `false` if it has too many.
    pub(crate) fn take_subscription(&mut self, slot: Slot, mut subscribe: Subscribe) -> bool {
        let Some(device) = self.devices.get_mut(slot) else { return false };
        let account = device.row.account;
        if let Some(shared) =
            account.and_then(|account| self.subscriptions.shared(account, &subscribe.prefix))
        {
            subscribe.prefix = shared;
        }
        let Ok(before) = device.subscriptions.take(&subscribe) else { return false };
        if let Some(account) = account {
            if let Some(before) = before {
                self.subscriptions.remove(account, slot, &before);
            }
            self.subscriptions.insert(account, slot, &subscribe);
        }
        true
    }

    /// A Hello clears them; they come again.
    pub(crate) fn forget_subscriptions(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let forgotten = std::mem::take(&mut device.subscriptions);
        let Some(account) = device.row.account else { return };
        for subscribe in &forgotten.list {
            self.subscriptions.remove(account, slot, subscribe);
        }
    }
}

fn name_of(message: &DeviceMessage) -> MessageName {
    match message {
        DeviceMessage::Publish(publish) => MessageName::Call(publish.name.as_str().into()),
        DeviceMessage::Describe(_) | DeviceMessage::Goodbye(_) | DeviceMessage::Subscribe(_) => {
            MessageName::None
        }
    }
}

/// What a device that is thrown out hears: nothing it says is kept, and it must not take an event
/// for published.
fn verdict_of_leaving(message: &DeviceMessage) -> Verdict {
    match message {
        DeviceMessage::Publish(_) => Verdict::Forbidden,
        DeviceMessage::Describe(_) | DeviceMessage::Goodbye(_) | DeviceMessage::Subscribe(_) => {
            Verdict::Accepted
        }
    }
}
