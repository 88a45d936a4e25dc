//! Into which spans of time the ledger's sums are folded: hours, later days, later months.

use metering::{Anchor, Cycle, Period};
use model::Timestamp;

use crate::Hour;

const HOURS_PER_DAY: i64 = 24;

/// How long sums stay apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Days for which there is a sum of each hour; what is older has one of its day.
    pub hours_for_days: u32,
    /// Days for which there is a sum of each day; what is older, and of a billing period that ended, has one of its
    /// month.
    pub days_for_days: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self { hours_for_days: 62, days_for_days: 400 }
    }
}

impl Kept {
    /// The first hour that keeps its own sum, and the first one whose day does.
    pub(crate) fn bounds(self, now: Timestamp) -> (Hour, Hour) {
        let today = Hour::of(now).0.div_euclid(HOURS_PER_DAY);
        let day = |days: u32| Hour(today.saturating_sub(days.into()).saturating_mul(HOURS_PER_DAY));
        let of_days = self.days_for_days.max(self.hours_for_days);
        (day(self.hours_for_days), month_of(day(of_days)).start)
    }
}

/// How much time a sum is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// An hour.
    Hour,
    /// A day in UTC.
    Day,
    /// A calendar month in UTC, or the part of it that lies in one billing period.
    Month,
}

/// A stretch of hours with one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The hour under which the sum lies.
    pub(crate) start: Hour,
    /// The hour behind it.
    pub(crate) end: Hour,
    pub(crate) span: Span,
}

/// The stretches of one account. None crosses the border of a billing period, so that the sums of periods stay what
/// they are, and none of an open period is longer than a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    /// Hours before this are summed up by day; midnight.
    pub(crate) days: Hour,
    /// Hours before this are summed up by month; the beginning of one.
    pub(crate) months: Hour,
    /// The first hour of the open billing period, if there is one.
    pub(crate) opened: Option<Hour>,
    /// Where billing periods began and ended, sorted.
    pub(crate) borders: Vec<Hour>,
}

impl Spans {
    /// The stretch that an hour lies in.
    pub(crate) fn of(&self, hour: Hour) -> Bucket {
        let is_closed = self.opened.is_some_and(|opened| hour < opened);
        let whole = if hour < self.months && is_closed {
            month_of(hour)
        } else if hour < self.days {
            day_of(hour)
        } else {
            Bucket { start: hour, end: Hour(hour.0.saturating_add(1)), span: Span::Hour }
        };
        self.within_period(hour, whole)
    }

    /// A range of hours as one of whole stretches: those that begin in it.
    pub(crate) fn whole(&self, from: Hour, to: Hour) -> (Hour, Hour) {
        let next_start = |hour| {
            let bucket = self.of(hour);
            if bucket.start == hour { hour } else { bucket.end }
        };
        (next_start(from), next_start(to))
    }

    fn within_period(&self, hour: Hour, whole: Bucket) -> Bucket {
        let behind = self.borders.partition_point(|border| *border <= hour);
        let before = behind.checked_sub(1).and_then(|place| self.borders.get(place));
        let start = before.map_or(whole.start, |border| whole.start.max(*border));
        let end = self.borders.get(behind).map_or(whole.end, |border| whole.end.min(*border));
        Bucket { start, end, ..whole }
    }
}

fn day_of(hour: Hour) -> Bucket {
    let start = hour.0.div_euclid(HOURS_PER_DAY).saturating_mul(HOURS_PER_DAY);
    Bucket { start: Hour(start), end: Hour(start.saturating_add(HOURS_PER_DAY)), span: Span::Day }
}

