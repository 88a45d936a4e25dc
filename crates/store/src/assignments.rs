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

/// What becomes of an assignment; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssignmentChange {
    /// The groups it is in, which must be groups of the product.
    pub groups: Option<GroupChange>,
    /// The version it is locked to; `Some(None)` unlocks.
    pub desired: Option<Option<u16>>,
    /// Whether it is a development device.
    pub development: Option<bool>,
}

/// What becomes of the groups of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// It is in these, too.
    Add(Vec<String>),
    /// It is in these no more.
    Remove(Vec<String>),
    /// It is in these alone.
    Replace(Vec<String>),
}

/// Groups of one device.
const GROUPS_MAX: usize = 20;

impl AssignmentChange {
    /// [`StoreError::TooMany`] if the device would be in more than 20 groups.
    pub(crate) fn apply(&self, to: &mut Assignment) -> Result<(), StoreError> {
        match &self.groups {
            None => {}
            Some(GroupChange::Add(names)) => to.groups.extend_from_slice(names),
            Some(GroupChange::Remove(names)) => to.groups.retain(|group| !names.contains(group)),
            Some(GroupChange::Replace(names)) => to.groups.clone_from(names),
        }
        to.groups.sort();
        to.groups.dedup();
        to.desired = self.desired.unwrap_or(to.desired);
        to.development = self.development.unwrap_or(to.development);
        if to.groups.len() > GROUPS_MAX {
            return Err(StoreError::TooMany("A device is in at most 20 groups"));
        }
        Ok(())
    }
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
    /// Changes what is assigned to those of the devices that are in the product, of all or of none. They
    /// are told with what they have then, by id; [`StoreError::TooMany`] as [`AssignmentChange`] has it.
    async fn assign(
        &self,
        product: ProductId,
        devices: &[DeviceId],
        change: &AssignmentChange,
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError>;
}
