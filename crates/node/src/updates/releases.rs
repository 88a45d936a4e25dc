//! Releases in force, locks, and the devices they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{DeviceId, DeviceState, ProductId, Refusal, Timestamp};
use router::rollout::{Member, Outcome, Phase, Plan, Progress, Rollout, Standing, Verdict};
use store::{Assignment, Release, Store, StoreError};
use tracing::{debug, warn};

use super::job::Job;
use super::keeper::Keeper;
use super::{MemberView, NewRelease, Reason, ReleaseView, UpdatesConfig, UpdatesError, utc_now};
use crate::metrics;

/// The devices of a product are read again after this, for changes that nobody told of.
const FLEET_AGE: Duration = Duration::from_secs(60);
/// Devices of one release looked at in one turn.
const LOOK_MAX: usize = 1_000;
/// Updates that are written down together.
const BEGUN_TOGETHER: usize = 100;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Releases {
    in_force: BTreeMap<u64, Live>,
    products: BTreeMap<ProductId, Fleet>,
}

#[derive(Debug)]
struct Live {
    release: Release,
    rollout: Rollout,
}

impl Live {
    fn is_of(&self, product: ProductId, version: u16) -> bool {
        (self.release.product, self.release.version) == (product, version)
    }

    fn goes_on(&self) -> bool {
        !matches!(self.rollout.progress().phase, Phase::Halted(_))
    }
}

/// A product with something in force.
#[derive(Debug, Default)]
struct Fleet {
    read_at: Option<Timestamp>,
    /// Devices locked to a version are a release of their own, without stages.
    locks: BTreeMap<u16, Rollout>,
}

impl Releases {
    pub(super) async fn load(store: &Store, config: &UpdatesConfig) -> Result<Self, StoreError> {
        let mut releases = Self::default();
        for release in store.releases().in_force().await? {
            let stored = store.releases().devices(release.id).await?;
            let read = |(device, json): (DeviceId, String)| {
                Some((device, serde_json::from_str::<Member>(&json).ok()?))
            };
            let members = stored.into_iter().filter_map(read).collect();
            let progress = serde_json::from_str(&release.state).unwrap_or_else(|_| {
                Rollout::new(release.id, config.plan.clone(), utc_now()).progress().clone()
            });
            let rollout = Rollout::restored(release.id, progress, members);
            releases.products.entry(release.product).or_default();
            releases.in_force.insert(release.id, Live { release, rollout });
        }
        for product in store.assignments().products_with_locks().await? {
            releases.products.entry(product).or_default();
        }
        Ok(releases)
    }

    pub(super) fn rollout_of(&mut self, reason: &Reason) -> Option<&mut Rollout> {
        match reason {
            Reason::Release { release, .. } => {
                self.in_force.get_mut(release).map(|live| &mut live.rollout)
            }
            Reason::Lock { product, version } => {
                self.products.get_mut(product)?.locks.get_mut(version)
            }
            Reason::Flash | Reason::SafeMode => None,
        }
    }

    /// The release for a device: the newest for one of its groups, else the one for all. Locked devices
    /// and those of developers get none.
    fn release_for(&self, product: ProductId, assignment: &Assignment) -> Option<&Release> {
        if assignment.development || assignment.desired.is_some() {
            return None;
        }
        self.newest_for(product, assignment)
    }

    fn newest_for(&self, product: ProductId, assignment: &Assignment) -> Option<&Release> {
        let of_product = || {
            let newest_first = self.in_force.values().rev().map(|live| &live.release);
            newest_first.filter(|release| release.product == product)
        };
        let is_in = |release: &&Release| {
            release.groups.iter().any(|group| assignment.groups.contains(group))
        };
        of_product().find(is_in).or_else(|| of_product().find(|release| release.groups.is_empty()))
    }

