//! The keeper's state, and its turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::update::{UpdateFailure, WaitReason};
use model::{
    DeviceId, DeviceState, Refusal, Timestamp, Update, UpdateId, UpdateReport, UpdateState,
};
use protocol::firmware::{Firmware, FirmwareError};
use router::rollout::{Outcome, Rollout};
use store::{FileHash, Store, StoreError, StoredUpdate};
use tracing::{info, warn};

use super::heal::Heals;
use super::images::Images;
use super::job::{Body, Job};
use super::releases::Releases;
use super::results::outcome_of;
use super::{Flash, Reason, UpdateView, UpdatesConfig, UpdatesError, utc_now};
use crate::{Handle, metrics};

/// After this an update that found its device offline or busy is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Looking through the devices of a large release takes time, and reports come many times a second.
const START_EACH: Duration = Duration::from_millis(500);

/// Of a file that is being stored.
pub(super) type Coming = Arc<()>;

/// See the module.
pub(super) struct Keeper {
    pub(super) store: Arc<Store>,
    pub(super) handle: Handle,
    pub(super) config: UpdatesConfig,
    pub(super) images: Images,
    /// At most one for each device.
    pub(super) jobs: BTreeMap<DeviceId, Job>,
    pub(super) releases: Releases,
    pub(super) heals: Heals,
    /// Files that are being stored to be flashed then; those whose mark somebody has stay.
    coming: BTreeMap<FileHash, Coming>,
    /// Ends that could not be written down yet.
    unsaved: BTreeMap<DeviceId, StoredUpdate>,
    next_id: u64,
    /// When releases are looked at for devices to begin with.
    next_start: Timestamp,
}

impl Keeper {
    /// What was in force and under way when the last process ended.
    pub(super) async fn load(
        store: Arc<Store>,
        handle: Handle,
        config: UpdatesConfig,
    ) -> Result<Self, StoreError> {
        let releases = Releases::load(&store, &config).await?;
        let next_id = store.updates().last_id().await? + 1;
        let open = store.updates().open().await?;
        let mut keeper = Self {
            store,
            handle,
            config,
            images: Images::default(),
            jobs: BTreeMap::new(),
            releases,
            heals: Heals::default(),
            coming: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            next_id,
            next_start: Timestamp::default(),
        };
        keeper.refresh_products(utc_now()).await?;
        for stored in open {
            keeper.take_up(stored).await?;
        }
        info!(updates = keeper.jobs.len(), "updates are taken up");
        if let Err(why) = keeper.sweep().await {
            warn!(%why, "firmware files that nobody needs were not removed");
        }
        Ok(keeper)
    }

    /// Removes files that a crash left behind between their writing and their use. A bucket is left
    /// alone: its other files may be those of another server.
    async fn sweep(&self) -> Result<(), StoreError> {
        let files = self.store.files();
        if !files.is_folder() {
            return Ok(());
        }
        let unfinished = files.remove_unfinished();
        let unfinished = unfinished.map_err(|why| StoreError::Unavailable(why.to_string()))?;
        let mut unused = 0;
        for (file, _) in files.list().await? {
            if !self.store.firmware().is_used(file).await? {
                files.delete(file).await?;
                unused += 1;
            }
        }
        if unfinished + unused > 0 {
            info!(unfinished, unused, "firmware files that nobody needs were removed");
        }
        Ok(())
    }

    async fn take_up(&mut self, stored: StoredUpdate) -> Result<(), StoreError> {
        let now = utc_now();
        let body = serde_json::from_str::<Body>(&stored.body);
        let loaded = self.images.get(&self.store, stored.file).await;
        let (Ok(body), Ok(loaded)) = (body, loaded) else {
            warn!(device = %stored.device, "an update is given up: its file cannot be read");
            let closed = StoredUpdate { is_open: false, ..stored };
            return self.store.updates().put(&[closed]).await;
        };
        if let Some(rollout) = self.releases.rollout_of(&body.reason) {
            rollout.began(now, stored.device);
        }
        let job = Job {
            id: UpdateId(stored.id),
            file: stored.file,
            loaded,
            reason: body.reason,
            forced: body.forced,
            asked_at: stored.asked_at,
            state: UpdateState::Waiting(WaitReason::Offline),
            has_file: false,
            is_taken: false,
            next_try: now,
        };
        self.jobs.insert(stored.device, job);
        Ok(())
    }

    /// Everything that is to be done at this moment.
    pub(super) async fn turn(&mut self, reports: Vec<UpdateReport>) -> Result<(), StoreError> {
        for report in reports {
            self.note(report).await;
        }
        let now = utc_now();
        self.save_ends().await?;
        self.hand_over_waiting(now).await?;
        self.refresh_products(now).await?;
        self.call_off_stopped().await;
        if now >= self.next_start {
            self.next_start = now.after(START_EACH);
            self.start_due(now).await?;
        }
        self.heal_due(now).await;
        metrics::updates_open(self.jobs.len());
        self.save_releases().await
    }

    /// Updates that may begin beside those under way.
    pub(super) fn free(&self) -> usize {
        let busy = self.jobs.values().filter(|job| job.is_busy()).count();
        self.config.at_once_max.saturating_sub(busy)
    }

