//! What a device keeps of updates over restarts and losses of power.

use std::collections::BTreeMap;

use openssl::sha::sha256;

use super::Receiving;
use crate::device::describe::{ModuleTold, USER_PART};

/// Memory that is written by updates.
pub(in crate::device) struct Flash {
    pub(super) receiving: Option<Receiving>,
    /// Of a v3 transfer that was broken off.
    pub(super) partial: Option<Partial>,
    /// Checked, in force after the restart.
    pub(super) accepted: Option<Vec<u8>>,
    /// What updates brought, by function and index.
    modules: BTreeMap<(u8, u8), Installed>,
    /// The newest of them.
    newest: Option<(u8, u8)>,
    pub(super) fault: UpdateFault,
    pub(in crate::device) enabled: bool,
    pub(in crate::device) forced: bool,
}

/// What is there of a file.
pub(super) struct Partial {
    pub(super) sha256: [u8; 32],
    pub(super) size: usize,
    pub(super) bytes: Vec<u8>,
}

/// An update that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The file, byte for byte as it came.
    pub image: Vec<u8>,
    /// SHA-256 in its suffix.
    pub sha256: [u8; 32],
    /// Function of the module.
    pub function: u8,
    /// Its index.
    pub index: u8,
    /// Its version.
    pub version: u16,
    /// Product version in its suffix, if it names one.
    pub product_version: Option<u16>,
    /// Function, index and lowest version of what it needs.
    pub dependencies: Vec<(u8, u8, u16)>,
}

/// What goes wrong with updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateFault {
    /// Nothing.
    #[default]
    None,
    /// It does not begin: 5.03.
    Refuses,
    /// The file cannot be written to flash, which shows at the end.
    FlashError,
    /// What is in flash is not what was sent.
    HashMismatch,
    /// The power goes with this chunk, counted from 1, once.
    PowerCut {
        /// Chunks to come.
        chunk: u32,
    },
    /// It takes the file and comes back with what it had before.
    NotApplied,
}

impl Default for Flash {
    fn default() -> Self {
        Self {
            receiving: None,
            partial: None,
            accepted: None,
            modules: BTreeMap::new(),
            newest: None,
            fault: UpdateFault::None,
            enabled: true,
            forced: false,
        }
    }
}

impl Flash {
    pub(super) fn break_off(&mut self) {
        self.forced = false;
        self.accepted = None;
        if let Some(Receiving::V3(transfer)) = self.receiving.take() {
            self.partial = transfer.into_partial();
        }
    }

    /// The last update that was applied.
    pub(super) fn newest(&self) -> Option<&Installed> {
        self.modules.get(&self.newest?)
    }

    /// Everything that updates brought and that is in force.
    pub(in crate::device) fn installed(&self) -> impl Iterator<Item = &Installed> {
        self.modules.values()
    }

    /// Whether a complete file may run beside these modules; the system error if not. An application
    /// whose needs are not met is taken: the device comes up in safe mode (`ota.md` §3.4).
    pub(super) fn check(
        &self,
        file: &[u8],
        sha256_told: Option<[u8; 32]>,
        present: &[ModuleTold],
    ) -> Result<(), i32> {
        match self.fault {
            UpdateFault::FlashError => return Err(super::OTA_ERROR),
            UpdateFault::HashMismatch => return Err(super::INTEGRITY),
            UpdateFault::None
            | UpdateFault::NotApplied
            | UpdateFault::PowerCut { .. }
            | UpdateFault::Refuses => {}
        }
        let is_as_told = sha256_told.is_none_or(|told| sha256(file) == told);
        let module = installed(file).filter(|_| is_as_told).ok_or(super::INTEGRITY)?;
        let has_needs = module.told().is_satisfied_by(present);
        if has_needs || module.function == USER_PART { Ok(()) } else { Err(super::DEPENDENCY) }
    }

    pub(super) fn apply(&mut self) {
        (self.receiving, self.partial) = (None, None);
        let accepted = self.accepted.take();
        if let Some(accepted) = accepted.filter(|_| self.fault != UpdateFault::NotApplied) {
            self.install(&accepted);
        }
    }

    /// Puts a module into force; false if it is none.
    pub(super) fn install(&mut self, file: &[u8]) -> bool {
        let Some(installed) = installed(file) else { return false };
        let place = (installed.function, installed.index);
        self.newest = Some(place);
        self.modules.insert(place, installed);
        true
    }
}

impl Installed {
    fn told(&self) -> ModuleTold {
        ModuleTold::applied(self)
    }
}

/// A module whose CRC-32 is right (`ota.md` §5); nothing else is looked at. Its header is at the
/// beginning.
fn installed(file: &[u8]) -> Option<Installed> {
    let (module, crc) = file.split_last_chunk::<4>()?;
    if crc32(module) != u32::from_be_bytes(*crc) {
        return None;
    }
    let at = |from_end: usize| file.len().checked_sub(from_end);
    let word = |start: usize| {
        let bytes = file.get(start..start + 2)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let suffix_bytes = word(at(6)?)?;
    let product_version = if suffix_bytes >= 40 { word(at(42)?) } else { None };
    Some(Installed {
        image: file.to_vec(),
        sha256: file.get(at(38)?..at(6)?)?.try_into().ok()?,
        function: *file.get(14)?,
        index: *file.get(15)?,
        version: word(10)?,
        product_version: product_version.filter(|version| *version != u16::MAX),
        dependencies: dependencies(file),
    })
}

/// The two dependencies of a header; function 0 stands for none.
fn dependencies(file: &[u8]) -> Vec<(u8, u8, u16)> {
    let slots = file.get(16..24).unwrap_or_default().chunks_exact(4);
    let read = |slot: &[u8]| (slot[0], slot[1], u16::from_le_bytes([slot[2], slot[3]]));
    slots.map(read).filter(|(function, _, _)| *function != 0).collect()
}

/// CRC-32 of IEEE 802.3, bit by bit, so that it shares nothing with the server's.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc = crc >> 1 ^ if is_odd { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_that_of_the_vector() {
        let data = hex::decode("00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9");
        assert_eq!(super::crc32(&data.expect("hex")), 0xe843_3d3f);
    }
}