fn month_of(hour: Hour) -> Bucket {
    let day = hour.start();
    let first = Anchor::of(Timestamp(0));
    let Period { start, end } = Period::at(first, Cycle::Month, day);
    Bucket { start: Hour::of(start), end: Hour::of(end), span: Span::Month }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(day: &str, of_day: i64) -> Hour {
        Hour(Hour::of(metering::parse_day(day).expect("a day")).0 + of_day)
    }

    /// Seen in June 2026: hours since April 10, days since January 2025; periods begin on the 15th.
    fn spans() -> Spans {
        let borders = ["2023-10-15", "2023-11-15", "2023-12-15", "2026-05-15"];
        Spans {
            days: hour("2026-04-10", 0),
            months: hour("2025-01-01", 0),
            opened: Some(hour("2026-05-15", 0)),
            borders: borders.map(|day| hour(day, 0)).to_vec(),
        }
    }

    #[test]
    fn an_hour_lies_in_itself_in_its_day_or_in_its_month_by_its_age() {
        let spans = spans();
        let told = |at: Hour| {
            let Bucket { start, end, span } = spans.of(at);
            (start, end, span)
        };
        let young = hour("2026-04-10", 5);
        assert_eq!(told(young), (young, Hour(young.0 + 1), Span::Hour));
        let day = (hour("2026-04-09", 0), hour("2026-04-10", 0), Span::Day);
        assert_eq!(told(hour("2026-04-09", 23)), day);
        let month = (hour("2024-02-01", 0), hour("2024-03-01", 0), Span::Month);
        assert_eq!(told(hour("2024-02-29", 7)), month);
    }

    #[test]
    fn a_month_is_cut_where_a_billing_period_ends() {
        let spans = spans();
        let first =
            Bucket { start: hour("2023-11-01", 0), end: hour("2023-11-15", 0), span: Span::Month };
        assert_eq!(spans.of(hour("2023-11-14", 23)), first);
        let second = Bucket { start: first.end, end: hour("2023-12-01", 0), ..first };
        assert_eq!(spans.of(hour("2023-11-15", 0)), second);
    }

    #[test]
    fn nothing_of_an_open_period_is_longer_than_a_day() {
        let open_since_2022 = Spans {
            opened: Some(hour("2022-03-10", 0)),
            borders: vec![hour("2022-03-10", 0)],
            ..spans()
        };
        assert_eq!(open_since_2022.of(hour("2023-06-15", 3)).span, Span::Day);
        assert_eq!(open_since_2022.of(hour("2022-03-09", 3)).span, Span::Month);
        let unknown = Spans { opened: None, borders: Vec::new(), ..spans() };
        assert_eq!(unknown.of(hour("2020-06-15", 3)).span, Span::Day);
    }

    #[test]
    fn ranges_without_gap_and_overlap_stay_so() {
        let spans = spans();
        let cuts =
            ["2023-01-01", "2023-11-07", "2023-11-20", "2024-02-10", "2026-04-09", "2026-06-01"];
        let cuts = cuts.map(|day| hour(day, 13));
        for pair in cuts.windows(3) {
            let (first, second) = (spans.whole(pair[0], pair[1]), spans.whole(pair[1], pair[2]));
            assert_eq!(first.1, second.0, "{pair:?}");
        }
        assert_eq!(
            spans.whole(hour("2023-11-15", 0), hour("2023-12-15", 0)).0,
            hour("2023-11-15", 0)
        );
        assert_eq!(spans.whole(Hour(0), Hour(i64::MAX)), (Hour(0), Hour(i64::MAX)));
    }

    #[test]
    fn bounds_lie_at_midnight_and_at_the_beginning_of_a_month() {
        let now = Timestamp(hour("2026-06-20", 17).start().0 + 5);
        let kept = Kept { hours_for_days: 10, days_for_days: 50 };
        assert_eq!(kept.bounds(now), (hour("2026-06-10", 0), hour("2026-05-01", 0)));
        let (days, months) = Kept { hours_for_days: 40, days_for_days: 1 }.bounds(now);
        assert!(months <= days);
        assert!(Kept { hours_for_days: u32::MAX, days_for_days: u32::MAX }.bounds(now).0.0 < 0);
    }
}
