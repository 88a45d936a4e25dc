//! How fast a device may publish (`metering/rules.md` §7).

use std::time::Duration;

use model::Mono;
use model::limits::{INTERNAL_EVENTS_MAX, INTERNAL_WINDOW};

/// The figures of a bucket of tokens, of which one returns each `refill`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    refill: Duration,
    /// How far ahead a bucket may be from full and still hold a token.
    reach: Duration,
}

impl Rate {
    /// A rate of `burst` at once and one each `rate_ms` after; none if either is 0.
    pub(crate) fn new(burst: u32, rate_ms: u32) -> Option<Self> {
        let refill = Duration::from_millis(rate_ms.into());
        let reach = refill.saturating_mul(burst.checked_sub(1)?);
        (rate_ms > 0).then_some(Self { refill, reach })
    }
}

/// A bucket of tokens, kept as the moment when it is full again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at: Mono,
}

impl Bucket {
    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Mono, rate: Rate) -> bool {
        let holds_one = self.full_at.since(now) <= rate.reach;
        if holds_one {
            self.full_at = self.full_at.max(now).after(rate.refill);
        }
        holds_one
    }
}

/// Internal events within the running window; the device counts its own likewise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InternalWindow {
    /// Tenths of a second on the monotonic clock; good for 13 years.
    began_ds: u32,
    taken: u8,
}

impl InternalWindow {
    /// Takes one of [`INTERNAL_EVENTS_MAX`] if one is left in the window.
    pub(crate) fn take(&mut self, now: Mono) -> bool {
        let now_ds = u32::try_from(now.0 / 100_000).unwrap_or(u32::MAX);
        let window_ds = u32::try_from(INTERNAL_WINDOW.as_millis() / 100).unwrap_or(u32::MAX);
        if self.taken == 0 || now_ds.saturating_sub(self.began_ds) >= window_ds {
            *self = Self { began_ds: now_ds, taken: 0 };
        }
        let is_left = u32::from(self.taken) < INTERNAL_EVENTS_MAX;
        self.taken = self.taken.saturating_add(u8::from(is_left));
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Mono {
        Mono(1_000_000_000 + ms * 1000)
    }

    #[test]
    fn a_full_bucket_gives_four_and_then_one_each_second() {
        let rate = Rate::new(4, 1000).expect("a limit");
        let mut bucket = Bucket::default();
        let taken: Vec<bool> = (0..8).map(|n| bucket.take(at_ms(n * 100), rate)).collect();
        assert_eq!(taken, [true, true, true, true, false, false, false, false]);
        assert!(!bucket.take(at_ms(999), rate));
        assert!(bucket.take(at_ms(1000), rate));
        assert!(!bucket.take(at_ms(1999), rate));
        assert!(bucket.take(at_ms(2000), rate));
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let rate = Rate::new(4, 1000).expect("a limit");
        let mut bucket = Bucket::default();
        assert!(bucket.take(at_ms(0), rate));
        let taken = (0..9).filter(|_| bucket.take(at_ms(100_000), rate)).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert!(Rate::new(0, 1000).is_none());
        assert!(Rate::new(4, 0).is_none());
    }

    #[test]
    fn internal_events_are_255_in_65_seconds() {
        let mut window = InternalWindow::default();
        assert_eq!((0..300).filter(|_| window.take(at_ms(500))).count(), 255);
        assert!(!window.take(at_ms(65_400)));
        assert!(window.take(at_ms(65_500)));
    }
}
