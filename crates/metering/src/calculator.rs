//! The calculator: from devices and their habits to Data Operations, a plan and blocks
//! (`metering/rules.md` §10).

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use model::journal::OperationKind;
use serde::Serialize;

use crate::{Limit, PlanCatalogue, Usage, blocks_needed};

/// A month of the calculator, in milliseconds: 30.4375 days.
const MONTH_MS: u128 = 2_629_800_000;
const DAY_MS: u128 = 86_400_000;
/// What a message and its acknowledgement cost on the carrier beside the payload, about: IPv4, UDP
/// and DTLS with connection id in both directions, CoAP, a short name.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 160;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// How many devices.
    pub devices: NonZeroU64,
    /// What each of them does.
    pub traffic: Traffic,
    /// Bytes of data of each event.
    pub payload_bytes: u32,
    /// How they are connected.
    pub connectivity: Connectivity,
}

/// What one device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It publishes once in each interval.
    Every(Interval),
    /// Messages a day.
    PerDay(Mix),
}

/// Messages of one device in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mix {
    /// Events it publishes.
    pub publishes: u32,
    /// Events it gets by its subscriptions.
    pub deliveries: u32,
    /// Function calls it gets.
    pub functions: u32,
    /// Variable requests it gets.
    pub variables: u32,
    /// Location points of it that are stored, beside the publishes that carry them.
    pub points: u32,
}

/// How devices are connected: which bytes are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connectivity {
    /// By a modem.
    Cellular,
    /// By a modem, as Trackers.
    Tracker,
    /// Without byte limits.
    #[default]
    Wifi,
}

/// The answer, for an average month of 30.4375 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Name of the catalogue.
    pub catalogue: String,
    /// Data Operations a month, rounded up.
    pub operations_per_month: u64,
    /// Bytes over the carrier a month, about; 0 without a modem.
    pub cellular_bytes_per_month: u64,
    /// `free` if its figures are enough, else `growth`.
    pub plan: &'static str,
    /// The figure of the free plan that is not enough.
    pub free_exceeded_by: Option<Limit>,
    /// Blocks of the growth plan it would take.
    pub growth_blocks: NonZeroU32,
    /// What forces more than one block.
    pub blocks_forced_by: Option<Limit>,
}

/// A span of time of at least a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(NonZeroU64);

/// A text that is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// It is not made of numbers with units.
    #[error(
        "{0:?} is no interval: write a number and a unit (s, m, h, d), such as 30s, 10m or 1h30m"
    )]
    Malformed(String),
    /// A number without a unit.
    #[error("{0:?} has a number without a unit: write s, m, h or d behind it, such as 10m")]
    NoUnit(String),
    /// It is longer than ten thousand years.
    #[error("{0:?} is too long an interval")]
    TooLong(String),
    /// Nothing can happen every 0 seconds.
    #[error("{0:?} is no interval: it must be longer than zero")]
    Zero(String),
}

/// Answers a question by the figures and rules of a catalogue.
pub fn estimate(question: &Question, catalogue: &PlanCatalogue) -> Estimate {
    let operations = question
        .month(|kind| u64::from(catalogue.rules.operations_for(kind, question.payload_of(kind))));
    let bytes = question.month(|kind| match kind {
        OperationKind::StoredPoint => 0,
        _ => u64::from(question.payload_of(kind)) + MESSAGE_OVERHEAD_BYTES,
    });
    let usage = question.usage(operations, bytes);
    let exceeds = |limit: &Limit| limit.used(&usage) > limit.allowed(&catalogue.free).get();
    let free_exceeded_by = Limit::ALL.into_iter().find(exceeds);
    let needed = blocks_needed(&usage, &catalogue.growth);
    Estimate {
        catalogue: catalogue.name.clone(),
        operations_per_month: operations,
        cellular_bytes_per_month: usage.cellular_bytes.max(usage.tracker_bytes),
        plan: if free_exceeded_by.is_none() { "free" } else { "growth" },
        free_exceeded_by,
        growth_blocks: needed.blocks,
        blocks_forced_by: needed.forced_by,
    }
}

