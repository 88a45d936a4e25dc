//! Limits in virtual time: notices, grace, pauses, blocks, and a clock that steps.

mod support;

use metering::{Anchor, Consequence, GRACE, Limit, Matter, Plan, Usage};
use model::Timestamp;
use support::{Account, DAY_MS, HOUR_MS, at, contract, growth, operations};

#[test]
fn a_free_account_is_warned_once_at_each_threshold() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    for (used, percents) in
        [(69_999, &[][..]), (70_000, &[70]), (80_000, &[]), (90_000, &[90]), (100_000, &[100])]
    {
        account.uses(operations(used));
        assert_eq!(account.percents_told(Limit::Operations), percents, "{used}");
        account.uses(operations(used));
        assert!(account.told().is_empty(), "{used} again");
    }
}

#[test]
fn crossing_several_thresholds_at_once_tells_each_of_them() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(250_000));
    assert_eq!(account.percents_told(Limit::Operations), [70, 90, 100]);
}

#[test]
fn after_a_grace_of_three_days_data_stops_until_the_period_ends() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.advance(10 * DAY_MS);
    account.uses(operations(100_000));
    let stops = account.now.after(GRACE);
    let then = account.told().into_iter().find_map(|matter| match matter {
        Matter::Threshold { percent: 100, then, .. } => Some(then),
        _ => None,
    });
    assert_eq!(then, Some(Consequence::PausesAt(stops)));

    account.now = Timestamp(stops.0 - 1);
    account.uses(operations(120_000));
    assert_eq!(account.keeper.pause(), None);
    account.now = stops;
    account.uses(operations(120_000));
    let pause = account.keeper.pause().expect("paused");
    assert_eq!((pause.limit, pause.until), (Limit::Operations, at("2026-02-01")));
    assert!(!pause.is_cellular_only());
    assert!(pause.why().contains("100,000 Data Operations"), "{}", pause.why());
    assert!(pause.why().contains("2026-02-01T00:00:00.000Z"), "{}", pause.why());
    assert_eq!(account.told(), [Matter::Paused(pause)]);

    account.now = Timestamp(at("2026-02-01").0 - 1);
    account.uses(operations(120_000));
    assert!(account.keeper.pause().is_some());
    account.now = at("2026-02-01");
    account.ends_with(operations(120_000));
    assert_eq!(account.keeper.pause(), None);
    assert_eq!(account.told(), [Matter::Resumed]);
    assert_eq!(account.keeper.terms().plan, Plan::Free);
}

#[test]
fn an_upgrade_within_the_grace_stops_nothing() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(100_000));
    account.told();
    account.advance(2 * DAY_MS);
    account.agrees(growth(1), operations(100_000));
    account.advance(10 * DAY_MS);
    account.uses(operations(500_000));
    assert!(account.told().is_empty());
    assert_eq!(account.pauses, []);
    assert_eq!(account.keeper.grace_until(), None);
}

#[test]
fn an_upgrade_resumes_a_paused_account_at_once() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(100_000));
    account.advance(4 * DAY_MS);
    account.uses(operations(100_000));
    account.told();
    account.agrees(growth(1), operations(100_000));
    assert_eq!(account.told(), [Matter::Resumed]);
    assert_eq!(account.pauses.last(), Some(&None));
}

#[test]
fn a_change_of_plan_there_and_back_does_not_begin_the_grace_again() {
    for other in [growth(1), Plan::Unlimited, contract(1_000_000)] {
        let mut account = Account::new(Plan::Free, "2026-01-01");
        account.uses(operations(100_000));
        let stops = account.keeper.grace_until().expect("a grace");
        account.advance(DAY_MS);
        account.agrees(other, operations(100_000));
        assert_eq!(account.keeper.grace_until(), None);
        account.told();
        account.agrees(Plan::Free, operations(100_000));
        assert_eq!(account.keeper.grace_until(), Some(stops), "{other:?}");
        let told_again = |matter| match matter {
            Matter::Threshold { percent: 100, then, .. } => Some(then),
            _ => None,
        };
        for then in account.told().into_iter().filter_map(told_again) {
            assert_eq!(then, Consequence::PausesAt(stops));
        }
        account.now = stops;
        account.uses(operations(100_000));
        assert!(account.keeper.pause().is_some());
    }
}

