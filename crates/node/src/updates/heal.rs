//! Devices in safe mode get the modules they lack, one after the other (`ota.md` §6).

use std::collections::BTreeMap;
use std::time::Duration;

use model::update::{Dependency, Module, ModuleStore};
use model::{DeviceId, EventData, EventName, Timestamp};
use protocol::firmware::{Candidate, Firmware, name, next_missing};
use serde_json::json;
use store::{FileHash, StoreError, SystemModule};
use tracing::{info, warn};

use super::keeper::Keeper;
use super::{Reason, UpdatesError};

/// A device that says it is in safe mode describes itself some moments later.
const DESCRIBED_AFTER: Duration = Duration::from_secs(2);
/// A device on which it failed is let alone for this long.
const AFTER_FAILURE: Duration = Duration::from_secs(600);
/// Devices that wait; of more nothing is done until they say it again.
const WAITING_MAX: usize = 10_000;
const UPDATING: &str = "spark/safe-mode-updater/updating";

/// Devices in safe mode.
#[derive(Debug, Default)]
pub(super) struct Heals {
    due: BTreeMap<DeviceId, Timestamp>,
    /// Not before then.
    failed: BTreeMap<DeviceId, Timestamp>,
}

impl Heals {
    pub(super) fn ended(&mut self, device: DeviceId, now: Timestamp, well: bool) {
        self.failed.retain(|_, until| *until > now);
        if !well && self.failed.len() < WAITING_MAX {
            self.failed.insert(device, now.after(AFTER_FAILURE));
        }
    }

    fn note(&mut self, device: DeviceId, now: Timestamp) {
        let is_let_alone = self.failed.get(&device).is_some_and(|until| *until > now);
        if !is_let_alone && (self.due.len() < WAITING_MAX || self.due.contains_key(&device)) {
            self.due.insert(device, now.after(DESCRIBED_AFTER));
        }
    }

    fn take_due(&mut self, now: Timestamp) -> Vec<DeviceId> {
        let due: Vec<DeviceId> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(device, _)| *device).collect();
        self.due.retain(|_, at| *at > now);
        due
    }
}

impl Keeper {
    pub(super) fn note_safe_modes(&mut self, devices: Vec<DeviceId>) {
        let now = super::utc_now();
        devices.into_iter().for_each(|device| self.heals.note(device, now));
    }

    pub(super) async fn heal_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for device in self.heals.take_due(now) {
            if self.jobs.contains_key(&device) {
                self.heals.note(device, now);
            } else if let Err(why) = self.heal(device).await {
                info!(%device, %why, "a device stays in safe mode");
            }
        }
        Ok(())
    }

    async fn heal(&mut self, device: DeviceId) -> Result<(), UpdatesError> {
        let modules = self.handle.modules(device).await?;
        let candidates = self.candidates(device).await?;
        let next = next_missing(&modules, needs(&modules), &candidates);
        let Some(next) = next.map_err(UpdatesError::Lacks)? else { return Ok(()) };
        let (function, index, version) = (next.function, next.index, next.version);
        self.begin(device, next.key, Reason::SafeMode, false).await?;
        info!(%device, module = name(function, index), version, "safe mode: a module is sent");
        self.tell(device, &json!({"function": function, "index": index, "version": version})).await;
        Ok(())
    }

    /// Whether the device has, or could be sent, what a file needs.
    pub(super) async fn check_needs(
        &self,
        device: DeviceId,
        firmware: &Firmware,
    ) -> Result<(), UpdatesError> {
        let modules = self.handle.modules(device).await?;
        // Nothing is known of a device that never described itself.
        if modules.is_empty() || firmware.dependencies.is_empty() {
            return Ok(());
        }
        let candidates = self.candidates(device).await?;
        let next = next_missing(&modules, firmware.dependencies.iter().copied(), &candidates);
        next.map(drop).map_err(UpdatesError::Lacks)
    }

    /// The system modules for a device's platform.
    async fn candidates(&self, device: DeviceId) -> Result<Vec<Candidate<FileHash>>, UpdatesError> {
        let platform = self.state(device).await.and_then(|state| state.platform);
        let all = self.store.firmware().modules().await?;
        let of_platform = |module: &SystemModule| platform.is_some_and(|p| p.0 == module.platform);
        Ok(all.into_iter().filter(of_platform).map(candidate).collect())
    }

    async fn tell(&self, device: DeviceId, data: &serde_json::Value) {
        let Some(row) = self.handle.row(device) else { return };
        let (Some(account), Ok(name)) = (row.account, EventName::parse(UPDATING.as_bytes())) else {
            return;
        };
        let data = EventData { format: 0, bytes: data.to_string().into_bytes().into() };
        let told = self.handle.publish_internal(account, row.product, name, Some(data)).await;
        if let Err(why) = told {
            warn!(%device, %why, "an event about safe mode was not published");
        }
    }
}

/// What the modules that run need; those of the lower ones first.
fn needs(modules: &[Module]) -> Vec<Dependency> {
    let mut running: Vec<&Module> =
        modules.iter().filter(|module| module.store == ModuleStore::Main).collect();
    running.sort_by_key(|module| (module.function, module.index));
    running.iter().flat_map(|module| module.dependencies.iter().copied()).collect()
}

fn candidate(module: SystemModule) -> Candidate<FileHash> {
    let dependencies = module.dependencies.iter().map(|(function, index, version)| Dependency {
        function: *function,
        index: *index,
        version: *version,
    });
    Candidate {
        key: module.file,
        function: module.function,
        index: module.index,
        version: module.version,
        dependencies: dependencies.collect(),
    }
}
