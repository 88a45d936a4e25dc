//! How a transfer goes, and how an update ends.

use std::time::Duration;

use model::hello::HelloFlags;
use model::link::{Command, TransferEnd, TransferNews, Transport};
use model::update::UpdateFailure;
use model::{Now, UpdateId, UpdateState};

use super::{FORCED, PENDING, RESTARTING, RESTING, Stage, is_v3};
use crate::device::Slot;
use crate::shard::Shard;

/// Shortest time between two events of progress.
const PROGRESS_EACH: Duration = Duration::from_secs(1);
const SERVICE_UNAVAILABLE: u16 = 503;
/// "Updates are disabled" (`messages.md` §14).
const DISABLED: &str = "-1380";
/// Integrity and dependencies of a module (`messages.md` §14).
const VERDICTS: [&str; 2] = ["-1330", "-1340"];
/// What a device says that misses chunks (`ota.md` §3.4).
const INCOMPLETE: &str = "Incomplete";

impl Shard {
    /// News of a transfer; of one that is not under way any more, none.
    pub(crate) fn transfer_news(
        &mut self,
        now: Now,
        slot: Slot,
        update: UpdateId,
        news: TransferNews,
    ) {
        let is_it = |job: &super::Job| job.update.id == update && job.stage == Stage::Sending;
        if !self.job(slot).is_some_and(is_it) {
            return;
        }
        match news {
            TransferNews::Started { offset } => self.transfer_started(now, slot, offset),
            TransferNews::Progress { bytes } => self.transfer_progressed(now, slot, bytes),
            TransferNews::Validating => {
                let is_new = self
                    .job_mut(slot)
                    .is_some_and(|job| !std::mem::replace(&mut job.may_be_applied, true));
                if is_new {
                    self.report(now, slot, UpdateState::Validating);
                }
                if model::planted!("update-told-early") {
                    self.succeed(now, slot);
                }
            }
            TransferNews::Ended(end) => self.transfer_ended(now, slot, end),
        }
    }

    fn transfer_started(&mut self, now: Now, slot: Slot, offset: u32) {
        let Some(job) = self.job_mut(slot) else { return };
        let is_first = !std::mem::replace(&mut job.told_started, true);
        let automatic = job.update.automatic;
        job.renewed = false;
        if offset > job.bytes {
            (job.bytes, job.attempts) = (offset, 1);
        }
        if is_first && automatic {
            self.tell_owner_of_update(now, slot, "spark/status", "auto-update");
        }
        if is_first {
            self.tell_owner_of_update(now, slot, "spark/flash/status", "started");
        }
        self.report(now, slot, UpdateState::Started { offset });
    }

