//! When the server's flight is sent again.

/// The first wait. A device repeats its own flight at 3, 9 and 21 s, so ours at 2, 6, 14 and 30 s
/// fall between, and halve the time a loss costs. The 1 s of RFC 6347 §4.2.4.1 is less than a device
/// needs for its arithmetic and a cellular round trip, and a needless repetition makes it send all
/// of its 400 bytes again.
const FIRST_WAIT_US: u64 = 2_000_000;
/// By our own timer.
const REPETITIONS_MAX: u8 = 4;
/// Because the client repeated its hello. A firmware does so three times.
const ASKED_MAX: u8 = 8;

/// The timer of one flight.
pub(crate) struct Retransmission {
    due: Option<u64>,
    wait: u64,
    repetitions: u8,
    asked: u8,
}

impl Retransmission {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Self {
        Self { due: None, wait: FIRST_WAIT_US, repetitions: 0, asked: 0 }
    }

    /// The flight was sent for the first time.
    pub(crate) fn begin(&mut self, now: u64) {
        self.due = now.checked_add(self.wait);
    }

    /// When it is to be sent again.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due
    }

    /// Whether it is to be sent now because of the time; if so, the next wait is twice as long.
    pub(crate) fn take_due(&mut self, now: u64) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.repetitions += 1;
        self.wait *= 2;
        self.due = now.checked_add(self.wait).filter(|_| self.repetitions < REPETITIONS_MAX);
        true
    }

    /// Whether it is to be sent now because the client asks for it.
    pub(crate) fn take_asked(&mut self, now: u64) -> bool {
        let allowed = self.asked < ASKED_MAX;
        if allowed {
            self.asked += 1;
            self.rest(now);
        }
        allowed
    }

    /// Begins the running wait anew.
    pub(crate) fn rest(&mut self, now: u64) {
        self.due = self.due.and_then(|_| now.checked_add(self.wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let mut timer = Retransmission::new();
        timer.begin(0);
        let mut sent_at_s = Vec::new();
        while let Some(due) = timer.due() {
            assert!(!timer.take_due(due - 1));
            assert!(timer.take_due(due));
            sent_at_s.push(due / 1_000_000);
        }
        assert_eq!(sent_at_s, [2, 6, 14, 30]);
        assert!(!timer.take_due(u64::MAX));
    }

    #[test]
    fn a_client_that_asks_forever_is_answered_a_bounded_number_of_times() {
        let mut timer = Retransmission::new();
        timer.begin(0);
        assert_eq!((0..100).filter(|now| timer.take_asked(*now)).count(), usize::from(ASKED_MAX));
    }
}
