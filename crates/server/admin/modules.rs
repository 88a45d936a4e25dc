//! System modules at the operator's desk.

use std::collections::BTreeSet;

use model::Platform;
use node::firmware::{Firmware, name};
use serde::{Deserialize, Serialize};
use store::{FileHash, StoreError, SystemModule};

use super::{Desk, Reply, utc_now};

/// A system module in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModuleLine {
    /// SHA-256 of its file.
    pub hash: String,
    /// Its platform.
    pub platform: String,
    /// What it is: `system part 1`.
    pub module: String,
    /// Module version.
    pub version: u16,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// The file's name when it was added.
    pub name: String,
}

/// The firmware files that are needed, and how they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FirmwareFiles {
    /// How many are needed.
    pub needed: u64,
    /// Hashes of those that are not there or have other bytes.
    pub lost: Vec<String>,
    /// Files that nothing here needs; in a bucket they may be another server's.
    pub unused: u64,
    /// Their bytes.
    pub unused_bytes: u64,
}

impl Desk {
    pub(super) async fn check_firmware(&self) -> Result<Reply, String> {
        self.look_at_files().await.map(Reply::Firmware).map_err(|why| why.to_string())
    }

    async fn look_at_files(&self) -> Result<FirmwareFiles, StoreError> {
        let needed: BTreeSet<FileHash> = self.store.firmware().files().await?.into_iter().collect();
        let mut files = FirmwareFiles { needed: needed.len() as u64, ..FirmwareFiles::default() };
        for file in &needed {
            match self.store.files().get(*file).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(StoreError::Damaged(_)) => files.lost.push(file.to_string()),
                Err(why) => return Err(why),
            }
        }
        for (_, bytes) in
            self.store.files().list().await?.iter().filter(|(file, _)| !needed.contains(file))
        {
            files.unused += 1;
            files.unused_bytes += bytes;
        }
        Ok(files)
    }

    pub(super) async fn add_module(&self, name: String, file: &str) -> Result<Reply, String> {
        let file = hex::decode(file).map_err(|why| why.to_string())?;
        let firmware = Firmware::read(&file).map_err(|why| why.to_string())?;
        if firmware.function.is_application() {
            return Err(format!("{name} is an application: upload it to its product"));
        }
        let bytes = file.len() as u64;
        let hash = self.store.files().put(file.into()).await.map_err(|why| why.to_string())?;
        let needs = firmware.dependencies.iter();
        let module = SystemModule {
            file: hash,
            platform: firmware.platform.0,
            function: firmware.function.number(),
            index: firmware.index,
            version: firmware.version,
            dependencies: needs.map(|d| (d.function, d.index, d.version)).collect(),
            name,
            bytes,
            added_at: utc_now(),
        };
        self.store.firmware().add_module(&module).await.map_err(|why| why.to_string())?;
        Ok(Reply::Modules(vec![line(&module)]))
    }

    pub(super) async fn list_modules(&self) -> Result<Reply, String> {
        let modules = self.store.firmware().modules().await.map_err(|why| why.to_string())?;
        Ok(Reply::Modules(modules.iter().map(line).collect()))
    }

    pub(super) async fn remove_module(&self, hash: &str) -> Result<Reply, String> {
        let modules = self.store.firmware().modules().await.map_err(|why| why.to_string())?;
        let found = modules.iter().find(|module| module.file.to_string() == hash);
        let module = found.ok_or_else(|| format!("{hash}: no such module is kept"))?;
        self.forget(module.file).await.map_err(|why| why.to_string())?;
        Ok(Reply::Modules(vec![line(module)]))
    }

    async fn forget(&self, file: FileHash) -> Result<(), StoreError> {
        self.store.firmware().delete_module(file).await?;
        if self.store.firmware().is_used(file).await? {
            return Ok(());
        }
        self.store.files().delete(file).await
    }
}

fn line(module: &SystemModule) -> ModuleLine {
    ModuleLine {
        hash: module.file.to_string(),
        platform: Platform(module.platform).name(),
        module: name(module.function, module.index),
        version: module.version,
        bytes: module.bytes,
        name: module.name.clone(),
    }
}
