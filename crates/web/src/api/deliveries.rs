//! `…/webhooks/:id/deliveries`: what a webhook sent and got, to search and to send again.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::event::Origin;
use model::limits::EVENT_TTL_S_DEFAULT;
use model::{Event, EventData, EventId, EventName, Timestamp};
use serde_json::{Value, json};
use store::{Delivery, DeliverySearch, Webhook};

use crate::api::webhooks::{owned, sees_credentials};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::parameter;
use crate::state::State;
use crate::webhooks::credentials;

/// Deliveries of a page, by default and at most.
const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let webhook = owned(&state, &path, &caller).await?;
    state.webhooks.flush_history().await?;
    let limit = caller.query.number("limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let search = DeliverySearch {
        outcome: caller.query.text("outcome"),
        event: caller.query.text("event"),
        origin: caller.query.text("device").map(|device| device.to_lowercase()),
        before: caller.query.number("before")?,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    let found = state.store.deliveries().search(&webhook.id, &search).await?;
    let mut shown: Vec<Value> = found.iter().map(shown).collect();
    if !sees_credentials(&state, &caller, webhook.product).await? {
        shown.iter_mut().for_each(|shown| credentials::hide_request(&mut shown["details"]));
    }
    Ok(Json(json!({"deliveries": shown})))
}

/// The webhook is what it is now; the event is what it was then.
pub(crate) async fn replay(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let webhook = owned(&state, &path, &caller).await?;
    state.webhooks.flush_history().await?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "Delivery not found");
    let id = parameter(&path, "delivery").unwrap_or_default().parse().map_err(|_| unknown())?;
    let kept = state.store.deliveries().delivery(&webhook.id, id).await?.ok_or_else(unknown)?;
    let event = event_of(&webhook, &kept).ok_or_else(unknown)?;
    if !state.webhooks.test(&webhook, event).await {
        let text = "Stored data is damaged; see the log";
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    Ok(Json(json!({"ok": true})))
}

fn event_of(webhook: &Webhook, kept: &Delivery) -> Option<Event> {
    let body: Value = serde_json::from_str(&kept.body).ok()?;
    let data = match body["data"].as_object() {
        None => None,
        Some(data) => Some(EventData {
            format: u16::try_from(data.get("format")?.as_u64()?).ok()?,
            bytes: BASE64.decode(data.get("bytes")?.as_str()?).ok()?.into(),
        }),
    };
    Some(Event {
        id: EventId(0),
        account: webhook.account,
        origin: kept.origin.parse().map_or(Origin::Api, Origin::Device),
        product: webhook.product,
        name: EventName::parse(kept.event.as_bytes()).ok()?,
        data,
        ttl_s: EVENT_TTL_S_DEFAULT,
        published_at: Timestamp(body["published_at"].as_i64()?),
    })
}

fn shown(kept: &Delivery) -> Value {
    let body: Value = serde_json::from_str(&kept.body).unwrap_or_default();
    let mut details = body["details"].clone();
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    json!({
        "id": kept.id.to_string(),
        "time": kept.at.to_string(),
        "outcome": kept.outcome,
        "event": kept.event,
        "coreid": kept.origin,
        "details": if details.is_object() { details } else { json!({}) },
    })
}
