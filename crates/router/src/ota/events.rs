//! Who is told of an update, and how.

use model::{EventData, EventName, Now, UpdateState};

use crate::Effect;
use crate::device::Slot;
use crate::gate::Publisher;
use crate::presence::event_of;
use crate::shard::Shard;

impl Shard {
    pub(super) fn report(&mut self, now: Now, slot: Slot, state: UpdateState) {
        let Some(device) = self.devices.get(slot) else { return };
        let Some(job) = device.job() else { return };
        let report = job.report(device.id, state, now);
        self.effect(Effect::Report(report));
    }

    /// An event that the cloud makes of the device; not counted.
    pub(super) fn tell_owner_of_update(&mut self, now: Now, slot: Slot, name: &str, text: &str) {
        let Some(device) = self.devices.get(slot) else { return };
        let Ok(name) = EventName::parse(name.as_bytes()) else { return };
        let data = EventData { format: 0, bytes: text.as_bytes().into() };
        let Some(event) = event_of(device, name, Some(data), now) else { return };
        self.record_event(event, None, None, Publisher::Nobody);
    }

    /// An event for this device alone.
    pub(super) fn tell_device(&mut self, now: Now, slot: Slot, name: &str, is_so: bool) {
        let Ok(name) = EventName::parse(name.as_bytes()) else { return };
        self.answer(now, slot, &name, if is_so { b"true" } else { b"false" });
    }
}
