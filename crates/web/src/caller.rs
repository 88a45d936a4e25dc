//! Who asks, for what: a request's fields and the account behind its token.

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header, request::Parts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{AccountId, DeviceId};
use store::{Device, Token, TokenHash};

use crate::console::cookie;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::rights;
use crate::routes::Needs;
use crate::state::{State, utc_now};

/// Parts of a multipart body.
const PARTS_MAX: usize = 100;
/// Longest file name kept.
const FILE_NAME_CHARS_MAX: usize = 128;

/// A request before anybody looked at its token.
#[derive(Debug)]
pub(crate) struct Anonymous {
    pub(crate) headers: HeaderMap,
    /// The token of the console's cookie, if the request came from the console's own pages.
    pub(crate) session: Option<String>,
    pub(crate) query: Fields,
    pub(crate) fields: Fields,
    pub(crate) files: Vec<Upload>,
}

/// A file of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// The last component of its name.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) bytes: Bytes,
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
}

impl Anonymous {
    /// The token, wherever the caller put it: header, query, form; else the console's cookie.
    fn token(&self) -> Option<String> {
        bearer(&self.headers)
            .or_else(|| self.query.text("access_token"))
            .or_else(|| self.fields.text("access_token"))
            .filter(|token| !token.is_empty())
            .or_else(|| self.session.clone())
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
        let found = state.store.tokens().find(TokenHash::of(&token)).await?;
        let token = found.ok_or_else(ApiError::invalid_token)?;
        if token.expires_at.is_some_and(|end| end <= utc_now()) {
            return Err(ApiError::expired_token());
        }
        rights::check(&token, needs)?;
        Ok(Actor { account: token.account, token, needs })
    }
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
        let (parts, body) = request.into_parts();
        let query = Fields::from_form(parts.uri.query().unwrap_or_default().as_bytes())?;
        let content_type = content_type(&parts);
        let headers = parts.headers.clone();
        let session = cookie::token(&parts.method, &headers);
        let request = Request::from_parts(parts, body);
        if content_type.starts_with("multipart/form-data") {
            let (fields, files) = read_parts(request, state).await?;
            return Ok(Self { headers, session, query, fields, files });
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|why| ApiError::new(why.status(), &why.body_text()))?;
        let fields = Fields::from_body(&content_type, &body)?;
        Ok(Self { headers, session, query, fields, files: Vec::new() })
    }
}

impl FromRequest<State> for Caller {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let needs = rights::needs(&parts);
        let request = Request::from_parts(parts, body);
        let anonymous = Anonymous::from_request(request, state).await?;
        let actor = anonymous.identify(state, needs).await?;
        let Anonymous { headers, query, fields, files, .. } = anonymous;
        Ok(Self { actor, headers, query, fields, files })
    }
}

/// Fields and files of a multipart body, in any order; whatever has a file name is a file.
async fn read_parts(request: Request, state: &State) -> Result<(Fields, Vec<Upload>), ApiError> {
    let malformed = |why: MultipartError| ApiError::new(why.status(), &why.body_text());
    let parts = Multipart::from_request(request, state).await;
    let mut parts = parts.map_err(|why| ApiError::new(why.status(), &why.body_text()))?;
    let (mut fields, mut files) = (Vec::new(), Vec::new());
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(last_component);
        let bytes = part.bytes().await.map_err(malformed)?;
        if fields.len() + files.len() >= PARTS_MAX {
            return Err(ApiError::bad_request("The body has too many parts"));
        }
        match file_name {
            Some(name) => files.push(Upload { name, bytes }),
            None => fields.push((name, String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
    Ok((Fields::from_pairs(fields), files))
}

/// Clients may send a whole path of their own machine.
fn last_component(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(FILE_NAME_CHARS_MAX).collect()
}

fn content_type(parts: &Parts) -> String {
    let value = parts.headers.get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_ascii_lowercase()
}
