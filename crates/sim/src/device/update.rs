//! Updates as the firmware takes them (`ota.md` §2, §3): what it checks, what it keeps over a restart,
//! what it answers. Faults can be asked for.

mod flash;
mod legacy;
mod v3;

use std::time::Duration;

use model::Mono;

pub(super) use self::flash::Flash;
pub use self::flash::{Installed, UpdateFault};
use self::legacy::LegacyTransfer;
use self::v3::V3Transfer;
use super::describe::{self, ModuleTold, USER_PART};
use super::exchange::Purpose;
use super::wire::{EMPTY, Kind, Received, Writer};
use super::{Device, Loss, Observation, Phase};

/// The firmware cancels an update of which nothing comes.
const IDLE: Duration = Duration::from_secs(300);
/// The start-up after a loss of power.
const POWER_BACK: Duration = Duration::from_secs(5);

/// What happened to an update, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateStep {
    /// The server may send, behind so many bytes.
    Begun {
        /// In bytes.
        offset: usize,
    },
    /// It was checked and is in force after the restart.
    Applied,
    /// It was refused or broken off, with this system error.
    Failed(i32),
    /// A real device built for x86 would hang here for good (`ota.md` §3.3).
    Trapped,
}

/// The transfer that runs.
pub(super) enum Receiving {
    Legacy(LegacyTransfer),
    V3(V3Transfer),
}

impl Device {
    /// Asks for a fault of the next updates.
    pub fn set_update_fault(&mut self, fault: UpdateFault) {
        self.flash().fault = fault;
    }

    /// What the application says of updates; it tells the server with the next connection.
    pub fn set_updates_enabled(&mut self, enabled: bool) {
        self.flash().enabled = enabled;
    }

    /// Writes a module as a cable does: it is there without an update. False: it is damaged.
    pub fn install(&mut self, file: &[u8]) -> bool {
        self.flash().install(file)
    }

    /// The last update that was applied.
    pub fn installed(&self) -> Option<&Installed> {
        self.flash.as_ref()?.newest()
    }

    /// Whether the application lacks modules that it needs: it does not run then.
    pub fn is_in_safe_mode(&self) -> bool {
        let modules = self.modules();
        let needs = |module: &&ModuleTold| module.function == USER_PART;
        modules.iter().filter(needs).any(|module| !module.is_satisfied_by(&modules))
    }

    /// Version of a module, by function and index (`ota.md` §5.2); absent if there is none.
    pub fn module_version(&self, function: u8, index: u8) -> Option<u16> {
        let mut modules = self.modules().into_iter();
        let is_it = |module: &ModuleTold| (module.function, module.index) == (function, index);
        modules.find(is_it).map(|module| module.version)
    }

    /// What the device consists of.
    pub(super) fn modules(&self) -> Vec<ModuleTold> {
        let installed = self.flash.iter().flat_map(|flash| flash.installed());
        describe::modules(&self.setup.profile, self.setup.modules, installed)
    }

    /// Whether a transfer runs.
    pub fn is_updating(&self) -> bool {
        self.flash.as_ref().is_some_and(|flash| flash.receiving.is_some())
    }

    pub(super) fn flash(&mut self) -> &mut Flash {
        self.flash.get_or_insert_default()
    }

    pub(super) fn updates_enabled(&self) -> bool {
        self.flash.as_ref().is_none_or(|flash| flash.enabled)
    }

    pub(super) fn updates_forced(&self) -> bool {
        self.flash.as_ref().is_some_and(|flash| flash.forced)
    }