impl Question {
    /// The sum over a month of all messages, each weighing as much as its kind does; rounded up.
    fn month(&self, weight: impl Fn(OperationKind) -> u64) -> u64 {
        let devices = u128::from(self.devices.get());
        let of = |kind, number: u32| u128::from(weight(kind)) * u128::from(number);
        let sum = match self.traffic {
            Traffic::Every(interval) => {
                let once = u128::from(weight(OperationKind::Publish));
                let month = devices.saturating_mul(once).saturating_mul(MONTH_MS);
                month.div_ceil(u128::from(interval.0.get()))
            }
            Traffic::PerDay(mix) => {
                let day = of(OperationKind::Publish, mix.publishes)
                    + of(OperationKind::Delivery, mix.deliveries)
                    + of(OperationKind::FunctionCall, mix.functions)
                    + of(OperationKind::VariableRequest, mix.variables)
                    + of(OperationKind::StoredPoint, mix.points);
                devices.saturating_mul(day).saturating_mul(MONTH_MS).div_ceil(DAY_MS)
            }
        };
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    fn payload_of(&self, kind: OperationKind) -> u32 {
        match kind {
            OperationKind::Delivery
            | OperationKind::Publish
            | OperationKind::PublishCopy
            | OperationKind::WebhookAnswer => self.payload_bytes,
            OperationKind::FunctionCall
            | OperationKind::Ping
            | OperationKind::StoredPoint
            | OperationKind::VariableRequest => 0,
        }
    }

    fn usage(&self, operations: u64, bytes: u64) -> Usage {
        let usage = Usage { operations, devices: self.devices.get(), ..Usage::default() };
        match self.connectivity {
            Connectivity::Cellular => Usage { cellular_bytes: bytes, ..usage },
            Connectivity::Tracker => Usage { tracker_bytes: bytes, ..usage },
            Connectivity::Wifi => usage,
        }
    }
}

impl Interval {
    /// Its length.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.0.get())
    }
}

impl std::str::FromStr for Interval {
    type Err = IntervalError;

    /// Numbers with units (s, m, h, d), one behind the other: `30s`, `10m`, `1h30m`.
    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let malformed = || IntervalError::Malformed(text.to_owned());
        let too_long = || IntervalError::TooLong(text.to_owned());
        let (mut total_ms, mut rest) = (0_u64, text.trim());
        if rest.is_empty() {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return Err(malformed());
            }
            let number: u64 = rest[..digits].parse().map_err(|_| too_long())?;
            let mut behind = rest[digits..].chars();
            let unit = behind.next().ok_or_else(|| IntervalError::NoUnit(text.to_owned()))?;
            let ms = number.checked_mul(milliseconds(unit).ok_or_else(malformed)?);
            total_ms = ms.and_then(|ms| total_ms.checked_add(ms)).ok_or_else(too_long)?;
            rest = behind.as_str();
        }
        NonZeroU64::new(total_ms).map(Self).ok_or_else(|| IntervalError::Zero(text.to_owned()))
    }
}

