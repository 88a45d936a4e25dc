//! A request's body as fields and files. Before its sender is known little of it is read.

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};

use crate::caller::{Actor, actor_of};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::routes::Needs;
use crate::state::State;

/// Parts of a multipart body.
const PARTS_MAX: usize = 100;
/// What is read of a body, in bytes, before its token is found.
pub(crate) const UNKNOWN_BYTES_MAX: usize = 64 * 1024;
/// Longest file name kept.
const FILE_NAME_CHARS_MAX: usize = 128;

/// A file of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// The last component of its name.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) bytes: Bytes,
}

/// Who sends a body.
#[derive(Debug)]
pub(crate) enum Sender {
    /// It does not matter.
    Anybody,
    /// Whoever the request's head names.
    Known(Actor),
    /// Whoever a field of the body will name; the token must be good for this.
    Unknown(Needs),
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) fields: Fields,
    pub(crate) files: Vec<Upload>,
    /// [`Sender::Unknown`] only if no field names a token.
    pub(crate) sender: Sender,
}

/// Reads a body of any kind that clients send.
pub(crate) async fn read(
    mut request: Request,
    state: &State,
    sender: Sender,
) -> Result<Body, ApiError> {
    let kind = content_type(&request);
    if kind.starts_with("multipart/form-data") {
        return read_parts(request, state, sender).await;
    }
    if matches!(sender, Sender::Unknown(_)) {
        DefaultBodyLimit::max(UNKNOWN_BYTES_MAX).apply(&mut request);
    }
    let bytes = Bytes::from_request(request, state)
        .await
        .map_err(|why| ApiError::new(why.status(), &why.body_text()))?;
    let fields = Fields::from_body(&kind, &bytes)?;
    let sender = sender.named_by(fields.text("access_token"), state).await?;
    Ok(Body { fields, files: Vec::new(), sender })
}

impl Sender {
    /// The sender after a field that may name the token.
    async fn named_by(self, token: Option<String>, state: &State) -> Result<Self, ApiError> {
        match (self, token.filter(|token| !token.is_empty())) {
            (Self::Unknown(needs), Some(token)) => {
                Ok(Self::Known(actor_of(state, &token, needs).await?))
            }
            (sender, _) => Ok(sender),
        }
    }
}

/// Fields and files of a multipart body, in any order; whatever has a file name is a file.
async fn read_parts(request: Request, state: &State, mut sender: Sender) -> Result<Body, ApiError> {
    let parts = Multipart::from_request(request, state).await;
    let mut parts = parts.map_err(|why| ApiError::new(why.status(), &why.body_text()))?;
    let (mut fields, mut files, mut read) = (Vec::new(), Vec::new(), 0);
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        if fields.len() + files.len() >= PARTS_MAX {
            return Err(ApiError::bad_request("The body has too many parts"));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(last_component);
        let bytes = read_part(part, &sender, &mut read).await?;
        let Some(file_name) = file_name else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let token = (name == "access_token").then(|| text.clone());
            sender = sender.named_by(token, state).await?;
            fields.push((name, text));
            continue;
        };
        files.push(Upload { name: file_name, bytes: bytes.into() });
    }
    Ok(Body { fields: Fields::from_pairs(fields), files, sender })
}

/// One part; `read` counts the bytes of all of them.
async fn read_part(
    mut part: Field<'_>,
    sender: &Sender,
    read: &mut usize,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(malformed)? {
        *read += chunk.len();
        if matches!(sender, Sender::Unknown(_)) && *read > UNKNOWN_BYTES_MAX {
            let text = "Send the token in the Authorization header: so large a body is read of \
                        known callers only";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn malformed(why: MultipartError) -> ApiError {
    ApiError::new(why.status(), &why.body_text())
}

/// Clients may send a whole path of their own machine.
fn last_component(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(FILE_NAME_CHARS_MAX).collect()
}

fn content_type(request: &Request) -> String {
    let value = request.headers().get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_ascii_lowercase()
}