    /// Whether that for which an update began goes on and is for the device still, or else another release or a
    /// lock wants the same version of the same product there.
    fn wants(&self, device: DeviceId, job: &Job) -> bool {
        let is_for = |rollout: &Rollout| rollout.member(device).is_some();
        let goes_on = |live: &Live| live.goes_on() && is_for(&live.rollout);
        if let Reason::Release { release, .. } = job.reason
            && self.in_force.get(&release).is_some_and(goes_on)
        {
            return true;
        }
        let Some((product, version)) = job.loaded.version_of else { return false };
        let lock = || self.products.get(&product)?.locks.get(&version);
        let mut releases = self.in_force.values().filter(|live| live.is_of(product, version));
        lock().is_some_and(is_for) || releases.any(goes_on)
    }

    /// An update to this version of this product is over: tells what wants it there, which need not be what
    /// it began for.
    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        (product, version): (ProductId, u16),
        outcome: &Outcome,
    ) {
        let releases = self.in_force.values_mut().filter(|live| live.is_of(product, version));
        let lock = self.products.get_mut(&product).and_then(|it| it.locks.get_mut(&version));
        for rollout in releases.map(|live| &mut live.rollout).chain(lock) {
            rollout.ended(now, device, outcome.clone());
        }
    }

    /// Tells every release and lock of a product which devices it is for.
    fn assign(&mut self, product: ProductId, devices: &[(DeviceId, Assignment)], now: Timestamp) {
        let mut by_release: BTreeMap<u64, Vec<DeviceId>> = BTreeMap::new();
        let mut by_lock: BTreeMap<u16, Vec<DeviceId>> = BTreeMap::new();
        for (device, assignment) in devices {
            if let Some(version) = assignment.desired {
                by_lock.entry(version).or_default().push(*device);
            } else if let Some(release) = self.release_for(product, assignment) {
                by_release.entry(release.id).or_default().push(*device);
            }
        }
        for (id, live) in &mut self.in_force {
            if live.release.product == product {
                live.rollout.set_devices(by_release.remove(id).unwrap_or_default());
            }
        }
        let Some(fleet) = self.products.get_mut(&product) else { return };
        fleet.read_at = Some(now);
        fleet.locks.retain(|version, _| by_lock.contains_key(version));
        for (version, devices) in by_lock {
            let rollout = fleet.locks.entry(version).or_insert_with(|| lock(version, now));
            rollout.set_devices(devices);
        }
    }

    fn reasons(&self) -> Vec<(ProductId, u16, Reason)> {
        let releases = self.in_force.values().map(|Live { release, .. }| {
            let (id, version) = (release.id, release.version);
            (release.product, version, Reason::Release { release: id, version })
        });
        let locks = self.products.iter().flat_map(|(product, fleet)| {
            fleet.locks.keys().map(|version| {
                (*product, *version, Reason::Lock { product: *product, version: *version })
            })
        });
        locks.chain(releases).collect()
    }
}

/// Somebody chose each of these devices: no stages, no halt.
fn lock(version: u16, now: Timestamp) -> Rollout {
    Rollout::new(version.into(), Plan::at_once(), now)
}

impl Keeper {
    pub(super) fn targeted(&self, product: ProductId, assignment: &Assignment) -> Option<u16> {
        if assignment.development {
            return None;
        }
        self.releases.newest_for(product, assignment).map(|release| release.version)
    }

    pub(super) fn product_changed(&mut self, product: ProductId) {
        self.releases.products.entry(product).or_default().read_at = None;
    }

    pub(super) async fn refresh_products(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let is_old = |fleet: &Fleet| fleet.read_at.is_none_or(|at| at.after(FLEET_AGE) <= now);
        let products = &self.releases.products;
        let old: Vec<ProductId> =
            products.iter().filter(|(_, fleet)| is_old(fleet)).map(|(id, _)| *id).collect();
        for product in old {
            let devices = self.store.assignments().of_product(product).await?;
            self.releases.assign(product, &devices, now);
        }
        Ok(())
    }

