//! `/v1/device_claims`: codes by which a device joins an account.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::rights;
use crate::scope::Scope;
use crate::state::{State, utc_now};

/// The same for a customer, or a member of the team, of a product.
pub(crate) async fn create_for_product(
    shared: Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    Scope::of(&shared, &caller.actor, &path).await?;
    create(shared, caller).await
}

pub(crate) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.actor.account;
    let code = state.store.claims().create(account, utc_now()).await?;
    let devices = state.store.devices().list(account).await?;
    // A token that is kept to a product is told of no other devices.
    let kept = rights::product_of(&caller.actor.token);
    let shown = devices.iter().filter(|device| kept.is_none() || device.product == kept);
    let ids: Vec<String> = shown.map(|device| device.id.to_string()).collect();
    Ok(Json(json!({"claim_code": code, "device_ids": ids})))
}