    async fn note(&mut self, report: UpdateReport) {
        let UpdateReport { device, id, state, at } = report;
        let Some(job) = self.jobs.get_mut(&device).filter(|job| job.id == id) else { return };
        job.enter(state.clone());
        let rollout = self.releases.rollout_of(&job.reason);
        match state {
            UpdateState::Waiting(WaitReason::Disabled) => {
                if let Some(rollout) = rollout {
                    rollout.parked(device);
                }
            }
            UpdateState::Started { .. } | UpdateState::Progress { .. } => {
                if let Some(rollout) = rollout {
                    rollout.goes_on(at, device);
                }
            }
            UpdateState::Waiting(_) | UpdateState::Validating | UpdateState::Restarting => {}
            UpdateState::Succeeded => self.end(device, Outcome::Updated).await,
            UpdateState::Failed(why) => self.end(device, outcome_of(&why)).await,
            UpdateState::Cancelled => self.end(device, Outcome::Withdrawn).await,
        }
    }

    /// An update is over.
    async fn end(&mut self, device: DeviceId, outcome: Outcome) {
        let Some(job) = self.jobs.remove(&device) else { return };
        let now = utc_now();
        info!(%device, state = ?job.state, "an update is over");
        metrics::update_over(job.outcome());
        if job.reason == Reason::SafeMode {
            self.heals.ended(device, now, outcome == Outcome::Updated);
        }
        if let Some(version) = job.loaded.version_of.filter(|_| job.is_automatic()) {
            self.releases.ended(now, device, version, &outcome);
        }
        self.unsaved.insert(device, job.stored(device, Some(now)));
    }

