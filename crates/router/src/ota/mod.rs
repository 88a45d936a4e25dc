//! Updates: the life of each on its device, from the request to the new version that the device shows.
//!
//! ```text
//!            ┌──────── Hello, or back after a silence ─────────┐
//!            ▼                                                 │
//! update ─▶ Looking ─▶ (Permitting | Disabled) ─▶ Sending ─▶ Absent / Resting
//!            │ shows it already                      │ applied
//!            ▼                                       ▼
//!          succeeded ◀───── shown ── Verifying ◀─ Restarting ─▶ failed: not back
//!                                      └─▶ failed: not applied
//! ```

mod events;
mod job;
mod outcome;

use std::time::Duration;

use model::hello::HelloFlags;
use model::link::{Command, Transfer, TransferProtocol, Transport};
use model::update::{Module, UpdateFailure, WaitReason};
use model::{CloudMessage, DeviceId, Mono, Now, Refusal, RequestId, Update, UpdateId, UpdateState};

pub use self::job::Handover;
pub(crate) use self::job::{Job, Stage};
use crate::device::{Slot, What};
use crate::shard::Shard;
use crate::timers::Timer;
use crate::{Effect, Reply};

/// How long a device may take to say what it consists of; then the update goes on without.
const LOOKING: Duration = Duration::from_secs(40);
/// How long the echo of "forced" is waited for.
const PERMITTING: Duration = Duration::from_secs(30);
/// How long a device may be away in the middle of an update.
const ABSENT: Duration = Duration::from_secs(24 * 3600);
/// How long it may take to come back after it took an update (`ota.md` §2.6).
const RESTARTING: Duration = Duration::from_secs(300);
/// How long a device that came back may take to say what it consists of.
const VERIFYING: Duration = Duration::from_secs(60);
/// The rest before another attempt.
const RESTING: Duration = Duration::from_secs(5);
/// Attempts in a row that bring nothing new; from the third on, small chunks (`ota.md` §3.1).
const ATTEMPTS_MAX: u32 = 5;
const ATTEMPTS_BOLD: u32 = 2;
/// How often a device may take an update and come back without it.
const APPLY_ATTEMPTS: u32 = 2;
/// How often a device that is back is asked what it consists of.
const LOOKS_MAX: u32 = 5;
/// A chunk for devices that tell no size.
const CHUNK_BYTES: u16 = 512;
/// `messages.md` §6.1
const SYSTEM: u8 = 1;

impl Shard {
    pub(crate) fn update(&mut self, now: Now, id: RequestId, device: DeviceId, update: Update) {
        let taken = self.take_update(now, device, update);
        self.reply(id, taken.map(|()| Reply::Done));
    }

    fn take_update(&mut self, now: Now, device: DeviceId, update: Update) -> Result<(), Refusal> {
        let slot = self.devices.slot_of(device).ok_or(Refusal::UnknownDevice)?;
        let device = self.devices.get_mut(slot).ok_or(Refusal::UnknownDevice)?;
        if !device.marks.online || device.marks.leaving {
            return Err(Refusal::Offline);
        }
        if device.job().is_some() {
            return Err(Refusal::UpdateRunning);
        }
        let (size, size_max) = (update.image.size(), device.facts.binary_bytes_max());
        device.busy().update = Some(Box::new(Job::new(update)));
        if size_max > 0 && size > size_max {
            self.fail_update(now, slot, UpdateFailure::TooLarge { size, size_max });
        } else {
            self.look(now, slot, true);
        }
        self.rest(slot);
        Ok(())
    }

    pub(crate) fn cancel_update(
        &mut self,
        now: Now,
        id: RequestId,
        device: DeviceId,
        update: UpdateId,
    ) {
        if let Some(slot) = self.devices.slot_of(device)
            && self.job(slot).is_some_and(|job| job.update.id == update)
        {
            self.stop_transfer(now, slot);
            self.end_update(now, slot, UpdateState::Cancelled);
            self.rest(slot);
        }
        self.reply(id, Ok(Reply::Done));
    }

