//! `POST /oauth/token`: passwords and refresh tokens become access tokens.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{ProductId, Timestamp};
use serde_json::json;
use store::{RefreshToken, TokenHash, customer_name};
use zeroize::Zeroizing;

use crate::caller::Anonymous;
use crate::error::ApiError;
use crate::mfa::Purpose;
use crate::rights;
use crate::state::{State, utc_now};
use crate::token::{LIFE_S_DEFAULT, TokenLife, TokenRequest, exchange, issue};

/// Longest life that a caller may ask for: 10 years.
const LIFE_S_MAX: u64 = 315_360_000;

/// A Bearer header is ignored here: clients send stale ones.
pub(crate) async fn token(
    Shared(state): Shared<State>,
    request: Anonymous,
) -> Result<Response, ApiError> {
    check_client(&state, &request).await?;
    let granted = match request.fields.text("grant_type").as_deref() {
        Some("client_credentials") => by_client(&state, &request).await?,
        Some("password") => by_password(&state, &request).await?,
        Some("refresh_token") => return by_refresh(&state, &request).await,
        Some("urn:custom:mfa-otp") => by_one_time_password(&state, &request).await?,
        Some(other) => {
            let text = format!("grant_type {other} is not offered by this server");
            return Err(ApiError::oauth(StatusCode::BAD_REQUEST, "unsupported_grant_type", &text));
        }
        None => {
            let text = "grant_type is required";
            return Err(ApiError::oauth(StatusCode::BAD_REQUEST, "invalid_request", text));
        }
    };
    answer(&state, granted).await
}

pub(crate) async fn by_password(
    state: &State,
    request: &Anonymous,
) -> Result<TokenRequest, ApiError> {
    let username = request.fields.text("username").unwrap_or_default();
    let password = request.fields.text("password").unwrap_or_default();
    let customers_of = product_of_client(state, request).await?;
    let (account, scopes) = match customers_of {
        None => (state.account_of(&username, password).await?, Vec::new()),
        Some(product) => {
            let name = customer_name(product, username.trim());
            (state.account_named(&name, password).await?, rights::of_customer(product))
        }
    };
    let account = account.ok_or_else(invalid_grant)?;
    let (client, life) = (client(request), life(request)?);
    let granted = TokenRequest { account: account.id, client, scopes, life };
    if state.store.second_factors().secret(account.id).await?.is_none() {
        return Ok(granted);
    }
    let token = state.challenges.begin(account.id, Purpose::SignIn(granted), utc_now());
    let text = "A one-time password is required: ask again with it and with mfa_token";
    let body = json!({"error": "mfa_required", "error_description": text, "mfa_token": token});
    Err(ApiError::with_body(StatusCode::FORBIDDEN, body))
}

/// The second step of a sign-in with a second factor.
pub(crate) async fn by_one_time_password(
    state: &State,
    request: &Anonymous,
) -> Result<TokenRequest, ApiError> {
    let token = request.fields.text("mfa_token").unwrap_or_default();
    let otp = request.fields.text("otp").unwrap_or_default();
    let waiting = state.challenges.attempt(&token, utc_now());
    let Some((account, Purpose::SignIn(granted))) = waiting else { return Err(invalid_grant()) };
    if !state.takes_one_time_password(account, &otp).await? {
        return Err(invalid_grant());
    }
    state.challenges.end(&token);
    Ok(granted)
}

/// A registered client acts for the account that registered it; one of a product for the product
/// alone, or for a customer of it.
async fn by_client(state: &State, request: &Anonymous) -> Result<TokenRequest, ApiError> {
    let client = state.store.clients().get(&client(request)).await?.ok_or_else(invalid_client)?;
    let scope = request.fields.text("scope");
    let customer = scope.as_deref().and_then(|scope| scope.strip_prefix("customer="));
    let life = life(request)?;
    let (account, scopes) = match (client.product, customer) {
        (None, None) => (client.account, Vec::new()),
        (Some(product), None) => (client.account, rights::of_product(product, &[])),
        (Some(product), Some(email)) => {
            let found = state.store.teams().customer(product, email.trim()).await?;
            (found.ok_or_else(invalid_grant)?.account, rights::of_customer(product))
        }
        (None, Some(_)) => {
            let text = "Only clients of products have customers";
            return Err(ApiError::oauth(StatusCode::BAD_REQUEST, "invalid_scope", text));
        }
    };
    Ok(TokenRequest { account, client: client.id, scopes, life })
}

/// The product that the request's client serves, if it is registered for one.
pub(crate) async fn product_of_client(
    state: &State,
    request: &Anonymous,
) -> Result<Option<ProductId>, ApiError> {
    let found = state.store.clients().get(&client(request)).await?;
    Ok(found.and_then(|client| client.product))
}

