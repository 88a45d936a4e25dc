//! What an account uses in a billing period, and how much of it a plan allows.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// What an account used in a period, from the committed sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Data Operations.
    pub operations: u64,
    /// Bytes over the carrier in both directions, of cellular devices that are no Trackers.
    pub cellular_bytes: u64,
    /// Bytes over the carrier in both directions, of Trackers.
    pub tracker_bytes: u64,
    /// Devices that the account pays for, at this moment.
    pub devices: u64,
}

/// What a plan gives for a period; for growth, what one block gives (`config/plans.toml`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowances {
    /// Devices.
    pub devices: NonZeroU64,
    /// Data Operations.
    pub operations: NonZeroU64,
    /// Bytes over the carrier, Trackers apart.
    pub cellular_bytes: NonZeroU64,
    /// Bytes over the carrier of Trackers.
    pub tracker_bytes: NonZeroU64,
}

impl Allowances {
    /// So many times these.
    #[must_use]
    pub fn times(&self, blocks: u32) -> Self {
        let times = |one: NonZeroU64| {
            NonZeroU64::new(one.get().saturating_mul(u64::from(blocks))).unwrap_or(one)
        };
        Self {
            devices: times(self.devices),
            operations: times(self.operations),
            cellular_bytes: times(self.cellular_bytes),
            tracker_bytes: times(self.tracker_bytes),
        }
    }
}

/// One of the things that are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes over the carrier, Trackers apart.
    CellularBytes,
    /// Devices.
    Devices,
    /// Data Operations.
    Operations,
    /// Bytes over the carrier of Trackers.
    TrackerBytes,
}

impl Limit {
    /// All of them, the weightiest first.
    pub const ALL: [Self; 4] =
        [Self::Operations, Self::Devices, Self::CellularBytes, Self::TrackerBytes];

    /// How much of it was used.
    pub fn used(self, usage: &Usage) -> u64 {
        match self {
            Self::CellularBytes => usage.cellular_bytes,
            Self::Devices => usage.devices,
            Self::Operations => usage.operations,
            Self::TrackerBytes => usage.tracker_bytes,
        }
    }

    /// How much of it is allowed.
    pub fn allowed(self, allowances: &Allowances) -> NonZeroU64 {
        match self {
            Self::CellularBytes => allowances.cellular_bytes,
            Self::Devices => allowances.devices,
            Self::Operations => allowances.operations,
            Self::TrackerBytes => allowances.tracker_bytes,
        }
    }

    /// The percentages at which its users are warned (`metering/rules.md` §6).
    pub fn thresholds(self) -> &'static [u8] {
        match self {
            Self::Devices => &[100],
            Self::CellularBytes | Self::Operations | Self::TrackerBytes => &[70, 90, 100],
        }
    }

    /// Its name in the API and the database: `operations`, `devices`, `cellular_bytes` or
    /// `tracker_bytes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CellularBytes => "cellular_bytes",
            Self::Devices => "devices",
            Self::Operations => "operations",
            Self::TrackerBytes => "tracker_bytes",
        }
    }

    /// An amount of it for people: `100,000 Data Operations`, `540 MB of cellular data`.
    pub fn amount(self, amount: u64) -> String {
        match self {
            Self::CellularBytes => format!("{} of cellular data", megabytes(amount)),
            Self::Devices => format!("{} devices", grouped(amount)),
            Self::Operations => format!("{} Data Operations", grouped(amount)),
            Self::TrackerBytes => format!("{} of Tracker cellular data", megabytes(amount)),
        }
    }
}

/// Whether `used` reaches `percent` of `allowed`.
pub(crate) fn reaches(used: u64, percent: u8, allowed: NonZeroU64) -> bool {
    u128::from(used) * 100 >= u128::from(allowed.get()) * u128::from(percent)
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as MB of 1,000,000 bytes, with two places if they are needed.
fn megabytes(bytes: u64) -> String {
    let (whole, rest) = (grouped(bytes / 1_000_000), bytes % 1_000_000 / 10_000);
    if rest == 0 { format!("{whole} MB") } else { format!("{whole}.{rest:02} MB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_for_people() {
        assert_eq!(Limit::Operations.amount(100_000), "100,000 Data Operations");
        assert_eq!(Limit::Operations.amount(7), "7 Data Operations");
        assert_eq!(Limit::CellularBytes.amount(1_540_000_000), "1,540 MB of cellular data");
        assert_eq!(Limit::TrackerBytes.amount(1_230_000), "1.23 MB of Tracker cellular data");
    }

    #[test]
    fn a_threshold_is_reached_by_the_unit_that_completes_it_and_no_number_is_too_large() {
        let allowed = NonZeroU64::new(100_001).expect("not zero");
        assert!(!reaches(70_000, 70, allowed));
        assert!(reaches(70_001, 70, allowed));
        assert!(reaches(u64::MAX, 100, NonZeroU64::MAX));
        assert!(!reaches(u64::MAX - 1, 100, NonZeroU64::MAX));
    }
}
