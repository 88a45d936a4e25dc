//! Firmware over the air. People flash devices, one or several at once, and call updates off. What is
//! wanted is written down before a shard hears of it, and taken up again when the server starts, as the
//! keeper of updates in `node` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::update::{Expected, WaitReason};
use model::{Image, Mono, Refusal, RequestId, Update, UpdateId, UpdateReport, UpdateState};
use openssl::sha::sha256;
use protocol::firmware::Firmware;
use rand::RngExt;
use rand::rngs::SmallRng;
use router::{Reply, Request};

use super::{Item, World};
use crate::device::UpdateFault;
use crate::firmware::Binary;

/// What is written down of updates, and what the running server knows beside it.
pub(super) struct Updates {
    files: Vec<(Arc<Image>, Expected)>,
    /// Outlives the server: at most one for each device.
    stored: BTreeMap<usize, Wanted>,
    jobs: BTreeMap<usize, Job>,
    /// Ends that are not written down yet.
    ended: BTreeSet<usize>,
    asked: BTreeMap<RequestId, usize>,
    next_id: u64,
    /// The next turn is on the agenda.
    is_planned: bool,
}

/// An update that somebody wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    id: UpdateId,
    file: usize,
    forced: bool,
}

#[derive(Debug)]
struct Job {
    wanted: Wanted,
    /// Refused, it leaves nothing behind: somebody waits for the answer.
    is_new: bool,
    is_taken: bool,
    is_parked: bool,
    next_try: Mono,
}

impl Updates {
    /// With some files, made for the devices of this world.
    pub(super) fn new(random: &mut SmallRng) -> Self {
        let files = (1..=FILES).map(|number| file(number, random)).collect();
        Self {
            files,
            stored: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ended: BTreeSet::new(),
            asked: BTreeMap::new(),
            next_id: 1,
            is_planned: false,
        }
    }

    /// What was not written down is gone.
    pub(super) fn server_stopped(&mut self) {
        self.jobs.clear();
        self.ended.clear();
        self.asked.clear();
    }

    /// Whether nothing is wanted.
    pub(super) fn are_over(&self) -> bool {
        self.jobs.is_empty() && self.stored.is_empty()
    }

    /// Whether the update of a device is over or was never taken.
    pub(super) fn is_over(&self, index: usize) -> bool {
        !self.jobs.contains_key(&index)
    }

    /// What the devices have at first.
    pub(super) fn first_file(&self) -> &[u8] {
        &self.files[0].0.bytes
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// The devices with an update under way.
    pub(super) fn devices(&self) -> Vec<usize> {
        self.jobs.keys().copied().collect()
    }

    fn update(&self, wanted: Wanted) -> Update {
        let (image, expected) = &self.files[wanted.file];
        Update {
            id: wanted.id,
            image: Arc::clone(image),
            forced: wanted.forced,
            automatic: false,
            expected: Some(*expected),
        }
    }
}

/// An application of 1 to 24 kB; every second one belongs to a product.
fn file(number: u16, random: &mut SmallRng) -> (Arc<Image>, Expected) {
    let plain = Binary {
        version: number,
        seed: random.random(),
        ..Binary::application(12, random.random_range(1_000..24_000))
    };
    let binary = if number.is_multiple_of(2) { plain.of_product(12_345, number) } else { plain };
    let bytes = binary.build();
    let firmware = Firmware::read(&bytes).expect("it is well formed");
    let expected = Expected {
        sha256: Some(firmware.module_hash),
        version: firmware.version,
        product_version: firmware.product_version,
    };
    let image = Image {
        sha256: sha256(&bytes),
        function: firmware.function.number(),
        index: firmware.index,
        bytes: bytes.into(),
    };
    (Arc::new(image), expected)
}

impl World {
    /// Somebody wants something of updates, and something else after a while.
    pub(super) fn update_again(&mut self) {
        if !self.is_troubled || !self.plan.mood.updates {
            return;
        }
        let gap = self.around(self.plan.update_gap);
        self.plan_in(gap, Item::Update);
        let index = self.random.random_range(0..self.fleet.len());
        match self.random.random_range(0..10) {
            0..6 => {
                self.break_flash(index);
                self.flash_any(index);
            }
            6 => self.flash_several(),
            7 | 8 => self.call_off_any(),
            _ => self.allow_updates(index),
        }
    }

