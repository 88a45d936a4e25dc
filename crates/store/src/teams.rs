//! Who works on a product, and whose devices it serves.

use async_trait::async_trait;
use model::{AccountId, DeviceId, ProductId, Timestamp};

use crate::StoreError;

/// Somebody who works on a product beside its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The product.
    pub product: ProductId,
    /// Who.
    pub account: AccountId,
    /// Name of the role.
    pub role: String,
    /// Whether it is a program: an account of this product alone.
    pub programmatic: bool,
    /// Since when.
    pub added_at: Timestamp,
}

/// Somebody who uses devices of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// The account that stands for the customer.
    pub account: AccountId,
    /// The product.
    pub product: ProductId,
    /// The address, unique within the product.
    pub email: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Teams, customers and the devices that are kept out.
#[async_trait]
pub trait Teams: Send + Sync {
    /// Adds a member, or gives it another role.
    async fn put_member(&self, member: &Member) -> Result<(), StoreError>;
    /// One member.
    async fn member(
        &self,
        product: ProductId,
        account: AccountId,
    ) -> Result<Option<Member>, StoreError>;
    /// The members of a product, oldest account first.
    async fn members(&self, product: ProductId) -> Result<Vec<Member>, StoreError>;
    /// The products of whose teams an account is.
    async fn memberships(&self, account: AccountId) -> Result<Vec<Member>, StoreError>;
    /// Removes a member; [`StoreError::NotFound`] if it is none.
    async fn remove_member(&self, product: ProductId, account: AccountId)
    -> Result<(), StoreError>;
    /// Makes a customer and the account that stands for it; [`StoreError::Taken`] if the product has
    /// one of this address.
    async fn create_customer(
        &self,
        product: ProductId,
        email: &str,
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Customer, StoreError>;
    /// The customer of a product with this address.
    async fn customer(
        &self,
        product: ProductId,
        email: &str,
    ) -> Result<Option<Customer>, StoreError>;
    /// The customers of a product, oldest first.
    async fn customers(&self, product: ProductId) -> Result<Vec<Customer>, StoreError>;
    /// Keeps a device out of a product; its key is good for nothing until it is let in again, or claimed
    /// by somebody who has nothing to do with the product.
    async fn deny(
        &self,
        product: ProductId,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Lets a device in again; tells whether it was kept out.
    async fn allow(&self, product: ProductId, device: DeviceId) -> Result<bool, StoreError>;
    /// Whether any product keeps the device out.
    async fn is_denied(&self, device: DeviceId) -> Result<bool, StoreError>;
    /// The devices kept out of a product, by id.
    async fn denied(&self, product: ProductId) -> Result<Vec<DeviceId>, StoreError>;
    /// Gives a device its serial number; [`StoreError::Taken`] if another one has it.
    async fn set_serial(&self, device: DeviceId, serial: &str) -> Result<(), StoreError>;
    /// The device with this serial number, in any case, and how it was written.
    async fn by_serial(&self, serial: &str) -> Result<Option<(DeviceId, String)>, StoreError>;
    /// The serial number of a device.
    async fn serial_of(&self, device: DeviceId) -> Result<Option<String>, StoreError>;
}

/// The name of the account that stands for a product's customer. It is no e-mail address, so nobody
/// can register it.
pub fn customer_name(product: ProductId, email: &str) -> String {
    format!("{product}/{email}")
}
