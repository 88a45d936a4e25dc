//! Devices, their keys, and what is kept about each.

use std::net::SocketAddr;

use async_trait::async_trait;
use model::{
    AccountId, ApplicationDescription, DeviceId, KeyHash, Metric, ProductId, SystemDescription,
    Timestamp,
};

use crate::{Registered, StoreError};

/// A device as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its owner.
    pub account: Option<AccountId>,
    /// Its product.
    pub product: Option<ProductId>,
    /// Its name; unique among the owner's devices whatever the case of its letters.
    pub name: Option<String>,
    /// What its owner noted.
    pub notes: Option<String>,
    /// Its platform number: as told by its last Hello, before that as told by the operator.
    pub platform: Option<u16>,
    /// The hash of its key; absent: it has none and cannot connect.
    pub key: Option<KeyHash>,
    /// Whether its key was bound by trust on first use.
    pub first_use: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it got its owner.
    pub claimed_at: Option<Timestamp>,
    /// When it was last heard, as far as written down.
    pub last_heard: Option<Timestamp>,
    /// When its last full handshake was.
    pub last_handshake_at: Option<Timestamp>,
    /// Its last known address.
    pub peer: Option<SocketAddr>,
}

/// A device to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its owner.
    pub account: Option<AccountId>,
    /// Its product.
    pub product: Option<ProductId>,
    /// Its name.
    pub name: Option<String>,
    /// Its platform number, if known.
    pub platform: Option<u16>,
    /// Its key.
    pub key: Option<DeviceKey>,
    /// Whether the key is bound by trust on first use.
    pub first_use: bool,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// SHA-256 of `spki`.
    pub hash: KeyHash,
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
}

/// A key that a device had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerKey {
    /// The key.
    pub key: DeviceKey,
    /// When another one replaced it.
    pub replaced_at: Timestamp,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Devices created.
    pub added: u64,
    /// Devices that were there already, left as they were.
    pub present: Vec<DeviceId>,
}

/// The vital signs a device told at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// When.
    pub at: Timestamp,
    /// What.
    pub metrics: Vec<Metric>,
}

/// The devices.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Creates a device; [`StoreError::Taken`] if its id or its name is taken.
    async fn insert(&self, device: &NewDevice, at: Timestamp) -> Result<(), StoreError>;
    /// Creates many devices, all or (on an error, such as a name taken) none.
    async fn import(&self, devices: &[NewDevice], at: Timestamp) -> Result<Imported, StoreError>;
    /// One device.
    async fn get(&self, id: DeviceId) -> Result<Option<Device>, StoreError>;
    /// Those of these devices that exist, by id.
    async fn get_many(&self, ids: &[DeviceId]) -> Result<Vec<Device>, StoreError>;
    /// The devices of an account, by id.
    async fn list(&self, account: AccountId) -> Result<Vec<Device>, StoreError>;
    /// At most `limit` of all devices, by id, beginning behind `after`.
    async fn page(&self, after: Option<DeviceId>, limit: u32) -> Result<Vec<Device>, StoreError>;
    /// At most `limit` devices of a product, by id, beginning behind `after`.
    async fn page_of_product(
        &self,
        product: ProductId,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// How many devices an account has.
    async fn count(&self, account: AccountId) -> Result<u64, StoreError>;
    /// How many devices were bound by trust on first use and have no owner.
    async fn count_first_use(&self) -> Result<u64, StoreError>;
    /// The device of this name, in any case, among an account's.
    async fn by_name(&self, account: AccountId, name: &str) -> Result<Option<Device>, StoreError>;
    /// The devices a key is registered for.
    async fn by_key(&self, hash: KeyHash) -> Result<Vec<DeviceId>, StoreError>;
    /// Names a device, or takes its name; [`StoreError::Taken`] if its owner has another one so named.
    async fn rename(&self, id: DeviceId, name: Option<&str>) -> Result<(), StoreError>;
    /// Replaces the notes.
    async fn set_notes(&self, id: DeviceId, notes: Option<&str>) -> Result<(), StoreError>;
    /// Gives a device to an account or takes its owner. The name goes if the new owner uses it already.
    async fn set_owner(
        &self,
        id: DeviceId,
        account: Option<AccountId>,
        at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Puts a device into a product or takes it out.
    async fn set_product(&self, id: DeviceId, product: Option<ProductId>)
    -> Result<(), StoreError>;
    /// Gives a device a key; one it had goes to the history. False if it is the one it has.
    async fn set_key(
        &self,
        id: DeviceId,
        key: &DeviceKey,
        at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// A device's key.
    async fn key(&self, id: DeviceId) -> Result<Option<DeviceKey>, StoreError>;
    /// The keys a device had before, newest first.
    async fn former_keys(&self, id: DeviceId) -> Result<Vec<FormerKey>, StoreError>;
    /// Removes a device with its keys, session and description. The ledger keeps its sums.
    async fn delete(&self, id: DeviceId) -> Result<(), StoreError>;
    /// What the registry in memory holds of a device.
    async fn registered(&self, id: DeviceId) -> Result<Option<Registered>, StoreError>;
    /// What the device last said it can do.
    async fn application(&self, id: DeviceId)
    -> Result<Option<ApplicationDescription>, StoreError>;
    /// What the device last said it consists of, and when.
    async fn system(
        &self,
        id: DeviceId,
    ) -> Result<Option<(SystemDescription, Timestamp)>, StoreError>;
    /// The newest vitals of a device, newest first, at most `limit`. 1,000 are kept, of 30 days.
    async fn vitals(&self, id: DeviceId, limit: u32) -> Result<Vec<Vitals>, StoreError>;
}
