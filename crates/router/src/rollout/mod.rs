//! A release of product firmware on its way through a fleet: which device gets it when, and when to stop.
//!
//! One [`Rollout`] for each release. It goes in stages, each a share of the devices; within an open stage a
//! device gets the release when it is online and allows it. A device on which it failed waits, longer each
//! time. When too many devices of a stage fail the rollout halts and says why: a bad image then reached no
//! more than the stage. It owns no clock and no device: whoever drives it tells what is online and carries
//! out what [`Rollout::consider`] answers.

mod member;
mod plan;
mod summary;

pub use member::{Member, Verdict, WaitingFor};
pub use plan::{Plan, PlanError};
pub use summary::Summary;

use std::collections::{BTreeMap, BTreeSet};

use model::{DeviceId, Timestamp};
use serde::{Deserialize, Serialize};

/// How often a device is tried before it is left alone.
pub const ATTEMPTS_MAX: u32 = 5;
/// Waits in milliseconds after the first, second, … failure on a device.
const BACK_OFF_MS: [i64; 4] = [5 * 60_000, 30 * 60_000, 2 * 3_600_000, 12 * 3_600_000];

/// What a rollout does at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Devices of the open stages get the release.
    Running,
    /// Somebody stopped it.
    Paused,
    /// It stopped itself; the text says why.
    Halted(String),
}

/// The part of a rollout that is kept with the release; its members are kept one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How it is to go.
    pub plan: Plan,
    /// What it does.
    pub phase: Phase,
    /// The newest open stage, from 0 on.
    pub stage: usize,
    /// When that stage opened.
    pub stage_opened_at: Timestamp,
    /// Failures before this moment do not halt it any more: somebody has seen them.
    pub counted_from: Timestamp,
}

/// What became of an update of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device runs the release.
    Updated,
    /// The device has or had the image and will not run it. Counts against the release at once.
    Rejected(String),
    /// The image did not arrive. Counts against the release once the device is left alone.
    Undelivered(String),
    /// Nobody is to blame: somebody called the update off, or the server could not take it.
    Withdrawn,
}

/// How a device is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is believed online.
    pub online: bool,
    /// Whether its application allows updates, or they are forced.
    pub enabled: bool,
    /// Whether it runs the released version already.
    pub runs_release: bool,
}

/// One release on its way.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Decides the order of devices, differently for each release.
    number: u64,
    progress: Progress,
    /// The devices the release is for, with what became of it there.
    members: BTreeMap<DeviceId, Member>,
    /// All members in the order of their stages.
    order: Vec<DeviceId>,
    /// Where the next look at devices begins, in `order`.
    cursor: usize,
    /// Members to write down.
    changed: BTreeSet<DeviceId>,
    /// Whether [`Progress`] is to be written down.
    is_changed: bool,
}

impl Rollout {
    /// A rollout that begins now.
    pub fn new(number: u64, plan: Plan, now: Timestamp) -> Self {
        let progress = Progress {
            plan,
            phase: Phase::Running,
            stage: 0,
            stage_opened_at: now,
            counted_from: now,
        };
        Self::restored(number, progress, BTreeMap::new())
    }

    /// A rollout as it was written down. What was under way is to be done again.
    pub fn restored(number: u64, progress: Progress, members: BTreeMap<DeviceId, Member>) -> Self {
        let members: BTreeMap<_, _> =
            members.into_iter().map(|(device, member)| (device, member.interrupted())).collect();
        let order = ordered(number, members.keys().copied());
        let (changed, is_changed) = (BTreeSet::new(), false);
        Self { number, progress, members, order, cursor: 0, changed, is_changed }
    }

    /// How it is to go and how far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What became of the release on a device it is for.
    pub fn member(&self, device: DeviceId) -> Option<&Member> {
        self.members.get(&device)
    }

    /// All devices it is for, by id.
    pub fn members(&self) -> impl Iterator<Item = (DeviceId, &Member)> {
        self.members.iter().map(|(device, member)| (*device, member))
    }

    /// The stage of each device, from 0 on.
    pub fn stages(&self) -> BTreeMap<DeviceId, usize> {
        let mut stages = BTreeMap::new();
        for stage in (0..self.progress.plan.stages()).rev() {
            let until = self.size_until(stage).min(self.order.len());
            stages.extend(self.order[..until].iter().map(|device| (*device, stage)));
        }
        stages
    }