    fn transfer_progressed(&mut self, now: Now, slot: Slot, bytes: u32) {
        let is_proven = self.devices.get(slot).is_some_and(is_v3);
        let Some(job) = self.job_mut(slot) else { return };
        let size = job.update.image.size();
        if is_proven && bytes > job.bytes {
            (job.bytes, job.attempts) = (bytes, 1);
        }
        let is_due = job.progress_told_at.is_none_or(|at| at.after(PROGRESS_EACH) <= now.mono);
        if is_due {
            job.progress_told_at = Some(now.mono);
            let text = format!(r#"{{"bytes":{bytes},"size":{size}}}"#);
            self.tell_owner_of_update(now, slot, "spark/flash/progress", &text);
        }
        self.report(now, slot, UpdateState::Progress { bytes, size });
    }

    fn transfer_ended(&mut self, now: Now, slot: Slot, end: TransferEnd) {
        match end {
            TransferEnd::Applied => {
                self.enter(now, slot, Stage::Restarting, Some(RESTARTING));
                self.report(now, slot, UpdateState::Restarting);
            }
            TransferEnd::Refused { code, text } => self.transfer_refused(now, slot, code, text),
            TransferEnd::Invalid { text, .. } if text.contains(INCOMPLETE) => {
                self.enter(now, slot, Stage::Resting, Some(RESTING));
            }
            TransferEnd::Invalid { text, .. } if self.is_doubtful(slot, &text) => {
                self.enter(now, slot, Stage::Resting, Some(RESTING));
            }
            TransferEnd::Invalid { text, .. } => {
                self.fail_update(now, slot, UpdateFailure::Invalid(text));
            }
            TransferEnd::Lost => self.enter(now, slot, Stage::Resting, Some(RESTING)),
            TransferEnd::Stalled if self.job(slot).is_some_and(|job| job.may_be_applied) => {
                // The answer was lost, or never given: what the device shows decides.
                self.look(now, slot, true);
            }
            TransferEnd::Stalled => self.enter(now, slot, Stage::Resting, Some(RESTING)),
        }
    }

    /// A device that restarted in the meantime has no transfer to finish and says so in the words of a
    /// file that it will not have: unless it names what is wrong with the file, it is asked once more.
    fn is_doubtful(&mut self, slot: Slot, text: &str) -> bool {
        let is_v3 = self.devices.get(slot).is_some_and(is_v3);
        let names_it = VERDICTS.iter().any(|code| text.contains(code));
        let Some(job) = self.job_mut(slot).filter(|_| is_v3 && !names_it) else { return false };
        !std::mem::replace(&mut job.doubted, true)
    }

    fn transfer_refused(&mut self, now: Now, slot: Slot, code: u16, text: String) {
        let Some(device) = self.devices.get(slot) else { return };
        let (is_v3, transport, link) = (is_v3(device), device.facts.transport, device.link);
        let tells = device.facts.flags.has(HelloFlags::IMMEDIATE_UPDATES);
        let (enabled, forced) = (device.marks.updates_enabled, device.marks.updates_forced);
        let Some(job) = self.job_mut(slot) else { return };
        let is_busy = code == SERVICE_UNAVAILABLE;
        let is_forbidden = is_busy && enabled == Some(false) && forced != Some(true);
        if is_forbidden || text.contains(DISABLED) {
            return self.transfer_forbidden(now, slot);
        }
        if is_v3 && is_busy && !job.cautious {
            job.cautious = true;
            return self.enter(now, slot, Stage::Resting, Some(RESTING));
        }
        if !is_v3 && is_busy && !job.renewed {
            // It may believe in a transfer that this server has forgotten (`ota.md` §1.2).
            job.renewed = true;
            if transport == Transport::Udp {
                // Calls that waited would leave uncounted if they began before.
                return self.throw_out(now, slot);
            }
            self.enter(now, slot, Stage::Resting, Some(RESTING));
            if let Some(link) = link {
                self.command(link, Command::Close);
            }
            return;
        }
        if !is_v3 && is_busy && tells && enabled.is_none() {
            // It does not say why, and what its application allows is still on its way.
            return self.enter(now, slot, Stage::Resting, Some(RESTING));
        }
        self.fail_update(now, slot, UpdateFailure::Refused { code, text });
    }

    /// The application does not allow it. The device tells so when it connects: that may still be on its
    /// way, or was told before this server was started.
    fn transfer_forbidden(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        device.marks.updates_enabled = Some(false);
        device.marks.updates_forced = Some(false);
        self.permit(now, slot);
    }

    pub(super) fn succeed(&mut self, now: Now, slot: Slot) {
        self.tell_application_hash(now, slot);
        self.tell_owner_of_update(now, slot, "spark/flash/status", "success");
        self.end_update(now, slot, UpdateState::Succeeded);
    }

    fn tell_application_hash(&mut self, now: Now, slot: Slot) {
        let Some(job) = self.job(slot).filter(|job| job.update.image.function == USER_PART) else {
            return;
        };
        let Some(hash) = job.update.expected.and_then(|expected| expected.sha256) else { return };
        let text: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        self.tell_owner_of_update(now, slot, "spark/device/app-hash", &text);
    }

    pub(crate) fn fail_update(&mut self, now: Now, slot: Slot, failure: UpdateFailure) {
        if self.job(slot).is_none() {
            return;
        }
        self.tell_owner_of_update(now, slot, "spark/flash/status", &format!("failed {failure}"));
        self.end_update(now, slot, UpdateState::Failed(failure));
    }

    /// The update is over: nothing is kept of it, and the device is what it was.
    pub(super) fn end_update(&mut self, now: Now, slot: Slot, state: UpdateState) {
        self.report(now, slot, state);
        let Some(device) = self.devices.get_mut(slot) else { return };
        let job = device.busy.as_mut().and_then(|busy| busy.update.take());
        self.timers.set(slot, device, crate::timers::Timer::Update, None);
        let Some(job) = job else { return };
        if job.told_pending {
            self.tell_device(now, slot, PENDING, false);
        }
        if job.told_forced {
            self.tell_device(now, slot, FORCED, false);
        }
        self.start_calls(now, slot);
    }
}

/// A module function (`ota.md` §5.2).
const USER_PART: u8 = 5;
