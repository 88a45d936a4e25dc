//! How long a UDP device may be silent.
//!
//! The device pings one interval after the last thing it received, so the time between our last
//! sending and its ping is a sample of that interval.

use std::time::Duration;

use model::limits::{KEEP_ALIVE_DEFAULT, KEEP_ALIVE_MIN};

/// Samples that have to agree.
const SAMPLES: u8 = 3;
/// They agree within a tenth.
const TOLERANCE: u32 = 10;

/// What was learnt of a device's keep-alive interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    interval_ms: u32,
    mean_ms: u32,
    agreeing: u8,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { interval_ms: millis(KEEP_ALIVE_DEFAULT), mean_ms: 0, agreeing: 0 }
    }
}

impl KeepAlive {
    /// The interval in force.
    pub(crate) fn interval(self) -> Duration {
        Duration::from_millis(u64::from(self.interval_ms))
    }

    /// Silence after which the device is offline.
    pub(crate) fn silence(self) -> Duration {
        2 * self.interval()
    }

    /// A ping came this long after our last sending.
    pub(crate) fn sample(&mut self, span: Duration) {
        let span_ms = millis(span);
        let agrees =
            self.agreeing > 0 && span_ms.abs_diff(self.mean_ms) <= self.mean_ms / TOLERANCE;
        if agrees {
            let sum = u64::from(self.mean_ms) * u64::from(self.agreeing) + u64::from(span_ms);
            self.mean_ms = (sum / (u64::from(self.agreeing) + 1)) as u32;
            self.agreeing = (self.agreeing + 1).min(SAMPLES);
        } else {
            self.mean_ms = span_ms;
            self.agreeing = 1;
        }
        if self.agreeing == SAMPLES {
            self.interval_ms = self.mean_ms.max(millis(KEEP_ALIVE_MIN));
        }
    }

    /// The device was given up: what was learnt may not hold any more. Samples longer than the
    /// default go on being collected, else such an interval could never be learnt.
    pub(crate) fn give_up(&mut self) {
        if self.interval_ms != millis(KEEP_ALIVE_DEFAULT) {
            *self = Self::default();
        }
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_samples_in_a_row_that_agree_are_learnt() {
        let mut keep_alive = KeepAlive::default();
        for sample in [30, 25, 26] {
            keep_alive.sample(s(sample));
            assert_eq!(keep_alive.interval(), KEEP_ALIVE_DEFAULT);
        }
        keep_alive.sample(s(27));
        assert_eq!(keep_alive.interval(), s(26));
        assert_eq!(keep_alive.silence(), s(52));
    }

    #[test]
    fn less_than_25_seconds_is_never_learnt() {
        let mut keep_alive = KeepAlive::default();
        for _ in 0..3 {
            keep_alive.sample(s(5));
        }
        assert_eq!(keep_alive.interval(), s(25));
    }

    #[test]
    fn a_device_that_was_given_up_starts_again_with_the_default() {
        let mut keep_alive = KeepAlive::default();
        for _ in 0..3 {
            keep_alive.sample(s(30));
        }
        keep_alive.give_up();
        assert_eq!(keep_alive, KeepAlive::default());
    }

    #[test]
    fn an_interval_longer_than_twice_the_default_is_learnt_though_the_device_is_given_up_each_time()
    {
        let mut keep_alive = KeepAlive::default();
        for _ in 0..3 {
            keep_alive.give_up();
            keep_alive.sample(s(3600));
        }
        assert_eq!(keep_alive.interval(), s(3600));
    }
}
