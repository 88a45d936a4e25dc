//! Log lines that a stranger can cause, held to a few.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line each so often.
const EACH: Duration = Duration::from_secs(10);

/// Lets one line through each 10 s and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogQuota {
    state: Mutex<(Option<Instant>, u64)>,
}

impl LogQuota {
    /// Whether to write a line, and how many were left out since the last one.
    pub(crate) fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < EACH) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_one_and_a_number() {
        let (quota, now) = (LogQuota::default(), Instant::now());
        assert_eq!(quota.take_at(now), Some(0));
        assert_eq!(quota.take_at(now + EACH / 2), None);
        assert_eq!(quota.take_at(now + EACH / 2), None);
        assert_eq!(quota.take_at(now + EACH), Some(2));
    }
}
