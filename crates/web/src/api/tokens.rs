//! `/v1/access_tokens`: look at tokens and revoke them.

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::AccountId;
use serde_json::{Value, json};
use store::TokenHash;

use crate::caller::{Anonymous, Caller};
use crate::error::ApiError;
use crate::routes::Needs;
use crate::state::State;

pub(crate) async fn current(caller: Caller) -> Json<Value> {
    let token = caller.actor.token;
    Json(json!({
        "expires_at": token.expires_at.map(|end| end.to_string()),
        "client_id": token.client,
        "scopes": token.scopes,
        "orgs": [],
    }))
}

pub(crate) async fn delete_current(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    state.store.tokens().delete(caller.actor.token.hash).await?;
    Ok(Json(json!({"ok": true})))
}

/// Tokens are known by their hash alone: only their first characters can be shown.
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Extension(needs): Extension<Needs>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    let account = match request.basic() {
        Some((email, password)) => by_password(&state, &request, &email, password).await?,
        None => request.identify(&state, needs).await?.account,
    };
    let tokens = state.store.tokens().list(account).await?;
    let shown = tokens.iter().map(|token| {
        json!({
            "token": format!("{}…", token.prefix),
            "expires_at": token.expires_at.map(|end| end.to_string()),
            "client": token.client,
        })
    });
    Ok(Json(shown.collect()))
}

pub(crate) async fn delete_all(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    state.store.tokens().delete_all(caller.actor.account, None).await?;
    Ok(Json(json!({"ok": true})))
}

/// The account behind HTTP Basic; with a second factor the query's `otp` has its password. An
/// unknown user gets the answer of a wrong password.
async fn by_password(
    state: &State,
    request: &Anonymous,
    email: &str,
    password: String,
) -> Result<AccountId, ApiError> {
    let wrong = || ApiError::errors(StatusCode::UNAUTHORIZED, "Bad password");
    let account = state.account_of(email, password).await?.ok_or_else(wrong)?;
    if state.store.second_factors().secret(account.id).await?.is_none() {
        return Ok(account.id);
    }
    let otp = request.query.text("otp").unwrap_or_default();
    if !state.takes_one_time_password(account.id, &otp).await? {
        let text = "A one-time password is required in otp";
        return Err(ApiError::oauth(StatusCode::FORBIDDEN, "mfa_required", text));
    }
    Ok(account.id)
}

/// The token in the path is the proof: clients send no other. A credential that is there must be valid.
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    Extension(needs): Extension<Needs>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    match request.basic() {
        Some((email, password)) => {
            by_password(&state, &request, &email, password).await?;
        }
        None if request.has_authorization() => {
            request.identify(&state, needs).await?;
        }
        None => {}
    }
    if !state.store.tokens().delete(TokenHash::of(&token)).await? {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "No such token"));
    }
    Ok(Json(json!({"ok": true})))
}
