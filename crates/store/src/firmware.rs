//! What is known about firmware files: those of products, and modules of the system.

use async_trait::async_trait;
use model::{AccountId, ProductId, Timestamp};

use crate::{FileHash, StoreError};

/// A version of a product's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductFirmware {
    /// Whose.
    pub product: ProductId,
    /// Product version.
    pub version: u16,
    /// What it is called.
    pub title: String,
    /// What its owner says about it.
    pub description: String,
    /// The file's name when it was uploaded.
    pub name: String,
    /// Whether it was said to be mandatory.
    pub mandatory: bool,
    /// Its file.
    pub file: FileHash,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Who uploaded it.
    pub uploaded_by: AccountId,
    /// When.
    pub uploaded_at: Timestamp,
    /// When title or description were changed.
    pub updated_at: Timestamp,
}

/// A system module that the operator gave to the server, for devices in safe mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemModule {
    /// Its file.
    pub file: FileHash,
    /// Platform number.
    pub platform: u16,
    /// Module function (`ota.md` §5.2).
    pub function: u8,
    /// Place among the modules of its function.
    pub index: u8,
    /// Module version.
    pub version: u16,
    /// Function, index and lowest version of what it needs.
    pub dependencies: Vec<(u8, u8, u16)>,
    /// The file's name when it was added.
    pub name: String,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// When it was added.
    pub added_at: Timestamp,
}

/// The firmware of products, and system modules. The bytes are in [`crate::Files`].
#[async_trait]
pub trait Firmware: Send + Sync {
    /// Adds a version; [`StoreError::Taken`] if the product has it.
    async fn insert(&self, firmware: &ProductFirmware) -> Result<(), StoreError>;
    /// A version.
    async fn get(
        &self,
        product: ProductId,
        version: u16,
    ) -> Result<Option<ProductFirmware>, StoreError>;
    /// The versions of a product, newest first.
    async fn list(&self, product: ProductId) -> Result<Vec<ProductFirmware>, StoreError>;
    /// Replaces title and description.
    async fn describe(
        &self,
        product: ProductId,
        version: u16,
        title: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Removes a version.
    async fn delete(&self, product: ProductId, version: u16) -> Result<(), StoreError>;
    /// Adds a system module; one whose file is there already is replaced.
    async fn add_module(&self, module: &SystemModule) -> Result<(), StoreError>;
    /// All system modules, by platform, function, index and version.
    async fn modules(&self) -> Result<Vec<SystemModule>, StoreError>;
    /// Removes a system module.
    async fn delete_module(&self, file: FileHash) -> Result<(), StoreError>;
    /// Whether a product, a system module or an update that is not over needs the file.
    async fn is_used(&self, file: FileHash) -> Result<bool, StoreError>;
    /// The files that products, system modules and updates that are not over need.
    async fn files(&self) -> Result<Vec<FileHash>, StoreError>;
}
