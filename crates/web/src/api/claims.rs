//! `/v1/device_claims`: codes by which a device joins an account.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::{State, utc_now};

pub(crate) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.actor.account;
    let code = state.store.claims().create(account, utc_now()).await?;
    let devices = state.store.devices().list(account).await?;
    let ids: Vec<String> = devices.iter().map(|device| device.id.to_string()).collect();
    Ok(Json(json!({"claim_code": code, "device_ids": ids})))
}
