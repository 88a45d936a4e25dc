//! Updates over the air: what is sent to a device, how far it is, why it failed (`ota.md`).

use std::sync::Arc;

use crate::{DeviceId, Timestamp};

/// Names one update of one device. Chosen by whoever keeps the updates; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateId(pub u64);

/// A firmware file that was checked, shared by all devices that get it.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of the whole file: by it a device knows an update that was interrupted.
    pub sha256: [u8; 32],
    /// The function of the module (`ota.md` §5.2): 5 is a user part.
    pub function: u8,
    /// Index among the modules of that function.
    pub index: u8,
    /// The file; never empty.
    pub bytes: Arc<[u8]>,
}

impl Image {
    /// Length of the file in bytes.
    pub fn size(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("function", &self.function)
            .field("index", &self.index)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// One update of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Its name in reports.
    pub id: UpdateId,
    /// What to send.
    pub image: Arc<Image>,
    /// Whether it is flashed although the application disabled updates (`ota.md` §1.1).
    pub forced: bool,
    /// Whether nobody asked for this device: `spark/status` says `auto-update` before it begins.
    pub automatic: bool,
    /// How it shows that it was applied; absent: the device's word is all there is.
    pub expected: Option<Expected>,
}

/// What a device tells once an update is applied. Function and index are the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The SHA-256 in the suffix of the file, which Describe shows for user parts.
    pub sha256: Option<[u8; 32]>,
    /// The module version, which Describe shows for all modules.
    pub version: u16,
    /// The product version, which Hello shows for user parts.
    pub product_version: Option<u16>,
}

/// A module of a device, as its Describe tells (`messages.md` §6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where it lies.
    pub store: ModuleStore,
    /// Its function (`ota.md` §5.2).
    pub function: u8,
    /// Index among the modules of that function.
    pub index: u8,
    /// Version.
    pub version: u16,
    /// Whether every check that was made of it passed.
    pub valid: bool,
    /// SHA-256 of its suffix; user parts only.
    pub sha256: Option<[u8; 32]>,
    /// What must be there for it to run.
    pub dependencies: Vec<Dependency>,
}

/// Where a module of a device lies. Only those of the main store run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleStore {
    /// It runs.
    Main,
    /// Kept for a reset to what was shipped.
    Factory,
    /// A copy.
    Backup,
    /// Received, not applied.
    Scratch,
}

/// A module that must be there, at this version or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// Its function.
    pub function: u8,
    /// Its index.
    pub index: u8,
    /// The lowest version.
    pub version: u16,
}

impl Expected {
    /// Whether these modules show that `image` is applied; absent if they say nothing of it.
    pub fn is_shown_by(&self, image: &Image, modules: &[Module]) -> Option<bool> {
        let is_it = |module: &&Module| {
            module.store == ModuleStore::Main
                && (module.function, module.index) == (image.function, image.index)
        };
        let module = modules.iter().find(is_it)?;
        Some(match (self.sha256, module.sha256) {
            (Some(expected), Some(told)) => expected == told,
            (Some(_), None) => self.version == module.version,
            (None, _) => module.valid && self.version == module.version,
        })
    }
}

/// Where an update is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateState {
    /// It cannot go on yet.
    Waiting(WaitReason),
    /// The transfer began, or goes on, behind so many bytes that the device has already.
    Started {
        /// In bytes.
        offset: u32,
    },
    /// So much is there.
    Progress {
        /// Bytes that the device has, as far as it told.
        bytes: u32,
        /// Bytes of the file.
        size: u32,
    },
    /// The device has everything and checks it.
    Validating,
    /// The device took it and restarts.
    Restarting,
    /// The device came back with it. The update is over.
    Succeeded,
    /// It is over.
    Failed(UpdateFailure),
    /// Somebody called it off. The update is over.
    Cancelled,
}

