//! Signs of life that a caller asks for.

use model::limits::{CALLS_WAITING_MAX, PING_DEADLINE};
use model::{CloudMessage, DeviceId, Now, Refusal, RequestId};

use crate::Reply;
use crate::device::{Slot, What};
use crate::shard::Shard;
use crate::timers::Timer;

impl Shard {
    /// Any message of the device answers. Callers that ask while a ping is on its way share it.
    pub(crate) fn ping(&mut self, now: Now, id: RequestId, device: DeviceId) {
        let Some(slot) = self.devices.slot_of(device) else {
            return self.reply(id, Err(Refusal::UnknownDevice));
        };
        let Some(device) = self.devices.get_mut(slot) else { return };
        if !device.marks.online || device.link.is_none() {
            return self.reply(id, Ok(Reply::Online(false)));
        }
        let busy = device.busy();
        if busy.pings.len() >= CALLS_WAITING_MAX {
            return self.reply(id, Err(Refusal::QueueFull));
        }
        busy.pings.push(id);
        let is_first = busy.pings.len() == 1;
        let is_on_its_way = busy.sent.iter().any(|sent| sent.what == What::Ping);
        if is_first {
            self.timers.set(slot, device, Timer::Ping, Some(now.mono.after(PING_DEADLINE)));
        }
        if !is_on_its_way {
            self.send(now, slot, What::Ping, CloudMessage::Ping);
        }
    }

    /// Nothing came in time: for the caller the device is not there. It is given up for everybody
    /// when the last attempt is unanswered.
    pub(crate) fn ping_timer(&mut self, slot: Slot) {
        self.answer_pings(slot, false);
    }

    pub(crate) fn answer_pings(&mut self, slot: Slot, online: bool) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if device.busy.as_ref().is_none_or(|busy| busy.pings.is_empty()) {
            return;
        }
        self.timers.set(slot, device, Timer::Ping, None);
        let charged = device.busy().sent.iter().find(|sent| sent.what == What::Ping);
        let sequence = charged.map_or(0, |sent| sent.sequence);
        for id in std::mem::take(&mut device.busy().pings) {
            self.reply_after(sequence, id, Ok(Reply::Online(online)));
        }
    }
}