#[test]
fn a_grace_that_is_over_pauses_at_once_when_the_account_is_free_again() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(100_000));
    account.advance(4 * DAY_MS);
    account.uses(operations(100_000));
    for _ in 0..3 {
        account.agrees(growth(1), operations(100_000));
        assert_eq!(account.keeper.pause(), None);
        account.advance(1000);
        account.agrees(Plan::Free, operations(150_000));
        assert!(account.keeper.pause().is_some());
    }
    account.now = at("2026-02-01");
    account.ends_with(operations(150_000));
    assert_eq!((account.keeper.pause(), account.keeper.grace_until()), (None, None));
}

#[test]
fn a_grace_ends_with_the_usage_that_began_it() {
    let mut account = Account::new(Plan::Free, "2026-03-10");
    account.uses(operations(100_000));
    account.agrees(contract(1_000_000), operations(100_000));
    account.now = at("2026-05-20");
    account.uses(operations(400_000));
    account.agrees(Plan::Free, operations(120_000));
    assert_eq!(account.keeper.period().start, at("2026-05-10"));
    assert_eq!(account.keeper.grace_until(), Some(account.now.after(GRACE)), "of its own month");
    assert_eq!(account.keeper.pause(), None);
    account.uses(operations(99_999));
    account.advance(DAY_MS);
    account.uses(operations(100_000));
    assert_eq!(account.keeper.grace_until(), Some(account.now.after(GRACE)));
}

#[test]
fn a_period_that_ends_within_the_grace_ends_the_grace_too() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.now = at("2026-01-30");
    account.uses(operations(100_000));
    account.now = at("2026-02-01");
    account.ends_with(operations(110_000));
    account.told();
    account.now = at("2026-02-05");
    account.uses(operations(10));
    assert!(account.told().is_empty());
    assert_eq!((account.keeper.pause(), account.keeper.grace_until()), (None, None));
}

#[test]
fn cellular_bytes_pause_cellular_devices_without_a_grace() {
    for (usage, limit) in [
        (Usage { cellular_bytes: 100_000_000, ..Usage::default() }, Limit::CellularBytes),
        (Usage { tracker_bytes: 100_000_000, ..Usage::default() }, Limit::TrackerBytes),
    ] {
        let mut account = Account::new(Plan::Free, "2026-01-01");
        account.uses(usage);
        let pause = account.keeper.pause().expect("paused");
        assert_eq!((pause.limit, pause.is_cellular_only()), (limit, true));
        account.now = at("2026-02-01");
        account.ends_with(usage);
        assert_eq!(account.pauses.last(), Some(&None));
    }
}

#[test]
fn a_cellular_pause_widens_when_the_grace_of_the_operations_ends() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    let bytes = Usage { cellular_bytes: 100_000_000, ..operations(100_000) };
    account.uses(bytes);
    assert!(account.keeper.pause().is_some_and(|pause| pause.is_cellular_only()));
    account.advance(3 * DAY_MS);
    account.uses(bytes);
    assert!(account.keeper.pause().is_some_and(|pause| !pause.is_cellular_only()));
}

#[test]
fn devices_are_told_about_at_100_percent_and_limit_only_a_free_account() {
    let devices = |devices| Usage { devices, ..Usage::default() };
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(devices(99));
    assert!(account.told().is_empty());
    account.uses(devices(100));
    assert_eq!(account.percents_told(Limit::Devices), [100]);
    account.uses(devices(99));
    account.uses(devices(100));
    assert!(account.told().is_empty(), "once a period");
    assert_eq!(account.keeper.pause(), None);
    assert_eq!(account.keeper.terms().devices_max(), Some(100));
    account.agrees(growth(1), devices(100));
    assert_eq!(account.keeper.terms().devices_max(), None);
}

