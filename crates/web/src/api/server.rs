//! `/health` and `/metrics`: for the operator's monitoring.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
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

/// No serial numbers are known.
pub(crate) async fn serial_number(_caller: Caller) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Serial number not found")
}

pub(crate) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (state.render_metrics)())
}