    /// A v3 device is told; a legacy one notices only that its connection ends.
    fn stop_transfer(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let Some(job) = device.job().filter(|job| job.stage == Stage::Sending) else { return };
        let (update, is_v3) = (job.update.id, is_v3(device));
        if let Some(link) = device.link {
            self.command(link, Command::EndTransfer { update });
        }
        if !is_v3 {
            self.throw_out(now, slot);
        }
    }

    pub(crate) fn job(&self, slot: Slot) -> Option<&Job> {
        self.devices.get(slot)?.job()
    }

    fn job_mut(&mut self, slot: Slot) -> Option<&mut Job> {
        self.devices.get_mut(slot)?.busy.as_mut()?.update.as_deref_mut()
    }

    fn enter(&mut self, now: Now, slot: Slot, stage: Stage, patience: Option<Duration>) {
        let until = patience.map(|patience| now.mono.after(patience));
        let Some(job) = self.job_mut(slot) else { return };
        let was_calm = !job.keeps_calls();
        (job.stage, job.until) = (stage, until);
        let is_calm = !job.keeps_calls();
        self.arm_update(slot);
        if is_calm && !was_calm {
            self.start_calls(now, slot);
        }
    }

    fn arm_update(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let until: Option<Mono> = device.job().and_then(|job| job.until);
        self.timers.set(slot, device, Timer::Update, until);
    }

    /// What the device consists of decides whether anything is to be sent. It is `asked` unless it
    /// tells by itself.
    fn look(&mut self, now: Now, slot: Slot, asked: bool) {
        let Some(job) = self.job(slot) else { return };
        if job.update.expected.is_none() && !job.may_be_applied {
            return self.permit(now, slot);
        }
        self.enter(now, slot, Stage::Looking, Some(LOOKING));
        if asked {
            self.ask_for_modules(now, slot);
        }
    }

    fn ask_for_modules(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let is_by_part = device.facts.flags.has(HelloFlags::DEVICE_INITIATED_DESCRIBE);
        let flags = if is_by_part { SYSTEM } else { 0 };
        self.send(now, slot, What::Describe, CloudMessage::Describe(flags));
    }

    /// Sends the image if the application allows it (`ota.md` §1.1).
    fn permit(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let Some(job) = device.job() else { return };
        let marks = device.marks;
        if marks.updates_enabled != Some(false) || marks.updates_forced == Some(true) {
            return self.begin_transfer(now, slot);
        }
        if job.update.forced {
            self.enter(now, slot, Stage::Permitting, Some(PERMITTING));
            self.tell_device(now, slot, FORCED, true);
            self.mark_told(slot, |job| job.told_forced = true);
        } else {
            self.enter(now, slot, Stage::Disabled, None);
            self.tell_device(now, slot, PENDING, true);
            self.mark_told(slot, |job| job.told_pending = true);
            self.report(now, slot, UpdateState::Waiting(WaitReason::Disabled));
        }
    }

    fn mark_told(&mut self, slot: Slot, mark: impl FnOnce(&mut Job)) {
        if let Some(job) = self.job_mut(slot) {
            mark(job);
        }
    }

    /// The device told whether updates are enabled or forced.
    pub(crate) fn permission_changed(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let marks = device.marks;
        let waits = device
            .job()
            .is_some_and(|job| matches!(job.stage, Stage::Permitting | Stage::Disabled));
        if waits && (marks.updates_enabled != Some(false) || marks.updates_forced == Some(true)) {
            self.begin_transfer(now, slot);
        }
    }

