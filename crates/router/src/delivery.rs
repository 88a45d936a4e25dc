//! Events on their way to one device: one at a time, in order.

use std::sync::Arc;

use model::limits::{EVENTS_WAITING_BYTES_MAX, EVENTS_WAITING_MAX};
use model::link::ExchangeId;
use model::message::SubscriptionContent;
use model::{CloudMessage, Event, Now};

use crate::device::{Busy, Slot, What};
use crate::shard::Shard;

impl Shard {
    /// Sends an event to every device of this shard that wants it.
    pub(crate) fn deliver(&mut self, now: Now, event: &Arc<Event>) {
        for (slot, content) in self.subscriptions.matches(event) {
            self.enqueue(now, slot, event, content);
        }
    }

    /// Queues an event for a device. Nothing is attempted to one that is offline or paused.
    pub(crate) fn enqueue(
        &mut self,
        now: Now,
        slot: Slot,
        event: &Arc<Event>,
        content: SubscriptionContent,
    ) {
        if !self.takes_event(slot, event) {
            return;
        }
        let Some(device) = self.devices.get_mut(slot) else { return };
        let busy = device.busy();
        let bytes = busy.events_bytes + size_of_event(event);
        if busy.events.len() >= EVENTS_WAITING_MAX || bytes > EVENTS_WAITING_BYTES_MAX {
            device.events_dropped = device.events_dropped.saturating_add(1);
            self.counters.deliveries_queue_full += 1;
            return;
        }
        busy.events_bytes = bytes;
        busy.events.push_back((Arc::clone(event), content));
        self.send_event(now, slot);
    }

    fn takes_event(&mut self, slot: Slot, event: &Event) -> bool {
        let Some(device) = self.devices.get(slot) else { return false };
        if !device.marks.online || event.name.is_internal() {
            return device.marks.online;
        }
        let account = device.row.account;
        let is_paused =
            account.is_some_and(|account| self.pause_of(account, Some(device)).is_some());
        self.counters.deliveries_paused += u64::from(is_paused);
        !is_paused
    }

    /// Sends the next event if none is on its way.
    fn send_event(&mut self, now: Now, slot: Slot) {
        while let Some((event, content)) = self.next_event(slot) {
            if !self.takes_event(slot, &event) {
                continue;
            }
            let message = CloudMessage::Event { event, content };
            let exchange = self.send(now, slot, What::Delivery, message);
            self.counters.deliveries_sent += u64::from(exchange.is_some());
            if let Some(device) = self.devices.get_mut(slot) {
                device.busy().delivering = exchange;
            }
        }
    }

    fn next_event(&mut self, slot: Slot) -> Option<(Arc<Event>, SubscriptionContent)> {
        let busy = self.devices.get_mut(slot)?.busy.as_mut()?;
        if busy.delivering.is_some() {
            return None;
        }
        let (event, content) = busy.events.pop_front()?;
        busy.events_bytes -= size_of_event(&event);
        Some((event, content))
    }

    /// The fate of the event on its way is known.
    pub(crate) fn delivered(&mut self, now: Now, slot: Slot, exchange: ExchangeId) {
        if let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) {
            busy.delivering.take_if(|delivering| *delivering == exchange);
        }
        if model::planted!("event-wakeup-lost") && exchange.0.is_multiple_of(16) {
            return;
        }
        self.send_event(now, slot);
    }

    /// Forgets the event on its way and those behind it.
    pub(crate) fn drop_events(&mut self, slot: Slot) {
        self.drop_waiting_events(slot);
        if let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) {
            busy.delivering = None;
        }
    }

    pub(crate) fn drop_waiting_events(&mut self, slot: Slot) {
        if let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) {
            let Busy { events, events_bytes, .. } = &mut **busy;
            self.counters.deliveries_offline += events.len() as u64;
            *events_bytes = 0;
            events.clear();
        }
    }
}

/// What an event takes of the bound of a queue.
fn size_of_event(event: &Event) -> usize {
    event.name.as_str().len() + event.data_bytes()
}