#[test]
fn growth_is_never_paused_and_gets_the_blocks_it_used() {
    let mut account = Account::new(growth(1), "2026-01-01");
    account.uses(operations(1_000_000));
    assert_eq!(account.percents_told(Limit::Operations), [70, 90, 100]);
    account.advance(20 * DAY_MS);
    account.uses(operations(1_000_000));
    assert_eq!(account.keeper.pause(), None);
    account.now = at("2026-02-01");
    account.ends_with(operations(1_000_000));
    assert_eq!(account.keeper.terms().plan, growth(2));
    assert!(matches!(
        account.told()[..],
        [Matter::BlocksAdded { from, to, limit: Limit::Operations }]
            if (from.get(), to.get()) == (1, 2)
    ));
}

#[test]
fn growth_keeps_the_blocks_it_holds_when_it_uses_less() {
    let mut account = Account::new(growth(5), "2026-01-01");
    account.now = at("2026-02-01");
    account.ends_with(operations(3));
    assert_eq!(account.keeper.terms().plan, growth(5));
    assert!(account.told().is_empty());
}

#[test]
fn what_was_used_is_billed_before_an_account_gets_the_less_it_asks_for() {
    for less in [Plan::Free, growth(1)] {
        let mut account = Account::new(growth(2), "2026-01-01");
        account.now = Timestamp(at("2026-02-01").0 - 60_000);
        account.asks_for(less, operations(10_000_000));
        let keeper = &account.keeper;
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (growth(2), Some(less)));
        account.now = at("2026-02-01");
        account.ends_with(operations(10_000_000));
        let keeper = &account.keeper;
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (growth(14), Some(less)));
        account.now = at("2026-03-01");
        account.ends_with(operations(10_000_000));
        let keeper = &account.keeper;
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (less, None));
    }
}

#[test]
fn less_comes_when_a_period_ends_that_its_blocks_were_enough_for() {
    let mut account = Account::new(growth(5), "2026-01-01");
    account.asks_for(Plan::Free, operations(3_600_000));
    account.uses(operations(3_600_000));
    assert_eq!((account.keeper.pause(), account.keeper.grace_until()), (None, None));
    account.now = at("2026-02-01");
    account.ends_with(operations(3_600_000));
    assert_eq!(account.keeper.terms().plan, Plan::Free);
    account.uses(operations(70_000));
    assert_eq!(account.percents_told(Limit::Operations), [70, 90, 100, 70]);
}

#[test]
fn more_that_an_account_asked_for_is_had_for_a_whole_period_before_less_comes() {
    for begin in [Plan::Free, growth(1)] {
        let mut account = Account::new(begin, "2026-01-01");
        account.now = Timestamp(at("2026-02-01").0 - 60_000);
        account.asks_for(growth(14), operations(10_000_000));
        account.asks_for(growth(14), operations(10_000_000));
        account.asks_for(Plan::Free, operations(10_000_000));
        account.now = at("2026-02-01");
        account.ends_with(operations(10_000_000));
        let keeper = &account.keeper;
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (growth(14), Some(Plan::Free)));
        account.now = at("2026-03-01");
        account.ends_with(operations(1));
        assert_eq!((account.keeper.terms().plan, account.keeper.next_plan()), (Plan::Free, None));
    }
}

#[test]
fn the_beginning_of_the_next_plan_is_told_as_it_will_come() {
    let mut account = Account::new(growth(3), "2026-01-01");
    assert_eq!(account.keeper.next_plan_from(), None);
    account.asks_for(growth(2), operations(1));
    assert_eq!(account.keeper.next_plan_from(), Some(at("2026-02-01")));
    account.asks_for(growth(4), operations(1));
    assert_eq!(account.keeper.next_plan_from(), None);
    account.asks_for(growth(2), operations(1));
    assert_eq!(account.keeper.next_plan_from(), Some(at("2026-03-01")), "more was asked for");
    account.now = at("2026-02-01");
    account.ends_with(operations(1));
    assert_eq!(account.keeper.terms().plan, growth(4));
    assert_eq!(account.keeper.next_plan_from(), Some(at("2026-03-01")));
    account.now = at("2026-03-01");
    account.ends_with(operations(1));
    assert_eq!((account.keeper.terms().plan, account.keeper.next_plan_from()), (growth(2), None));
}

