//! `/v1/clients`: OAuth clients that act for the account that registered them, or for one of its
//! products.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use serde_json::{Value, json};
use store::{Client, TokenHash};

use crate::caller::{Actor, Caller};
use crate::error::ApiError;
use crate::scope::{Scope, parameter};
use crate::state::{State, utc_now};
use crate::token::random_token;

/// Longest name, redirect address and scope, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Clients of one account.
const CLIENTS_MAX: usize = 100;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let clients = state.store.clients().list(scope.account).await?;
    let own = clients.iter().filter(|client| client.product == scope.product);
    let shown: Vec<Value> = own.map(shown).collect();
    Ok(Json(json!({"ok": true, "clients": shown})))
}

/// The secret is told this once.
pub(crate) async fn create(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    check_whole(&caller.actor)?;
    let client = client_of(&caller, scope)?;
    let secret = random_token();
    let client = Client { secret: TokenHash::of(&secret), ..client };
    if state.store.clients().list(client.account).await?.len() >= CLIENTS_MAX {
        return Err(ApiError::bad_request("An account has at most 100 OAuth clients"));
    }
    state.store.clients().insert(&client).await?;
    let mut told = shown(&client);
    told["secret"] = json!(secret);
    Ok(Json(json!({"ok": true, "client": told})))
}

pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let client = owned(&state, &caller.actor, &path).await?;
    check_whole(&caller.actor)?;
    let name = text(&caller, "name")?.unwrap_or_else(|| client.name.clone());
    let scope = text(&caller, "scope")?.or_else(|| client.scope.clone());
    state.store.clients().update(&client.id, &name, scope.as_deref()).await?;
    let client = owned(&state, &caller.actor, &path).await?;
    Ok(Json(json!({"ok": true, "client": shown(&client)})))
}

/// Its tokens end with it.
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let client = owned(&state, &caller.actor, &path).await?;
    state.store.clients().delete(&client.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A client's tokens are good for all that their account or product lets them do, so one that is kept
/// to a few scopes cannot make a client, nor take part in one.
fn check_whole(actor: &Actor) -> Result<(), ApiError> {
    if actor.token.scopes.is_empty() {
        return Ok(());
    }
    let text = "Only who may do everything can register or change a client: it gives as much";
    Err(ApiError::oauth(StatusCode::FORBIDDEN, "unauthorized", text))
}

async fn owned(state: &State, actor: &Actor, path: &RawPathParams) -> Result<Client, ApiError> {
    let scope = Scope::of(state, actor, path).await?;
    let id = parameter(path, "client").unwrap_or_default();
    let found = state.store.clients().get(id).await?;
    let owned =
        found.filter(|found| found.account == scope.account && found.product == scope.product);
    owned.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Client not found"))
}

fn client_of(caller: &Caller, scope: Scope) -> Result<Client, ApiError> {
    let name = text(caller, "name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::bad_request("name is required"))?;
    let kind = caller.fields.text("type").unwrap_or_else(|| "installed".into());
    let redirect_uri = text(caller, "redirect_uri")?;
    match (kind.as_str(), &redirect_uri) {
        ("installed", _) | ("web", Some(_)) => {}
        ("web", None) => return Err(ApiError::bad_request("redirect_uri is required")),
        _ => return Err(ApiError::bad_request("type must be installed or web")),
    }
    let slug: String = name.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    let tail: String = random_token().chars().take(12).collect();
    Ok(Client {
        id: format!("{}-{tail}", slug.to_ascii_lowercase()),
        account: scope.account,
        product: scope.product,
        name,
        kind,
        redirect_uri,
        scope: text(caller, "scope")?,
        secret: TokenHash([0; 32]),
        created_at: utc_now(),
    })
}

fn text(caller: &Caller, key: &str) -> Result<Option<String>, ApiError> {
    let text = caller.fields.text(key);
    if text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(ApiError::bad_request(&format!("{key} has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn shown(client: &Client) -> Value {
    let mut shown = json!({"name": client.name, "type": client.kind, "id": client.id});
    for (key, value) in [("redirect_uri", &client.redirect_uri), ("scope", &client.scope)] {
        if let Some(value) = value {
            shown[key] = json!(value);
        }
    }
    shown
}
