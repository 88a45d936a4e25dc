//! One update of one device, as it is kept.

use std::sync::Arc;

use model::update::WaitReason;
use model::{DeviceId, ProductId, Timestamp, UpdateId, UpdateState};
use serde::{Deserialize, Serialize};
use store::{FileHash, StoredUpdate};

use super::images::Loaded;

/// Why a device is updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Somebody sent a file to this device.
    Flash,
    /// The device is locked to a version of its product.
    Lock {
        /// Its product.
        product: ProductId,
        /// The version.
        version: u16,
    },
    /// A release of its product.
    Release {
        /// The release.
        release: u64,
        /// The version.
        version: u16,
    },
    /// It is in safe mode and lacks a module.
    SafeMode,
}

/// An update under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: UpdateId,
    pub(super) file: FileHash,
    pub(super) loaded: Arc<Loaded>,
    pub(super) reason: Reason,
    pub(super) forced: bool,
    pub(super) asked_at: Timestamp,
    pub(super) state: UpdateState,
    /// Whether the device has the whole file, as far as is known: it may apply it even when it is not heard of.
    pub(super) has_file: bool,
    /// Whether a shard has it.
    pub(super) is_taken: bool,
    /// When it may be handed to a shard again.
    pub(super) next_try: Timestamp,
}

/// What is written down of an update beside its columns.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) reason: Reason,
    pub(super) forced: bool,
    pub(super) status: String,
    pub(super) detail: Option<String>,
    pub(super) ended_at: Option<i64>,
}

/// An update as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateView {
    /// Why.
    pub reason: Reason,
    /// `waiting`, `started`, `validating`, `restarting`, `success`, `failed` or `cancelled`.
    pub status: String,
    /// What it waits for, or why it failed.
    pub detail: Option<String>,
    /// Bytes that the device has and bytes of the file, while it is transferred.
    pub progress: Option<(u32, u32)>,
    /// SHA-256 of the file, in hex.
    pub file: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

impl Job {
    /// Whether it keeps a device and the line busy: one that its application does not allow waits aside.
    pub(super) fn is_busy(&self) -> bool {
        self.is_taken && !matches!(self.state, UpdateState::Waiting(WaitReason::Disabled))
    }

    /// Whether a release or a lock began it.
    pub(super) fn is_automatic(&self) -> bool {
        matches!(self.reason, Reason::Release { .. } | Reason::Lock { .. })
    }

    /// What is told of it.
    pub(super) fn enter(&mut self, state: UpdateState) {
        match state {
            UpdateState::Validating | UpdateState::Restarting => self.has_file = true,
            UpdateState::Started { .. } | UpdateState::Progress { .. } => self.has_file = false,
            _ => {}
        }
        self.state = state;
    }

    /// Whether it goes on, and the device does not have the whole file yet.
    pub(super) fn may_be_spared(&self) -> bool {
        let goes_on = matches!(
            self.state,
            UpdateState::Waiting(_) | UpdateState::Started { .. } | UpdateState::Progress { .. }
        );
        goes_on && !self.has_file
    }

    /// How it ended, as it is counted.
    pub(super) fn outcome(&self) -> &'static str {
        told(&self.state).0
    }

    pub(super) fn stored(&self, device: DeviceId, ended_at: Option<Timestamp>) -> StoredUpdate {
        let (status, detail) = told(&self.state);
        let body = Body {
            reason: self.reason.clone(),
            forced: self.forced,
            status: status.to_owned(),
            detail,
            ended_at: ended_at.map(|at| at.0),
        };
        StoredUpdate {
            device,
            id: self.id.0,
            file: self.file,
            is_open: ended_at.is_none(),
            asked_at: self.asked_at,
            body: serde_json::to_string(&body).unwrap_or_default(),
        }
    }

    pub(super) fn view(&self) -> UpdateView {
        let (status, detail) = told(&self.state);
        let size = self.loaded.image.size();
        let progress = match self.state {
            UpdateState::Started { offset } => Some((offset, size)),
            UpdateState::Progress { bytes, size } => Some((bytes, size)),
            _ => None,
        };
        UpdateView {
            reason: self.reason.clone(),
            status: status.to_owned(),
            detail,
            progress,
            file: self.file.to_string(),
            asked_at: self.asked_at,
            ended_at: None,
        }
    }
}

impl UpdateView {
    pub(super) fn of_stored(stored: &StoredUpdate) -> Option<Self> {
        let body: Body = serde_json::from_str(&stored.body).ok()?;
        Some(Self {
            reason: body.reason,
            status: body.status,
            detail: body.detail,
            progress: None,
            file: stored.file.to_string(),
            asked_at: stored.asked_at,
            ended_at: body.ended_at.map(Timestamp),
        })
    }
}

/// A state in the words of the API.
fn told(state: &UpdateState) -> (&'static str, Option<String>) {
    match state {
        UpdateState::Waiting(reason) => {
            let text = match reason {
                WaitReason::Offline => "the device is offline",
                WaitReason::Disabled => "the application does not allow updates",
                WaitReason::Busy => "the device is asked what it consists of",
            };
            ("waiting", Some(text.to_owned()))
        }
        UpdateState::Started { .. } | UpdateState::Progress { .. } => ("started", None),
        UpdateState::Validating => ("validating", None),
        UpdateState::Restarting => ("restarting", None),
        UpdateState::Succeeded => ("success", None),
        UpdateState::Failed(why) => ("failed", Some(why.to_string())),
        UpdateState::Cancelled => ("cancelled", None),
    }
}

#[cfg(test)]
mod tests {
    use model::Image;
    use model::update::Expected;

    use super::*;

    #[test]
    fn a_device_that_has_the_file_is_not_spared_though_it_is_not_heard_of_any_more() {
        let bytes: Arc<[u8]> = Arc::from([0; 4]);
        let image = Arc::new(Image { sha256: [0; 32], function: 5, index: 1, bytes });
        let expected = Expected { sha256: None, version: 1, product_version: Some(2) };
        let mut job = Job {
            id: UpdateId(1),
            file: FileHash([0; 32]),
            loaded: Arc::new(Loaded { image, expected, version_of: Some((ProductId(9), 2)) }),
            reason: Reason::Release { release: 1, version: 2 },
            forced: false,
            asked_at: Timestamp(0),
            state: UpdateState::Waiting(WaitReason::Busy),
            has_file: false,
            is_taken: true,
            next_try: Timestamp(0),
        };
        assert!(job.may_be_spared());
        job.enter(UpdateState::Started { offset: 0 });
        assert!(job.may_be_spared());
        job.enter(UpdateState::Validating);
        job.enter(UpdateState::Waiting(WaitReason::Offline));
        assert!(!job.may_be_spared());
        job.enter(UpdateState::Started { offset: 0 });
        assert!(job.may_be_spared(), "it is sent anew");
    }
}
