//! `/v1/products`: fleets of devices that one account pays for.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::ProductId;
use serde_json::{Map, Value, json};
use store::{Product, StoreError};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::product_of;
use crate::state::{State, utc_now};
use crate::telling::{tell_devices, to_the_end};

/// Longest name, and longest description, in bytes.
const NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Numbers tried when others create products at the same moment.
const TRIES: usize = 5;
/// Products of one account.
const PRODUCTS_MAX: usize = 1_000;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let mut products = state.store.products().list(caller.actor.account).await?;
    for member in state.store.teams().memberships(caller.actor.account).await? {
        products.extend(state.store.products().get(member.product).await?);
    }
    let shown: Vec<Value> = products.iter().map(shown).collect();
    Ok(Json(json!({"products": shown})))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    Ok(Json(json!({"product": shown(&product)})))
}

/// `{"product": {…}}`, or the same fields without the object around them.
pub(crate) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wanted = wanted(&caller)?;
    if state.store.products().list(caller.actor.account).await?.len() >= PRODUCTS_MAX {
        return Err(ApiError::bad_request("An account has at most 1000 products"));
    }
    for _ in 0..TRIES {
        let id = state.store.products().free_id().await?;
        let slug = format!("{}-{id}", slug_of(&wanted.name));
        let product = Product { id, slug, ..wanted.clone() };
        match state.store.products().insert(&product).await {
            Ok(()) => {
                return Ok((
                    StatusCode::CREATED,
                    Json(json!({"ok": true, "product": shown(&product)})),
                ));
            }
            Err(StoreError::Taken) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Err(model::Refusal::Unavailable.into())
}

/// `name`, `description`, `settings.location.opt_in`; what is absent stays as it is.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let before = product_of(&state, &caller, &path).await?;
    let fields = fields_of(&caller);
    let name = text_of(fields, "name", NAME_BYTES_MAX)?.unwrap_or_else(|| before.name.clone());
    if name.is_empty() {
        return Err(ApiError::bad_request("name must not be empty"));
    }
    let description = text_of(fields, "description", DESCRIPTION_BYTES_MAX)?;
    let after = Product {
        name,
        description: description.unwrap_or_else(|| before.description.clone()),
        location_opt_in: opt_in_of(fields)?.unwrap_or(before.location_opt_in),
        ..before.clone()
    };
    to_the_end(async move {
        state.store.products().update(&after).await?;
        if after.location_opt_in != before.location_opt_in {
            tell_devices(&state, state.store.products().devices(after.id).await?).await?;
        }
        Ok(Json(json!({"ok": true, "product": shown(&after)})))
    })
    .await
}

/// A product's fields, within an object `product` or not.
fn fields_of(caller: &Caller) -> &Map<String, Value> {
    let nested = caller.fields.value("product").and_then(Value::as_object);
    nested.unwrap_or_else(|| caller.fields.all())
}

fn text_of(fields: &Map<String, Value>, key: &str, max: usize) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.get(key).and_then(Value::as_str).map(str::trim) else {
        return Ok(None);
    };
    if text.len() > max {
        return Err(ApiError::bad_request(&format!("{key} has at most {max} bytes")));
    }
    Ok(Some(text.to_owned()))
}

fn opt_in_of(fields: &Map<String, Value>) -> Result<Option<bool>, ApiError> {
    let settings = fields.get("settings").filter(|settings| !settings.is_null());
    let Some(settings) = settings else { return Ok(None) };
    let told = || ApiError::bad_request("settings.location.opt_in must be true or false");
    if !settings.is_object() {
        return Err(told());
    }
    let opt_in = settings.pointer("/location/opt_in");
    opt_in.map(|opt_in| opt_in.as_bool().ok_or_else(told)).transpose()
}

fn wanted(caller: &Caller) -> Result<Product, ApiError> {
    let fields = fields_of(caller);
    let name = text_of(fields, "name", NAME_BYTES_MAX)?.unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::bad_request("name is required"));
    }
    let platform = fields.get("platform_id");
    let number = platform.and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
    let written = || platform.and_then(Value::as_str).and_then(|text| text.parse().ok());
    let platform = number.or_else(written);
    let platform =
        platform.ok_or_else(|| ApiError::bad_request("platform_id must be a platform's number"))?;
    Ok(Product {
        id: ProductId(0),
        account: caller.actor.account,
        name,
        slug: String::new(),
        description: text_of(fields, "description", DESCRIPTION_BYTES_MAX)?.unwrap_or_default(),
        platform,
        location_opt_in: opt_in_of(fields)?.unwrap_or(false),
        created_at: utc_now(),
    })
}

/// Small letters, digits and dashes. The number behind it makes it the only one, and keeps it from
/// looking like another product's number.
fn slug_of(name: &str) -> String {
    let dashed: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "product".into() } else { parts.join("-") }
}

fn shown(product: &Product) -> Value {
    json!({
        "id": product.id.0,
        "platform_id": product.platform,
        "name": product.name,
        "slug": product.slug,
        "description": product.description,
        "user": product.account.to_string(),
        "groups": [],
        "settings": {"location": {"opt_in": product.location_opt_in}},
        "created_at": product.created_at.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_only_what_paths_take() {
        assert_eq!(slug_of("My  Product/2!"), "my-product-2");
        assert_eq!(slug_of("Ünï"), "n");
        assert_eq!(slug_of("…"), "product");
    }
}