    /// Starts what releases and locks want, locks first.
    pub(super) async fn start_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for (product, version, reason) in self.releases.reasons() {
            let free = self.free();
            let Some(rollout) = self.rollout(&reason) else { continue };
            rollout.advance(now);
            if free == 0 {
                continue;
            }
            let candidates = rollout.candidates(now, LOOK_MAX);
            let idle: Vec<DeviceId> =
                candidates.into_iter().filter(|device| !self.jobs.contains_key(device)).collect();
            if idle.is_empty() {
                continue;
            }
            let states = self.handle.states(&idle).await;
            let started = self.start_among(&states, product, version, &reason, free).await;
            if let Err(why) = started {
                warn!(%product, version, %why, "a release waits");
            }
        }
        Ok(())
    }

    async fn start_among(
        &mut self,
        states: &[DeviceState],
        product: ProductId,
        version: u16,
        reason: &Reason,
        free: usize,
    ) -> Result<(), UpdatesError> {
        let now = utc_now();
        let firmware = self.store.firmware().get(product, version).await?;
        let firmware = firmware.ok_or(StoreError::NotFound)?;
        let mut wanted = Vec::new();
        for state in states {
            let Some(rollout) = self.rollout(reason) else { return Ok(()) };
            let standing = standing(state, product, version);
            if wanted.len() < free
                && rollout.consider(now, state.device, standing) == Verdict::Start
            {
                rollout.began(now, state.device);
                wanted.push(state.device);
            }
        }
        for devices in wanted.chunks(BEGUN_TOGETHER) {
            match self.begin_all(devices, firmware.file, reason, false).await {
                Ok(begun) => {
                    for (device, result) in begun {
                        if let Err(why) = result {
                            self.not_begun(device, reason, &why.into());
                        }
                    }
                }
                Err(why) => devices.iter().for_each(|one| self.not_begun(*one, reason, &why)),
            }
        }
        Ok(())
    }

    /// Calls off what is on its way for releases that stopped themselves, are not in force any more or are not
    /// for the device any more, which may have left the product: those that do not have the image yet are
    /// spared it, unless another release or a lock wants the same of them.
    pub(super) async fn call_off_stopped(&mut self) {
        let is_stopped = |(device, job): &(&DeviceId, &Job)| {
            job.is_automatic() && job.may_be_spared() && !self.releases.wants(**device, job)
        };
        let stopped: Vec<DeviceId> =
            self.jobs.iter().filter(is_stopped).map(|(device, _)| *device).collect();
        for device in stopped {
            if let Err(why) = self.cancel(device).await {
                debug!(%device, %why, "an update of a release that stopped goes on");
            }
        }
    }

    fn not_begun(&mut self, device: DeviceId, reason: &Reason, why: &UpdatesError) {
        let outcome = match why {
            UpdatesError::Refused(Refusal::Offline | Refusal::UpdateRunning) => Outcome::Withdrawn,
            other => Outcome::Undelivered(other.to_string()),
        };
        if let Some(rollout) = self.rollout(reason) {
            rollout.ended(utc_now(), device, outcome);
        }
    }

    pub(super) async fn save_releases(&mut self) -> Result<(), StoreError> {
        for (id, live) in &mut self.releases.in_force {
            let (progress, members) = live.rollout.take_changes();
            if progress.is_none() && members.is_empty() {
                continue;
            }
            let json = |member: &Member| serde_json::to_string(member).unwrap_or_default();
            let rows: Vec<_> =
                members.iter().map(|(device, member)| (*device, json(member))).collect();
            let state = progress.as_ref().map(written);
            let saved = self.store.releases().save(*id, state.as_deref(), &rows).await;
            if saved.is_err() {
                let devices = members.into_iter().map(|(device, _)| device);
                live.rollout.give_again(progress.is_some(), devices);
            }
            saved?;
            if progress.is_some_and(|it| matches!(it.phase, Phase::Halted(_))) {
                metrics::release_halted();
            }
        }
        for fleet in self.releases.products.values_mut() {
            for rollout in fleet.locks.values_mut() {
                drop(rollout.take_changes());
            }
        }
        Ok(())
    }

    pub(super) async fn release(&mut self, new: NewRelease) -> Result<u64, UpdatesError> {
        let now = utc_now();
        let plan = new.plan.unwrap_or_else(|| self.config.plan.clone());
        let replaced = |release: &Release| {
            let narrower = release.groups.iter().all(|group| new.groups.contains(group));
            release.product == new.product
                && release.groups.is_empty() == new.groups.is_empty()
                && narrower
        };
        let ended = self.ids_of(replaced);
        let draft = Rollout::new(0, plan.clone(), now);
        let release = Release {
            id: 0,
            product: new.product,
            version: new.version,
            groups: new.groups.clone(),
            made_by: new.made_by,
            made_at: now,
            ended_at: None,
            state: written(draft.progress()),
        };
        let id = self.store.releases().insert(&release, &ended).await?;
        for id in ended {
            self.releases.in_force.remove(&id);
        }
        let live =
            Live { release: Release { id, ..release }, rollout: Rollout::new(id, plan, now) };
        self.releases.in_force.insert(id, live);
        self.product_changed(new.product);
        Ok(id)
    }

    pub(super) async fn withdraw(
        &mut self,
        product: ProductId,
        version: u16,
        groups: &[String],
    ) -> Result<usize, UpdatesError> {
        let wanted: BTreeSet<&String> = groups.iter().collect();
        let ids = self.ids_of(|release| {
            let of_groups = !release.groups.is_empty()
                && release.groups.iter().all(|group| wanted.contains(group));
            let is_wanted = wanted.is_empty() || of_groups;
            release.product == product && release.version == version && is_wanted
        });
        self.store.releases().end(&ids, utc_now()).await?;
        for id in &ids {
            self.releases.in_force.remove(id);
        }
        self.product_changed(product);
        Ok(ids.len())
    }

    fn ids_of(&self, wanted: impl Fn(&Release) -> bool) -> Vec<u64> {
        let in_force = self.releases.in_force.values();
        in_force.map(|live| &live.release).filter(|release| wanted(release)).map(|r| r.id).collect()
    }

    pub(super) async fn set_paused(&mut self, id: u64, paused: bool) -> Result<(), UpdatesError> {
        let live = self.releases.in_force.get_mut(&id).ok_or(UpdatesError::NotInForce)?;
        match paused {
            true => live.rollout.pause(),
            false => live.rollout.resume(utc_now()),
        }
        Ok(self.save_releases().await?)
    }

    pub(super) fn view_of(&self, release: Release) -> ReleaseView {
        let live = self.releases.in_force.get(&release.id);
        let stored = || serde_json::from_str(&release.state).ok();
        let progress = live.map(|live| live.rollout.progress().clone()).or_else(stored);
        let summary = live.map(|live| live.rollout.summary());
        ReleaseView { release, progress, summary }
    }

    pub(super) fn members(&self, id: u64) -> Option<Vec<MemberView>> {
        let rollout = &self.releases.in_force.get(&id)?.rollout;
        let stages = rollout.stages();
        let views = rollout.members().map(|(device, member)| MemberView {
            device,
            stage: stages.get(&device).copied(),
            member: member.clone(),
        });
        Some(views.collect())
    }
}

