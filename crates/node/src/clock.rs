//! The only place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Mono, Now, Timestamp};

/// Both clocks; `Mono` counts from when this was made. Copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: self.mono(), utc: utc() }
    }

    pub(crate) fn mono(self) -> Mono {
        Mono::default().after(self.origin.elapsed())
    }

    /// The same moment for a timer of the runtime.
    pub(crate) fn instant(self, at: Mono) -> Instant {
        self.origin + Duration::from_micros(at.0)
    }
}

/// A clock set before 1970 reads as 1970.
pub(crate) fn utc() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().after(since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_clock_is_the_same_moment_for_timers() {
        let clock = Clock::new();
        let mono = clock.mono();
        let back = clock.instant(mono).elapsed();
        assert!(back < Duration::from_secs(1));
        assert!(clock.instant(mono.after(Duration::from_secs(60))) > Instant::now());
    }
}