#[test]
fn more_comes_at_once_and_takes_back_the_less_that_was_asked_for() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    for (asked, plan, next) in [
        (growth(3), growth(3), None),
        (growth(2), growth(3), Some(growth(2))),
        (Plan::Free, growth(3), Some(Plan::Free)),
        (growth(3), growth(3), None),
        (Plan::Free, growth(3), Some(Plan::Free)),
        (growth(4), growth(4), None),
    ] {
        account.asks_for(asked, operations(1));
        let keeper = &account.keeper;
        assert_eq!((keeper.terms().plan, keeper.next_plan()), (plan, next), "{asked:?}");
    }
    account.asks_for(Plan::Free, operations(1));
    account.agrees(growth(1), operations(1));
    assert_eq!(account.keeper.terms().plan, growth(1), "what the operator says holds at once");
    assert_eq!(account.keeper.next_plan(), None);
}

#[test]
fn what_was_asked_for_survives_being_stored_and_is_absent_where_nothing_was() {
    let mut account = Account::new(growth(2), "2026-01-01");
    for is_asked in [false, true] {
        if is_asked {
            account.asks_for(Plan::Free, operations(1));
        }
        let text = serde_json::to_string(account.keeper.state()).expect("JSON");
        assert_eq!(text.contains("next_plan"), is_asked, "as earlier versions wrote it: {text}");
        let state = serde_json::from_str::<metering::KeeperState>(&text).expect("the same");
        assert_eq!(&state, account.keeper.state());
    }
}

#[test]
fn an_added_block_arms_the_thresholds_it_brings_the_usage_below() {
    let mut account = Account::new(growth(1), "2026-01-01");
    account.uses(operations(720_000));
    assert_eq!(account.percents_told(Limit::Operations), [70, 90, 100]);
    account.agrees(growth(2), operations(720_000));
    assert!(account.told().is_empty());
    account.uses(operations(1_008_000));
    assert_eq!(account.percents_told(Limit::Operations), [70]);
    account.agrees(growth(1), operations(1_008_000));
    assert_eq!(account.percents_told(Limit::Operations), [90, 100]);
}

#[test]
fn an_enterprise_is_told_and_never_stopped_and_its_pool_lasts_a_year() {
    let mut account = Account::new(contract(1_000_000), "2026-03-10");
    assert_eq!(account.keeper.period().end, at("2027-03-10"));
    account.now = at("2026-12-01");
    account.uses(Usage { cellular_bytes: u64::MAX, ..operations(3_000_000) });
    assert_eq!(account.percents_told(Limit::Operations), [70, 90, 100]);
    account.now = at("2027-03-09");
    account.uses(operations(3_000_000));
    assert_eq!(account.pauses, []);
    account.now = at("2027-03-10");
    account.ends_with(operations(3_000_000));
    account.uses(operations(700_000));
    assert_eq!(account.percents_told(Limit::Operations), [70]);
}

#[test]
fn an_unlimited_account_is_never_told_anything() {
    let mut account = Account::new(Plan::Unlimited, "2026-01-01");
    let all = u64::MAX;
    let usage = Usage { operations: all, cellular_bytes: all, tracker_bytes: all, devices: all };
    for _ in 0..400 {
        account.advance(DAY_MS);
        account.uses(usage);
    }
    assert!(account.told().is_empty());
    assert_eq!(account.pauses, []);
    assert!(account.closed.len() > 10);
}

