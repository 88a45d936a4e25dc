//! One request of a transfer and its repetition.

use std::time::Duration;

use model::Mono;

/// Waits before the second, third and fourth transmission, and before giving up: `ota.md` §2.6 waits
/// 30 s for an acknowledgement, and the device knows a repetition for 45 s.
const WAITS: [Duration; 4] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(8),
    Duration::from_secs(10),
];

/// A confirmable request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) token: u8,
    pub(crate) message_id: u16,
    /// To be repeated as it is; empty over TCP, where nothing is, and once it is acknowledged.
    bytes: Box<[u8]>,
    transmissions: usize,
    next_at: Mono,
    answer_by: Mono,
}

impl Ask {
    /// A request that was sent once and is answered within `patience`.
    pub(crate) fn sent(
        token: u8,
        message_id: u16,
        bytes: &[u8],
        patience: Duration,
        now: Mono,
    ) -> Self {
        Self {
            token,
            message_id,
            bytes: bytes.into(),
            transmissions: 1,
            next_at: now.after(WAITS[0]),
            answer_by: now.after(patience),
        }
    }

    /// It arrived; the answer is to come.
    pub(super) fn acknowledged(&mut self) {
        self.bytes = Box::default();
    }

    pub(super) fn deadline(&self) -> Mono {
        if self.bytes.is_empty() { self.answer_by } else { self.next_at.min(self.answer_by) }
    }

    /// What is to be sent again now. To be followed by [`Self::repeated`] when it was.
    pub(crate) fn due(&self, now: Mono) -> Option<&[u8]> {
        let is_due = self.next_at <= now && self.transmissions < WAITS.len();
        (is_due && !self.bytes.is_empty()).then_some(&self.bytes)
    }

    pub(crate) fn repeated(&mut self, now: Mono) {
        self.next_at = now.after(WAITS[self.transmissions.min(WAITS.len() - 1)]);
        self.transmissions += 1;
    }

    /// Whether nobody answers any more.
    pub(super) fn is_given_up(&self, now: Mono) -> bool {
        let is_unheard =
            !self.bytes.is_empty() && self.transmissions >= WAITS.len() && self.next_at <= now;
        is_unheard || self.answer_by <= now
    }
}
