//! `/console/integrations`: all webhooks of the account and its products, each with what became of its
//! requests, newest first.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::api::webhooks;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::State;

pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let mut stored = state.store.webhooks().list(caller.actor.account).await?;
    stored.sort_by_key(|webhook| std::cmp::Reverse(webhook.created_at));
    let mut shown = Vec::with_capacity(stored.len());
    for webhook in &stored {
        let mut object = webhooks::shown(webhook);
        for (key, value) in state.webhooks.report(&webhook.id).await? {
            object.insert(key.into(), value);
        }
        shown.push(Value::Object(object));
    }
    Ok(Json(json!({"integrations": shown})))
}
