//! Devices in safe mode get the modules they lack, one after the other (`ota.md` §6).

use std::collections::BTreeMap;
use std::time::Duration;

use model::update::{Dependency, Module, ModuleStore};
use model::{DeviceId, EventData, EventName, Refusal, Timestamp};
use protocol::firmware::{Candidate, Firmware, name, next_missing};
use serde_json::json;
use store::{FileHash, SystemModule};
use tracing::{info, warn};

use super::keeper::Keeper;
use super::{Reason, UpdatesError};

/// A device that says it is in safe mode describes itself some moments later.
const DESCRIBED_AFTER: Duration = Duration::from_secs(2);
/// A device on which it failed is tried again after this, twice as long each time, at most a day. So is
/// one for which this server has no module: somebody may add it.
const AGAIN: Duration = Duration::from_secs(600);
const AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Looks at a device that did not tell yet what it consists of.
const LOOKS_MAX: u32 = 15;
/// Devices that wait; of more nothing is done until they say it again.
const WAITING_MAX: usize = 10_000;
const UPDATING: &str = "spark/safe-mode-updater/updating";

/// Devices in safe mode.
#[derive(Debug, Default)]
pub(super) struct Heals {
    devices: BTreeMap<DeviceId, Heal>,
}

/// A device in safe mode.
#[derive(Debug, Clone, Copy)]
struct Heal {
    /// When it is looked at.
    due: Timestamp,
    /// Modules in a row that came to nothing.
    failures: u32,
    /// Looks in a row at a device that tells nothing, or nothing new.
    looks: u32,
    /// The module that was sent last.
    sent: Option<FileHash>,
}

/// What a look at a device came to.
enum Look {
    /// A module is on its way.
    Sent,
    /// It lacks nothing.
    Whole,
    /// It did not tell yet what it consists of.
    Unknown,
    /// It lacks, as far as it told, what was sent and applied already.
    Unchanged,
}

impl Heals {
    /// A module was applied, or came to nothing, as does one that is not here. Then it is looked at again:
    /// a device that has another need does not say so a second time.
    pub(super) fn ended(&mut self, device: DeviceId, now: Timestamp, well: bool) {
        let before = self.devices.get(&device);
        let failures = if well { 0 } else { before.map_or(0, |heal| heal.failures) + 1 };
        let sent = before.filter(|_| well).and_then(|heal| heal.sent);
        let wait = match failures {
            0 => DESCRIBED_AFTER,
            _ => (AGAIN * (1 << (failures - 1).min(8))).min(AGAIN_MAX),
        };
        self.set(device, Heal { due: now.after(wait), failures, looks: 0, sent });
    }

    /// The device says that it is in safe mode. One on which a module failed says it again at once, and
    /// waits all the same.
    fn note(&mut self, device: DeviceId, now: Timestamp) {
        let known = self.devices.get(&device);
        if known.is_none_or(|heal| heal.failures == 0) {
            let sent = known.and_then(|heal| heal.sent);
            self.set(device, Heal { due: now.after(DESCRIBED_AFTER), failures: 0, looks: 0, sent });
        }
    }

    fn set(&mut self, device: DeviceId, heal: Heal) {
        if self.devices.len() < WAITING_MAX || self.devices.contains_key(&device) {
            self.devices.insert(device, heal);
        }
    }

    fn look_again(&mut self, device: DeviceId, now: Timestamp, looks: u32) {
        if let Some(heal) = self.devices.get_mut(&device) {
            (heal.due, heal.looks) = (now.after(DESCRIBED_AFTER), looks);
        }
    }

    fn was_sent(&self, device: DeviceId, module: FileHash) -> bool {
        self.devices.get(&device).is_some_and(|heal| heal.sent == Some(module))
    }

    fn sent(&mut self, device: DeviceId, module: FileHash) {
        if let Some(heal) = self.devices.get_mut(&device) {
            heal.sent = Some(module);
        }
    }

    fn due(&self, now: Timestamp) -> Vec<DeviceId> {
        let due = self.devices.iter().filter(|(_, heal)| heal.due <= now);
        due.map(|(device, _)| *device).collect()
    }

    /// What follows of a look.
    fn looked(&mut self, device: DeviceId, now: Timestamp, look: Result<Look, UpdatesError>) {
        let looks = self.devices.get(&device).map_or(0, |heal| heal.looks);
        match look {
            Ok(Look::Sent) => self.look_again(device, now, 0),
            Ok(Look::Unknown | Look::Unchanged) if looks < LOOKS_MAX => {
                self.look_again(device, now, looks + 1);
            }
            Ok(Look::Unchanged) => self.ended(device, now, false),
            Ok(Look::Unknown | Look::Whole) => {
                self.devices.remove(&device);
            }
            Err(why) => {
                info!(%device, %why, "a device stays in safe mode");
                match why {
                    // It says it again when it is back.
                    UpdatesError::Refused(Refusal::Offline | Refusal::UnknownDevice) => {
                        self.devices.remove(&device);
                    }
                    _ => self.ended(device, now, false),
                }
            }
        }
    }
}

impl Keeper {
    pub(super) fn note_safe_modes(&mut self, devices: Vec<DeviceId>) {
        let now = super::utc_now();
        devices.into_iter().for_each(|device| self.heals.note(device, now));
    }

    pub(super) async fn heal_due(&mut self, now: Timestamp) {
        for device in self.heals.due(now) {
            // One module at a time: the next one when this is in force.
            let look = match self.jobs.contains_key(&device) {
                true => Ok(Look::Sent),
                false => self.heal(device).await,
            };
            self.heals.looked(device, now, look);
        }
    }

    async fn heal(&mut self, device: DeviceId) -> Result<Look, UpdatesError> {
        let modules = self.handle.modules(device).await?;
        if modules.is_empty() {
            return Ok(Look::Unknown);
        }
        let candidates = self.candidates(device).await?;
        let next = next_missing(&modules, needs(&modules), &candidates);
        let Some(next) = next.map_err(UpdatesError::Lacks)? else { return Ok(Look::Whole) };
        let (function, index, version) = (next.function, next.index, next.version);
        if self.heals.was_sent(device, next.key) {
            return Ok(Look::Unchanged);
        }
        self.begin(device, next.key, Reason::SafeMode, false).await?;
        self.heals.sent(device, next.key);
        info!(%device, module = name(function, index), version, "safe mode: a module is sent");
        self.tell(device, &json!({"function": function, "index": index, "version": version})).await;
        Ok(Look::Sent)
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
