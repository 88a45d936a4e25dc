//! The keeper of updates: what each device is to get, what is under way, and how it went.
//!
//! It starts updates through [`Handle`], keeps their results, and goes on after a restart with what was
//! under way. Which device of a release gets it when is decided by [`router::rollout`]. Begin with
//! [`Updates`].

mod heal;
mod images;
mod job;
mod keeper;
mod releases;
mod results;

use std::sync::Arc;
use std::time::Duration;

use model::{AccountId, DeviceId, ProductId, Refusal, Timestamp};
use protocol::firmware::{Firmware, FirmwareError};
use router::rollout::{Member, Plan, PlanError, Progress, Summary};
use store::{Release, Store, StoreError};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::Handle;
use keeper::Keeper;

pub use job::{Reason, UpdateView};

/// How often the keeper looks at what is to be done without being told.
const TICK: Duration = Duration::from_secs(1);

/// What the operator may set about updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatesConfig {
    /// Updates under way at once; further devices wait. Default 1,000.
    pub at_once_max: usize,
    /// Largest firmware file taken, in bytes. Default 4 MiB.
    pub image_bytes_max: usize,
    /// How a release goes unless it says otherwise.
    pub plan: Plan,
    /// How long a device that was to be flashed may stay away before that is given up. Default 1 h.
    pub away_max: Duration,
}

impl UpdatesConfig {
    /// No setting takes larger firmware files, in bytes.
    pub const IMAGE_BYTES_LIMIT: usize = 16 << 20;
}

impl Default for UpdatesConfig {
    fn default() -> Self {
        Self {
            at_once_max: 1_000,
            image_bytes_max: 4 << 20,
            plan: Plan::default(),
            away_max: Duration::from_secs(3600),
        }
    }
}

/// Why an update or a release was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UpdatesError {
    /// The file does not suit.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The device lacks modules that this server has not.
    #[error(
        "{0}: the device would not run the file. Add the module with `cloudchamber firmware add`"
    )]
    Lacks(protocol::firmware::Missing),
    /// The stages make no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The device cannot take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such release of the product is in force.
    #[error("no such release is in force")]
    NotInForce,
}

/// A firmware file for one device.
#[derive(Debug, Clone)]
pub struct Flash {
    /// The file.
    pub file: bytes::Bytes,
    /// Why.
    pub reason: Reason,
    /// Whether it is flashed although the application disabled updates.
    pub forced: bool,
}

/// A release to make.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// Of which product.
    pub product: ProductId,
    /// Which version; the product has it.
    pub version: u16,
    /// For these groups; empty: for all devices of the product.
    pub groups: Vec<String>,
    /// How it is to go; absent: as configured.
    pub plan: Option<Plan>,
    /// Who makes it.
    pub made_by: AccountId,
}

/// A release and how far it is.
#[derive(Debug, Clone)]
pub struct ReleaseView {
    /// As it was made.
    pub release: Release,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Its devices in numbers; absent: it is not in force.
    pub summary: Option<Summary>,
}

/// A device of a release.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// Which device.
    pub device: DeviceId,
    /// Its stage, from 0 on; absent: the release is not for it any more.
    pub stage: Option<usize>,
    /// What became of the release there.
    pub member: Member,
}

/// The keeper of updates. Cheap to clone.
#[derive(Clone)]
pub struct Updates {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    handle: Handle,
    config: UpdatesConfig,
    /// One writer: whoever holds it decides and writes down.
    keeper: Mutex<Keeper>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Updates {
    /// Takes up what was under way and keeps updates from now on. Call it in a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        store: Arc<Store>,
        handle: Handle,
        config: UpdatesConfig,
    ) -> Result<Self, StoreError> {
        let keeper = Keeper::load(Arc::clone(&store), handle.clone(), config.clone()).await?;
        let keeper = Mutex::new(keeper);
        let shared = Shared { store, handle, config, keeper, task: std::sync::Mutex::default() };
        let updates = Self { shared: Arc::new(shared) };
        let handle = &updates.shared.handle;
        let task = run(Arc::downgrade(&updates.shared), handle.clone());
        let task = handle.spawn("updates", task);
        if let Ok(mut place) = updates.shared.task.lock() {
            *place = Some(task);
        }
        Ok(updates)
    }

    /// Ends the keeping; what is under way is taken up at the next start.
    pub fn stop(&self) {
        if let Ok(mut task) = self.shared.task.lock()
            && let Some(task) = task.take()
        {
            task.abort();
        }
    }

    /// The settings.
    pub fn config(&self) -> &UpdatesConfig {
        &self.shared.config
    }