impl UpdateState {
    /// Whether nothing follows.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed(_) | Self::Cancelled => true,
            Self::Waiting(_)
            | Self::Started { .. }
            | Self::Progress { .. }
            | Self::Validating
            | Self::Restarting => false,
        }
    }
}

/// Why an update does not go on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// The device is not there.
    Offline,
    /// The application does not allow updates; it was told that one is pending.
    Disabled,
    /// The device is asked what it consists of, or is about to try again.
    Busy,
}

/// Why an update failed, in words for its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateFailure {
    /// The device would not begin.
    #[error("the device refused the update with code {}.{:02}{}", code / 100, code % 100, told(text))]
    Refused {
        /// CoAP code, class × 100 + detail.
        code: u16,
        /// What the device said; may be empty.
        text: String,
    },
    /// The application does not allow updates.
    #[error("updates are disabled on the device; force the update or enable them")]
    Disabled,
    /// The file is larger than the device takes.
    #[error("the file has {size} bytes, the device takes at most {size_max}")]
    TooLarge {
        /// Bytes of the file.
        size: u32,
        /// Bytes that the device takes.
        size_max: u32,
    },
    /// The device has the whole file and will not have it.
    #[error("the device found the file invalid{}", told(.0))]
    Invalid(String),
    /// The transfer began so often that it is given up.
    #[error("the transfer made no progress in {attempts} attempts")]
    NoProgress {
        /// How often it began.
        attempts: u32,
    },
    /// The device was not heard of for too long.
    #[error("the device did not come back")]
    NotBack,
    /// The device came back and still has what it had before.
    #[error("the device came back without the update{}", told(.0))]
    NotApplied(String),
    /// The device was removed or thrown out.
    #[error("the device was removed")]
    Removed,
}

/// Behind a text that stands for itself.
fn told(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What the cloud side tells whoever keeps the updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateReport {
    /// Which device.
    pub device: DeviceId,
    /// Which update.
    pub id: UpdateId,
    /// Where it is.
    pub state: UpdateState,
    /// Since when.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_device_said_if_it_said_something() {
        let refused = |text: &str| UpdateFailure::Refused { code: 503, text: text.into() };
        assert_eq!(refused("").to_string(), "the device refused the update with code 5.03");
        assert!(refused("busy").to_string().ends_with("5.03: busy"));
    }

    #[test]
    fn a_user_part_is_known_by_its_hash_and_other_modules_by_their_version() {
        let image = Image { sha256: [9; 32], function: 5, index: 1, bytes: [1][..].into() };
        let module = |sha256, version, store| Module {
            store,
            function: 5,
            index: 1,
            version,
            valid: true,
            sha256,
            dependencies: Vec::new(),
        };
        let expected = Expected { sha256: Some([1; 32]), version: 6, product_version: None };
        let shown = |module| expected.is_shown_by(&image, &[module]);
        assert_eq!(shown(module(Some([1; 32]), 5, ModuleStore::Main)), Some(true));
        assert_eq!(shown(module(Some([2; 32]), 6, ModuleStore::Main)), Some(false));
        assert_eq!(shown(module(None, 6, ModuleStore::Main)), Some(true));
        assert_eq!(shown(module(None, 7, ModuleStore::Main)), Some(false));
        assert_eq!(shown(module(None, 6, ModuleStore::Factory)), None);
    }

    #[test]
    fn a_system_module_that_is_there_and_invalid_is_not_applied() {
        let image = Image { sha256: [9; 32], function: 4, index: 1, bytes: [1][..].into() };
        let module = |valid| Module {
            store: ModuleStore::Main,
            function: 4,
            index: 1,
            version: 6300,
            valid,
            sha256: None,
            dependencies: Vec::new(),
        };
        let expected = Expected { sha256: None, version: 6300, product_version: None };
        assert_eq!(expected.is_shown_by(&image, &[module(true)]), Some(true));
        assert_eq!(expected.is_shown_by(&image, &[module(false)]), Some(false));
    }
}
