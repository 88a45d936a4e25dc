//! `/v1/diagnostics`: the vital signs that devices told.

use std::ops::Range;

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::DeviceId;
use model::vitals::named;
use serde_json::{Map, Value, json};
use store::Vitals;

use crate::api::oauth::parse_time;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::Scope;
use crate::state::State;

/// Reports in a history: all that are kept.
const HISTORY_MAX: u32 = 1_000;
const DAY_MS: i64 = 86_400_000;

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
    let span = span(&caller)?;
    let told = state.store.devices().vitals(device, HISTORY_MAX).await?;
    let told = told.iter().filter(|vitals| span.contains(&vitals.at.0));
    let told: Vec<Value> = told.map(|vitals| shown(device, vitals)).collect();
    Ok(Json(json!({"diagnostics": told})))
}

/// From `start_date` to `end_date`, in milliseconds since 1970; a date without a time is its whole day.
fn span(caller: &Caller) -> Result<Range<i64>, ApiError> {
    let start = time(caller, "start_date", 0)?;
    let end = time(caller, "end_date", DAY_MS)?;
    Ok(start.unwrap_or(i64::MIN)..end.unwrap_or(i64::MAX))
}

/// A time of the query, `of_day_ms` later if it is a date alone.
fn time(caller: &Caller, key: &str, of_day_ms: i64) -> Result<Option<i64>, ApiError> {
    let Some(text) = caller.query.text(key).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let at = parse_time(&text).ok_or_else(|| {
        ApiError::bad_request(&format!("{key} must be YYYY-MM-DD or an ISO 8601 time"))
    })?;
    Ok(Some(if text.contains('T') { at.0 } else { at.0 + of_day_ms }))
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
