//! A rollout in numbers.

use serde::Serialize;

use super::Member;

/// Devices by what became of the release there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// All that it is for.
    pub devices: u64,
    /// Not tried yet.
    pub waiting: u64,
    /// Being updated.
    pub updating: u64,
    /// Running it.
    pub updated: u64,
    /// Failed, to be tried again.
    pub failed: u64,
    /// Failed too often.
    pub left_alone: u64,
}

impl Summary {
    pub(super) fn of<'m>(members: impl Iterator<Item = &'m Member>) -> Self {
        let mut sum = Self::default();
        for member in members {
            sum.devices += 1;
            *sum.count_of(member) += 1;
        }
        sum
    }

    fn count_of(&mut self, member: &Member) -> &mut u64 {
        match member {
            Member::Waiting { .. } => &mut self.waiting,
            Member::Updating { .. } => &mut self.updating,
            Member::Updated { .. } => &mut self.updated,
            Member::Failed { .. } => &mut self.failed,
            Member::LeftAlone { .. } => &mut self.left_alone,
        }
    }
}