    fn begin_transfer(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let (facts, link, protocol) = (device.facts, device.link, protocol_of(device));
        let Some(job) = self.job_mut(slot) else { return };
        job.attempts += 1;
        (job.may_be_applied, job.greeted) = (false, false);
        if job.attempts > ATTEMPTS_MAX {
            let attempts = job.attempts - 1;
            return self.fail_update(now, slot, UpdateFailure::NoProgress { attempts });
        }
        job.cautious |= job.attempts > ATTEMPTS_BOLD;
        let transfer = Transfer {
            update: job.update.id,
            image: job.update.image.clone(),
            protocol,
            chunk_bytes: if facts.chunk_bytes() == 0 { CHUNK_BYTES } else { facts.chunk_bytes() },
            cautious: job.cautious,
            afresh: false,
        };
        self.enter(now, slot, Stage::Sending, None);
        if let Some(link) = link {
            self.command(link, Command::BeginTransfer(Box::new(transfer)));
        }
    }

    /// The device said Hello: whatever was under way is over, and it tells what it consists of.
    pub(crate) fn update_greeted(&mut self, now: Now, slot: Slot) {
        self.mark_greeted(slot);
        self.update_returned(now, slot, false);
    }

    fn mark_greeted(&mut self, slot: Slot) {
        if let Some(job) = self.job_mut(slot) {
            job.greeted = matches!(job.stage, Stage::Restarting | Stage::Verifying);
        }
    }

    /// The device is back after it was given up: it tells nothing by itself.
    pub(crate) fn update_resumed(&mut self, now: Now, slot: Slot) {
        self.update_returned(now, slot, true);
    }

    fn update_returned(&mut self, now: Now, slot: Slot, asks: bool) {
        let Some(job) = self.job(slot) else { return };
        match job.stage {
            Stage::Restarting | Stage::Verifying => self.verify(now, slot, asks),
            Stage::Absent
            | Stage::Disabled
            | Stage::Looking
            | Stage::Permitting
            | Stage::Resting
            | Stage::Sending => self.look(now, slot, asks),
        }
    }

    fn verify(&mut self, now: Now, slot: Slot, asks: bool) {
        self.enter(now, slot, Stage::Verifying, Some(VERIFYING));
        if asks {
            self.ask_for_modules(now, slot);
        }
    }

    /// The device is not believed there any more.
    pub(crate) fn update_interrupted(&mut self, now: Now, slot: Slot) {
        let Some(job) = self.job(slot) else { return };
        match job.stage {
            Stage::Absent | Stage::Restarting => self.arm_update(slot),
            Stage::Verifying => self.enter(now, slot, Stage::Restarting, Some(RESTARTING)),
            Stage::Disabled
            | Stage::Looking
            | Stage::Permitting
            | Stage::Resting
            | Stage::Sending => {
                self.enter(now, slot, Stage::Absent, Some(ABSENT));
                self.report(now, slot, UpdateState::Waiting(WaitReason::Offline));
            }
        }
    }

    /// The device told what it consists of.
    pub(crate) fn modules_told(&mut self, now: Now, slot: Slot, modules: &[Module]) {
        let Some(job) = self.job(slot) else { return };
        let update = &job.update;
        let shown = update.expected.and_then(|it| it.is_shown_by(&update.image, modules));
        match (job.stage, shown) {
            (Stage::Looking | Stage::Verifying, Some(true)) => self.succeed(now, slot),
            (Stage::Looking, _) => self.permit(now, slot),
            (Stage::Verifying, Some(false)) if model::planted!("update-not-verified") => {
                self.succeed(now, slot);
            }
            (Stage::Verifying, Some(false)) => self.not_applied(now, slot, String::new()),
            (Stage::Verifying, None) => self.verify_by_hello(now, slot),
            (
                Stage::Absent
                | Stage::Disabled
                | Stage::Permitting
                | Stage::Resting
                | Stage::Restarting
                | Stage::Sending,
                _,
            ) => {}
        }
    }

    /// Its description did not arrive: what it runs is not known.
    fn verify_again(&mut self, now: Now, slot: Slot) {
        let Some(job) = self.job_mut(slot) else { return };
        job.unseen += 1;
        if job.unseen < LOOKS_MAX {
            return self.verify(now, slot, true);
        }
        if self.is_shown_by_hello(slot) {
            return self.succeed(now, slot);
        }
        let why = "it does not say what it consists of".to_owned();
        self.fail_update(now, slot, UpdateFailure::NotApplied(why));
    }

