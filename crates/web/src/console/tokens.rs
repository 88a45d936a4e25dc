//! `/console/tokens`: the account's access tokens. The API knows them by the token itself, which a
//! signed-in browser does not have: here each has a short id, the beginning of its hash.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use serde_json::{Value, json};
use store::{Token, TokenHash};

use crate::api::{scopes, team::known_scopes};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::{State, utc_now};
use crate::token::{LIFE_S_DEFAULT, TokenLife, TokenRequest, issue};

/// Bytes of a hash that make an id.
const ID_BYTES: usize = 8;
/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let tokens = state.store.tokens().list(caller.actor.account).await?;
    let current = caller.actor.token.hash;
    let shown: Vec<Value> = tokens.iter().map(|token| shown(token, current)).collect();
    Ok(Json(json!({"tokens": shown, "scopes": scopes()})))
}

/// `name`, `scopes` (none: everything), and `expires_in` in seconds (0: never). The token is told this once.
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let name = caller.fields.required("name")?;
    if name.len() > NAME_BYTES_MAX {
        return Err(ApiError::bad_request("name has at most 64 bytes"));
    }
    let life = match caller.fields.number("expires_in")?.unwrap_or(LIFE_S_DEFAULT) {
        0 => TokenLife::Endless,
        seconds => TokenLife::Seconds(seconds),
    };
    let request = TokenRequest {
        account: caller.actor.account,
        client: name,
        scopes: known_scopes(&caller)?,
        life,
    };
    let (token, _) = issue(&state.store, request, utc_now()).await?;
    Ok((StatusCode::CREATED, Json(json!({"ok": true, "token": token}))))
}

pub(super) async fn revoke(
    Shared(state): Shared<State>,
    Path(wanted): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let tokens = state.store.tokens().list(caller.actor.account).await?;
    let found = tokens.iter().find(|token| id(token.hash) == wanted);
    let found = found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "No such token"))?;
    state.store.tokens().delete(found.hash).await?;
    Ok(Json(json!({"ok": true})))
}

fn shown(token: &Token, current: TokenHash) -> Value {
    json!({
        "id": id(token.hash),
        "prefix": token.prefix,
        "client": token.client,
        "scopes": token.scopes,
        "created_at": token.created_at.to_string(),
        "expires_at": token.expires_at.map(|end| end.to_string()),
        "current": token.hash == current,
    })
}

fn id(hash: TokenHash) -> String {
    hex::encode(&hash.0[..ID_BYTES])
}