#[test]
fn a_clock_that_steps_back_reopens_no_period_and_lifts_no_pause() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(100_000));
    account.advance(3 * DAY_MS);
    account.uses(operations(100_000));
    let pause = account.keeper.pause();
    account.now = at("2026-01-01");
    account.uses(operations(100_000));
    assert_eq!(account.keeper.pause(), pause);

    account.now = at("2026-02-03");
    account.ends_with(operations(100_000));
    let open = account.keeper.period();
    account.now = at("2026-01-20");
    account.uses(operations(5));
    assert_eq!(account.keeper.period(), open);
    assert_eq!(account.closed.len(), 1);
}

#[test]
fn a_clock_that_steps_forth_closes_every_period_between_in_order() {
    let mut account = Account::new(Plan::Free, "2026-01-31");
    account.now = at("2026-06-15");
    account.uses(operations(1));
    let ends: Vec<Timestamp> = account.closed.iter().map(|(period, _)| period.end).collect();
    let days = ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"];
    assert_eq!(ends, days.map(at));
    assert_eq!(account.keeper.period().start, at("2026-05-31"));
}

#[test]
fn a_new_anchor_begins_when_the_open_period_ends_and_leaves_no_gap() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.now = at("2026-01-20");
    let mut terms = account.keeper.terms().clone();
    terms.anchor = Anchor::new(1, 15).expect("a day");
    account.agrees_to(terms, operations(9));
    assert_eq!(account.keeper.period().end, at("2026-02-01"));
    account.now = at("2026-02-01");
    account.ends_with(operations(9));
    let period = account.keeper.period();
    assert_eq!((period.start, period.end), (at("2026-02-01"), at("2026-02-15")));
    account.now = at("2026-02-15");
    account.ends_with(operations(9));
    assert_eq!(account.keeper.period().end, at("2026-03-15"));
}

#[test]
fn an_enterprise_that_becomes_free_begins_with_its_open_month() {
    let mut account = Account::new(contract(1_000_000), "2026-03-10");
    account.now = at("2026-11-20");
    account.agrees(Plan::Free, operations(10));
    let period = account.keeper.period();
    assert_eq!((period.start, period.end), (at("2026-11-10"), at("2026-12-10")));
}

#[test]
fn what_a_keeper_remembers_survives_being_stored() {
    let mut account = Account::new(Plan::Free, "2026-01-01");
    account.uses(operations(100_000));
    account.told();
    let text = serde_json::to_string(account.keeper.state()).expect("JSON");
    let state = serde_json::from_str(&text).expect("the same");
    account.keeper = metering::Keeper::restore(account.keeper.terms().clone(), state);
    account.uses(operations(100_000));
    assert!(account.told().is_empty());
    account.advance(3 * DAY_MS);
    account.uses(operations(100_000));
    assert!(matches!(account.told()[..], [Matter::Paused(_)]));
}

/// A year of hours: the account uses 200 operations in each, so that each month has its notices, its
/// grace and its pause.
#[test]
fn a_year_of_periods_passes_within_a_second() {
    let mut account = Account::new(Plan::Free, "2028-01-31");
    let end = at("2029-01-31");
    let begun = std::time::Instant::now();
    let mut used = 0;
    while account.now < end {
        account.advance(HOUR_MS);
        if account.keeper.is_over(account.now) {
            account.ends_with(operations(used));
            used = 0;
        }
        used += if account.keeper.pause().is_some_and(|p| p.limit == Limit::Operations) {
            0
        } else {
            200
        };
        account.uses(operations(used));
    }
    assert_eq!(account.closed.len(), 12);
    let mut matters = account.told();
    let paused = matters.extract_if(.., |matter| matches!(matter, Matter::Paused(_))).count();
    let resumed = matters.extract_if(.., |matter| matches!(matter, Matter::Resumed)).count();
    // 100,000 operations are used after 500 hours, and the grace ends 72 hours later: within every
    // month, also within the 29 days of February.
    assert_eq!((paused, resumed, matters.len()), (12, 12, 36));
    assert!(
        account.closed.iter().all(|(_, usage)| usage.operations == 114_400),
        "{:?}",
        account.closed
    );
    assert!(begun.elapsed().as_secs() < 1, "{:?}", begun.elapsed());
}
