//! `/v1/products/:product/team`: who works on a product, people and programs.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::ProductId;
use serde_json::{Value, json};
use store::{Account, Member};

use crate::api::users;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::rights::{self, Role};
use crate::scope::{parameter, product_of};
use crate::state::{State, utc_now};
use crate::telling::to_the_end;
use crate::token::{TokenLife, TokenRequest, issue, random_token};

/// Members of one team.
const MEMBERS_MAX: usize = 200;
/// Longest name of an API user, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The client that tokens of API users show.
const CLIENT: &str = "api-user";

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    let mut shown = Vec::new();
    for member in state.store.teams().members(product).await? {
        if let Some(account) = state.store.accounts().by_id(member.account).await? {
            shown.push(shown_member(&member, &account));
        }
    }
    Ok(Json(json!({"ok": true, "team": shown})))
}

/// `username` adds a person with an account, `friendly_name` and `scopes` make an API user, whose
/// token is told this once.
pub(crate) async fn add(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    if state.store.teams().members(product).await?.len() >= MEMBERS_MAX {
        return Err(ApiError::bad_request("A team has at most 200 members"));
    }
    if caller.fields.has("friendly_name") {
        return add_program(&state, product, &caller).await;
    }
    let username = caller.fields.required("username")?;
    let role = role_of(&caller)?.unwrap_or(Role::Developer);
    let account = state.store.accounts().by_email(username.trim()).await?;
    let account =
        account.filter(|account| account.email.contains('@') && !account.email.contains('/'));
    let account = account.ok_or_else(|| {
        ApiError::bad_request("No such user: a team member needs an account on this server first")
    })?;
    let member = Member {
        product,
        account: account.id,
        role: role.name().to_owned(),
        programmatic: false,
        added_at: utc_now(),
    };
    state.store.teams().put_member(&member).await?;
    Ok(Json(json!({"ok": true, "created": shown_member(&member, &account)})))
}

/// Another role, of a person.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (member, account) = named(&state, &caller, &path).await?;
    let role = role_of(&caller)?.ok_or_else(|| ApiError::bad_request("role is required"))?;
    if member.programmatic {
        return Err(ApiError::bad_request("An API user has scopes, not a role: make another one"));
    }
    let member = Member { role: role.name().to_owned(), ..member };
    state.store.teams().put_member(&member).await?;
    Ok(Json(json!({"ok": true, "updated": shown_member(&member, &account)})))
}

/// An API user goes altogether, with its tokens.
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let (member, account) = named(&state, &caller, &path).await?;
    state.store.teams().remove_member(member.product, account.id).await?;
    if member.programmatic {
        to_the_end(async move { users::delete_account(&state, account.id).await }).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A new token for an API user; those it had end.
pub(crate) async fn renew(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (member, account) = named(&state, &caller, &path).await?;
    if !member.programmatic {
        return Err(ApiError::bad_request("Only API users have their tokens made for them"));
    }
    let known = state.store.tokens().list(account.id).await?;
    let Some(scopes) = known.last().map(|token| token.scopes.clone()) else {
        let text = "Its scopes went with its last token: remove the API user and add it again";
        return Err(ApiError::bad_request(text));
    };
    state.store.tokens().delete_all(account.id, None).await?;
    let token = token_for(&state, &account, scopes).await?;
    Ok(Json(json!({"ok": true, "updated": shown_program(&account, &token)})))
}

async fn add_program(
    state: &State,
    product: ProductId,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    let name = caller.fields.required("friendly_name")?;
    let slug: String = name.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    if slug.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(ApiError::bad_request(
            "friendly_name has 1 to 64 bytes, with letters or digits",
        ));
    }
    let scopes = scopes_of(caller)?;
    let tail: String = random_token().chars().take(10).collect();
    let username = format!("{}+{tail}@product-{product}.api", slug.to_ascii_lowercase());
    let account = state.store.accounts().create(&username, "", utc_now()).await?;
    let member = Member {
        product,
        account: account.id,
        role: Role::Program.name().to_owned(),
        programmatic: true,
        added_at: utc_now(),
    };
    state.store.teams().put_member(&member).await?;
    let token = token_for(state, &account, rights::of_product(product, &scopes)).await?;
    Ok(Json(json!({"ok": true, "created": shown_program(&account, &token)})))
}

async fn token_for(
    state: &State,
    account: &Account,
    scopes: Vec<String>,
) -> Result<String, ApiError> {
    let request = TokenRequest {
        account: account.id,
        client: CLIENT.into(),
        scopes,
        life: TokenLife::Endless,
    };
    Ok(issue(&state.store, request, utc_now()).await?.0)
}

/// Names of scopes, at least one.
fn scopes_of(caller: &Caller) -> Result<Vec<String>, ApiError> {
    let listed = known_scopes(caller)?;
    if listed.is_empty() {
        return Err(ApiError::bad_request("scopes is required: a list such as [\"devices:list\"]"));
    }
    Ok(listed)
}

/// The names in `scopes`, all of which a route knows.
pub(crate) fn known_scopes(caller: &Caller) -> Result<Vec<String>, ApiError> {
    let listed = match caller.fields.value("scopes") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.split([',', ' ']).map(str::to_owned).collect(),
        Some(Value::Array(listed)) => {
            let texts = listed.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(no_scopes)?
        }
        // No scope at all is good for everything, so nothing is guessed.
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(no_scopes()),
    };
    let listed: Vec<String> =
        listed.into_iter().filter(|scope: &String| !scope.is_empty()).collect();
    let known = super::scopes();
    if let Some(unknown) = listed.iter().find(|scope| !known.contains(*scope)) {
        let text = format!("There is no scope {unknown:?}; /docs names the scope of each route");
        return Err(ApiError::bad_request(&text));
    }
    Ok(listed)
}

fn no_scopes() -> ApiError {
    ApiError::bad_request("scopes is a list of texts, such as [\"devices:list\"]")
}

fn role_of(caller: &Caller) -> Result<Option<Role>, ApiError> {
    let Some(text) = caller.fields.text("role") else { return Ok(None) };
    match Role::parse(&text) {
        Some(role) if role != Role::Program => Ok(Some(role)),
        _ => Err(ApiError::bad_request(
            "role must be Administrator, Developer, Support or View-only",
        )),
    }
}

async fn named(
    state: &State,
    caller: &Caller,
    path: &RawPathParams,
) -> Result<(Member, Account), ApiError> {
    let product = product_of(state, caller, path).await?.id;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "The team has no such member");
    let username = parameter(path, "username").unwrap_or_default();
    let account = state.store.accounts().by_email(username).await?.ok_or_else(unknown)?;
    let member = state.store.teams().member(product, account.id).await?.ok_or_else(unknown)?;
    Ok((member, account))
}

fn shown_member(member: &Member, account: &Account) -> Value {
    json!({
        "_id": account.id.to_string(),
        "username": account.email,
        "role": member.role,
        "is_programmatic": member.programmatic,
        "added_at": member.added_at.to_string(),
    })
}

fn shown_program(account: &Account, token: &str) -> Value {
    json!({
        "_id": account.id.to_string(),
        "username": account.email,
        "role": Role::Program.name(),
        "is_programmatic": true,
        "tokens": [{"token": token}],
    })
}