    /// A message of the cloud about an update.
    pub(super) fn take_update_message(&mut self, now: Mono, message: &Received<'_>) {
        let is_v3 = self.takes_v3();
        match (message.letter(), message.code) {
            (Some(b'S'), _) if is_v3 => self.start_v3(now, message),
            (Some(b'C'), _) if is_v3 => self.take_v3_chunk(now, message),
            (Some(b'F'), _) if is_v3 => self.finish_v3(now, message),
            (Some(b'u'), super::wire::PUT) if !is_v3 => self.finish_legacy(now, message),
            (Some(b'u' | b's'), _) if !is_v3 => self.begin_legacy(now, message),
            (Some(b'c'), _) if !is_v3 => self.take_legacy_chunk(now, message),
            // The handlers of the other protocol are not compiled in.
            _ => {}
        }
    }

    fn takes_v3(&self) -> bool {
        self.setup.profile.flags & model::hello::HelloFlags::OTA_V3 != 0
    }

    /// What comes of the update when its connection ends: with v3 its data is kept.
    pub(super) fn break_off_update(&mut self) {
        if let Some(flash) = &mut self.flash {
            flash.break_off();
        }
    }

    /// Counts a chunk; whether the power goes with it.
    fn loses_power_now(&mut self, now: Mono) -> bool {
        let flash = self.flash();
        let UpdateFault::PowerCut { chunk } = &mut flash.fault else { return false };
        *chunk = chunk.saturating_sub(1);
        if *chunk > 0 {
            return false;
        }
        flash.fault = UpdateFault::None;
        self.lose_power();
        self.phase = Phase::Backoff { until: now.after(POWER_BACK) };
        true
    }

    pub(super) fn update_timeout(&self) -> Option<Mono> {
        match self.flash.as_ref()?.receiving.as_ref()? {
            Receiving::Legacy(transfer) => Some(transfer.heard_at.after(IDLE)),
            Receiving::V3(transfer) => Some(transfer.next_timeout(IDLE)),
        }
    }

    pub(super) fn watch_update(&mut self, now: Mono) {
        let Some(flash) = &mut self.flash else { return };
        let heard_at = match &flash.receiving {
            None => return,
            Some(Receiving::Legacy(transfer)) => transfer.heard_at,
            Some(Receiving::V3(transfer)) => transfer.heard_at,
        };
        if heard_at.after(IDLE) <= now {
            self.observe(Observation::Update(UpdateStep::Failed(TIMEOUT)));
            return self.lose(now, Loss::UpdateTimeout);
        }
        self.acknowledge_v3_late(now);
    }

    /// The server knows that the update is good: it is in force after the restart.
    pub(super) fn update_settled(&mut self, now: Mono, purpose: Purpose) {
        match purpose {
            Purpose::UpdateApplied => self.apply(now),
            Purpose::UpdateBroken => self.lose(now, Loss::UpdateFailed),
            _ => {}
        }
    }

    fn apply(&mut self, now: Mono) {
        self.flash().apply();
        self.observe(Observation::Update(UpdateStep::Applied));
        self.reset(now);
    }

    fn fail_update(&mut self, error: i32) {
        self.observe(Observation::Update(UpdateStep::Failed(error)));
    }

    /// A separate answer whose acknowledgement decides what comes next.
    fn answer_update(
        &mut self,
        now: Mono,
        message: &Received<'_>,
        code: u8,
        payload: &[u8],
        purpose: Purpose,
    ) {
        let answer = Writer::new(Kind::Con, code, self.next_id(), message.token).payload(payload);
        self.send_confirmable(now, purpose, answer);
    }

    fn reset_message(&mut self, id: u16) {
        self.send(&Writer::new(Kind::Rst, EMPTY, id, &[]).done());
    }
}

/// The diagnostic payload of an error (`messages.md` §2.2).
fn diagnostic(error: i32, text: &str) -> Vec<u8> {
    format!(r#"{{"code":{error},"message":"{text}"}}"#).into_bytes()
}

const DISABLED: i32 = -1380;
const INTEGRITY: i32 = -1330;
const DEPENDENCY: i32 = -1340;
const OTA_ERROR: i32 = -1390;
const TOO_LARGE: i32 = -1351;
const TIMEOUT: i32 = -160;
