//! `POST /v1/users` and what people change about their own account.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use model::{AccountId, ProductId};
use serde_json::{Value, json};
use store::{Account, StoreError, TokenHash};

use crate::api::user::account;
use crate::caller::{Anonymous, Caller};
use crate::error::ApiError;
use crate::password::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use crate::state::{Registration, State, utc_now};
use crate::telling::{tell_devices, to_the_end};
use crate::token::random_token;

/// Longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, less the brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// How long the code of a password reset is good for, and how many an account has at a time.
const RESET_LIFE: Duration = Duration::from_secs(3600);
const RESETS_MAX: u32 = 3;
/// Longest `account_info`, in bytes of JSON.
const INFO_BYTES_MAX: usize = 16 * 1024;

pub(crate) async fn create(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    if state.registration == Registration::Closed {
        let text = "This server takes no registrations: ask its operator for an account";
        return Err(ApiError::errors(StatusCode::FORBIDDEN, text));
    }
    let email = request.fields.text("username").unwrap_or_default();
    let email = email.trim();
    check_email(email)?;
    let code = invitation(&state, email, &request).await?;
    let info = info_of(request.fields.value("account_info"))?;
    let hash = new_hash(&state, request.fields.text("password")).await?;
    let created = match code {
        None => state.store.accounts().create(email, &hash, utc_now()).await.map(Some),
        Some(code) => state.store.invitations().accept(email, code, &hash, utc_now()).await,
    };
    let account = created.map_err(taken)?.ok_or_else(not_invited)?;
    if let Some(info) = info {
        state.store.accounts().set_info(account.id, Some(&info)).await?;
    }
    Ok(Json(json!({"ok": true})))
}

/// The code of the address's invitation, if one is asked for.
async fn invitation(
    state: &State,
    email: &str,
    request: &Anonymous,
) -> Result<Option<TokenHash>, ApiError> {
    if state.registration != Registration::Invitation {
        return Ok(None);
    }
    let code = TokenHash::of(&request.fields.text("invitation").unwrap_or_default());
    if state.store.invitations().is_invited(email, code, utc_now()).await? {
        return Ok(Some(code));
    }
    Err(not_invited())
}

/// Says the same whether or not the address was invited.
fn not_invited() -> ApiError {
    let text = "This server takes registrations by invitation: send the code that was mailed as \
                invitation, with the address that it was mailed to";
    ApiError::errors(StatusCode::FORBIDDEN, text)
}

/// `account_info`, or with `current_password` a new `username` or `password`.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    let fields = &caller.fields;
    if !["account_info", "password", "username"].iter().any(|key| fields.has(key)) {
        return Err(bad("Nothing to change: send account_info, username or password"));
    }
    let info = info_of(fields.value("account_info"))?;
    if fields.has("username") || fields.has("password") {
        check_password(&state, &account, fields.text("current_password")).await?;
    }
    if let Some(email) = fields.text("username") {
        check_email(&email)?;
        state.store.accounts().set_email(account.id, email.trim()).await.map_err(taken)?;
    }
    if fields.has("password") {
        let hash = new_hash(&state, fields.text("password")).await?;
        state.store.accounts().set_password(account.id, &hash).await?;
    }
    if let Some(info) = info {
        state.store.accounts().set_info(account.id, Some(&info)).await?;
    }
    if fields.flag("invalidate_tokens") {
        state.store.tokens().delete_all(account.id, None).await?;
    }
    Ok(Json(json!({"ok": true})))
}

/// Its devices have no owner afterwards, those of its products no product.
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = account(&state, &caller.actor).await?;
    check_password(&state, &account, caller.fields.text("password")).await?;
    to_the_end(async move {
        delete_with_products(&state, account.id).await?;
        Ok(Json(json!({"ok": true})))
    })
    .await
}

async fn delete_with_products(state: &State, account: AccountId) -> Result<(), ApiError> {
    let mut devices: Vec<_> =
        state.store.devices().list(account).await?.iter().map(|device| device.id).collect();
    let products = state.store.products().list(account).await?;
    for product in &products {
        devices.extend(state.store.products().devices(product.id).await?);
        devices.extend(state.store.teams().denied(product.id).await?);
        delete_those_of(state, product.id).await?;
    }
    let webhooks = state.store.webhooks().list(account).await?;
    state.store.accounts().delete(account).await?;
    for product in products {
        state.updates.product_changed(product.id).await;
    }
    let told = tell_devices(state, devices).await;
    state.webhooks.changed(account).await?;
    webhooks.iter().for_each(|webhook| state.webhooks.forget(&webhook.id));
    told
}

/// Deletes the accounts that are there for a product alone: customers and API users.
async fn delete_those_of(state: &State, product: ProductId) -> Result<(), ApiError> {
    for customer in state.store.teams().customers(product).await? {
        delete_account(state, customer.account).await?;
    }
    for member in state.store.teams().members(product).await? {
        if member.programmatic {
            delete_account(state, member.account).await?;
        }
    }
    Ok(())
}

