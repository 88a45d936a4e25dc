//! Groups of a product's devices, and which firmware single devices shall have.

use async_trait::async_trait;
use model::{DeviceId, ProductId, Timestamp};

use crate::StoreError;

/// A group of devices within a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whose.
    pub product: ProductId,
    /// Its name; unique in the product.
    pub name: String,
    /// What its owner says about it.
    pub description: String,
    /// A colour for pages, as written; may be empty.
    pub color: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What decides which firmware of its product a device gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The groups it is in, by name.
    pub groups: Vec<String>,
    /// The version it is locked to.
    pub desired: Option<u16>,
    /// Whether it is a development device: it gets no releases.
    pub development: bool,
}

/// Groups and assignments.
#[async_trait]
pub trait Assignments: Send + Sync {
    /// Creates a group; [`StoreError::Taken`] if the product has it.
    async fn insert_group(&self, group: &Group) -> Result<(), StoreError>;
    /// The groups of a product, by name.
    async fn groups(&self, product: ProductId) -> Result<Vec<Group>, StoreError>;
    /// Renames a group, in its devices too, and replaces the rest.
    async fn update_group(&self, name: &str, group: &Group) -> Result<(), StoreError>;
    /// Removes a group; its devices stay in the product.
    async fn delete_group(&self, product: ProductId, name: &str) -> Result<(), StoreError>;
    /// The assignments of these devices; a device without one is left out.
    async fn assignments(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError>;
    /// All devices of a product with their assignments, by id.
    async fn of_product(
        &self,
        product: ProductId,
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError>;
    /// The products of which devices are locked to a version.
    async fn products_with_locks(&self) -> Result<Vec<ProductId>, StoreError>;
    /// Replaces what is assigned to a device.
    async fn assign(&self, device: DeviceId, assignment: &Assignment) -> Result<(), StoreError>;
}
