//! `/v1/user`: who the caller is.

use axum::Json;
use axum::extract::State as Shared;
use model::Platform;
use serde_json::{Value, json};
use store::Account;

use crate::caller::{Actor, Caller};
use crate::error::ApiError;
use crate::state::State;

pub(crate) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    let devices = state.store.devices().list(account.id).await?;
    let mfa = state.store.second_factors().secret(account.id).await?.is_some();
    let cellular = devices
        .iter()
        .filter(|device| state.handle.is_cellular(device.id, device.platform.map(Platform)))
        .count();
    let info: Value = account
        .info
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!({}));
    Ok(Json(json!({
        "username": account.email,
        "account_info": info,
        "mfa": {"enabled": mfa},
        "memberships": [],
        "wifi_device_count": devices.len() - cellular,
        "cellular_device_count": cellular,
        "no_password": account.password_hash.is_empty(),
        "scim_provisioned": false,
    })))
}

pub(crate) async fn identify(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    let id = account.id.to_string();
    if caller.query.text("tracking").as_deref() == Some("1") {
        return Ok(Json(json!({"id": id})));
    }
    Ok(Json(json!({"id": id, "email": account.email})))
}

/// The caller's account.
pub(crate) async fn account(state: &State, actor: &Actor) -> Result<Account, ApiError> {
    let found = state.store.accounts().by_id(actor.account).await?;
    found.ok_or_else(ApiError::invalid_token)
}
