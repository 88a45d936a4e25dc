//! How a rollout is to go.

use serde::{Deserialize, Serialize};

/// Stages of one rollout.
const STAGES_MAX: usize = 20;

/// Stages, and what they must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Percent of the devices that have the release when each stage is done; rising, the last is 100.
    percents: Vec<u8>,
    /// More failures than this, in percent of the devices that have decided, halt the rollout.
    pub failure_percent_max: u8,
    /// Fewer devices than this conclude nothing, unless they are the whole stage.
    pub failures_judged_from: u16,
    /// Percent of a stage's devices that must have been updated before the next one opens.
    pub quorum_percent: u8,
    /// Least time that a stage is open before the next one, in milliseconds.
    pub soak_ms: i64,
}

/// Stages that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stages are up to 20 rising percentages of which the last is 100, such as 10, 50, 100")]
pub struct PlanError;

impl Plan {
    /// The usual thresholds over these stages.
    ///
    /// # Errors
    /// [`PlanError`]: not rising, or not ending with 100.
    pub fn of_stages(percents: &[u8]) -> Result<Self, PlanError> {
        Self::default().with_stages(percents)
    }

    /// The same thresholds over other stages.
    ///
    /// # Errors
    /// Like [`Plan::of_stages`].
    pub fn with_stages(self, percents: &[u8]) -> Result<Self, PlanError> {
        let rises = percents.windows(2).all(|pair| pair[0] < pair[1]);
        let begins = percents.first().is_some_and(|first| *first > 0);
        if !rises || !begins || percents.len() > STAGES_MAX || percents.last() != Some(&100) {
            return Err(PlanError);
        }
        Ok(Self { percents: percents.to_vec(), ..self })
    }

    /// One stage that never halts: for devices that somebody chose one by one.
    pub fn at_once() -> Self {
        Self { percents: vec![100], failure_percent_max: 100, ..Self::default() }
    }

    /// How many stages there are, at least one.
    pub fn stages(&self) -> usize {
        self.percents.len().max(1)
    }

    /// The percentages.
    pub fn percents(&self) -> &[u8] {
        &self.percents
    }

    /// Percent of the devices in all stages up to this one.
    pub(super) fn percent(&self, stage: usize) -> u8 {
        self.percents.get(stage).copied().unwrap_or(100).min(100)
    }
}

impl Default for Plan {
    /// 10, 50 and 100 %; a halt above 20 % failures among at least 5 devices; half of a stage updated and
    /// 5 minutes open before the next.
    fn default() -> Self {
        Self {
            percents: vec![10, 50, 100],
            failure_percent_max: 20,
            failures_judged_from: 5,
            quorum_percent: 50,
            soak_ms: 5 * 60_000,
        }
    }
}