    async fn save_ends(&mut self) -> Result<(), StoreError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        // An update that began meanwhile has taken its place.
        self.unsaved.retain(|device, _| !self.jobs.contains_key(device));
        let ends: Vec<StoredUpdate> = self.unsaved.values().cloned().collect();
        self.store.updates().put(&ends).await?;
        self.unsaved.clear();
        let files: BTreeSet<FileHash> = ends.iter().map(|end| end.file).collect();
        for file in files {
            self.drop_unused(file).await?;
        }
        Ok(())
    }

    async fn drop_unused(&self, file: FileHash) -> Result<(), StoreError> {
        let is_coming = self.coming.get(&file).is_some_and(|mark| Arc::strong_count(mark) > 1);
        let is_in_use = self.jobs.values().any(|job| job.file == file);
        if is_coming || is_in_use || self.store.firmware().is_used(file).await? {
            return Ok(());
        }
        self.store.files().delete(file).await
    }

    async fn hand_over_waiting(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let due = |job: &Job| !job.is_taken && job.next_try <= now;
        let waiting: Vec<DeviceId> =
            self.jobs.iter().filter(|(_, job)| due(job)).map(|(device, _)| *device).collect();
        let free = self.free();
        for device in waiting.into_iter().take(free) {
            match self.hand_over(device).await {
                Ok(()) => {}
                Err(Refusal::UnknownDevice) => self.fail(device, UpdateFailure::Removed).await,
                Err(_) => self.wait_or_give_up(device, now).await,
            }
        }
        Ok(())
    }

    /// Somebody waits for what was flashed by hand; a release comes again by itself.
    async fn wait_or_give_up(&mut self, device: DeviceId, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&device) else { return };
        job.next_try = now.after(AGAIN);
        if now > job.asked_at.after(self.config.away_max) {
            self.fail(device, UpdateFailure::NotBack).await;
        }
    }

    async fn fail(&mut self, device: DeviceId, why: UpdateFailure) {
        let outcome = match why {
            // The server was away, too: this says nothing about the image.
            UpdateFailure::NotBack => Outcome::Undelivered(why.to_string()),
            _ => outcome_of(&why),
        };
        if let Some(job) = self.jobs.get_mut(&device) {
            job.state = UpdateState::Failed(why);
        }
        self.end(device, outcome).await;
    }

    async fn hand_over(&mut self, device: DeviceId) -> Result<(), Refusal> {
        let Some(job) = self.jobs.get_mut(&device) else { return Ok(()) };
        let update = Update {
            id: job.id,
            image: Arc::clone(&job.loaded.image),
            forced: job.forced,
            automatic: job.is_automatic(),
            expected: Some(job.loaded.expected),
        };
        self.handle.update(device, update).await?;
        job.is_taken = true;
        Ok(())
    }

    /// Begins an update: written down first, then handed to the device's shard. Refused ones leave
    /// nothing behind.
    pub(super) async fn begin(
        &mut self,
        device: DeviceId,
        file: FileHash,
        reason: Reason,
        forced: bool,
    ) -> Result<(), UpdatesError> {
        let begun = self.begin_all(&[device], file, &reason, forced).await?;
        begun.into_iter().try_for_each(|(_, result)| Ok(result?))
    }

    /// The same for several devices: written down together.
    pub(super) async fn begin_all(
        &mut self,
        devices: &[DeviceId],
        file: FileHash,
        reason: &Reason,
        forced: bool,
    ) -> Result<Vec<(DeviceId, Result<(), Refusal>)>, UpdatesError> {
        let loaded = self.images.get(&self.store, file).await?;
        let now = utc_now();
        let mut begun = Vec::with_capacity(devices.len());
        let (mut jobs, mut rows) = (Vec::new(), Vec::new());
        for device in devices {
            if self.jobs.contains_key(device) {
                begun.push((*device, Err(Refusal::UpdateRunning)));
                continue;
            }
            let job = Job {
                id: UpdateId(self.next_id),
                file,
                loaded: Arc::clone(&loaded),
                reason: reason.clone(),
                forced,
                asked_at: now,
                state: UpdateState::Waiting(WaitReason::Busy),
                has_file: false,
                is_taken: false,
                next_try: now,
            };
            self.next_id += 1;
            rows.push(job.stored(*device, None));
            jobs.push((*device, job));
        }
        self.store.updates().put(&rows).await?;
        for (device, job) in jobs {
            self.jobs.insert(device, job);
            begun.push((device, self.hand_over_new(device, now).await));
        }
        Ok(begun)
    }

    async fn hand_over_new(&mut self, device: DeviceId, now: Timestamp) -> Result<(), Refusal> {
        let taken = self.hand_over(device).await;
        if taken.is_err()
            && let Some(mut job) = self.jobs.remove(&device)
        {
            job.state = UpdateState::Cancelled;
            self.unsaved.insert(device, job.stored(device, Some(now)));
        }
        taken
    }

    /// Checks that a device takes a file now. To be stored then without the keeper, for whom all others
    /// wait: a bucket may be slow. The file stays as long as the mark does.
    pub(super) async fn expect(
        &mut self,
        device: DeviceId,
        flash: &Flash,
        firmware: &Firmware,
    ) -> Result<Coming, UpdatesError> {
        let state = self.state(device).await.ok_or(Refusal::Offline)?;
        if let Some(platform) = state.platform {
            firmware.suits(platform)?;
        }
        if !state.online {
            return Err(Refusal::Offline.into());
        }
        check_size(flash.file.len(), &state)?;
        self.check_needs(device, firmware).await?;
        self.coming.retain(|_, mark| Arc::strong_count(mark) > 1);
        Ok(Arc::clone(self.coming.entry(FileHash::of(&flash.file)).or_default()))
    }

    /// Begins with a file that was expected and is stored now.
    pub(super) async fn flash(
        &mut self,
        device: DeviceId,
        file: FileHash,
        flash: Flash,
        firmware: &Firmware,
    ) -> Result<(), UpdatesError> {
        // Held until the update has it, so that it is not fetched back.
        let _loaded = self.images.add(file, &flash.file, firmware);
        let begun = self.begin(device, file, flash.reason, flash.forced).await;
        if begun.is_err() {
            self.drop_unused(file).await?;
        }
        begun
    }

    pub(super) async fn cancel(&mut self, device: DeviceId) -> Result<bool, UpdatesError> {
        let Some(job) = self.jobs.get_mut(&device) else { return Ok(false) };
        if job.is_taken {
            self.handle.cancel_update(device, job.id).await?;
            return Ok(true);
        }
        job.state = UpdateState::Cancelled;
        self.end(device, Outcome::Withdrawn).await;
        Ok(true)
    }

    pub(super) fn view(&self, device: DeviceId) -> Option<UpdateView> {
        self.jobs.get(&device).map(Job::view)
    }

    /// How a device is.
    pub(super) async fn state(&self, device: DeviceId) -> Option<DeviceState> {
        self.handle.states(&[device]).await.into_iter().next()
    }

    /// The rollout that an update belongs to.
    pub(super) fn rollout(&mut self, reason: &Reason) -> Option<&mut Rollout> {
        self.releases.rollout_of(reason)
    }
}

/// Whether a device takes so many bytes, as far as it told.
fn check_size(bytes: usize, state: &DeviceState) -> Result<(), FirmwareError> {
    let max = state.binary_bytes_max.map_or(usize::MAX, |max| max as usize);
    if bytes <= max { Ok(()) } else { Err(FirmwareError::TooLarge { bytes, max }) }
}

#[cfg(test)]
mod tests {
    use secure::keys::ServerKeys;

    use super::*;
    use crate::{Node, NodeConfig};

    #[tokio::test]
    async fn a_file_that_is_being_stored_for_a_flash_is_not_removed() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let started = Node::start(NodeConfig::loopback(), Arc::clone(&store), keys).await;
        let (node, handle) = started.unwrap();
        let loaded = Keeper::load(Arc::clone(&store), handle, UpdatesConfig::default()).await;
        let mut keeper = loaded.unwrap();
        let file = store.files().put("firmware".into()).await.unwrap();
        let coming = Arc::clone(keeper.coming.entry(file).or_default());
        keeper.drop_unused(file).await.unwrap();
        assert!(store.files().get(file).await.unwrap().is_some());
        drop(coming);
        keeper.drop_unused(file).await.unwrap();
        assert!(store.files().get(file).await.unwrap().is_none());
        node.stop().await;
    }
}
