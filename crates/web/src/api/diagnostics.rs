//! `/v1/diagnostics`: the vital signs that devices told.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::DeviceId;
use model::vitals::named;
use serde_json::{Map, Value, json};
use store::Vitals;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::Scope;
use crate::state::State;

/// Reports in a history.
const HISTORY_MAX: u32 = 1_000;

pub(crate) async fn last(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = device(&state, &caller, &path).await?;
    let newest = state.store.devices().vitals(device, 1).await?;
    let newest = newest.first().ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "This device has told no diagnostics yet")
    })?;
    Ok(Json(json!({"diagnostics": shown(device, newest)})))
}

pub(crate) async fn history(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = device(&state, &caller, &path).await?;
    let told = state.store.devices().vitals(device, HISTORY_MAX).await?;
    let told: Vec<Value> = told.iter().map(|vitals| shown(device, vitals)).collect();
    Ok(Json(json!({"diagnostics": told})))
}

/// Asks the device. Its answer is the next report, and an event `spark/device/diagnostics/update`.
pub(crate) async fn update(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = device(&state, &caller, &path).await?;
    state.handle.ask_vitals(device).await?;
    Ok(Json(json!({"ok": true})))
}

/// The device of the path: of the product that it names, else the caller's.
async fn device(
    state: &State,
    caller: &Caller,
    path: &RawPathParams,
) -> Result<DeviceId, ApiError> {
    let scope = Scope::of(state, &caller.actor, path).await?;
    Ok(scope.device(state, &caller.actor, path).await?.id())
}

fn shown(device: DeviceId, vitals: &Vitals) -> Value {
    let values: Map<String, Value> =
        named(&vitals.metrics).map(|(name, value)| (name, json!(value))).collect();
    json!({
        "deviceID": device.to_string(),
        "updated_at": vitals.at.to_string(),
        "payload": {"device": values, "service": {}},
    })
}
