//! Releases of product firmware, and what became of them on each device.

use async_trait::async_trait;
use model::{AccountId, DeviceId, ProductId, Timestamp};

use crate::StoreError;

/// A release as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number; later ones are higher. 0 until it is stored.
    pub id: u64,
    /// Of which product.
    pub product: ProductId,
    /// Which version.
    pub version: u16,
    /// The groups it is for; empty: for every device of the product.
    pub groups: Vec<String>,
    /// Who made it.
    pub made_by: AccountId,
    /// When.
    pub made_at: Timestamp,
    /// When another release took its place, or it was withdrawn.
    pub ended_at: Option<Timestamp>,
    /// How far it is, as its machine wrote it.
    pub state: String,
}

/// The releases.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Adds a release and gives its number; those of the same product in `ended` end with it.
    async fn insert(&self, release: &Release, ended: &[u64]) -> Result<u64, StoreError>;
    /// The newest releases of a product, newest first, at most `limit`.
    async fn list(&self, product: ProductId, limit: u32) -> Result<Vec<Release>, StoreError>;
    /// One release.
    async fn get(&self, id: u64) -> Result<Option<Release>, StoreError>;
    /// All that are in force, by number.
    async fn in_force(&self) -> Result<Vec<Release>, StoreError>;
    /// Ends releases.
    async fn end(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError>;
    /// Writes how far a release and some of its devices are.
    async fn save(
        &self,
        id: u64,
        state: Option<&str>,
        devices: &[(DeviceId, String)],
    ) -> Result<(), StoreError>;
    /// What became of a release on each device that had to do with it, by id.
    async fn devices(&self, id: u64) -> Result<Vec<(DeviceId, String)>, StoreError>;
}
