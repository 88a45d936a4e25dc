//! One update and where it stands.

use model::update::UpdateReport;
use model::{DeviceId, Mono, Now, Update, UpdateState};

/// An update of a device.
#[derive(Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) update: Update,
    pub(crate) stage: Stage,
    /// When the stage is over its time.
    pub(crate) until: Option<Mono>,
    /// Transfers in a row that brought nothing new.
    pub(super) attempts: u32,
    /// Chunks stay small.
    pub(super) cautious: bool,
    /// The most bytes that were there.
    pub(super) bytes: u32,
    /// The file is complete on the device, which may have applied it.
    pub(super) may_be_applied: bool,
    /// Its device said Hello since it took the file.
    pub(super) greeted: bool,
    /// The session was ended because the device believed in an older update.
    pub(super) renewed: bool,
    /// The device would not finish it, for no reason that is the file's.
    pub(super) doubted: bool,
    /// How often the device took it and came back without.
    pub(super) unapplied: u32,
    /// How often it was back and did not say in time what it consists of.
    pub(super) unseen: u32,
    pub(super) told_started: bool,
    pub(super) told_forced: bool,
    pub(super) told_pending: bool,
    pub(super) progress_told_at: Option<Mono>,
}

/// What an update waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The device is away.
    Absent,
    /// The application does not allow it.
    Disabled,
    /// The device says what it consists of.
    Looking,
    /// The device is told that updates are forced.
    Permitting,
    /// The next attempt.
    Resting,
    /// The device took it and restarts.
    Restarting,
    /// Chunks are on their way.
    Sending,
    /// The device is back and says what it consists of.
    Verifying,
}

/// An update on its way from one shard to another, with its device.
#[derive(Debug, PartialEq)]
pub struct Handover(pub(super) Job);

impl Job {
    pub(super) fn new(update: Update) -> Self {
        Self {
            update,
            stage: Stage::Looking,
            until: None,
            attempts: 0,
            cautious: false,
            bytes: 0,
            may_be_applied: false,
            greeted: false,
            renewed: false,
            doubted: false,
            unapplied: 0,
            unseen: 0,
            told_started: false,
            told_forced: false,
            told_pending: false,
            progress_told_at: None,
        }
    }

    /// Whether functions and variables wait.
    pub(crate) fn keeps_calls(&self) -> bool {
        match self.stage {
            Stage::Sending | Stage::Restarting => true,
            Stage::Absent
            | Stage::Disabled
            | Stage::Looking
            | Stage::Permitting
            | Stage::Resting
            | Stage::Verifying => false,
        }
    }

    pub(super) fn report(&self, device: DeviceId, state: UpdateState, now: Now) -> UpdateReport {
        UpdateReport { device, id: self.update.id, state, at: now.utc }
    }
}
