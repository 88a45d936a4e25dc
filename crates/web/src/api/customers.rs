//! `/v1/products/:product/customers`: people who use devices of a product. An account of ours stands
//! for each; a client of the product makes it and asks for its tokens.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use store::{Customer, StoreError};

use crate::api::{oauth, users};
use crate::caller::{Anonymous, Caller};
use crate::error::ApiError;
use crate::paging::Page;
use crate::rights;
use crate::scope::{parameter, product_of};
use crate::state::{State, utc_now};
use crate::telling::to_the_end;
use crate::token::TokenRequest;

/// Customers of a page, by default.
const PAGE_DEFAULT: u64 = 25;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    let all = state.store.teams().customers(product).await?;
    let page = Page::of(&caller.query, PAGE_DEFAULT)?;
    let mut shown = Vec::new();
    for customer in page.cut(&all) {
        shown.push(shown_customer(&state, customer).await?);
    }
    Ok(Json(json!({"customers": shown, "devices": [], "meta": page.meta(all.len())})))
}

/// A client of the product makes a customer and gets its token. Without a password the customer signs
/// in elsewhere, and the client asks for tokens.
pub(crate) async fn create(
    Shared(state): Shared<State>,
    path: RawPathParams,
    request: Anonymous,
) -> Result<Response, ApiError> {
    oauth::check_client(&state, &request).await?;
    let product = oauth::product_of_client(&state, &request).await?;
    let product = product.ok_or_else(oauth::invalid_client)?;
    let wanted = parameter(&path, "product").unwrap_or_default();
    let is_named = match state.store.products().get(product).await? {
        Some(found) => wanted == product.to_string() || wanted.eq_ignore_ascii_case(&found.slug),
        None => false,
    };
    if !is_named {
        return Err(oauth::invalid_client());
    }
    let email = request.fields.text("email").unwrap_or_default();
    users::check_email(&email)?;
    let life = oauth::life(&request)?;
    let hash = match request.fields.text("password").filter(|password| !password.is_empty()) {
        Some(password) => users::new_hash(&state, Some(password)).await?,
        None => String::new(),
    };
    let made = state.store.teams().create_customer(product, email.trim(), &hash, utc_now()).await;
    let customer = made.map_err(|why| match why {
        StoreError::Taken => {
            ApiError::errors(StatusCode::CONFLICT, "The product has a customer of this address")
        }
        other => other.into(),
    })?;
    let granted = TokenRequest {
        account: customer.account,
        client: oauth::client(&request),
        scopes: rights::of_customer(product),
        life,
    };
    oauth::answer(&state, granted).await
}

/// A new password.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let customer = named(&state, &caller, &path).await?;
    let hash = users::new_hash(&state, caller.fields.text("password")).await?;
    state.store.accounts().set_password(customer.account, &hash).await?;
    Ok(Json(json!({"ok": true})))
}

/// The customer's devices have no owner afterwards; they stay in the product.
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let customer = named(&state, &caller, &path).await?;
    to_the_end(async move { users::delete_account(&state, customer.account).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn named(state: &State, caller: &Caller, path: &RawPathParams) -> Result<Customer, ApiError> {
    let product = product_of(state, caller, path).await?.id;
    let email = parameter(path, "email").unwrap_or_default();
    let found = state.store.teams().customer(product, email).await?;
    found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Customer not found"))
}

async fn shown_customer(state: &State, customer: &Customer) -> Result<Value, ApiError> {
    let devices = state.store.devices().list(customer.account).await?;
    let ids: Vec<String> = devices.iter().map(|device| device.id.to_string()).collect();
    Ok(json!({
        "id": customer.account.to_string(),
        "email": customer.email,
        "username": customer.email,
        "created_at": customer.created_at.to_string(),
        "devices": ids,
    }))
}
