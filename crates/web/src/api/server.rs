//! `/health` and `/metrics`: for the operator's monitoring.

use axum::Json;
use axum::extract::{ConnectInfo, Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::serve::Peer;
use crate::state::State;

/// 200 when all is well, 503 with the reason when the server serves worse than it should.
pub(crate) async fn health(Shared(state): Shared<State>) -> (StatusCode, Json<Value>) {
    match state.handle.health().degraded {
        None => (StatusCode::OK, Json(json!({"ok": true, "status": "ok"}))),
        Some(why) => {
            let body = json!({"ok": false, "status": "degraded", "error": why});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

/// No compiler belongs to this server: nothing can be built for any target.
pub(crate) async fn build_targets() -> Json<Value> {
    Json(json!({"targets": [], "platforms": {}, "default_versions": {}}))
}

/// A device of the caller, or of a product of the caller's; each user may ask a few times an hour.
pub(crate) async fn serial_number(
    Shared(state): Shared<State>,
    Path(serial): Path<String>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    state.limits.admit_serial(caller.actor.account, peer.ip(), &caller.headers)?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "Serial number not found");
    let found = state.store.teams().by_serial(&serial).await?;
    let (id, serial) = found.ok_or_else(unknown)?;
    let device = state.store.devices().get(id).await?.ok_or_else(unknown)?;
    if device.account != Some(caller.actor.account) {
        let product = device.product.ok_or_else(unknown)?;
        let part_in = caller.actor.product(&state, &product.to_string()).await;
        part_in.map_err(|_| unknown())?;
    }
    Ok(Json(json!({
        "ok": true,
        "device_id": id.to_string(),
        "platform_id": device.platform.unwrap_or(0),
        "serial_number": serial,
    })))
}

pub(crate) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (state.render_metrics)())
}
