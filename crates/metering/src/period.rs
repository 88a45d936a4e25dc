//! Billing periods: a month or a year from an anchor day, in UTC, half open.

use model::Timestamp;
use model::time::civil_from_days;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;

/// The day on which an account's periods begin. In a month that has no such day they begin on its
/// last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Anchor {
    /// 1–12; only years begin with it.
    month: u8,
    /// 1–31.
    day: u8,
}

/// No day of any month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a billing anchor is a day from 1 to 31 of a month from 1 to 12, not day {day} of month {month}"
)]
pub struct AnchorError {
    day: u8,
    month: u8,
}

impl Anchor {
    /// `day` of `month`. A 30th of February stands for its last day.
    ///
    /// # Errors
    /// A day outside of 1–31 or a month outside of 1–12.
    pub fn new(month: u8, day: u8) -> Result<Self, AnchorError> {
        let good = (1..=12).contains(&month) && (1..=31).contains(&day);
        good.then_some(Self { month, day }).ok_or(AnchorError { day, month })
    }

    /// The day that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        let (_, month, day) = civil_from_days(at.0.div_euclid(DAY_MS));
        // A calendar's month and day are in range.
        Self { month: u8::try_from(month).unwrap_or(1), day: u8::try_from(day).unwrap_or(1) }
    }

    /// Day of the month, 1–31.
    pub fn day(self) -> u8 {
        self.day
    }

    /// Month in which years begin, 1–12.
    pub fn month(self) -> u8 {
        self.month
    }
}

impl TryFrom<(u8, u8)> for Anchor {
    type Error = AnchorError;

    fn try_from((month, day): (u8, u8)) -> Result<Self, AnchorError> {
        Self::new(month, day)
    }
}

impl From<Anchor> for (u8, u8) {
    fn from(anchor: Anchor) -> Self {
        (anchor.month, anchor.day)
    }
}

/// How long periods are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cycle {
    /// Enterprise excepted.
    Month,
    /// Enterprise.
    Year,
}

/// A billing period: from `start` up to, not including, `end`. Both lie at midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one.
    pub end: Timestamp,
}

impl Period {
    /// The period that `at` lies in.
    pub fn at(anchor: Anchor, cycle: Cycle, at: Timestamp) -> Self {
        let (year, month, _) = civil_from_days(at.0.div_euclid(DAY_MS));
        let start_of = |number: i64| match cycle {
            Cycle::Month => month_start(number, anchor.day),
            Cycle::Year => month_start(number * 12 + i64::from(anchor.month) - 1, anchor.day),
        };
        let number = match cycle {
            Cycle::Month => year * 12 + i64::from(month) - 1,
            Cycle::Year => year,
        };
        let number = if start_of(number) > at { number - 1 } else { number };
        Self { start: start_of(number), end: start_of(number + 1) }
    }

