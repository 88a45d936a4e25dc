//! `/console/server-keys`: the server's public keys, and the images of them that devices take.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secure::keys::{Host, ServerAddress, key_image};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::{ServerKey, ServerKeys, State};

/// Both keys, and where devices that use them connect to.
pub(super) async fn list(
    Shared(state): Shared<State>,
    _caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let keys = state.server_keys.as_deref().ok_or_else(unknown)?;
    Ok(Json(json!({"udp": shown("server-ec", &keys.udp), "tcp": shown("server-rsa", &keys.tcp)})))
}

fn shown(name: &str, key: &ServerKey) -> Value {
    json!({
        "name": name,
        "port": key.port,
        "dfu_address": key.dfu_address,
        "sha256": hex::encode(key.public.hash()),
    })
}

/// `server-ec.pub.der` or `server-ec.image.bin`, and the same of `server-rsa`. An image holds the address
/// `host` and `port` as well; without a port that of this server.
pub(super) async fn file(
    Shared(state): Shared<State>,
    Path(file): Path<String>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let keys = state.server_keys.as_deref().ok_or_else(unknown)?;
    let (key, rest) = key_of(keys, &file).ok_or_else(unknown)?;
    let bytes = match rest {
        "pub.der" => key.public.spki().to_vec(),
        "image.bin" => {
            let address = address(key, &caller.query)?;
            key_image(&key.public, Some(&address)).map_err(|_| unknown())?
        }
        _ => return Err(unknown()),
    };
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{file}\""));
    let name = name.unwrap_or(HeaderValue::from_static("attachment"));
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], bytes).into_response())
}

fn key_of<'k, 'f>(keys: &'k ServerKeys, file: &'f str) -> Option<(&'k ServerKey, &'f str)> {
    match file.split_once('.')? {
        ("server-ec", rest) => Some((&keys.udp, rest)),
        ("server-rsa", rest) => Some((&keys.tcp, rest)),
        _ => None,
    }
}

fn address(key: &ServerKey, query: &Fields) -> Result<ServerAddress, ApiError> {
    let host = query.required("host")?;
    let host: Host = host.trim().parse().map_err(|why| {
        ApiError::bad_request(&format!("host: {why}: write how devices reach this server"))
    })?;
    let port = match query.number("port")? {
        None => key.port,
        Some(port) => u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| ApiError::bad_request("port must be a number from 1 to 65535"))?,
    };
    Ok(ServerAddress { host, port: Some(port) })
}

fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "Not found: the files are server-ec.pub.der, server-ec.image.bin and the same of server-rsa",
    )
}
