//! `/v1/webhooks` and `/v1/integrations`: the same objects under two names, of the account or of one
//! of its products.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::event::Origin;
use model::limits::{EVENT_DATA_BYTES_MAX_BLOCKWISE, EVENT_TTL_S_DEFAULT};
use model::{DeviceId, Event, EventData, EventId, EventName, ProductId};
use serde_json::{Map, Value, json};
use store::Webhook;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::{Scope, parameter};
use crate::state::{State, utc_now};
use crate::token::random_token;
use crate::webhooks::credentials;
use crate::webhooks::definition::{Definition, normal_form};

/// Characters of an id.
const ID_CHARS: usize = 24;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let stored = state.store.webhooks().list(scope.account).await?;
    let own = stored.iter().filter(|webhook| webhook.product == scope.product);
    let mut objects: Vec<_> = own.map(shown).collect();
    if !sees_credentials(&state, &caller, scope.product).await? {
        objects.iter_mut().for_each(credentials::hide);
    }
    Ok(Json(objects.into_iter().map(Value::Object).collect()))
}

/// Whether the caller has to know a definition as it is: to replace it.
pub(crate) async fn sees_credentials(
    state: &State,
    caller: &Caller,
    product: Option<ProductId>,
) -> Result<bool, ApiError> {
    caller.actor.may(state, product, "integrations:update").await
}

pub(crate) async fn create(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let definition = definition_of(&caller)?;
    let max = state.webhooks.per_account_max();
    if state.store.webhooks().list(scope.account).await?.len() >= max {
        return Err(ApiError::bad_request(&format!("An account has at most {max} webhooks")));
    }
    let now = utc_now();
    let webhook = Webhook {
        id: random_token().chars().take(ID_CHARS).collect(),
        account: scope.account,
        product: scope.product,
        definition,
        created_at: now,
        updated_at: now,
    };
    state.store.webhooks().insert(&webhook).await?;
    state.webhooks.changed(scope.account).await?;
    let mut told = shown(&webhook);
    told.insert("ok".into(), json!(true));
    Ok((StatusCode::CREATED, Json(Value::Object(told))))
}

pub(crate) async fn show_webhook(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"webhook": full(&state, &path, &caller).await?})))
}

pub(crate) async fn show_integration(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"integration": full(&state, &path, &caller).await?})))
}

/// Replaces the whole definition; what is not sent is gone.
pub(crate) async fn replace(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let webhook = owned(&state, &path, &caller).await?;
    let (definition, now) = (definition_of(&caller)?, utc_now());
    state.store.webhooks().replace(&webhook.id, &definition, now).await?;
    state.webhooks.changed(webhook.account).await?;
    let webhook = Webhook { definition, updated_at: now, ..webhook };
    let mut told = shown(&webhook);
    told.insert("ok".into(), json!(true));
    Ok(Json(Value::Object(told)))
}

pub(crate) async fn delete(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let webhook = owned(&state, &path, &caller).await?;
    state.store.webhooks().delete(&webhook.id).await?;
    state.webhooks.changed(webhook.account).await?;
    state.webhooks.forget(&webhook.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Causes the webhook once, with `data`, as if `device_id` or the API had published its event.
pub(crate) async fn test(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let webhook = owned(&state, &path, &caller).await?;
    let origin = match caller.fields.text("device_id").filter(|text| !text.is_empty()) {
        None => Origin::Api,
        Some(text) => Origin::Device(device_of(&state, &webhook, &caller, &text).await?),
    };
    let data = caller.fields.text("data").filter(|data| !data.is_empty());
    if data.as_ref().is_some_and(|data| data.len() > EVENT_DATA_BYTES_MAX_BLOCKWISE) {
        let text = format!("data has at most {EVENT_DATA_BYTES_MAX_BLOCKWISE} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, &text));
    }
    let event =
        fields_of(&webhook).get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = EventName::parse(event.as_bytes())
        .map_err(|why| ApiError::bad_request(&why.to_string()))?;
    let event = Event {
        id: EventId(0),
        account: webhook.account,
        origin,
        product: webhook.product,
        name,
        data: data.map(|text| EventData { format: 0, bytes: text.into_bytes().into() }),
        ttl_s: EVENT_TTL_S_DEFAULT,
        published_at: utc_now(),
    };
    if !state.webhooks.test(&webhook, event).await {
        return Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Stored data is damaged; see the log",
        ));
    }
    Ok(Json(json!({"ok": true})))
}

async fn device_of(
    state: &State,
    webhook: &Webhook,
    caller: &Caller,
    text: &str,
) -> Result<DeviceId, ApiError> {
    let Some(product) = webhook.product else {
        return Ok(caller.actor.device(state, text).await?.id());
    };
    let id = text.parse().map_err(|_| ApiError::unknown_device())?;
    let found = state.store.devices().get(id).await?;
    let found = found.filter(|device| device.product == Some(product));
    found.map(|device| device.id).ok_or_else(ApiError::unknown_device)
}

pub(crate) async fn owned(
    state: &State,
    path: &RawPathParams,
    caller: &Caller,
) -> Result<Webhook, ApiError> {
    let scope = Scope::of(state, &caller.actor, path).await?;
    let id = parameter(path, "webhook").unwrap_or_default();
    let found = state.store.webhooks().get(id).await?;
    let own =
        found.filter(|found| found.account == scope.account && found.product == scope.product);
    own.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Webhook not found"))
}

async fn full(
    state: &State,
    path: &RawPathParams,
    caller: &Caller,
) -> Result<Map<String, Value>, ApiError> {
    let webhook = owned(state, path, caller).await?;
    let mut shown = shown(&webhook);
    for (key, value) in state.webhooks.report(&webhook.id).await? {
        shown.insert(key.into(), value);
    }
    if !sees_credentials(state, caller, webhook.product).await? {
        credentials::hide(&mut shown);
    }
    Ok(shown)
}

/// The definition as JSON text, once it is known to be one.
fn definition_of(caller: &Caller) -> Result<String, ApiError> {
    let wrong = |why: &dyn ToString| ApiError::bad_request(&why.to_string());
    let fields = &caller.fields;
    let kept = normal_form(fields.all(), fields.is_form()).map_err(|why| wrong(&why))?;
    Definition::parse(&kept).map_err(|why| wrong(&why))?;
    Ok(Value::Object(kept).to_string())
}

fn fields_of(webhook: &Webhook) -> Map<String, Value> {
    serde_json::from_str(&webhook.definition).unwrap_or_default()
}

/// The object that clients read.
pub(crate) fn shown(webhook: &Webhook) -> Map<String, Value> {
    let mut shown = fields_of(webhook);
    shown.entry("name").or_insert(Value::Null);
    shown.entry("disabled").or_insert(json!(false));
    shown.insert("id".into(), json!(webhook.id));
    shown.insert("created_at".into(), json!(webhook.created_at.to_string()));
    shown.insert("updated_at".into(), json!(webhook.updated_at.to_string()));
    let prefix = webhook.product.map(|product| format!("/products/{product}")).unwrap_or_default();
    shown.insert("hookUrl".into(), json!(format!("/v1{prefix}/webhooks/{}", webhook.id)));
    if let Some(product) = webhook.product {
        shown.insert("product_id".into(), json!(product.0));
    }
    shown
}