    fn flash_any(&mut self, index: usize) -> bool {
        let file = self.random.random_range(0..self.updates.files.len());
        let forced = self.random.random_bool(0.2);
        self.flash(index, file, forced)
    }

    fn flash_several(&mut self) {
        let file = self.random.random_range(0..self.updates.files.len());
        for _ in 0..self.random.random_range(2..=SEVERAL_MAX) {
            let index = self.random.random_range(0..self.fleet.len());
            self.flash(index, file, false);
        }
    }

    /// One device in three has a fault with its next update.
    fn break_flash(&mut self, index: usize) {
        let fault = match self.random.random_range(0..15) {
            0 => UpdateFault::HashMismatch,
            1 => UpdateFault::FlashError,
            2 => UpdateFault::Refuses,
            3 => UpdateFault::NotApplied,
            4 | 5 => UpdateFault::PowerCut { chunk: self.random.random_range(1..30) },
            _ => UpdateFault::None,
        };
        self.note(|_| format!("device {index} has the fault {fault:?}"));
        if fault != UpdateFault::None {
            self.judge.update_faulty(index);
        }
        self.with(index, |device, _| device.set_update_fault(fault));
    }

    /// The application changes its mind; devices tell it when they say Hello.
    fn allow_updates(&mut self, index: usize) {
        if !self.fleet[index].is_udp() {
            return;
        }
        let allowed = self.random.random_bool(0.5);
        self.note(|_| format!("device {index} allows updates={allowed}"));
        self.with(index, |device, now| {
            device.set_updates_enabled(allowed);
            device.reset(now);
        });
    }

    /// Sends a file to a device; whether it is online and has no update yet.
    pub(super) fn flash(&mut self, index: usize, file: usize, forced: bool) -> bool {
        let id = self.fleet[index].device.id();
        let is_online = self.cloud().and_then(|cloud| cloud.state(id)).is_some_and(|it| it.online);
        if !is_online || self.updates.jobs.contains_key(&index) {
            return false;
        }
        let wanted = Wanted { id: UpdateId(self.updates.next_id), file, forced };
        self.updates.next_id += 1;
        self.note(|_| format!("device {index} is flashed: {wanted:?}"));
        self.judge.update_asked(wanted.id, index, Arc::clone(&self.updates.files[file].0));
        self.updates.stored.insert(index, wanted);
        let job =
            Job { wanted, is_new: true, is_taken: false, is_parked: false, next_try: self.now };
        self.updates.jobs.insert(index, job);
        self.hand_over(index);
        self.keep_soon();
        !self.updates.is_over(index)
    }

    fn hand_over(&mut self, index: usize) {
        let Some(job) = self.updates.jobs.get(&index) else { return };
        let update = self.updates.update(job.wanted);
        let device = self.fleet[index].device.id();
        let id = self.request_id();
        self.updates.asked.insert(id, index);
        self.serve(|cloud, now| cloud.ask(now, id, Request::Update { device, update }));
    }

    fn call_off_any(&mut self) {
        let devices = self.updates.devices();
        if !devices.is_empty() {
            let index = devices[self.random.random_range(0..devices.len())];
            self.call_off(index);
        }
    }

