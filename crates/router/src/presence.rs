//! Whether a device is believed online, who is told, and when it is written down.

use std::time::Duration;

use model::journal::Entry;
use model::limits::PRESENCE_WRITTEN;
use model::{Event, EventData, EventId, EventName, Now, Origin, Refusal, Timestamp};

use crate::device::{Device, Slot};
use crate::gate::Publisher;
use crate::shard::Shard;
use crate::timers::{Timer, Timers};

/// Shortest time between two writes of a device's changing address.
const ADDRESS_WRITTEN: Duration = Duration::from_secs(1);

/// What `spark/status` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Offline,
    Online,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

impl Shard {
    /// An authentic message came: the device is alive, and online if it was not.
    pub(crate) fn heard(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if device.marks.leaving {
            return;
        }
        device.last_heard = now.utc;
        let was_online = device.marks.online;
        device.marks.presence_due = true;
        if !std::mem::replace(&mut device.marks.presence_queued, true) {
            self.presence_due.push_back((now.mono.after(PRESENCE_WRITTEN), slot));
        }
        if !was_online {
            self.come_online(now, slot);
        }
        self.answer_pings(slot, true);
    }

    /// Records came that only show that its session goes on.
    pub(crate) fn heard_of(&mut self, slot: Slot, at: Timestamp, record: u64) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if device.marks.leaving {
            return;
        }
        device.last_heard = device.last_heard.max(at);
        self.write_presence_and_record(slot, record);
    }

    fn come_online(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.marks.online = true;
        device.resumes = device.resumes.saturating_add(1);
        self.counters.devices_online += 1;
        self.tell_status(now, slot, Status::Online);
        self.write_presence(slot);
        self.resume_describe(now, slot);
        self.update_resumed(now, slot);
    }

    /// A message sent now would not arrive: nothing waits for the device any more.
    pub(crate) fn go_offline(&mut self, now: Now, slot: Slot) {
        let was_online = self.devices.get(slot).is_some_and(|device| device.marks.online);
        self.end_silently(now, slot);
        if was_online {
            self.write_presence(slot);
        }
    }

    pub(crate) fn fall_silent(&mut self, now: Now, slot: Slot) {
        self.go_offline(now, slot);
        if self.devices.get(slot).is_some_and(|device| device.marks.leaving) {
            self.thrown_out(slot);
        }
    }

    /// As [`Shard::go_offline`], but nothing is written down.
    pub(crate) fn end_silently(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let was_online = std::mem::replace(&mut device.marks.online, false);
        if was_online {
            self.counters.devices_online = self.counters.devices_online.saturating_sub(1);
            self.tell_status(now, slot, Status::Offline);
        }
        self.fail_running(slot, Refusal::TimedOut);
        self.fail_calls(slot, Refusal::Offline);
        self.drop_events(slot);
        self.answer_pings(slot, false);
        if let Some(device) = self.devices.get_mut(slot) {
            device.forget_sent_before(now.mono);
            self.timers.stop(slot, device);
        }
        self.update_interrupted(now, slot);
    }

    /// Publishes `spark/status` to the owner, if there is one.
    pub(crate) fn tell_status(&mut self, now: Now, slot: Slot, status: Status) {
        let Some(device) = self.devices.get(slot) else { return };
        let Ok(name) = EventName::parse(b"spark/status") else { return };
        let data = EventData { format: 0, bytes: status.as_str().as_bytes().into() };
        let Some(event) = event_of(device, name, Some(data), now) else { return };
        if model::planted!("offline-not-told") && status == Status::Offline {
            return;
        }
        if model::planted!("status-told-twice")
            && status == Status::Online
            && slot.0.is_multiple_of(4)
        {
            self.record_event(event.clone(), None, None, Publisher::Nobody);
        }
        self.record_event(event, None, None, Publisher::Nobody);
    }

    /// Writes where the device is and whether it is online.
    pub(crate) fn write_presence(&mut self, slot: Slot) {
        self.write_presence_and_record(slot, 0);
    }

    /// The same with the highest record number of its session.
    pub(crate) fn write_presence_and_record(&mut self, slot: Slot, record_seen: u64) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.marks.presence_due = false;
        device.marks.moved = false;
        let entry = Entry::Presence {
            device: device.id,
            online: device.marks.online,
            peer: Some(device.peer),
            last_heard: device.last_heard,
            record_seen,
        };
        self.record(entry, None);
    }

    pub(crate) fn write_presence_due(&mut self, now: Now) {
        while let Some((at, slot)) = self.presence_due.front().copied()
            && at <= now.mono
        {
            self.presence_due.pop_front();
            let Some(device) = self.devices.get_mut(slot) else { continue };
            device.marks.presence_queued = false;
            if device.marks.presence_due {
                self.write_presence(slot);
            }
        }
    }

    /// Writes another address down: at once, but one that changes with every message once a second.
    /// The number of its record, too, unless it waits: then the connection tells it within the minute.
    pub(crate) fn write_address(&mut self, now: Now, slot: Slot, record: u64) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if Timers::is_set(device, Timer::Presence) {
            device.marks.moved = true;
            return;
        }
        self.timers.set(slot, device, Timer::Presence, Some(now.mono.after(ADDRESS_WRITTEN)));
        self.write_presence_and_record(slot, record);
    }

    pub(crate) fn moved_timer(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        self.timers.set(slot, device, Timer::Presence, None);
        if device.marks.moved {
            self.write_address(now, slot, 0);
        }
    }
}

/// An event that a device made, or that the cloud made of it; absent if nobody owns the device.
pub(crate) fn event_of(
    device: &Device,
    name: EventName,
    data: Option<EventData>,
    now: Now,
) -> Option<Event> {
    Some(Event {
        id: EventId(0),
        account: device.row.account?,
        origin: Origin::Device(device.id),
        product: device.row.product,
        name,
        data,
        ttl_s: model::limits::EVENT_TTL_S_DEFAULT,
        published_at: now.utc,
    })
}