    /// The devices the release is for, from now on. Those that were not known are to be updated, those
    /// left out are forgotten.
    pub fn set_devices(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        let wanted: BTreeSet<DeviceId> = devices.into_iter().collect();
        if wanted.len() == self.members.len() && wanted.iter().eq(self.members.keys()) {
            return;
        }
        let left_out = |(device, member): &(&DeviceId, &Member)| {
            !wanted.contains(*device) && **member != Member::default()
        };
        self.changed.extend(self.members.iter().filter(left_out).map(|(device, _)| *device));
        self.members.retain(|device, _| wanted.contains(device));
        for device in &wanted {
            self.members.entry(*device).or_default();
        }
        self.order = ordered(self.number, wanted);
        self.cursor = 0;
    }

    /// At most `limit` devices of the open stages that may be tried now, beginning behind those of the
    /// last call: each has its turn.
    pub fn candidates(&mut self, now: Timestamp, limit: usize) -> Vec<DeviceId> {
        if self.progress.phase != Phase::Running {
            return Vec::new();
        }
        let open = self.size_until(self.progress.stage);
        let mut found = Vec::new();
        for _ in 0..open {
            if found.len() == limit {
                break;
            }
            self.cursor = if self.cursor + 1 >= open { 0 } else { self.cursor + 1 };
            let device = self.order[self.cursor];
            if self.members.get(&device).is_some_and(|member| member.may_be_tried(now)) {
                found.push(device);
            }
        }
        found
    }

    /// What to do with a candidate that is like this.
    pub fn consider(&mut self, now: Timestamp, device: DeviceId, standing: Standing) -> Verdict {
        let Some(member) = self.members.get_mut(&device) else { return Verdict::Leave };
        if !member.may_be_tried(now) {
            return Verdict::Leave;
        }
        if standing.runs_release {
            *member = Member::Updated { at: now };
            self.changed.insert(device);
            return Verdict::Leave;
        }
        let waiting = match standing {
            Standing { online: false, .. } => WaitingFor::Online,
            Standing { enabled: false, .. } => WaitingFor::Permission,
            Standing { .. } => return Verdict::Start,
        };
        member.wait_for(waiting);
        Verdict::Leave
    }

    /// An update of the device began.
    pub fn began(&mut self, now: Timestamp, device: DeviceId) {
        if let Some(member) = self.members.get_mut(&device) {
            member.begin(now);
            self.changed.insert(device);
        }
    }

    /// The device was told and its application does not allow the update yet: it is waited for, and holds
    /// nobody up.
    pub fn parked(&mut self, device: DeviceId) {
        if let Some(member) = self.members.get_mut(&device) {
            member.park();
            self.changed.insert(device);
        }
    }

    /// The update of the device goes on; one that was waited for began.
    pub fn goes_on(&mut self, now: Timestamp, device: DeviceId) {
        if matches!(self.members.get(&device), Some(Member::Waiting { .. })) {
            self.began(now, device);
        }
    }

    /// The update of the device is over.
    pub fn ended(&mut self, now: Timestamp, device: DeviceId, outcome: Outcome) {
        let Some(member) = self.members.get_mut(&device) else { return };
        member.end(now, outcome);
        self.changed.insert(device);
        self.judge();
    }

    /// Opens the next stage if the open one has shown that the release is good. To be called from time to
    /// time.
    pub fn advance(&mut self, now: Timestamp) {
        while self.progress.phase == Phase::Running && self.stage_is_good(now) {
            self.progress.stage += 1;
            self.progress.stage_opened_at = now;
            self.is_changed = true;
        }
    }

    /// Stops it; what is under way ends.
    pub fn pause(&mut self) {
        if self.progress.phase == Phase::Running {
            self.progress.phase = Phase::Paused;
            self.is_changed = true;
        }
    }

    /// Goes on. Failures so far do not halt it again, and devices that were left alone are tried again.
    pub fn resume(&mut self, now: Timestamp) {
        if self.progress.phase == Phase::Running {
            return;
        }
        self.progress.phase = Phase::Running;
        self.progress.counted_from = now;
        self.is_changed = true;
        for (device, member) in &mut self.members {
            if member.forgive() {
                self.changed.insert(*device);
            }
        }
    }