/// Its devices have no owner afterwards.
pub(crate) async fn delete_account(state: &State, account: AccountId) -> Result<(), ApiError> {
    let devices = state.store.devices().list(account).await?;
    state.store.accounts().delete(account).await?;
    tell_devices(state, devices.iter().map(|device| device.id).collect()).await
}

/// Says the same, in about the same time, whether or not there is such an account.
pub(crate) async fn ask_for_reset(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    let email = request.fields.text("username").unwrap_or_default();
    if let Some(account) = state.store.accounts().by_email(email.trim()).await?
        && !account.password_hash.is_empty()
        && check_email(&account.email).is_ok()
    {
        mail_reset(&state, &account).await?;
    }
    Ok(Json(json!({"ok": true})))
}

/// Mails a code; an account has a few at a time, so that nobody's box is filled.
async fn mail_reset(state: &State, account: &Account) -> Result<(), ApiError> {
    let (code, now) = (random_token(), utc_now());
    let letters = state.store.letters();
    let ends = now.after(RESET_LIFE);
    if !letters.begin_reset(TokenHash::of(&code), account.id, now, ends, RESETS_MAX).await? {
        return Ok(());
    }
    let text = format!(
        "Somebody, probably you, asked for a new password of your account {}.\r\n\r\n\
         The code, good for one hour:\r\n\r\n    {code}\r\n\r\n\
         It goes with the new password to PUT /v1/user/password-reset, as token and password.\r\n\
         If it was not you, there is nothing to do: your password stays as it is.\r\n",
        account.email
    );
    letters.write_letter(&account.email, "A new password for Cloud Chamber", &text, now).await?;
    Ok(())
}

/// All tokens of the account end with its old password.
pub(crate) async fn reset(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Json<Value>, ApiError> {
    let code = request.fields.text("token").unwrap_or_default();
    let hash = new_hash(&state, request.fields.text("password")).await?;
    let redeemed = state.store.letters().redeem_reset(TokenHash::of(&code), utc_now()).await?;
    let account = redeemed.ok_or_else(|| bad("The reset is unknown or has expired"))?;
    state.store.accounts().set_password(account, &hash).await?;
    state.store.tokens().delete_all(account, None).await?;
    Ok(Json(json!({"ok": true})))
}

/// The password that must come with what cannot be undone.
pub(crate) async fn check_password(
    state: &State,
    account: &Account,
    password: Option<String>,
) -> Result<(), ApiError> {
    let password = password.unwrap_or_default();
    let stored = Some(account.password_hash.clone());
    let is_short = password.len() <= PASSWORD_BYTES_MAX;
    if is_short && state.passwords.verify(password, stored).await {
        return Ok(());
    }
    Err(ApiError::errors(StatusCode::FORBIDDEN, "The current password is wrong"))
}

pub(crate) async fn new_hash(state: &State, password: Option<String>) -> Result<String, ApiError> {
    let password = password.unwrap_or_default();
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        let text = format!("password must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes");
        return Err(bad(&text));
    }
    state.passwords.hash(password).await.ok_or_else(|| ApiError::from(model::Refusal::Unavailable))
}

pub(crate) fn check_email(email: &str) -> Result<(), ApiError> {
    let email = email.trim();
    let parts = email.split_once('@').filter(|(name, host)| {
        !name.is_empty() && host.contains('.') && !host.starts_with('.') && !host.ends_with('.')
    });
    // The slash is for the accounts that stand for customers and API users.
    let is_plain = !email.chars().any(|c| c == '/' || c.is_control() || c.is_whitespace());
    if parts.is_some_and(|(_, host)| !host.contains('@'))
        && is_plain
        && email.len() <= EMAIL_BYTES_MAX
    {
        return Ok(());
    }
    Err(bad("username must be an email address"))
}

/// The caller's own data as JSON text; objects come as such, or as text in forms.
fn info_of(value: Option<&Value>) -> Result<Option<String>, ApiError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let parsed = match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let text = parsed.to_string();
    if !parsed.is_object() || text.len() > INFO_BYTES_MAX {
        return Err(bad("account_info must be an object of at most 16 KB"));
    }
    Ok(Some(text))
}

fn taken(why: StoreError) -> ApiError {
    match why {
        StoreError::Taken => bad("username is already in use"),
        other => other.into(),
    }
}

fn bad(text: &str) -> ApiError {
    ApiError::errors(StatusCode::BAD_REQUEST, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_is_an_email_address() {
        for email in ["a@example.org", " a.b+c@example.org ", "ä@exämple.org"] {
            assert!(check_email(email).is_ok(), "{email}");
        }
        for text in ["", "a", "a@b", "@example.org", "a b@example.org", "a@b@example.org", "a@.org"]
        {
            assert!(check_email(text).is_err(), "{text}");
        }
    }
}
