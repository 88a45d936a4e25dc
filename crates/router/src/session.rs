//! Connections of devices: they open, come back, move, are displaced and end.

use std::mem;
use std::net::SocketAddr;

use model::journal::Entry;
use model::link::{Command, LinkEvent, Opened, Transport};
use model::update::UpdateFailure;
use model::{CloudMessage, DeviceId, DeviceRow, LinkId, Now, Refusal};

use crate::device::{Device, Facts, Slot, What};
use crate::gate::Then;
use crate::presence::Status;
use crate::rate::Bucket;
use crate::shard::Shard;
use crate::{Effect, Restored};

impl Shard {
    /// A Hello was accepted. The row of a device that is not known yet is fetched first.
    pub(crate) fn opened(&mut self, now: Now, opened: Opened) {
        if let Some(slot) = self.devices.slot_of(opened.device) {
            self.hello(now, slot, opened);
            return self.rest(slot);
        }
        let Opened { link, device, .. } = opened;
        self.loading.insert(link, vec![LinkEvent::Opened(Box::new(opened))]);
        self.effect(Effect::Load { link, device });
    }

    pub(crate) fn loaded(&mut self, now: Now, link: LinkId, id: DeviceId, row: Option<DeviceRow>) {
        let Some(waiting) = self.loading.remove(&link) else { return };
        let Some(row) = row else { return self.command(link, Command::Close) };
        if let Some(LinkEvent::Opened(opened)) = waiting.first()
            && self.devices.slot_of(id).is_none()
        {
            let facts = Facts::of(&opened.hello, opened.transport);
            self.insert_device(Device::new(id, opened.peer, row, facts));
        }
        for event in waiting {
            self.handle(now, crate::Input::Link(event));
        }
    }

    fn insert_device(&mut self, mut device: Device) -> Slot {
        let described = device.row.description.take();
        device.row.description = described.map(|description| self.descriptions.adopt(description));
        let slot = self.devices.insert(device);
        self.counters.devices = self.devices.len() as u64;
        slot
    }

    fn hello(&mut self, now: Now, slot: Slot, opened: Opened) {
        if self.is_to_go(slot, opened.link) {
            self.command(opened.link, Command::Close);
            return self.thrown_out(slot);
        }
        self.break_off(slot, &opened);
        self.forget_subscriptions(slot);
        let Some(device) = self.devices.get_mut(slot) else { return };
        let was_online = mem::replace(&mut device.marks.online, true);
        device.facts = Facts::of(&opened.hello, opened.transport);
        device.row.platform = Some(opened.hello.platform);
        device.peer = opened.peer;
        device.bucket = Bucket::default();
        device.marks.leaving = false;
        device.marks.unknown = false;
        device.last_heard = now.utc;
        if opened.full_handshake {
            device.last_handshake_at = now.utc;
            device.handshakes = device.handshakes.saturating_add(1);
        } else {
            device.resumes = device.resumes.saturating_add(1);
        }
        self.counters.devices_online += u64::from(!was_online);
        self.keep_session(now, opened);
        if was_online {
            self.tell_status(now, slot, Status::Offline);
        }
        self.tell_status(now, slot, Status::Online);
        self.write_presence(slot);
        self.answer_pings(slot, true);
        self.begin_describe(now, slot);
        self.update_greeted(now, slot);
    }

    /// A session that is being ended does not go on by a Hello, and a removed device has no other.
    fn is_to_go(&self, slot: Slot, link: LinkId) -> bool {
        let Some(device) = self.devices.get(slot) else { return false };
        device.marks.removed || (device.marks.leaving && device.link == Some(link))
    }

    /// Ends what was under way before this Hello. The newest session wins.
    fn break_off(&mut self, slot: Slot, opened: &Opened) {
        if let Some(older) = self.devices.link(slot, opened.link) {
            self.command(older, Command::Close);
        }
        self.fail_running(slot, Refusal::TimedOut);
        self.drop_events(slot);
        if let Some(device) = self.devices.get_mut(slot) {
            device.forget_sent();
        }
    }

    fn keep_session(&mut self, now: Now, opened: Opened) {
        let Opened { link, receipt, full_handshake, .. } = opened;
        if model::planted!("hello-acked-early")
            && let Some(receipt) = receipt
        {
            self.acknowledge(link, receipt, model::link::Verdict::Accepted);
        }
        let entry = Entry::Session {
            device: opened.device,
            transport: opened.transport,
            snapshot: opened.snapshot,
            peer: opened.peer,
            hello: opened.hello,
            full_handshake,
            source: opened.source,
            at: now.utc,
        };
        let kept = |receipt| Then::SessionKept { link, receipt, is_new: full_handshake };
        self.record(entry, receipt.map(kept));
    }

    /// A session came back when the server started: nobody is told anything.
    pub(crate) fn restored(&mut self, now: Now, restored: Restored) {
        let Restored { link, device: id, row, subscriptions, hello, peer, online, .. } = restored;
        if self.devices.slot_of(id).is_some() {
            return;
        }
        let mut device = Device::new(id, peer, row, Facts::of(&hello, Transport::Udp));
        device.marks.online = online;
        device.last_heard = restored.last_heard;
        device.last_handshake_at = restored.last_handshake_at.unwrap_or_default();
        let slot = self.insert_device(device);
        self.devices.link(slot, link);
        self.counters.devices_online += u64::from(online);
        for subscribe in subscriptions {
            if model::planted!("subscriptions-lost") {
                break;
            }
            self.take_subscription(slot, subscribe);
        }
        self.restore_description(now, slot);
        self.rest(slot);
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self, now: Now, slot: Slot, forget: bool) {
        self.go_offline(now, slot);
        self.devices.unlink(slot);
        let Some(device) = self.devices.get_mut(slot) else { return };
        let id = device.id;
        let was_forgotten = mem::replace(&mut device.marks.leaving, false);
        device.forget_sent();
        if device.marks.removed {
            self.forget_device(slot);
        }
        if forget && !was_forgotten {
            self.record(Entry::Forget { device: id }, None);
        }
    }