    /// A device with the old protocol learns of it by losing its connection.
    pub(super) fn call_off(&mut self, index: usize) {
        let Some(job) = self.updates.jobs.get(&index) else { return };
        let (update, is_taken) = (job.wanted.id, job.is_taken);
        self.note(|_| format!("the update {update:?} of device {index} is called off"));
        self.judge.update_called_off(self.now, index);
        if !is_taken {
            self.updates.jobs.remove(&index);
            self.updates.ended.insert(index);
            return self.keep_soon();
        }
        let device = self.fleet[index].device.id();
        let id = self.request_id();
        self.judge.cancelled_from_the_start(id);
        self.serve(|cloud, now| cloud.ask(now, id, Request::CancelUpdate { device, update }));
    }

    /// What the devices do not allow nobody waits for any more.
    pub(super) fn call_off_parked(&mut self) {
        let parked = self.updates.jobs.iter().filter(|(_, job)| job.is_parked);
        for index in parked.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.call_off(index);
        }
    }

    /// The answer to a request of the keeper, if it is one.
    pub(super) fn update_answered(
        &mut self,
        id: RequestId,
        result: &Result<Reply, Refusal>,
    ) -> bool {
        let Some(index) = self.updates.asked.remove(&id) else { return false };
        let again_at = self.now.after(AGAIN);
        let Some(job) = self.updates.jobs.get_mut(&index) else { return true };
        match result {
            Ok(_) => job.is_taken = true,
            Err(_) if job.is_new => {
                self.updates.jobs.remove(&index);
                self.updates.ended.insert(index);
            }
            Err(_) => job.next_try = again_at,
        }
        if let Some(job) = self.updates.jobs.get_mut(&index) {
            job.is_new = false;
        }
        true
    }

    /// How an update goes.
    pub(super) fn update_reported(&mut self, report: &UpdateReport) {
        self.note(|_| format!("update: {report:?}"));
        let index = self.fleet.iter().position(|placed| placed.device.id() == report.device);
        let Some(index) = index else { return };
        self.judge.update_reported(self.now, report, self.fleet[index].device.installed());
        let job = self.updates.jobs.get_mut(&index).filter(|job| job.wanted.id == report.id);
        let Some(job) = job else { return };
        job.is_parked = report.state == UpdateState::Waiting(WaitReason::Disabled);
        if report.state.is_terminal() {
            self.updates.jobs.remove(&index);
            self.updates.ended.insert(index);
        }
        self.keep_soon();
    }

    fn keep_soon(&mut self) {
        if !std::mem::replace(&mut self.updates.is_planned, true) {
            self.plan_in(SOON, Item::Keep);
        }
    }

    /// One turn: writes ends down, hands over what no shard has.
    pub(super) fn keep_updates(&mut self) {
        self.updates.is_planned = false;
        if self.cloud().is_none() {
            return;
        }
        for index in std::mem::take(&mut self.updates.ended) {
            // One that began meanwhile has taken its place.
            if self.updates.is_over(index) {
                self.updates.stored.remove(&index);
            }
        }
        let now = self.now;
        let due = |job: &Job| !job.is_taken && job.next_try <= now;
        let jobs = self.updates.jobs.iter().filter(|(_, job)| due(job));
        for index in jobs.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.hand_over(index);
        }
        if !self.updates.are_over() {
            self.updates.is_planned = true;
            self.plan_in(TURN, Item::Keep);
        }
    }

    /// A server that starts goes on with what is written down.
    pub(super) fn take_up_updates(&mut self) {
        let now = self.now;
        let taken_up = self.updates.stored.iter().map(|(index, wanted)| {
            let (is_new, is_taken) = (false, false);
            let job = Job { wanted: *wanted, is_new, is_taken, is_parked: false, next_try: now };
            (*index, job)
        });
        self.updates.jobs = taken_up.collect();
        self.keep_soon();
    }
}

/// Different files of a world.
const FILES: u16 = 4;
/// Devices that are flashed at once.
const SEVERAL_MAX: usize = 5;
/// See the keeper in `node`: the pauses of its turns, and before it tries a refused update again.
const SOON: Duration = Duration::from_millis(20);
const TURN: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);
