//! Releases on their way through a fleet, in virtual time.

use std::collections::BTreeMap;

use model::{DeviceId, Timestamp};
use router::rollout::{
    ATTEMPTS_MAX, Member, Outcome, Phase, Plan, Rollout, Standing, Verdict, WaitingFor,
};

const START: Timestamp = Timestamp(1_769_862_896_789);
const MINUTE: i64 = 60_000;
const READY: Standing = Standing { online: true, enabled: true, runs_release: false };

fn device(number: u32) -> DeviceId {
    let mut id = [0xe0; 12];
    id[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId(id)
}

fn later(ms: i64) -> Timestamp {
    Timestamp(START.0 + ms)
}

/// A fleet in which the image does the same on each device.
struct Fleet {
    rollout: Rollout,
    /// Devices that were sent the image.
    reached: Vec<DeviceId>,
}

impl Fleet {
    fn new(devices: u32, stages: &[u8]) -> Self {
        let mut rollout = Rollout::new(7, Plan::of_stages(stages).expect("stages"), START);
        rollout.set_devices((0..devices).map(device));
        Self { rollout, reached: Vec::new() }
    }

    /// One look at every candidate; each that may be updated is, with this outcome.
    fn turn(&mut self, now: Timestamp, outcome: impl Fn(DeviceId) -> Outcome) {
        self.rollout.advance(now);
        for device in self.rollout.candidates(now, usize::MAX) {
            if self.rollout.progress().phase != Phase::Running {
                break;
            }
            if self.rollout.consider(now, device, READY) == Verdict::Start {
                self.rollout.began(now, device);
                self.reached.push(device);
                self.rollout.ended(now, device, outcome(device));
            }
        }
    }
}

fn rejected(_: DeviceId) -> Outcome {
    Outcome::Rejected("the device found the file invalid".into())
}

#[test]
fn a_good_release_reaches_every_device_stage_by_stage() {
    let mut fleet = Fleet::new(1_000, &[10, 50, 100]);
    for (minutes, reached) in [(0, 100), (1, 100), (5, 500), (9, 500), (10, 1_000), (60, 1_000)] {
        fleet.turn(later(minutes * MINUTE), |_| Outcome::Updated);
        assert_eq!(fleet.reached.len(), reached, "after {minutes} minutes");
    }
    assert_eq!(fleet.rollout.summary().updated, 1_000);
}

#[test]
fn a_bad_release_stops_itself_within_its_first_stage_and_says_why() {
    let mut fleet = Fleet::new(1_000, &[10, 50, 100]);
    for minutes in 0..2_000 {
        fleet.turn(later(minutes * MINUTE), rejected);
    }
    assert!(fleet.reached.len() <= 100, "{} devices", fleet.reached.len());
    let Phase::Halted(why) = &fleet.rollout.progress().phase else { panic!("it goes on") };
    assert!(why.contains("stage 1") && why.contains("invalid"), "{why}");
}

#[test]
fn a_bad_release_in_flight_on_its_whole_first_stage_goes_no_further() {
    let mut fleet = Fleet::new(1_000, &[10, 50, 100]);
    let stage = fleet.rollout.candidates(START, usize::MAX);
    assert_eq!(stage.len(), 100);
    for device in &stage {
        fleet.rollout.began(START, *device);
    }
    for device in &stage {
        fleet.rollout.ended(later(MINUTE), *device, rejected(*device));
    }
    fleet.turn(later(24 * 60 * MINUTE), rejected);
    assert!(fleet.reached.is_empty());
    assert!(matches!(fleet.rollout.progress().phase, Phase::Halted(_)));
}

#[test]
fn a_few_failures_among_many_successes_do_not_halt() {
    let mut fleet = Fleet::new(1_000, &[10, 100]);
    let bad = |device: DeviceId| device.0[11].is_multiple_of(16);
    let outcome = |device| if bad(device) { rejected(device) } else { Outcome::Updated };
    for minutes in 0..7 {
        fleet.turn(later(minutes * MINUTE), outcome);
    }
    assert_eq!(fleet.rollout.progress().phase, Phase::Running);
    assert_eq!(fleet.rollout.progress().stage, 1);
    let summary = fleet.rollout.summary();
    assert_eq!(summary.updated + summary.failed, 1_000);
}

#[test]
fn a_device_that_fails_waits_longer_each_time_and_is_left_alone_in_the_end() {
    let mut fleet = Fleet::new(1, &[100]);
    let undelivered = |_| Outcome::Undelivered("no progress".into());
    let mut tries = Vec::new();
    for minutes in 0..3_000 {
        let before = fleet.reached.len();
        fleet.turn(later(minutes * MINUTE), undelivered);
        tries.extend((fleet.reached.len() > before).then_some(minutes));
    }
    assert_eq!(tries, [0, 5, 35, 155, 875]);
    assert_eq!(tries.len(), ATTEMPTS_MAX as usize);
    let member = fleet.rollout.member(device(0)).expect("a member");
    assert!(matches!(member, Member::LeftAlone { .. }));
    assert!(matches!(fleet.rollout.progress().phase, Phase::Halted(_)), "nobody could be updated");
}

#[test]
fn devices_that_are_away_or_refuse_are_waited_for_and_do_not_hold_the_rest_up() {
    let mut fleet = Fleet::new(10, &[50, 100]);
    let first = fleet.rollout.candidates(START, usize::MAX);
    for (place, device) in first.iter().enumerate() {
        let standing = match place {
            0 => Standing { online: false, ..READY },
            1 => Standing { enabled: false, ..READY },
            _ => READY,
        };
        if fleet.rollout.consider(START, *device, standing) == Verdict::Start {
            fleet.rollout.began(START, *device);
            fleet.rollout.ended(START, *device, Outcome::Updated);
        }
    }
    let waiting = |place: usize, waiting_for| {
        assert_eq!(fleet.rollout.member(first[place]), Some(&Member::Waiting { waiting_for }));
    };
    waiting(0, WaitingFor::Online);
    waiting(1, WaitingFor::Permission);
    fleet.turn(later(5 * MINUTE), |_| Outcome::Updated);
    assert_eq!(fleet.rollout.summary().updated, 10, "both are back, and the next stage is open");
}

#[test]
fn without_anybody_who_tried_it_no_stage_follows() {
    let mut rollout = Rollout::new(7, Plan::of_stages(&[10, 100]).expect("stages"), START);
    rollout.set_devices((0..100).map(device));
    for minutes in 0..1_000 {
        let now = later(minutes * MINUTE);
        rollout.advance(now);
        for device in rollout.candidates(now, usize::MAX) {
            rollout.consider(now, device, Standing { online: false, ..READY });
        }
    }
    assert_eq!(rollout.progress().stage, 0);
}

#[test]
fn it_is_paused_and_resumed_by_hand() {
    let mut fleet = Fleet::new(100, &[10, 100]);
    fleet.rollout.pause();
    fleet.turn(START, |_| Outcome::Updated);
    assert!(fleet.reached.is_empty());
    fleet.rollout.resume(START);
    fleet.turn(START, |_| Outcome::Updated);
    assert_eq!(fleet.reached.len(), 10);
}

#[test]
fn a_halted_one_that_is_resumed_halts_again_only_for_new_failures() {
    let mut fleet = Fleet::new(100, &[10, 100]);
    fleet.turn(START, rejected);
    assert!(matches!(fleet.rollout.progress().phase, Phase::Halted(_)));
    fleet.rollout.resume(later(MINUTE));
    assert_eq!(fleet.rollout.progress().phase, Phase::Running);
    fleet.reached.clear();
    fleet.turn(later(2 * MINUTE), |_| Outcome::Updated);
    assert_eq!(fleet.reached.len(), 10);
    assert_eq!(fleet.rollout.progress().phase, Phase::Running);
}

#[test]
fn what_was_written_down_goes_on_where_it_was() {
    let mut fleet = Fleet::new(1_000, &[10, 100]);
    let (mut progress, mut members) = (fleet.rollout.progress().clone(), BTreeMap::new());
    fleet.turn(START, |_| Outcome::Updated);
    let under_way = device(3);
    fleet.rollout.began(START, under_way);
    let (changed, rows) = fleet.rollout.take_changes();
    progress = changed.unwrap_or(progress);
    members.extend(rows);
    let json = serde_json::to_string(&progress).expect("JSON");
    let progress = serde_json::from_str(&json).expect("the same");
    let mut again = Rollout::restored(7, progress, members);
    again.set_devices((0..1_000).map(device));
    assert_eq!(again.summary().updated, fleet.rollout.summary().updated);
    assert!(!matches!(again.member(under_way), Some(Member::Updating { .. })));
    again.advance(later(5 * MINUTE));
    assert!(again.candidates(later(5 * MINUTE), usize::MAX).contains(&under_way));
}

#[test]
fn what_could_not_be_written_down_is_given_again() {
    let mut fleet = Fleet::new(100, &[10, 100]);
    fleet.turn(later(0), rejected);
    let (progress, members) = fleet.rollout.take_changes();
    assert!(matches!(progress.as_ref().map(|it| &it.phase), Some(Phase::Halted(_))));
    let devices: Vec<_> = members.iter().map(|(device, _)| *device).collect();
    assert_eq!(fleet.rollout.take_changes(), (None, Vec::new()));
    fleet.rollout.give_again(true, devices);
    assert_eq!(fleet.rollout.take_changes(), (progress, members));
}

#[test]
fn a_device_that_was_left_out_and_comes_back_begins_anew_after_a_restart_too() {
    let mut fleet = Fleet::new(1, &[100]);
    fleet.turn(later(0), |_| Outcome::Updated);
    let (progress, rows) = fleet.rollout.take_changes();
    let mut written: BTreeMap<DeviceId, Member> = rows.into_iter().collect();
    assert!(matches!(written[&device(0)], Member::Updated { .. }));
    fleet.rollout.set_devices([]);
    fleet.rollout.set_devices([device(0)]);
    written.extend(fleet.rollout.take_changes().1);
    let progress = progress.unwrap_or_else(|| fleet.rollout.progress().clone());
    let restored = Rollout::restored(1, progress, written);
    assert_eq!(restored.member(device(0)), Some(&Member::default()));
}

#[test]
fn a_device_that_runs_the_release_already_is_sent_nothing() {
    let mut fleet = Fleet::new(1, &[100]);
    let runs = Standing { runs_release: true, ..READY };
    assert_eq!(fleet.rollout.consider(START, device(0), runs), Verdict::Leave);
    assert_eq!(fleet.rollout.summary().updated, 1);
}

#[test]
fn even_the_smallest_fleet_has_a_first_stage() {
    let mut fleet = Fleet::new(3, &[10, 50, 100]);
    fleet.turn(START, |_| Outcome::Updated);
    assert_eq!(fleet.reached.len(), 1);
    assert_eq!(fleet.rollout.stages()[&fleet.reached[0]], 0);
}

#[test]
fn a_device_whose_application_refuses_goes_on_when_it_allows() {
    let mut fleet = Fleet::new(2, &[50, 100]);
    let first = fleet.rollout.candidates(START, usize::MAX)[0];
    fleet.rollout.began(START, first);
    fleet.rollout.parked(first);
    assert_eq!(fleet.rollout.summary().waiting, 2);
    fleet.rollout.goes_on(later(MINUTE), first);
    assert!(matches!(fleet.rollout.member(first), Some(Member::Updating { attempts: 1, .. })));
    fleet.rollout.ended(later(2 * MINUTE), first, Outcome::Updated);
    fleet.turn(later(5 * MINUTE), |_| Outcome::Updated);
    assert_eq!(fleet.rollout.summary().updated, 2);
}

#[test]
fn stages_that_make_no_sense_are_refused() {
    for stages in [&[][..], &[10], &[50, 10, 100], &[0, 100], &[100, 100], &[10, 101]] {
        assert!(Plan::of_stages(stages).is_err(), "{stages:?}");
    }
}
