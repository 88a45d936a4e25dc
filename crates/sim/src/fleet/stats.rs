//! What a fleet counts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of one thread, read by another.
        #[derive(Debug, Default)]
        pub(crate) struct Shared {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)+
        }

        /// The same, read at one moment and summed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counts {
            fn add(&mut self, shared: &Shared) {
                $(self.$name += shared.$name.load(Ordering::Relaxed);)+
            }
        }
    };
}

counters! {
    /// Devices connected now.
    online,
    /// Connections made with a full handshake.
    handshakes,
    /// Connections made with a stored session.
    resumes,
    /// Handshakes that failed.
    handshake_failures,
    /// Connections lost, for whatever reason but a restart.
    losses,
    /// Publishes sent for the first time.
    published,
    /// Publishes with an empty acknowledgement.
    acknowledged,
    /// Publishes answered with a code of class 4 or 5.
    refused,
    /// Publishes whose connection ended before their acknowledgement.
    lost,
    /// Events that reached a handler.
    events,
    /// Calls of functions and reads of variables.
    calls,
    /// Updates that the server began to send.
    updates_begun,
    /// Updates that are in force.
    updates_applied,
    /// Updates that devices refused or broke off.
    updates_failed,
    /// Datagrams and stream writes sent.
    sent,
    /// Datagrams and stream reads received.
    received,
}

pub(crate) fn count(counter: &AtomicU64) {
    // One thread writes, so a load and a store do; that is cheaper than an atomic addition.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

pub(crate) fn uncount(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
}

/// Where a fleet stands. Its text form is one line.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Devices in the fleet.
    pub devices: u32,
    /// All counters.
    pub counts: Counts,
    /// Publishes in the last second.
    pub published_per_s: f64,
    /// Acknowledgements in the last second.
    pub acknowledged_per_s: f64,
}

/// How a fleet did; its JSON form is the report of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// How long it ran.
    pub seconds: f64,
    /// Devices in the fleet.
    pub devices: u32,
    /// All counters; `online` is the number at the end.
    #[serde(flatten)]
    pub counts: Counts,
    /// From the first transmission of a publish to its empty acknowledgement, in milliseconds.
    pub latency_ms: Percentiles,
    /// From the beginning of an attempt to a connection by full handshake, in milliseconds.
    pub connect_ms: Percentiles,
}

/// Percentiles of a distribution; 0 if it is empty. Exact to 3 %.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Percentiles {
    /// How many values there are.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 90 % are not larger.
    pub p90: f64,
    /// 99 % are not larger.
    pub p99: f64,
    /// 99.9 % are not larger.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

/// Everything one thread measured.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) shared: Arc<Shared>,
    pub(crate) latency: Histogram,
    pub(crate) connect: Histogram,
}

impl Progress {
    pub(crate) fn after(
        last: &Self,
        elapsed: Duration,
        devices: u32,
        shared: &[Arc<Shared>],
    ) -> Self {
        let mut counts = Counts::default();
        shared.iter().for_each(|shared| counts.add(shared));
        let span = elapsed.saturating_sub(last.elapsed).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span;
        Self {
            elapsed,
            devices,
            counts,
            published_per_s: rate(counts.published, last.counts.published),
            acknowledged_per_s: rate(counts.acknowledged, last.counts.acknowledged),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { online, handshakes, resumes, refused, lost, losses, .. } = self.counts;
        write!(
            f,
            "{:>5.0} s  online {online}/{}  handshakes {handshakes}  resumes {resumes}  \
             publishes {:.0}/s  acknowledged {:.0}/s  refused {refused}  lost {lost}  \
             disconnects {losses}",
            self.elapsed.as_secs_f64(),
            self.devices,
            self.published_per_s,
            self.acknowledged_per_s,
        )
    }
}

impl Summary {
    pub(crate) fn new<'a>(
        elapsed: Duration,
        devices: u32,
        tallies: impl Iterator<Item = &'a Tally>,
    ) -> Self {
        let mut counts = Counts::default();
        let (mut latency, mut connect) = (Histogram::default(), Histogram::default());
        for tally in tallies {
            counts.add(&tally.shared);
            latency.merge(&tally.latency);
            connect.merge(&tally.connect);
        }
        Self {
            seconds: elapsed.as_secs_f64(),
            devices,
            counts,
            latency_ms: latency.percentiles(),
            connect_ms: connect.percentiles(),
        }
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Counts durations in buckets that grow with them: 32 for each power of two of microseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    fn percentiles(&self) -> Percentiles {
        let ms = |micros: u64| micros as f64 / 1000.0;
        Percentiles {
            count: self.count,
            p50: ms(self.quantile(0.5)),
            p90: ms(self.quantile(0.9)),
            p99: ms(self.quantile(0.99)),
            p999: ms(self.quantile(0.999)),
            max: ms(self.max),
        }
    }

    fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return upper_end(index).min(self.max);
            }
        }
        self.max
    }
}

/// Log2 of the buckets for each power of two.
const FINENESS: u32 = 5;
const BUCKETS: usize = 40 << FINENESS;

fn bucket(micros: u64) -> usize {
    let log = micros.max(1).ilog2();
    if log <= FINENESS {
        return micros as usize;
    }
    let shift = log - FINENESS;
    let index = (u64::from(shift) << FINENESS) + (micros >> shift);
    (index as usize).min(BUCKETS - 1)
}

fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 << FINENESS {
        return index;
    }
    let shift = (index >> FINENESS) - 1;
    let mantissa = index - (shift << FINENESS);
    ((mantissa + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let found = histogram.percentiles();
        for (value, exact) in [(found.p50, 50.0), (found.p90, 90.0), (found.p99, 99.0)] {
            assert!((value / exact - 1.0).abs() < 0.032, "{value} for {exact}");
        }
        assert_eq!((found.count, found.max), (100_000, 100.0));
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        for micros in (0..2_000).chain((0..40).map(|n| 1 << n)).chain((1..40).map(|n| (1 << n) - 1))
        {
            let index = bucket(micros);
            assert!(index == BUCKETS - 1 || upper_end(index) >= micros, "{micros}");
            assert!(index == 0 || upper_end(index - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn an_empty_distribution_is_all_zero() {
        assert_eq!(Histogram::default().percentiles(), Percentiles::default());
    }
}
