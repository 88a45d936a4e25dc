//! Updates of devices: one under way, or the last one, for each.

use async_trait::async_trait;
use model::{DeviceId, Timestamp};

use crate::{FileHash, StoreError};

/// A device's update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpdate {
    /// Which device.
    pub device: DeviceId,
    /// Its number, higher than those before.
    pub id: u64,
    /// The file that the device shall have in the end.
    pub file: FileHash,
    /// Whether it is still to be done.
    pub is_open: bool,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Everything else, as its keeper wrote it.
    pub body: String,
}

/// The updates.
#[async_trait]
pub trait Updates: Send + Sync {
    /// Keeps updates, all or none; each takes the place of the one its device had.
    async fn put(&self, updates: &[StoredUpdate]) -> Result<(), StoreError>;
    /// The update of a device.
    async fn get(&self, device: DeviceId) -> Result<Option<StoredUpdate>, StoreError>;
    /// Those that are still to be done, by number.
    async fn open(&self) -> Result<Vec<StoredUpdate>, StoreError>;
    /// The highest number given; 0: none.
    async fn last_id(&self) -> Result<u64, StoreError>;
}
