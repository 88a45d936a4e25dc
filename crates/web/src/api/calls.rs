//! Functions and variables of a device.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::VariableValue;
use serde_json::{Value, json};

use crate::api::devices::state_of;
use crate::caller::{Caller, OwnedDevice};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::scope::{Scope, parameter};
use crate::state::State;

pub(crate) async fn variable(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    let name = parameter(&path, "name").unwrap_or_default().to_owned();
    let value = state.handle.read(device.id(), name.clone()).await?;
    if wants_raw(&caller.query) {
        return Ok(raw(&value));
    }
    let body = json!({
        "cmd": "VarReturn",
        "name": name,
        "result": to_json(&value),
        "coreInfo": core_info(&state, &device).await,
    });
    Ok(Json(body).into_response())
}

pub(crate) async fn function(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    let name = parameter(&path, "name").unwrap_or_default().to_owned();
    let argument = caller.fields.text("args").or_else(|| caller.fields.text("arg"));
    let returned = state.handle.call(device.id(), name, argument.unwrap_or_default()).await?;
    if wants_raw(&caller.fields) {
        return Ok(raw(&VariableValue::Int(returned)));
    }
    let body = json!({
        "id": device.id().to_string(),
        "name": device.0.name,
        "last_app": null,
        "connected": true,
        "return_value": returned,
    });
    Ok(Json(body).into_response())
}

async fn core_info(state: &State, device: &OwnedDevice) -> Value {
    let live = state_of(state, device.id()).await;
    let platform = live.as_ref().and_then(|live| live.platform).map(|platform| platform.0);
    json!({
        "name": device.0.name,
        "last_app": "",
        "last_heard": live.as_ref().and_then(|live| live.last_heard).map(|at| at.to_string()),
        "connected": true,
        "last_handshake_at": live.as_ref().and_then(|live| live.last_handshake_at).map(|at| at.to_string()),
        "deviceID": device.id().to_string(),
        "product_id": device.0.product.map(|product| product.0).or_else(|| platform.map(u32::from)),
    })
}

fn wants_raw(fields: &Fields) -> bool {
    fields.text("format").as_deref() == Some("raw")
}

fn raw(value: &VariableValue) -> Response {
    let text = match value {
        VariableValue::String(text) => text.to_string(),
        VariableValue::Bool(_) | VariableValue::Double(_) | VariableValue::Int(_) => {
            to_json(value).to_string()
        }
    };
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// A double that JSON has no number for (infinity, not a number) becomes null.
fn to_json(value: &VariableValue) -> Value {
    match value {
        VariableValue::Bool(value) => json!(value),
        VariableValue::Double(value) => json!(value),
        VariableValue::Int(value) => json!(value),
        VariableValue::String(value) => json!(value),
    }
}
