//! What became of a release on one device.

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ATTEMPTS_MAX, BACK_OFF_MS, Outcome};

/// A device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Member {
    /// It was not tried yet.
    Waiting {
        /// What for, when it was last looked at.
        waiting_for: WaitingFor,
    },
    /// It is being updated.
    Updating {
        /// Since when.
        at: Timestamp,
        /// Tries so far, this one included.
        attempts: u32,
    },
    /// It runs the release.
    Updated {
        /// Since when, as far as seen.
        at: Timestamp,
    },
    /// The last try failed; another one follows.
    Failed {
        /// When.
        at: Timestamp,
        /// Tries so far.
        attempts: u32,
        /// Why, in words.
        reason: String,
        /// Whether the image was at fault, as far as can be told.
        rejected: bool,
        /// When it may be tried again.
        again_at: Timestamp,
    },
    /// It failed too often and is left alone.
    LeftAlone {
        /// When.
        at: Timestamp,
        /// Why the last try failed.
        reason: String,
    },
}

/// Why a device that may be updated is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// Its turn: its stage is not open, or nobody looked yet.
    Turn,
    /// It is offline.
    Online,
    /// Its application does not allow updates.
    Permission,
}

/// What to do with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Leave,
    /// Send it the release.
    Start,
}

impl Default for Member {
    fn default() -> Self {
        Self::Waiting { waiting_for: WaitingFor::Turn }
    }
}

impl Member {
    pub(super) fn may_be_tried(&self, now: Timestamp) -> bool {
        match self {
            Self::Waiting { .. } => true,
            Self::Failed { again_at, .. } => *again_at <= now,
            Self::Updating { .. } | Self::Updated { .. } | Self::LeftAlone { .. } => false,
        }
    }

    pub(super) fn is_updated(&self) -> bool {
        matches!(self, Self::Updated { .. })
    }

    /// Whether it is being updated, or is about to be.
    pub(super) fn is_busy(&self) -> bool {
        let soon = Self::Waiting { waiting_for: WaitingFor::Turn };
        matches!(self, Self::Updating { .. }) || *self == soon
    }

    pub(super) fn wait_for(&mut self, what: WaitingFor) {
        if let Self::Waiting { waiting_for } = self {
            *waiting_for = what;
        }
    }

    pub(super) fn park(&mut self) {
        if matches!(self, Self::Updating { .. }) {
            *self = Self::Waiting { waiting_for: WaitingFor::Permission };
        }
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        *self = Self::Updating { at: now, attempts: self.attempts() + 1 };
    }

    pub(super) fn end(&mut self, now: Timestamp, outcome: Outcome) {
        let attempts = self.attempts();
        *self = match outcome {
            Outcome::Updated => Self::Updated { at: now },
            Outcome::Rejected(reason) => Self::failed(now, attempts, reason, true),
            Outcome::Undelivered(reason) => Self::failed(now, attempts, reason, false),
            Outcome::Withdrawn => Self::default(),
        };
    }

    /// Failures since then that speak against the release.
    pub(super) fn counts_against(&self, counted_from: Timestamp) -> bool {
        match self {
            Self::Failed { at, rejected, .. } => *rejected && *at >= counted_from,
            Self::LeftAlone { at, .. } => *at >= counted_from,
            Self::Waiting { .. } | Self::Updating { .. } | Self::Updated { .. } => false,
        }
    }

    /// When and why the last try failed.
    pub fn failure(&self) -> Option<(Timestamp, &str)> {
        match self {
            Self::Failed { at, reason, .. } | Self::LeftAlone { at, reason } => Some((*at, reason)),
            Self::Waiting { .. } | Self::Updating { .. } | Self::Updated { .. } => None,
        }
    }

    /// One that was left alone or waits after a failure may be tried again at once.
    pub(super) fn forgive(&mut self) -> bool {
        let failed = self.failure().is_some();
        if failed {
            *self = Self::default();
        }
        failed
    }

    /// How it is after the server was away: what was under way is not known to have ended.
    pub(super) fn interrupted(self) -> Self {
        match self {
            Self::Updating { at, attempts } => Self::Failed {
                at,
                attempts: attempts.saturating_sub(1),
                reason: "the server was restarted".to_owned(),
                rejected: false,
                again_at: at,
            },
            other => other,
        }
    }

    fn failed(now: Timestamp, attempts: u32, reason: String, rejected: bool) -> Self {
        if attempts >= ATTEMPTS_MAX {
            return Self::LeftAlone { at: now, reason };
        }
        let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = BACK_OFF_MS[step.min(BACK_OFF_MS.len() - 1)];
        let again_at = Timestamp(now.0.saturating_add(wait));
        Self::Failed { at: now, attempts, reason, rejected, again_at }
    }

    fn attempts(&self) -> u32 {
        match self {
            Self::Updating { attempts, .. } | Self::Failed { attempts, .. } => *attempts,
            Self::Waiting { .. } | Self::Updated { .. } | Self::LeftAlone { .. } => 0,
        }
    }
}
