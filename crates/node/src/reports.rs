//! How updates go, for whoever keeps them: a board with the last state of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::{DeviceId, UpdateId, UpdateReport};
use tokio::sync::Notify;

use crate::metrics;
use crate::shared::Shared;

/// Reports that wait for their reader, each the last of its update. Full: a report of an update that
/// goes on is dropped, the end of one takes the place of such a report, and is dropped if there is none.
const REPORTS_MAX: usize = 131_072;

/// Reports that nobody read yet.
#[derive(Debug, Default)]
pub(crate) struct ReportBoard {
    waiting: Mutex<BTreeMap<(DeviceId, UpdateId), UpdateReport>>,
    news: Notify,
}

impl ReportBoard {
    /// Puts a report in the place of the one before. What ended does not begin again.
    pub(crate) fn post(&self, report: UpdateReport) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (report.device, report.id);
        let is_over = waiting.get(&key).is_some_and(|before| before.state.is_terminal());
        if !is_over && (waiting.contains_key(&key) || make_room(&mut waiting, &report)) {
            waiting.insert(key, report);
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<UpdateReport> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_values().collect()
    }
}

fn make_room(
    waiting: &mut BTreeMap<(DeviceId, UpdateId), UpdateReport>,
    report: &UpdateReport,
) -> bool {
    if waiting.len() < REPORTS_MAX {
        return true;
    }
    metrics::inbox_refused("update_report");
    let goes_on = waiting.iter().find(|(_, other)| !other.state.is_terminal());
    let place = goes_on.map(|(key, _)| *key).filter(|_| report.state.is_terminal());
    place.is_some_and(|key| waiting.remove(&key).is_some())
}

/// The reader's end of the board.
#[derive(Clone)]
pub struct UpdateReports {
    shared: Arc<Shared>,
}

impl UpdateReports {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits for reports and takes all of them, the last one of each update. Nothing is lost when the
    /// future is dropped.
    pub async fn next(&self) -> Vec<UpdateReport> {
        loop {
            let reports = self.shared.reports.take();
            if !reports.is_empty() {
                return reports;
            }
            self.shared.reports.news.notified().await;
        }
    }
}

impl std::fmt::Debug for UpdateReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateReports").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use model::{Timestamp, UpdateState};

    use super::*;

    fn report(id: u64, state: UpdateState) -> UpdateReport {
        UpdateReport { device: DeviceId([1; 12]), id: UpdateId(id), state, at: Timestamp(1) }
    }

    #[test]
    fn the_last_state_of_each_update_is_kept_and_an_end_is_final() {
        let board = ReportBoard::default();
        board.post(report(1, UpdateState::Validating));
        board.post(report(1, UpdateState::Succeeded));
        board.post(report(1, UpdateState::Restarting));
        board.post(report(2, UpdateState::Started { offset: 0 }));
        let states: Vec<_> = board.take().into_iter().map(|report| report.state).collect();
        assert_eq!(states, [UpdateState::Succeeded, UpdateState::Started { offset: 0 }]);
        assert!(board.take().is_empty());
    }
}
