//! Publishing, and the event streams.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use model::limits::{EVENT_DATA_BYTES_MAX_BLOCKWISE, EVENT_TTL_S_DEFAULT};
use model::{DeviceId, EventData, EventId, EventName};
use node::StreamFilter;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::{Scope, parameter, payer};
use crate::sse::{self, Right};
use crate::state::State;

/// Public events do not exist: whatever `private` says, the event is the account's own.
pub(crate) async fn publish(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let name = caller.fields.required("name")?;
    let name = EventName::parse(name.as_bytes())
        .map_err(|why| ApiError::bad_request(&format!("name: {why}")))?;
    if name.is_internal() {
        let text = "Event names that begin with spark or particle are reserved";
        return Err(ApiError::bad_request(text));
    }
    let data = caller.fields.text("data").filter(|data| !data.is_empty());
    if data.as_ref().is_some_and(|data| data.len() > EVENT_DATA_BYTES_MAX_BLOCKWISE) {
        let text = format!("data has at most {EVENT_DATA_BYTES_MAX_BLOCKWISE} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, &text));
    }
    let data = data.map(|text| EventData { format: 0, bytes: text.into_bytes().into() });
    let ttl = match caller.fields.number("ttl")? {
        Some(seconds) => u32::try_from(seconds).unwrap_or(u32::MAX),
        None => EVENT_TTL_S_DEFAULT,
    };
    match scope.product {
        None => state.handle.publish(scope.account, name, data, ttl).await?,
        Some(product) => {
            state.handle.publish_to_product(scope.account, product, name, data, ttl).await?;
        }
    }
    Ok(Json(json!({"ok": true})))
}

/// All events of the account or product, or those whose names begin with the tail of the path.
pub(crate) async fn stream_all(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    open(state, caller, scope, None, &path).await
}

/// Events of one device.
pub(crate) async fn stream_device(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    let account = payer(&state, scope, &device).await?;
    open(state, caller, Scope { account, ..scope }, Some(device.id()), &path).await
}

async fn open(
    state: State,
    caller: Caller,
    scope: Scope,
    device: Option<DeviceId>,
    path: &RawPathParams,
) -> Result<Response, ApiError> {
    let Scope { account, product } = scope;
    let filter = StreamFilter { account, device, product, prefix: prefix(path) };
    // Who claimed a device in another's product is shown what comes from now on: what came before may
    // have been of somebody who had it then.
    let is_claimer = product.is_none() && account != caller.actor.account;
    let resume = resume_point(&caller).map(|after| after.filter(|_| !is_claimer));
    sse::open(Right { state, actor: caller.actor, filter }, resume).await
}

fn prefix(path: &RawPathParams) -> String {
    parameter(path, "prefix").unwrap_or_default().to_owned()
}

/// Present if the client asks for ids: by the header, or by a query field that browsers' sources can
/// send. An empty or foreign value asks for ids but replays nothing.
fn resume_point(caller: &Caller) -> Option<Option<EventId>> {
    let header = caller.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let text = header.map(str::to_owned).or_else(|| caller.query.text("last_event_id"))?;
    Some(text.trim().parse().ok().map(EventId))
}