    /// What is to be written down since the last call: the progress if it changed, and members.
    pub fn take_changes(&mut self) -> (Option<Progress>, Vec<(DeviceId, Member)>) {
        let progress = std::mem::take(&mut self.is_changed).then(|| self.progress.clone());
        let changed = std::mem::take(&mut self.changed);
        // One that was left out begins anew should it come back.
        let member = |device| (device, self.members.get(&device).cloned().unwrap_or_default());
        (progress, changed.into_iter().map(member).collect())
    }

    /// What [`Self::take_changes`] gave could not be written down: it is given again.
    pub fn give_again(&mut self, progress: bool, members: impl IntoIterator<Item = DeviceId>) {
        self.is_changed |= progress;
        self.changed.extend(members);
    }

    /// Counts by what became of the release.
    pub fn summary(&self) -> Summary {
        Summary::of(self.members.values())
    }

    /// Devices in all stages up to this one: its share, rounded up, so that no stage is empty.
    fn size_until(&self, stage: usize) -> usize {
        let percent = usize::from(self.progress.plan.percent(stage));
        (self.order.len() * percent).div_ceil(100)
    }

    fn open_members(&self) -> impl Iterator<Item = &Member> {
        let open = self.size_until(self.progress.stage);
        self.order.iter().take(open).filter_map(|device| self.members.get(device))
    }

    /// Halts when too many devices of the open stages failed. Few devices prove little: below the plan's
    /// number nothing is concluded unless they are the whole stage.
    fn judge(&mut self) {
        if self.progress.phase != Phase::Running {
            return;
        }
        let counted_from = self.progress.counted_from;
        let failed =
            self.open_members().filter(|member| member.counts_against(counted_from)).count();
        let updated = self.open_members().filter(|member| member.is_updated()).count();
        let open = self.size_until(self.progress.stage);
        let decided = failed + updated;
        let plan = &self.progress.plan;
        let is_proven = decided >= usize::from(plan.failures_judged_from).min(open);
        if failed > 0 && is_proven && failed * 100 > decided * usize::from(plan.failure_percent_max)
        {
            let last = self.last_reason(counted_from);
            let why = format!(
                "{failed} of {decided} devices failed in stage {} ({} % of {} devices), more than the {} % allowed; the last one: {last}",
                self.progress.stage + 1,
                plan.percent(self.progress.stage),
                self.order.len(),
                plan.failure_percent_max,
            );
            self.progress.phase = Phase::Halted(why);
            self.is_changed = true;
        }
    }

    fn last_reason(&self, counted_from: Timestamp) -> String {
        let failed = self.open_members().filter(|member| member.counts_against(counted_from));
        let last = failed.filter_map(Member::failure).max_by_key(|(at, _)| *at);
        last.map(|(_, reason)| reason.to_owned()).unwrap_or_default()
    }

    /// A stage is good when it had its time, none of its devices is being updated or could be, and enough
    /// of them have decided. Devices that are away do not hold it up for ever.
    fn stage_is_good(&self, now: Timestamp) -> bool {
        let plan = &self.progress.plan;
        let open = self.size_until(self.progress.stage);
        if self.progress.stage + 1 >= plan.stages() || open == 0 {
            return false;
        }
        let soaked = now.0 - self.progress.stage_opened_at.0 >= plan.soak_ms;
        let decided = self.open_members().filter(|member| member.is_updated()).count();
        let busy = self.open_members().any(Member::is_busy);
        soaked && !busy && decided * 100 >= open * usize::from(plan.quorum_percent) && decided > 0
    }
}

/// Devices in an order that is the same each time and another one for each release.
fn ordered(number: u64, devices: impl IntoIterator<Item = DeviceId>) -> Vec<DeviceId> {
    let mut order: Vec<DeviceId> = devices.into_iter().collect();
    order.sort_by_cached_key(|device| (mixed(number, *device), *device));
    order
}

/// FNV-1a over number and id, with a last stir: ids of one production run differ in few bits.
fn mixed(number: u64, device: DeviceId) -> u64 {
    let bytes = number.to_le_bytes().into_iter().chain(device.0);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let stirred = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    stirred ^ (stirred >> 33)
}
