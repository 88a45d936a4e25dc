//! `/console/session`: sign in, who is signed in, sign out.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::cookie;
use crate::api::{agreements, oauth, user};
use crate::caller::{Anonymous, Caller};
use crate::error::ApiError;
use crate::state::{State, utc_now};
use crate::token::{TokenLife, TokenRequest, issue};

/// How long a session lives: a week.
const LIFE_S: u64 = 7 * 86_400;
/// The client that a session's token names.
pub(super) const CLIENT: &str = "console";

/// `username` and `password`, or `mfa_token` and `otp` when the first step asked for them.
pub(super) async fn begin(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Response, ApiError> {
    if !request.headers.contains_key(cookie::HEADER) || cookie::is_from_elsewhere(&request.headers)
    {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Sign in on the console's own page"));
    }
    let granted = if request.fields.has("otp") {
        oauth::by_one_time_password(&state, &request).await?
    } else {
        oauth::by_password(&state, &request).await?
    };
    let wanted =
        TokenRequest { client: CLIENT.into(), life: TokenLife::Seconds(LIFE_S), ..granted };
    let (token, _) = issue(&state.store, wanted, utc_now()).await?;
    Ok(with_cookie(cookie::begin(&token, LIFE_S, &request.headers), Json(json!({"ok": true}))))
}

/// The account, and how it stands: what every page shows. `username` is null when nobody is signed in:
/// to ask is no mistake.
pub(super) async fn show(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    let Ok(actor) = request.identify(&state, super::NEEDS).await else {
        return Ok(Json(json!({"username": null})));
    };
    let account = user::account(&state, &actor).await?;
    let standing = agreements::standing(&state, account.id).await?;
    let mfa = state.store.second_factors().secret(account.id).await?.is_some();
    Ok(Json(json!({
        "username": account.email,
        "mfa": mfa,
        "agreement": agreements::agreement(&standing),
        "devices": state.fleets.count(&state.handle, account.id).await,
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

/// Revokes the session's token.
pub(super) async fn end(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Response, ApiError> {
    state.store.tokens().delete(caller.actor.token.hash).await?;
    Ok(ended(&caller.headers))
}

fn ended(headers: &HeaderMap) -> Response {
    with_cookie(cookie::end(headers), Json(json!({"ok": true})))
}

fn with_cookie(cookie: Option<header::HeaderValue>, body: Json<Value>) -> Response {
    let mut response = body.into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
