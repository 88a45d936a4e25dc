//! How the shard comes to know what a device can do: it is told, or asks.

use std::sync::Arc;

use model::hello::HelloFlags;
use model::journal::Entry;
use model::limits::{CALL_DEADLINE, DESCRIBE_WAIT};
use model::link::{Receipt, Source};
use model::{
    Answer, CloudMessage, DescribePart, DeviceId, EventData, EventName, Metric, Now, Refusal,
    RequestId, vitals,
};

use crate::Reply;
use crate::device::{Slot, What};
use crate::gate::{Publisher, Then};
use crate::presence::event_of;
use crate::shard::Shard;
use crate::timers::Timer;

/// `messages.md` §6.1
const SYSTEM: u8 = 1;
const APPLICATION: u8 = 2;
const BOTH: u8 = SYSTEM | APPLICATION;
const METRICS: u8 = 4;
/// What streams show of vital signs (`messages.md` §6.7).
const VITALS_EVENT: &[u8] = b"spark/device/diagnostics/update";

/// Where the description of a device stands since its last Hello.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Describing {
    phase: Phase,
    /// Parts that came.
    told: u8,
    /// Parts that were asked for.
    asked: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Everything came, or nothing more will.
    #[default]
    Settled,
    /// The device sends it by itself.
    Expected,
    /// The cloud asked for it.
    Asked,
}

impl Describing {
    fn missing(self) -> u8 {
        BOTH & !self.told
    }

    /// Whether functions and variables may still come, so that calls wait.
    pub(crate) fn is_application_to_come(self) -> bool {
        self.phase != Phase::Settled && self.missing() & APPLICATION != 0
    }
}

impl Shard {
    /// After a Hello: wait for the parts, or ask at once.
    pub(crate) fn begin_describe(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.describing = Describing { phase: Phase::Expected, told: 0, asked: 0 };
        if device.facts.flags.has(HelloFlags::DEVICE_INITIATED_DESCRIBE) {
            self.wait_for_describe(now, slot);
        } else {
            self.ask_for_describe(now, slot);
        }
        self.arm_calls(slot);
    }

    /// A device that was given up is back: what was to come may have been lost.
    pub(crate) fn resume_describe(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if device.describing.phase != Phase::Settled {
            device.describing.phase = Phase::Expected;
            device.describing.asked = 0;
            self.wait_for_describe(now, slot);
        }
    }

    /// A session came back without its description: one that the device sends by itself at a Hello
    /// only cannot be had without one.
    pub(crate) fn restore_description(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if device.row.description.is_some() {
            return;
        }
        if device.facts.flags.has(HelloFlags::DEVICE_INITIATED_DESCRIBE) {
            device.marks.unknown = true;
        } else {
            device.describing = Describing { phase: Phase::Expected, told: 0, asked: 0 };
            self.wait_for_describe(now, slot);
        }
    }

    fn wait_for_describe(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        self.timers.set(slot, device, Timer::Describe, Some(now.mono.after(DESCRIBE_WAIT)));
    }

    /// Asks for one missing part after the other; a part that did not come when asked for is not
    /// asked for again.
    fn ask_for_describe(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let is_by_part = device.facts.flags.has(HelloFlags::DEVICE_INITIATED_DESCRIBE);
        let describing = &mut device.describing;
        let open = describing.missing() & !describing.asked;
        if open == 0 {
            return self.settle_describe(now, slot);
        }
        if !device.marks.online {
            // It is waited for again when the device comes back.
            return;
        }
        let flags = if is_by_part { part_to_ask(open) } else { 0 };
        describing.asked |= if is_by_part { flags } else { BOTH };
        describing.phase = Phase::Asked;
        // Over TCP nothing tells that no answer will come.
        self.timers.set(slot, device, Timer::Describe, Some(now.mono.after(CALL_DEADLINE)));
        self.send(now, slot, What::Describe, CloudMessage::Describe(flags));
    }

