//! `/v1/diagnostics`: the vital signs that devices told.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use model::DeviceId;
use serde_json::{Map, Value, json};
use store::Vitals;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::State;

/// Reports in a history.
const HISTORY_MAX: u32 = 1_000;

pub(crate) async fn last(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = caller.actor.device(&state, &device).await?;
    let newest = state.store.devices().vitals(device.id(), 1).await?;
    let newest = newest.first().ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "This device has told no diagnostics yet")
    })?;
    Ok(Json(json!({"diagnostics": shown(device.id(), newest)})))
}

pub(crate) async fn history(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = caller.actor.device(&state, &device).await?;
    let told = state.store.devices().vitals(device.id(), HISTORY_MAX).await?;
    let told: Vec<Value> = told.iter().map(|vitals| shown(device.id(), vitals)).collect();
    Ok(Json(json!({"diagnostics": told})))
}

/// This server shows what devices tell by themselves; it has no way to ask for it.
pub(crate) async fn update(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    caller.actor.device(&state, &device).await?;
    let text = "This server cannot ask a device for its diagnostics: it shows what devices tell";
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, text))
}

/// The names of `messages.md` §6.7.
const NAMES: [(u16, &str); 42] = [
    (1, "sys:reset"),
    (2, "mem:free"),
    (3, "batt:soc"),
    (4, "sys:loops"),
    (5, "app:loops"),
    (6, "sys:uptime"),
    (7, "batt:state"),
    (8, "net:stat"),
    (9, "net:err"),
    (10, "cloud:stat"),
    (12, "net:dconn"),
    (13, "cloud:err"),
    (14, "cloud:dconn"),
    (15, "net:ip:addr"),
    (16, "net:ip:gw"),
    (17, "net:flags"),
    (18, "net:cntry"),
    (19, "net:rssi"),
    (20, "pub:throttle"),
    (21, "coap:retransmit"),
    (22, "coap:unack"),
    (23, "coap:transmit"),
    (24, "pwr::src"),
    (25, "sys:tram"),
    (26, "sys:uram"),
    (27, "net:connatt"),
    (28, "net:dconnrsn"),
    (29, "cloud:connatt"),
    (30, "cloud:dconnrsn"),
    (31, "coap:roundtrip"),
    (33, "net:sigstr"),
    (34, "net:sigqual"),
    (35, "net:sigqualv"),
    (36, "net:at"),
    (37, "net:sigstrv"),
    (40, "net:cell:cgi:mcc"),
    (41, "net:cell:cgi:mnc"),
    (42, "net:cell:cgi:lac"),
    (43, "net:cell:cgi:ci"),
    (44, "cloud:connif"),
    (46, "net:alt:sigstr"),
    (60, "sys::protected"),
];

/// Sources that failed, and those of the application, which look alike, are left out.
fn shown(device: DeviceId, vitals: &Vitals) -> Value {
    let told = vitals.metrics.iter().filter(|metric| metric.id < 0x8000);
    let values: Map<String, Value> =
        told.map(|metric| (name_of(metric.id), json!(metric.value))).collect();
    json!({
        "deviceID": device.to_string(),
        "updated_at": vitals.at.to_string(),
        "payload": {"device": values, "service": {}},
    })
}

fn name_of(id: u16) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == id);
    known.map_or_else(|| id.to_string(), |(_, name)| (*name).to_owned())
}
