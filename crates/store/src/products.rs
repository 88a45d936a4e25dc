//! Products: fleets of devices that one account owns and pays for.

use async_trait::async_trait;
use model::{AccountId, DeviceId, ProductId, Timestamp};

use crate::StoreError;

/// A product as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its number, as devices tell it in Hello.
    pub id: ProductId,
    /// Who owns it and pays for its devices.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Its name in paths; unique.
    pub slug: String,
    /// What its owner says about it.
    pub description: String,
    /// The platform of its devices.
    pub platform: u16,
    /// Whether points of its devices' `loc` events are stored.
    pub location_opt_in: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The products.
#[async_trait]
pub trait Products: Send + Sync {
    /// Creates a product; [`StoreError::Taken`] if its number or slug is taken.
    async fn insert(&self, product: &Product) -> Result<(), StoreError>;
    /// The lowest number from 10,000 on that no product has (lower ones are platforms').
    async fn free_id(&self) -> Result<ProductId, StoreError>;
    /// The product of this number.
    async fn get(&self, id: ProductId) -> Result<Option<Product>, StoreError>;
    /// The product of this slug.
    async fn by_slug(&self, slug: &str) -> Result<Option<Product>, StoreError>;
    /// The devices of a product, by id.
    async fn devices(&self, id: ProductId) -> Result<Vec<DeviceId>, StoreError>;
    /// The products of an account, by number.
    async fn list(&self, account: AccountId) -> Result<Vec<Product>, StoreError>;
    /// Replaces everything but number and creation; [`StoreError::Taken`] if the slug is another's.
    async fn update(&self, product: &Product) -> Result<(), StoreError>;
    /// Removes a product with its webhooks, its clients and their tokens; its devices are in none
    /// afterwards.
    async fn delete(&self, id: ProductId) -> Result<(), StoreError>;
}