fn written(progress: &Progress) -> String {
    serde_json::to_string(progress).unwrap_or_default()
}

/// An application that does not allow updates is asked by the update itself: it is told that one is
/// pending, and may allow it then.
fn standing(state: &DeviceState, product: ProductId, version: u16) -> Standing {
    let same_product = state.firmware_product.is_some_and(|own| u32::from(own) == product.0);
    Standing {
        online: state.online,
        enabled: true,
        runs_release: same_product && state.firmware_version == Some(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_update_came_to_is_told_to_the_release_that_wants_it_now() {
        let (product, device) = (ProductId(10_000), DeviceId([1; 12]));
        let mut releases = Releases::default();
        for (id, version) in [(1, 2), (2, 3)] {
            let release = Release {
                id,
                product,
                version,
                groups: Vec::new(),
                made_by: model::AccountId(1),
                made_at: Timestamp(0),
                ended_at: None,
                state: String::new(),
            };
            let mut rollout = Rollout::new(id, Plan::at_once(), Timestamp(0));
            rollout.set_devices([device]);
            releases.in_force.insert(id, Live { release, rollout });
        }
        let refused = Outcome::Rejected("no".into());
        releases.ended(Timestamp(1), device, (product, 3), &refused);
        let of = |id: u64| releases.in_force[&id].rollout.member(device).cloned();
        assert_eq!(of(1), Some(Member::default()));
        assert!(matches!(of(2), Some(Member::Failed { rejected: true, .. })));
    }
}
