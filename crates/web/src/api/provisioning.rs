//! `POST /v1/provisioning/:id`: a public key for a device.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use model::{AccountId, DeviceId, KeyHash};
use secure::keys::PublicKey;
use serde_json::{Value, json};
use store::{Device, DeviceKey};

use crate::api::devices;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::{State, utc_now};
use crate::telling::to_the_end;

pub(crate) async fn provision(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let id: DeviceId = device
        .parse()
        .map_err(|_| ApiError::errors(StatusCode::BAD_REQUEST, "A device id is 24 hex digits"))?;
    let key = parse_key(&caller.fields.required("publicKey")?)?;
    to_the_end(async move {
        store_key(&state, &caller, id, &key).await?;
        state.handle.device_changed(id).await?;
        Ok(Json(json!({"ok": true, "id": id.to_string()})))
    })
    .await
}

async fn store_key(
    state: &State,
    caller: &Caller,
    id: DeviceId,
    key: &DeviceKey,
) -> Result<(), ApiError> {
    let account = caller.actor.account;
    match state.store.devices().get(id).await? {
        None => create(state, caller, id, key).await,
        Some(device) if device.account == Some(account) => replace(state, id, key).await,
        Some(device) => {
            check_part(state, caller, &device).await?;
            claim(state, &device, account, key).await
        }
    }
}

fn parse_key(text: &str) -> Result<DeviceKey, ApiError> {
    let key = PublicKey::parse(text.as_bytes()).map_err(|why| {
        let text = format!("publicKey must be a public key in PEM (P-256 or RSA): {why}");
        ApiError::errors(StatusCode::BAD_REQUEST, &text)
    })?;
    Ok(DeviceKey { hash: KeyHash(key.hash()), spki: key.spki().to_vec() })
}

async fn create(
    state: &State,
    caller: &Caller,
    id: DeviceId,
    key: &DeviceKey,
) -> Result<(), ApiError> {
    warn_if_shared(state, id, key).await?;
    let product = caller.fields.text("product_id").filter(|number| !number.is_empty());
    devices::make(state, &caller.actor, id, product.as_deref(), Some(key.clone())).await
}

async fn replace(state: &State, id: DeviceId, key: &DeviceKey) -> Result<(), ApiError> {
    warn_if_shared(state, id, key).await?;
    state.store.devices().set_key(id, key, utc_now()).await?;
    Ok(())
}

/// A device that nobody owns is claimed by sending the key it has; any other key would let anybody
/// take over an imported device. One without a key cannot connect yet: it takes the key it is sent.
async fn claim(
    state: &State,
    device: &Device,
    account: AccountId,
    key: &DeviceKey,
) -> Result<(), ApiError> {
    if device.account.is_some() || device.key.is_some_and(|known| known != key.hash) {
        return Err(not_yours());
    }
    devices::take(state, device, account).await?;
    // It may have been given one meanwhile.
    let known = state.store.devices().get(device.id).await?.and_then(|device| device.key);
    match known {
        None => replace(state, device.id, key).await,
        Some(known) if known == key.hash => Ok(()),
        Some(_) => Err(not_yours()),
    }
}

/// A device of a product is for who has a part in that: to know its key, which is public, proves nothing.
async fn check_part(state: &State, caller: &Caller, device: &Device) -> Result<(), ApiError> {
    if caller.actor.works_on(state, device.product).await? {
        return Ok(());
    }
    Err(not_yours())
}

fn not_yours() -> ApiError {
    let text = "That device belongs to someone else or has another key";
    ApiError::errors(StatusCode::FORBIDDEN, text)
}

async fn warn_if_shared(state: &State, id: DeviceId, key: &DeviceKey) -> Result<(), ApiError> {
    let others = state.store.devices().by_key(key.hash).await?;
    if others.iter().any(|other| *other != id) {
        tracing::warn!(key = %key.hash, "a key was registered for one more device");
    }
    Ok(())
}
