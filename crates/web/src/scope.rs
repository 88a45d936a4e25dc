//! Whether a route is about the account itself or about one of its products.

use axum::extract::RawPathParams;
use model::{AccountId, ProductId};
use store::{Device, Product, StoreError};

use crate::caller::{Actor, Caller, OwnedDevice};
use crate::error::ApiError;
use crate::payer::payer_of;
use crate::rights::{self, Role};
use crate::routes::Needs;
use crate::state::State;

/// Whose things a route shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) account: AccountId,
    /// Absent: the account's own things.
    pub(crate) product: Option<ProductId>,
}

impl Scope {
    /// The scope of a path: that of `{product}`, if it has one, which the actor must have or work on.
    /// Everything of a product belongs to the product's owner.
    pub(crate) async fn of(
        state: &State,
        actor: &Actor,
        path: &RawPathParams,
    ) -> Result<Self, ApiError> {
        Self::named(state, actor, parameter(path, "product")).await
    }

    /// The scope of the product with this number or slug; of none: the actor's own.
    pub(crate) async fn named(
        state: &State,
        actor: &Actor,
        product: Option<&str>,
    ) -> Result<Self, ApiError> {
        let Some(text) = product else {
            return Ok(Self { account: actor.account, product: None });
        };
        let product = actor.product(state, text).await?;
        Ok(Self { account: product.account, product: Some(product.id) })
    }

    /// The device that `{device}` names: one of the product, else one of the actor's.
    pub(crate) async fn device(
        &self,
        state: &State,
        actor: &Actor,
        path: &RawPathParams,
    ) -> Result<OwnedDevice, ApiError> {
        self.device_named(state, actor, parameter(path, "device").unwrap_or_default()).await
    }

    /// The same of a device that is named otherwise.
    pub(crate) async fn device_named(
        &self,
        state: &State,
        actor: &Actor,
        text: &str,
    ) -> Result<OwnedDevice, ApiError> {
        match self.product {
            None => actor.device(state, text).await,
            Some(product) => product_device(state, product, text).await,
        }
    }
}

/// Whose the events of a device are: those of a product's device are its product's owner's, whoever
/// claimed it.
pub(crate) async fn payer(
    state: &State,
    scope: Scope,
    device: &OwnedDevice,
) -> Result<AccountId, ApiError> {
    if scope.product.is_some() {
        return Ok(scope.account);
    }
    Ok(payer_of(state, &device.0).await?.unwrap_or(scope.account))
}

/// Of devices that an account had something to do with those that are its own or in its products still: of others
/// it is told nothing new.
pub(crate) async fn still_of(
    state: &State,
    account: AccountId,
    devices: Vec<Device>,
) -> Result<Vec<Device>, StoreError> {
    let products = state.store.products().list(account).await?;
    let in_product = |device: &Device| products.iter().any(|own| device.product == Some(own.id));
    let is_still = |device: &Device| device.account == Some(account) || in_product(device);
    Ok(devices.into_iter().filter(is_still).collect())
}

impl Actor {
    /// Whether the request would be allowed if it needed `scope` in that product, or for the account.
    pub(crate) async fn may(
        &self,
        state: &State,
        product: Option<ProductId>,
        scope: &'static str,
    ) -> Result<bool, ApiError> {
        let needs = Needs { scope: Some(scope), ..self.needs };
        if rights::check(&self.token, needs).is_err() {
            return Ok(false);
        }
        let actor = Self { needs, ..self.clone() };
        let product = product.map(|product| product.to_string());
        allowed(Scope::named(state, &actor, product.as_deref()).await)
    }

    /// The actor's product with this number or slug.
    pub(crate) async fn product(&self, state: &State, text: &str) -> Result<Product, ApiError> {
        let products = state.store.products();
        let found = match text.parse() {
            Ok(number) => products.get(ProductId(number)).await?,
            Err(_) => products.by_slug(text).await?,
        };
        let kept = rights::product_of(&self.token);
        let within = found.filter(|product| kept.is_none_or(|kept| kept == product.id));
        let product = within.ok_or_else(unknown_product)?;
        self.check_part_in(state, &product).await?;
        Ok(product)
    }

    /// Whether the actor may do what is asked with the unowned devices of a product; with those of none
    /// everybody may.
    pub(crate) async fn works_on(
        &self,
        state: &State,
        product: Option<ProductId>,
    ) -> Result<bool, ApiError> {
        match product {
            None => Ok(true),
            Some(product) => allowed(self.product(state, &product.to_string()).await),
        }
    }

    /// Whether the actor owns a product, has a part in its team that is large enough for what is
    /// asked, or is its customer. To all others it does not exist.
    async fn check_part_in(&self, state: &State, product: &Product) -> Result<(), ApiError> {
        if product.account == self.account || rights::customer_of(&self.token) == Some(product.id) {
            return Ok(());
        }
        let member = state.store.teams().member(product.id, self.account).await?;
        let member = member.ok_or_else(unknown_product)?;
        let scope = self.needs.scope.unwrap_or_default();
        match Role::parse(&member.role) {
            Some(role) if role.allows(scope) => Ok(()),
            Some(_) | None => Err(rights::too_small(scope)),
        }
    }
}

/// Whether something is allowed; what went wrong otherwise stays an error.
fn allowed<T>(asked: Result<T, ApiError>) -> Result<bool, ApiError> {
    match asked {
        Ok(_) => Ok(true),
        Err(why) if why.status.is_client_error() => Ok(false),
        Err(why) => Err(why),
    }
}

/// The product of the path.
pub(crate) async fn product_of(
    state: &State,
    caller: &Caller,
    path: &RawPathParams,
) -> Result<Product, ApiError> {
    caller.actor.product(state, parameter(path, "product").unwrap_or_default()).await
}

/// A value of the path, decoded.
pub(crate) fn parameter<'p>(path: &'p RawPathParams, name: &str) -> Option<&'p str> {
    path.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Devices of a product are known by their id alone.
async fn product_device(
    state: &State,
    product: ProductId,
    text: &str,
) -> Result<OwnedDevice, ApiError> {
    let Ok(id) = text.parse() else { return Err(ApiError::unknown_device()) };
    let found = state.store.devices().get(id).await?;
    let found = found.filter(|device| device.product == Some(product));
    found.map(OwnedDevice).ok_or_else(ApiError::unknown_device)
}

/// No such product, or not the caller's.
pub(crate) fn unknown_product() -> ApiError {
    ApiError::new(axum::http::StatusCode::NOT_FOUND, "Product not found.")
}