fn milliseconds(unit: char) -> Option<u64> {
    match unit {
        's' => Some(1000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogues;

    fn ask(name: &str, devices: u64, traffic: Traffic, payload_bytes: u32) -> Estimate {
        let catalogue = Catalogues::shipped().expect("ships").get(name).expect("ships");
        let devices = NonZeroU64::new(devices).expect("not zero");
        let connectivity = Connectivity::Wifi;
        estimate(&Question { devices, traffic, payload_bytes, connectivity }, &catalogue)
    }

    fn every(text: &str) -> Traffic {
        Traffic::Every(text.parse().expect("an interval"))
    }

    #[test]
    fn a_hundred_devices_that_publish_every_ten_minutes_need_one_block() {
        let estimate = ask("2022", 100, every("10m"), 0);
        assert_eq!(estimate.operations_per_month, 438_300);
        assert_eq!((estimate.plan, estimate.free_exceeded_by), ("growth", Some(Limit::Operations)));
        assert_eq!((estimate.growth_blocks.get(), estimate.blocks_forced_by), (1, None));
    }

    #[test]
    fn the_catalogue_decides_about_plan_and_blocks() {
        let estimate = ask("2021", 100, every("10m"), 0);
        assert_eq!(estimate.growth_blocks.get(), 2);
        assert_eq!(estimate.blocks_forced_by, Some(Limit::Operations));
        assert_eq!(ask("2022", 20, every("10m"), 0).plan, "free");
        assert_eq!(ask("2021", 20, every("10m"), 0).plan, "growth");
    }

    #[test]
    fn large_events_count_more_in_catalogue_2025_alone() {
        assert_eq!(ask("2022", 1, every("1d"), 4096).operations_per_month, 31);
        assert_eq!(ask("2025", 1, every("1d"), 4096).operations_per_month, 122);
    }

    #[test]
    fn devices_alone_can_force_a_block() {
        let estimate = ask("2022", 150, every("1d"), 0);
        assert_eq!(estimate.free_exceeded_by, Some(Limit::Devices));
        assert_eq!(estimate.growth_blocks.get(), 2);
        assert_eq!(estimate.blocks_forced_by, Some(Limit::Devices));
    }

    #[test]
    fn a_mix_of_messages_is_summed() {
        let mix = Mix { publishes: 10, deliveries: 2, functions: 1, variables: 1, points: 2 };
        assert_eq!(ask("2022", 16, Traffic::PerDay(mix), 100).operations_per_month, 7792);
    }

    #[test]
    fn bytes_count_for_devices_with_a_modem_by_their_own_figure() {
        let catalogue = Catalogues::shipped().expect("ships").get("2022").expect("ships");
        let question = Question {
            devices: NonZeroU64::new(100).expect("not zero"),
            traffic: every("5m"),
            payload_bytes: 1000,
            connectivity: Connectivity::Cellular,
        };
        let cellular = estimate(&question, &catalogue);
        assert_eq!(cellular.cellular_bytes_per_month, 876_600 * 1160);
        assert_eq!(cellular.growth_blocks.get(), 2);
        let tracker = Question { connectivity: Connectivity::Tracker, ..question };
        assert_eq!(estimate(&tracker, &catalogue).blocks_forced_by, Some(Limit::Operations));
        let wifi = Question { connectivity: Connectivity::Wifi, ..question };
        assert_eq!(estimate(&wifi, &catalogue).cellular_bytes_per_month, 0);
    }

    #[test]
    fn intervals_are_numbers_with_units() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h30m", 5400), (" 2d ", 172_800)] {
            let interval: Interval = text.parse().expect(text);
            assert_eq!(interval.as_duration(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn a_malformed_interval_is_refused_with_what_is_wrong() {
        for (text, named) in [
            ("", "a number and a unit"),
            ("soon", "a number and a unit"),
            ("10", "without a unit"),
            ("1h30", "without a unit"),
            ("10x", "a number and a unit"),
            ("-5m", "a number and a unit"),
            ("1.5h", "a number and a unit"),
            ("0s", "longer than zero"),
            ("99999999999999999999d", "too long"),
            ("9999999999999999999d", "too long"),
            ("10µ", "a number and a unit"),
        ] {
            let why = text.parse::<Interval>().expect_err(text).to_string();
            assert!(why.contains(named), "{text}: {why}");
            assert!(why.contains(&format!("{text:?}")), "{why}");
        }
    }

    #[test]
    fn no_number_is_too_large_to_answer() {
        let estimate = ask("2022", u64::MAX, every("1s"), u32::MAX);
        assert_eq!(estimate.operations_per_month, u64::MAX);
        assert_eq!(estimate.growth_blocks.get(), u32::MAX);
    }
}