    fn settle_describe(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.describing.phase = Phase::Settled;
        self.timers.set(slot, device, Timer::Describe, None);
        self.start_calls(now, slot);
    }

    pub(crate) fn describe_timer(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        self.timers.set(slot, device, Timer::Describe, None);
        if let Some(busy) = &mut device.busy {
            busy.sent.retain(|sent| sent.what != What::Describe);
        }
        self.ask_for_describe(now, slot);
    }

    /// Asks an online device for its vital signs. They are kept and shown when they come; nobody waits.
    pub(crate) fn ask_vitals(&mut self, now: Now, id: RequestId, device: DeviceId) {
        let Some(slot) = self.devices.slot_of(device) else {
            return self.reply(id, Err(Refusal::UnknownDevice));
        };
        let Some(device) = self.devices.get_mut(slot).filter(|device| device.marks.online) else {
            return self.reply(id, Err(Refusal::Offline));
        };
        device.forget_describes_overdue(now);
        if !device.is_asked_to_describe() {
            self.send(now, slot, What::Describe, CloudMessage::Describe(METRICS));
        }
        self.reply(id, Ok(Reply::Done));
    }

    /// Shows the owner's streams what a device told of itself.
    fn show_vitals(&mut self, now: Now, slot: Slot, metrics: &[Metric]) {
        let (Some(device), Ok(name)) = (self.devices.get(slot), EventName::parse(VITALS_EVENT))
        else {
            return;
        };
        let data = EventData { format: 0, bytes: vitals::to_json(metrics).into_bytes().into() };
        if let Some(event) = event_of(device, name, Some(data), now) {
            self.record_event(event, None, None, Publisher::Nobody);
        }
    }

    /// The answer to a Describe that the cloud asked for; one without parts is a refusal.
    pub(crate) fn described(&mut self, now: Now, slot: Slot, answer: Answer) {
        let parts = match answer {
            Answer::Described(parts) => parts,
            Answer::Accepted | Answer::Failed(_) | Answer::Returned(_) | Answer::Value(_) => {
                Vec::new()
            }
        };
        for part in parts {
            self.take_part(now, slot, part, None, None);
        }
        if self.devices.get(slot).is_some_and(|device| device.describing.phase == Phase::Asked) {
            self.ask_for_describe(now, slot);
        }
    }

    /// A part came. It takes effect at once; its acknowledgement waits until it is durable.
    pub(crate) fn take_part(
        &mut self,
        now: Now,
        slot: Slot,
        part: DescribePart,
        receipt: Option<Receipt>,
        source: Option<Source>,
    ) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let then = device.link.zip(receipt).map(|(link, receipt)| Then::Acknowledge {
            link,
            receipt,
            refused: None,
        });
        match &part {
            DescribePart::Application(description) => {
                device.row.description = Some(self.descriptions.share(description));
                device.marks.safe_mode = false;
                device.marks.unknown = false;
                device.describing.told |= APPLICATION;
            }
            DescribePart::System(system) => {
                device.row.has_modem = system.imei.is_some();
                device.describing.told |= SYSTEM;
            }
            DescribePart::Metrics(metrics) => {
                let metrics = metrics.clone();
                self.show_vitals(now, slot, &metrics);
            }
        }
        let Some(device) = self.devices.get(slot) else { return };
        let (device, part) = (device.id, Arc::new(part));
        self.record(Entry::Describe { device, part: Arc::clone(&part), source, at: now.utc }, then);
        self.go_on_describing(now, slot);
        if let DescribePart::System(description) = &*part {
            self.modules_told(now, slot, &description.modules);
        }
    }

    fn go_on_describing(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        if device.describing.phase != Phase::Settled && device.describing.missing() == 0 {
            return self.settle_describe(now, slot);
        }
        self.start_calls(now, slot);
    }
}

/// Exactly one, functions and variables first: calls wait for them.
fn part_to_ask(open: u8) -> u8 {
    if open & APPLICATION != 0 { APPLICATION } else { SYSTEM }
}