    pub(crate) fn moved(&mut self, now: Now, slot: Slot, peer: SocketAddr, record: u64) {
        if let Some(device) = self.devices.get_mut(slot) {
            device.peer = peer;
            // A device that was away is counted where it comes back.
            device.resumes = device.resumes.saturating_add(u8::from(device.marks.online));
        }
        self.heard(now, slot);
        self.write_address(now, slot, record);
    }

    pub(crate) fn reserve(&mut self, slot: Slot, link: LinkId, record_limit: u64) {
        let Some(device) = self.devices.get(slot).map(|device| device.id) else { return };
        let entry = Entry::Reserve { device, record_limit };
        self.record(entry, Some(Then::Reserved { link, record_limit }));
    }

    /// Another shard has a newer session of the device. What is stored is that one's from here on.
    pub(crate) fn displaced(&mut self, now: Now, id: DeviceId) {
        let Some(slot) = self.devices.slot_of(id) else { return };
        // The other shard has told that the device is online: a farewell would come behind that.
        let device = self.devices.get_mut(slot);
        if device.is_some_and(|device| mem::take(&mut device.marks.online)) {
            self.counters.devices_online = self.counters.devices_online.saturating_sub(1);
        }
        self.hand_over(slot);
        self.end_silently(now, slot);
        if let Some(link) = self.devices.unlink(slot) {
            self.command(link, Command::Close);
        }
        self.forget_device(slot);
    }

    /// The registry's row changed.
    pub(crate) fn row_changed(&mut self, now: Now, id: DeviceId, row: Option<DeviceRow>) {
        let Some(slot) = self.devices.slot_of(id) else { return };
        match row {
            Some(row) => {
                if let Some(device) = self.devices.get_mut(slot) {
                    device.marks.removed = false;
                }
                self.take_row(slot, row);
            }
            None => self.remove_device(now, slot),
        }
        self.rest(slot);
    }

    pub(crate) fn take_row(&mut self, slot: Slot, mut row: DeviceRow) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let is_other_account = device.row.account != row.account;
        row.platform = device.row.platform.or(row.platform);
        row.has_modem = device.row.has_modem;
        if let Some(kept) = device.row.description.take() {
            row.description = Some(kept);
        }
        let before = mem::replace(&mut device.row, row);
        if is_other_account {
            self.change_owner(slot, before.account);
        }
    }

    /// What was asked for and queued was for the owner before.
    fn change_owner(&mut self, slot: Slot, before: Option<model::AccountId>) {
        self.fail_calls(slot, Refusal::UnknownDevice);
        self.drop_waiting_events(slot);
        self.arm_calls(slot);
        let Some(device) = self.devices.get(slot) else { return };
        for subscribe in &device.subscriptions.list {
            if let Some(account) = before {
                self.subscriptions.remove(account, slot, subscribe);
            }
            if let Some(account) = device.row.account {
                self.subscriptions.insert(account, slot, subscribe);
            }
        }
    }

    pub(crate) fn key_replaced(&mut self, now: Now, id: DeviceId) {
        let Some(slot) = self.devices.slot_of(id) else { return };
        self.throw_out(now, slot);
        self.rest(slot);
    }

    fn remove_device(&mut self, now: Now, slot: Slot) {
        self.fail_update(now, slot, UpdateFailure::Removed);
        self.throw_out(now, slot);
        self.take_row(slot, DeviceRow::default());
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.marks.removed = true;
        if device.link.is_none() {
            self.forget_device(slot);
        }
    }

    /// Ends the session for good: over UDP the device is told to make a new one, if it listens.
    pub(crate) fn throw_out(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let (id, was_online) = (device.id, device.marks.online);
        let is_told = was_online && device.facts.transport == Transport::Udp;
        self.go_offline(now, slot);
        self.record(Entry::Forget { device: id }, None);
        if is_told {
            self.send(now, slot, What::KeyChange, CloudMessage::KeyChange);
        } else if let Some(link) = self.devices.unlink(slot) {
            self.command(link, Command::Close);
        }
        if let Some(device) = self.devices.get_mut(slot) {
            device.marks.leaving = device.link.is_some();
        }
    }

    /// The device knows, or never will: its connection is closed.
    pub(crate) fn thrown_out(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.marks.leaving = false;
        device.forget_sent();
        let is_removed = device.marks.removed;
        if let Some(link) = self.devices.unlink(slot) {
            self.command(link, Command::Close);
        }
        if is_removed {
            self.forget_device(slot);
        }
    }

    fn forget_device(&mut self, slot: Slot) {
        self.forget_subscriptions(slot);
        if let Some(mut device) = self.devices.remove(slot) {
            self.timers.stop(slot, &mut device);
            self.departs(&device);
        }
        self.counters.devices = self.devices.len() as u64;
    }
}
