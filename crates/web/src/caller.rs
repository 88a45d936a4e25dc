//! Who asks, for what: a request's fields and the account behind its token.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{AccountId, DeviceId};
use store::{Device, Token, TokenHash};
use zeroize::Zeroizing;

use crate::body::{self, Body, Sender, Upload};
use crate::console::cookie;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::rights;
use crate::routes::Needs;
use crate::state::{State, utc_now};

/// A request before anybody looked at its token.
#[derive(Debug)]
pub(crate) struct Anonymous {
    pub(crate) headers: HeaderMap,
    /// The token of the console's cookie, if the request came from the console's own pages.
    pub(crate) session: Option<String>,
    pub(crate) query: Fields,
    pub(crate) fields: Fields,
}

/// A request with a valid token.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Fields,
    pub(crate) fields: Fields,
    pub(crate) files: Vec<Upload>,
}

/// On whose behalf a request acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) account: AccountId,
    pub(crate) token: Token,
    /// What the route needs.
    pub(crate) needs: Needs,
}

/// A device that belongs to the actor; the only kind that calls accept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnedDevice(pub(crate) Device);

impl OwnedDevice {
    pub(crate) fn id(&self) -> DeviceId {
        self.0.id
    }
}

impl Actor {
    /// The actor's device with this id (24 hex digits, any case) or name.
    pub(crate) async fn device(&self, state: &State, text: &str) -> Result<OwnedDevice, ApiError> {
        let devices = state.store.devices();
        let found = match text.parse::<DeviceId>() {
            Ok(id) => devices.get(id).await?,
            Err(_) => devices.by_name(self.account, text).await?,
        };
        found
            .filter(|device| device.account == Some(self.account))
            .map(OwnedDevice)
            .ok_or_else(ApiError::unknown_device)
    }

    /// Refused once the actor's token ended.
    pub(crate) async fn check_token(&self, state: &State) -> Result<(), ApiError> {
        actor_with(state, self.token.hash, self.needs).await.map(drop)
    }
}

impl Anonymous {
    /// The token, wherever the caller put it.
    fn token(&self) -> Option<Zeroizing<String>> {
        token_of_head(&self.headers, &self.query, self.session.as_ref())
            .or_else(|| token_in(&self.fields).map(Zeroizing::new))
    }

    /// User and password of an `Authorization: Basic` header.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let text = authorization(&self.headers)?;
        let encoded = strip_scheme(text, "basic")?;
        let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// Whether the request carries any credential in its header.
    pub(crate) fn has_authorization(&self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
    }

    /// Looks the token up; one that is not good for what the route needs is refused.
    pub(crate) async fn identify(&self, state: &State, needs: Needs) -> Result<Actor, ApiError> {
        let token = self.token().ok_or_else(ApiError::no_token)?;
        actor_of(state, &token, needs).await
    }
}

/// Looks a token up.
pub(crate) async fn actor_of(state: &State, token: &str, needs: Needs) -> Result<Actor, ApiError> {
    actor_with(state, TokenHash::of(token), needs).await
}

async fn actor_with(state: &State, token: TokenHash, needs: Needs) -> Result<Actor, ApiError> {
    let found = state.store.tokens().find(token).await?;
    let token = found.ok_or_else(ApiError::invalid_token)?;
    if token.expires_at.is_some_and(|end| end <= utc_now()) {
        return Err(ApiError::expired_token());
    }
    rights::check(&token, needs)?;
    Ok(Actor { account: token.account, token, needs })
}

/// The token that a request names before its body: in a header, in the query, else in the console's
/// cookie.
fn token_of_head(
    headers: &HeaderMap,
    query: &Fields,
    session: Option<&String>,
) -> Option<Zeroizing<String>> {
    let named = bearer(headers).filter(|token| !token.is_empty()).or_else(|| token_in(query));
    named.or_else(|| session.cloned()).map(Zeroizing::new)
}

fn token_in(fields: &Fields) -> Option<String> {
    fields.text("access_token").filter(|token| !token.is_empty())
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    strip_scheme(authorization(headers)?, "bearer").map(str::to_owned)
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = text.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

impl FromRequest<State> for Anonymous {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let head = Head::of(&request)?;
        let Body { fields, .. } = body::read(request, state, Sender::Anybody).await?;
        let Head { headers, session, query, .. } = head;
        Ok(Self { headers, session, query, fields })
    }
}

impl FromRequest<State> for Caller {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let Head { headers, session, query, needs } = Head::of(&request)?;
        let sender = match token_of_head(&headers, &query, session.as_ref()) {
            Some(token) => Sender::Known(actor_of(state, &token, needs).await?),
            None => Sender::Unknown(needs),
        };
        let Body { fields, files, sender } = body::read(request, state, sender).await?;
        let Sender::Known(actor) = sender else { return Err(ApiError::no_token()) };
        Ok(Self { actor, headers, query, fields, files })
    }
}

/// What a request says before its body.
struct Head {
    headers: HeaderMap,
    session: Option<String>,
    query: Fields,
    needs: Needs,
}

impl Head {
    fn of(request: &Request) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let query = request.uri().query().unwrap_or_default();
        Ok(Self {
            session: cookie::token(request.method(), &headers),
            query: Fields::from_form(query.as_bytes())?,
            needs: rights::needs(request.extensions()),
            headers,
        })
    }
}