    /// Whether a Hello since it took the file told the wanted product version. One that is not told
    /// shows nothing, and neither does a Hello from before.
    fn is_shown_by_hello(&self, slot: Slot) -> bool {
        let Some(device) = self.devices.get(slot) else { return false };
        let Some(job) = device.job().filter(|job| job.greeted) else { return false };
        let wanted = job.update.expected.and_then(|expected| expected.product_version);
        wanted.is_some_and(|wanted| device.facts.product_version_told() == Some(wanted))
    }

    /// Its description says nothing of the module: the product version of its Hello does, or else the
    /// device's word that it took the file.
    fn verify_by_hello(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let Some(job) = device.job() else { return };
        let wanted = job.update.expected.and_then(|expected| expected.product_version);
        let told = device.facts.product_version;
        if wanted.is_some_and(|wanted| wanted != told) {
            return self.not_applied(now, slot, format!("its product version is {told}"));
        }
        self.succeed(now, slot);
    }

    /// A device applies nothing until it knows that its answer arrived: on a bad network it may never
    /// learn that, so it is asked to take the file once more.
    fn not_applied(&mut self, now: Now, slot: Slot, why: String) {
        let Some(job) = self.job_mut(slot) else { return };
        job.unapplied += 1;
        if job.unapplied < APPLY_ATTEMPTS {
            return self.permit(now, slot);
        }
        self.fail_update(now, slot, UpdateFailure::NotApplied(why));
    }

    pub(crate) fn update_timer(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        let online = device.marks.online;
        let Some(stage) = device.job().map(|job| job.stage) else {
            return self.arm_update(slot);
        };
        match stage {
            Stage::Looking => self.permit(now, slot),
            Stage::Permitting => self.fail_update(now, slot, UpdateFailure::Disabled),
            Stage::Resting => self.permit(now, slot),
            Stage::Restarting if online => self.verify(now, slot, true),
            Stage::Absent | Stage::Restarting => {
                self.fail_update(now, slot, UpdateFailure::NotBack);
            }
            Stage::Verifying => self.verify_again(now, slot),
            Stage::Disabled | Stage::Sending => self.enter(now, slot, stage, None),
        }
    }

    /// Another shard has the device's session, and its update from here on.
    pub(crate) fn hand_over(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let id = device.id;
        if let Some(job) = device.busy.as_mut().and_then(|busy| busy.update.take()) {
            self.effect(Effect::HandOver { device: id, update: Box::new(Handover(*job)) });
        }
    }

    /// The device's session is here, and so is its update.
    pub(crate) fn take_over(&mut self, now: Now, device: DeviceId, update: Handover) {
        let Some(slot) = self.devices.slot_of(device) else {
            let state = UpdateState::Failed(UpdateFailure::NotBack);
            return self.effect(Effect::Report(update.0.report(device, state, now)));
        };
        let Some(place) = self.devices.get_mut(slot) else { return };
        if place.job().is_some() {
            // A newer one was asked for here.
            let report = update.0.report(device, UpdateState::Cancelled, now);
            return self.effect(Effect::Report(report));
        }
        let is_there = place.marks.online;
        place.busy().update = Some(Box::new(update.0));
        if is_there {
            // By the Hello that took it away from the other shard.
            self.mark_greeted(slot);
            self.update_returned(now, slot, true);
        } else {
            self.update_interrupted(now, slot);
        }
        self.rest(slot);
    }
}

const FORCED: &str = "particle/device/updates/forced";
const PENDING: &str = "particle/device/updates/pending";

fn protocol_of(device: &crate::device::Device) -> TransferProtocol {
    if is_v3(device) { TransferProtocol::V3 } else { TransferProtocol::Legacy }
}

fn is_v3(device: &crate::device::Device) -> bool {
    device.facts.transport == Transport::Udp && device.facts.flags.has(HelloFlags::OTA_V3)
}