    /// Reads a file and checks that it is whole and not too large.
    ///
    /// # Errors
    /// See [`FirmwareError`].
    pub fn check(&self, file: &[u8]) -> Result<Firmware, FirmwareError> {
        let max = self.shared.config.image_bytes_max;
        if file.len() > max {
            return Err(FirmwareError::TooLarge { bytes: file.len(), max });
        }
        Firmware::read(file)
    }

    /// Sends a file to a device that is online; returns when the transfer is taken. It is kept until it
    /// is over, over restarts of device and server.
    ///
    /// # Errors
    /// `Firmware`: it is not whole or for another platform; `Lacks`; `Refused`: offline, or an update is
    /// under way; `Store`.
    pub async fn flash(&self, device: DeviceId, flash: Flash) -> Result<(), UpdatesError> {
        let firmware = self.check(&flash.file)?;
        let keeper = &self.shared.keeper;
        let coming = keeper.lock().await.expect(device, &flash, &firmware).await?;
        let stored = self.shared.store.files().put(flash.file.clone()).await;
        let mut keeper = keeper.lock().await;
        drop(coming);
        keeper.flash(device, stored?, flash, &firmware).await
    }

    /// Calls the update of a device off. False: there is none.
    ///
    /// # Errors
    /// The store or the device's shard cannot be asked.
    pub async fn cancel(&self, device: DeviceId) -> Result<bool, UpdatesError> {
        self.shared.keeper.lock().await.cancel(device).await
    }

    /// The update under way of a device, or its last one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_device(&self, device: DeviceId) -> Result<Option<UpdateView>, StoreError> {
        if let Some(view) = self.shared.keeper.lock().await.view(device) {
            return Ok(Some(view));
        }
        let stored = self.shared.store.updates().get(device).await?;
        Ok(stored.as_ref().and_then(UpdateView::of_stored))
    }

    /// Releases a version. A release for the same devices that was in force ends.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn release(&self, new: NewRelease) -> Result<u64, UpdatesError> {
        self.shared.keeper.lock().await.release(new).await
    }

    /// Withdraws releases of a version: those for all of these groups, or (with none given) every one of
    /// the version. Devices keep what they have. Gives how many ended.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn withdraw(
        &self,
        product: ProductId,
        version: u16,
        groups: &[String],
    ) -> Result<usize, UpdatesError> {
        self.shared.keeper.lock().await.withdraw(product, version, groups).await
    }

    /// Stops a release, or lets it go on.
    ///
    /// # Errors
    /// `NotInForce`
    pub async fn set_paused(&self, release: u64, paused: bool) -> Result<(), UpdatesError> {
        self.shared.keeper.lock().await.set_paused(release, paused).await
    }

    /// The newest releases of a product, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn releases(
        &self,
        product: ProductId,
        limit: u32,
    ) -> Result<Vec<ReleaseView>, StoreError> {
        let stored = self.shared.store.releases().list(product, limit).await?;
        let keeper = self.shared.keeper.lock().await;
        Ok(stored.into_iter().map(|release| keeper.view_of(release)).collect())
    }

    /// What became of a release on each device.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn members(&self, release: u64) -> Result<Vec<MemberView>, StoreError> {
        if let Some(members) = self.shared.keeper.lock().await.members(release) {
            return Ok(members);
        }
        let stored = self.shared.store.releases().devices(release).await?;
        let read = |(device, json): (DeviceId, String)| {
            let member = serde_json::from_str(&json).ok()?;
            Some(MemberView { device, stage: None, member })
        };
        Ok(stored.into_iter().filter_map(read).collect())
    }

    /// The version that releases have for each of these devices of a product.
    pub async fn targeted(
        &self,
        product: ProductId,
        devices: &[(DeviceId, store::Assignment)],
    ) -> Vec<Option<u16>> {
        let keeper = self.shared.keeper.lock().await;
        devices.iter().map(|(_, assignment)| keeper.targeted(product, assignment)).collect()
    }

    /// To be called after devices of a product, their groups or locks were changed.
    pub async fn product_changed(&self, product: ProductId) {
        self.shared.keeper.lock().await.product_changed(product);
    }
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Updates").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// Keeps updates until nobody else holds them.
async fn run(shared: std::sync::Weak<Shared>, handle: Handle) {
    let (reports, safe_modes) = (handle.update_reports(), handle.safe_modes());
    loop {
        let (mut told, mut unsafe_devices) = (Vec::new(), Vec::new());
        tokio::select! {
            reports = reports.next() => told = reports,
            devices = safe_modes.next() => unsafe_devices = devices,
            () = tokio::time::sleep(TICK) => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        let mut keeper = shared.keeper.lock().await;
        keeper.note_safe_modes(unsafe_devices);
        if let Err(why) = keeper.turn(told).await {
            warn!(%why, "updates wait: the store refuses");
        }
        drop(keeper);
        // Work of each kind is gathered while others use what this held.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The time of day.
fn utc_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX))
}