    /// Whether `at` lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// Midnight UTC at the beginning of a day written as `YYYY-MM-DD`; absent if there is no such day.
pub fn parse_day(text: &str) -> Option<Timestamp> {
    let mut parts = text.splitn(3, '-');
    let mut next = |digits: usize| {
        let part = parts.next()?;
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let at = Timestamp((days_from_civil(year, month) + day - 1) * DAY_MS);
    at.to_string().starts_with(text).then_some(at)
}

/// The beginning of a period in a month, counted from January of year 0.
fn month_start(month: i64, day: u8) -> Timestamp {
    let (year, month_of_year) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let last = days_from_civil((month + 1).div_euclid(12), (month + 1).rem_euclid(12) + 1)
        - days_from_civil(year, month_of_year);
    let day = i64::from(day).min(last);
    Timestamp((days_from_civil(year, month_of_year) + day - 1).saturating_mul(DAY_MS))
}

/// Days from 1970-01-01 to the first of a month (1–12). Years are counted from March, so that the
/// leap day is the last one.
fn days_from_civil(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days_of(period: Period) -> [String; 2] {
        let text = |at: Timestamp| {
            let text = at.to_string();
            text.strip_suffix("T00:00:00.000Z").expect("midnight").to_owned()
        };
        [text(period.start), text(period.end)]
    }

    fn at(text: &str) -> Timestamp {
        let mut parts = text.split('-').map(|part| part.parse::<i64>().expect("a number"));
        let mut next = || parts.next().expect("a part");
        let (year, month, day) = (next(), next(), next());
        Timestamp((days_from_civil(year, month) + day - 1) * DAY_MS)
    }

    fn month(day: u8, now: &str) -> [String; 2] {
        days_of(Period::at(Anchor::new(1, day).expect("a day"), Cycle::Month, at(now)))
    }

    #[test]
    fn the_calendar_agrees_with_the_one_that_writes_dates() {
        let mut days = days_from_civil(1896, 1);
        for year in 1896..2405 {
            for month in 1..=12 {
                assert_eq!(days_from_civil(year, month), days);
                assert_eq!(civil_from_days(days), (year, month as u32, 1));
                while civil_from_days(days).1 == month as u32 {
                    days += 1;
                }
            }
        }
    }

    #[test]
    fn a_period_begins_on_the_anchor_day_and_ends_before_the_next_one() {
        assert_eq!(month(1, "2026-01-31"), ["2026-01-01", "2026-02-01"]);
        assert_eq!(month(15, "2026-01-14"), ["2025-12-15", "2026-01-15"]);
        assert_eq!(month(15, "2026-01-15"), ["2026-01-15", "2026-02-15"]);
    }

    #[test]
    fn a_day_that_a_month_lacks_is_its_last_one() {
        assert_eq!(month(31, "2026-02-27"), ["2026-01-31", "2026-02-28"]);
        assert_eq!(month(31, "2026-02-28"), ["2026-02-28", "2026-03-31"]);
        assert_eq!(month(31, "2026-04-30"), ["2026-04-30", "2026-05-31"]);
        assert_eq!(month(30, "2028-02-29"), ["2028-02-29", "2028-03-30"]);
        assert_eq!(month(29, "2027-03-01"), ["2027-02-28", "2027-03-29"]);
        assert_eq!(month(29, "2028-03-01"), ["2028-02-29", "2028-03-29"]);
    }

    #[test]
    fn a_contract_year_begins_once_a_year_leap_day_or_not() {
        let year = |month, day, now| {
            days_of(Period::at(Anchor::new(month, day).expect("a day"), Cycle::Year, at(now)))
        };
        assert_eq!(year(3, 10, "2026-03-09"), ["2025-03-10", "2026-03-10"]);
        assert_eq!(year(3, 10, "2026-03-10"), ["2026-03-10", "2027-03-10"]);
        assert_eq!(year(2, 29, "2028-02-28"), ["2027-02-28", "2028-02-29"]);
        assert_eq!(year(2, 29, "2028-02-29"), ["2028-02-29", "2029-02-28"]);
    }

    #[test]
    fn periods_are_half_open_and_leave_no_gap() {
        for day in 1..=31 {
            for cycle in [Cycle::Month, Cycle::Year] {
                let anchor = Anchor::new(2, day).expect("a day");
                let mut period = Period::at(anchor, cycle, at("2023-06-15"));
                for _ in 0..60 {
                    let before = Timestamp(period.end.0 - 1);
                    assert_eq!(Period::at(anchor, cycle, before), period);
                    assert!(period.contains(before) && !period.contains(period.end));
                    let next = Period::at(anchor, cycle, period.end);
                    assert_eq!(next.start, period.end);
                    period = next;
                }
            }
        }
    }

    #[test]
    fn days_are_read_as_they_are_written() {
        assert_eq!(parse_day("1970-01-02"), Some(Timestamp(DAY_MS)));
        assert_eq!(parse_day("2028-02-29"), Some(at("2028-02-29")));
        for text in [
            "2027-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-1-1",
            "27-01-01",
            "",
            "2027-01-01T",
            "-027-01-01",
        ] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }

    #[test]
    fn days_that_no_month_has_are_refused() {
        for (month, day) in [(1, 0), (1, 32), (0, 1), (13, 1)] {
            let why = Anchor::new(month, day).expect_err("no day").to_string();
            assert!(why.contains(&format!("day {day} of month {month}")), "{why}");
        }
        assert!(serde_json::from_str::<Anchor>("[1,32]").is_err());
    }
}
