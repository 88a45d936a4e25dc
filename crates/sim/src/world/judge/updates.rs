//! Updates: a device has what was asked for, byte for byte, or what it had before; and nothing is told
//! that is not so.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::update::UpdateFailure;
use model::{Image, Mono, UpdateId, UpdateReport, UpdateState};

use super::Judge;
use crate::device::{Installed, UpdateStep};

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    by_id: BTreeMap<UpdateId, One>,
    /// What all devices had at first.
    made_with: Vec<u8>,
    /// Of those, what this start of the server said last.
    told: BTreeMap<UpdateId, UpdateState>,
}

#[derive(Debug)]
struct One {
    index: usize,
    image: Arc<Image>,
    /// The device had a fault while it was wanted.
    is_faulty: bool,
}

impl Judge {
    /// What all devices have at first.
    pub(crate) fn made_with(&mut self, file: &[u8]) {
        self.updates.made_with = file.to_vec();
    }

    /// Somebody flashes a device.
    pub(crate) fn update_asked(&mut self, id: UpdateId, index: usize, image: Arc<Image>) {
        let is_faulty = self.devices[index].is_faulty;
        self.devices[index].is_flashed = true;
        self.updates.by_id.insert(id, One { index, image, is_faulty });
    }

    /// What a device takes goes wrong by its own fault from now on.
    pub(crate) fn update_faulty(&mut self, index: usize) {
        self.devices[index].is_faulty = true;
        let of_device = self.updates.by_id.values_mut().filter(|one| one.index == index);
        of_device.for_each(|one| one.is_faulty = true);
    }

    /// From now on devices have no faults; what was asked for before may still fail of them.
    pub(crate) fn updates_work(&mut self) {
        for device in &mut self.devices {
            device.is_faulty = false;
        }
    }

    /// A device that cannot be told loses its connection.
    pub(crate) fn update_called_off(&mut self, now: Mono, index: usize) {
        if !self.devices[index].has_cid {
            self.excuse(index, now);
        }
    }

    /// The server starts: what was told before is told anew.
    pub(super) fn updates_start(&mut self) {
        self.updates.told.clear();
    }

    /// The server told how an update goes; `installed` is what the device has at this moment.
    pub(crate) fn update_reported(
        &mut self,
        now: Mono,
        report: &UpdateReport,
        installed: Option<&Installed>,
    ) {
        let UpdateReport { device, id, state, .. } = report;
        let Some(one) = self.updates.by_id.get(id) else {
            return self.fail(format!("{report:?}: nobody asked for it"));
        };
        let index = one.index;
        let is_wrong = match state {
            _ if *device != self.devices[index].id => true,
            UpdateState::Started { offset } => *offset > one.image.size(),
            UpdateState::Progress { bytes, size } => *bytes > *size || *size != one.image.size(),
            UpdateState::Succeeded => installed.is_none_or(|it| it.image != *one.image.bytes),
            UpdateState::Failed(why) => !may_fail(why, one.is_faulty),
            UpdateState::Cancelled
            | UpdateState::Restarting
            | UpdateState::Validating
            | UpdateState::Waiting(_) => false,
        };
        if is_wrong {
            let has = installed.map(|installed| (installed.version, installed.image.len()));
            self.fail(format!("{report:?} is told, device {index} has {has:?}"));
        }
        self.tally.updates += u64::from(*state == UpdateState::Succeeded);
        if !state.is_terminal() && !self.devices[index].has_cid {
            // It may believe in a transfer that the server forgot, and is thrown out of it.
            self.excuse(index, now);
        }
        let before = self.updates.told.insert(*id, state.clone());
        if let Some(before) = before.filter(UpdateState::is_terminal) {
            self.fail(format!("{report:?} is told after {before:?}"));
        }
    }

    /// A device put an update into force, or came back with what it had.
    pub(crate) fn update_applied(&mut self, index: usize, installed: Option<&Installed>) {
        self.tally.applied += 1;
        let Some(installed) = installed else { return };
        let of_device = self.updates.by_id.values().filter(|one| one.index == index);
        let mut may_be = of_device.map(|one| &*one.image.bytes).chain([&*self.updates.made_with]);
        let is_right = may_be.any(|file| installed.image == file);
        drop(may_be);
        if !is_right {
            let (version, bytes) = (installed.version, installed.image.len());
            self.fail(format!("device {index} runs {bytes} bytes, version {version}: never asked"));
        }
    }

    pub(super) fn update_step(&mut self, index: usize, step: &UpdateStep) {
        match step {
            UpdateStep::Trapped => self.fail(format!("device {index} would hang in its update")),
            UpdateStep::Failed(INTEGRITY) if !self.devices[index].is_faulty => {
                self.fail(format!("device {index} got a file that is not what was sent"));
            }
            UpdateStep::Applied | UpdateStep::Begun { .. } | UpdateStep::Failed(_) => {}
        }
    }

    /// How an update ended, if this start of the server said so.
    pub(crate) fn update_end(&self, index: usize) -> Option<&UpdateState> {
        let last = self.updates.by_id.iter().rev().find(|(_, one)| one.index == index)?.0;
        self.updates.told.get(last).filter(|state| state.is_terminal())
    }
}

/// Whether an update may end so while all kinds of things go wrong. A device whose flash is good finds
/// nothing wrong with a file.
fn may_fail(why: &UpdateFailure, is_faulty: bool) -> bool {
    match why {
        UpdateFailure::Invalid(_) => is_faulty,
        UpdateFailure::Disabled
        | UpdateFailure::NoProgress { .. }
        | UpdateFailure::NotApplied(_)
        | UpdateFailure::NotBack
        | UpdateFailure::Refused { .. } => true,
        UpdateFailure::Removed | UpdateFailure::TooLarge { .. } => false,
    }
}

/// The system error of a file that is damaged.
const INTEGRITY: i32 = -1330;