/// A client that is registered must prove itself; of others any name is taken.
pub(crate) async fn check_client(state: &State, request: &Anonymous) -> Result<(), ApiError> {
    let Some(client) = state.store.clients().get(&client(request)).await? else { return Ok(()) };
    let secret = request.basic().map(|(_, secret)| secret);
    let secret = secret.or_else(|| request.fields.text("client_secret")).unwrap_or_default();
    let secret = Zeroizing::new(secret);
    if client.secret == TokenHash::of(&secret) { Ok(()) } else { Err(invalid_client()) }
}

pub(crate) fn invalid_client() -> ApiError {
    let text = "Client credentials are invalid";
    ApiError::oauth(StatusCode::BAD_REQUEST, "invalid_client", text)
}

/// Everything is looked at before the refresh token is spent: a client that was refused still has it.
async fn by_refresh(state: &State, request: &Anonymous) -> Result<Response, ApiError> {
    let text = Zeroizing::new(request.fields.text("refresh_token").unwrap_or_default());
    let (used, now) = (TokenHash::of(&text), utc_now());
    let found = state.store.tokens().refresh(used, now).await?.ok_or_else(invalid_grant)?;
    check_holder(state, request, &found.client).await?;
    let RefreshToken { account, client, scopes, .. } = found;
    let granted = TokenRequest { account, client, scopes, life: life(request)? };
    let expires_in = granted.life.seconds();
    let made = exchange(&state.store, used, granted, now).await?.ok_or_else(invalid_grant)?;
    Ok(told(expires_in, made))
}

/// A refresh token of a registered client is good in that client's hands alone. Those of other
/// clients prove nothing: any name is taken, or none.
async fn check_holder(state: &State, request: &Anonymous, holder: &str) -> Result<(), ApiError> {
    let is_named = client(request) == holder;
    if is_named || state.store.clients().get(holder).await?.is_none() {
        return Ok(());
    }
    Err(invalid_client())
}

pub(crate) async fn answer(state: &State, granted: TokenRequest) -> Result<Response, ApiError> {
    let expires_in = granted.life.seconds();
    Ok(told(expires_in, issue(&state.store, granted, utc_now()).await?))
}

fn told(expires_in: u64, (access, refresh): (String, String)) -> Response {
    let no_store: [(HeaderName, HeaderValue); 1] =
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let body = json!({
        "token_type": "bearer",
        "access_token": access,
        "expires_in": expires_in,
        "refresh_token": refresh,
    });
    (no_store, Json(body)).into_response()
}

fn invalid_grant() -> ApiError {
    ApiError::oauth(StatusCode::BAD_REQUEST, "invalid_grant", "User credentials are invalid")
}

/// The client's id is kept for lists; public clients prove nothing by it.
pub(crate) fn client(request: &Anonymous) -> String {
    let named = request.basic().map(|(id, _)| id).or_else(|| request.fields.text("client_id"));
    named.unwrap_or_default().chars().take(64).collect()
}

/// `expires_in` in seconds (0: for ever) or `expires_at` as a date or time.
pub(crate) fn life(request: &Anonymous) -> Result<TokenLife, ApiError> {
    if let Some(seconds) = request.fields.number("expires_in")? {
        return Ok(match seconds {
            0 => TokenLife::Endless,
            seconds => TokenLife::Seconds(seconds.min(LIFE_S_MAX)),
        });
    }
    let Some(text) = request.fields.text("expires_at") else {
        return Ok(TokenLife::Seconds(LIFE_S_DEFAULT));
    };
    let end = parse_time(&text).ok_or_else(|| {
        ApiError::bad_request("expires_at must be YYYY-MM-DD or an ISO 8601 time")
    })?;
    let seconds = u64::try_from((end.0 - utc_now().0) / 1000).unwrap_or(0);
    match seconds {
        0 => Err(ApiError::bad_request("expires_at lies in the past")),
        seconds => Ok(TokenLife::Seconds(seconds.min(LIFE_S_MAX))),
    }
}

/// `2026-01-31`, `2026-01-31T12:34:56Z` or with milliseconds, in UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.strip_suffix('Z').unwrap_or(time);
    let mut time = time.split(':').map(str::parse::<f64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let in_range = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0.0..24.0).contains(&hour)
        && (0.0..60.0).contains(&minute)
        && (0.0..61.0).contains(&second);
    in_range.then(|| {
        let days = days_from_civil(year, month, day);
        let seconds = hour * 3600.0 + minute * 60.0 + second;
        Timestamp(days * 86_400_000 + (seconds * 1000.0) as i64)
    })
}

/// Days since 1970-01-01: the inverse of [`model::time::civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_as_utc() {
        for text in ["1970-01-01", "2000-02-29", "2026-01-31"] {
            let time = parse_time(text).expect("a date");
            assert_eq!(time.to_string(), format!("{text}T00:00:00.000Z"));
        }
        let time = parse_time("2026-01-31T12:34:56.789Z").expect("a time");
        assert_eq!(time.to_string(), "2026-01-31T12:34:56.789Z");
        assert_eq!(parse_time("tomorrow"), None);
        assert_eq!(parse_time("2026-13-01"), None);
        assert_eq!(parse_time("9223372036854775807-01-01"), None);
    }
}
