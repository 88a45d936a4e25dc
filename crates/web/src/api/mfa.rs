//! `/v1/user/mfa-…`: the second factor of an account.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::user::account;
use crate::api::users::check_password;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::mfa::{self, Purpose};
use crate::state::{State, utc_now};

/// A new secret, not in force before a password made with it came.
pub(crate) async fn begin(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    if state.store.second_factors().secret(account.id).await?.is_some() {
        let text = "Two-factor authentication is on already";
        return Err(ApiError::errors(StatusCode::CONFLICT, text));
    }
    let secret = mfa::new_secret();
    let (url, text) = (mfa::enrolment_url(&secret, &account.email), mfa::secret_text(&secret));
    let token = state.challenges.begin(account.id, Purpose::Enrol(secret), utc_now());
    Ok(Json(json!({"mfa_token": token, "qr_url": url, "secret": text})))
}

/// `mfa_token` and `otp` put the secret in force.
pub(crate) async fn confirm(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (token, otp) = (caller.fields.required("mfa_token")?, caller.fields.required("otp")?);
    let (id, now) = (caller.actor.account, utc_now());
    let wrong = || ApiError::errors(StatusCode::BAD_REQUEST, "The code is wrong or has expired");
    let waiting = state.challenges.attempt(&token, now);
    let Some((account, Purpose::Enrol(secret))) = waiting else { return Err(wrong()) };
    let step = mfa::step_of(&secret, &otp, now).filter(|_| account == id).ok_or_else(wrong)?;
    state.challenges.end(&token);
    let factors = state.store.second_factors();
    factors.set(id, Some(&secret)).await?;
    factors.use_step(id, step).await?;
    if caller.fields.flag("invalidate_tokens") {
        state.store.tokens().delete_all(id, None).await?;
    }
    Ok(Json(json!({"enrolled": true, "tokens": []})))
}

pub(crate) async fn disable(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    check_password(&state, &account, caller.fields.text("current_password")).await?;
    state.store.second_factors().set(account.id, None).await?;
    Ok(Json(json!({"ok": true})))
}
