//! Refusals as HTTP: the one table that knows statuses.
//!
//! Clients look for text in `error_description`, `error`, `errors` and `info`, in this order; every
//! body here has what they find. The words "access token" appear in token errors alone, because the
//! command-line client takes them for a sign to log out.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::Refusal;
use node::BillingError;
use serde_json::{Value, json};
use store::StoreError;

use crate::limits::FailedGrant;

/// A refused request.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body.
    pub body: Value,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    /// The common shape: `{"ok":false,"error":…}`.
    pub fn new(status: StatusCode, text: &str) -> Self {
        Self::with_body(status, json!({"ok": false, "error": text}))
    }

    /// Any body.
    pub fn with_body(status: StatusCode, body: Value) -> Self {
        Self { status, body, retry_after_s: None }
    }

    /// A missing or malformed field.
    pub fn bad_request(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The shape of OAuth: a code and a text.
    pub fn oauth(status: StatusCode, code: &str, text: &str) -> Self {
        let body = json!({"ok": false, "error": code, "error_description": text});
        Self::with_body(status, body)
    }

    /// No token came with the request.
    pub fn no_token() -> Self {
        let text = "The access token was not found";
        Self::oauth(StatusCode::BAD_REQUEST, "invalid_request", text)
    }

    /// A token that nobody issued, or that was revoked.
    pub fn invalid_token() -> Self {
        let text = "The access token provided is invalid.";
        Self::oauth(StatusCode::UNAUTHORIZED, "invalid_token", text)
    }

    /// A token past its end.
    pub fn expired_token() -> Self {
        let text = "The access token provided has expired.";
        Self::oauth(StatusCode::UNAUTHORIZED, "invalid_token", text)
    }

    /// No such device, or not the caller's: both alike, so that ids cannot be probed.
    pub fn unknown_device() -> Self {
        let info =
            "I didn't recognize that device name or ID, try opening /v1/devices to see yours";
        let body = json!({"ok": false, "error": "Permission Denied", "info": info});
        Self::with_body(StatusCode::NOT_FOUND, body)
    }

    /// The list form that claim and provisioning clients read.
    pub fn errors(status: StatusCode, text: &str) -> Self {
        Self::with_body(status, json!({"ok": false, "error": text, "errors": [text]}))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let failed_grant =
            matches!(self.body["error"].as_str(), Some("invalid_client" | "invalid_grant"));
        let mut response = (self.status, Json(self.body)).into_response();
        if failed_grant {
            response.extensions_mut().insert(FailedGrant);
        }
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ArgumentTooLong(_) => Self::bad_request(&refusal.to_string()),
            Refusal::DeviceFailed(code) => {
                let text =
                    format!("the device answered with code {}.{:02}", code / 100, code % 100);
                Self::new(StatusCode::BAD_GATEWAY, &text)
            }
            Refusal::Offline | Refusal::TimedOut => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "Timed out.")
            }
            Refusal::Paused(why) => Self::oauth(StatusCode::FORBIDDEN, "service_paused", &why),
            Refusal::QueueFull => {
                let full = Self::new(StatusCode::TOO_MANY_REQUESTS, &refusal.to_string());
                Self { retry_after_s: Some(1), ..full }
            }
            Refusal::Unavailable => unavailable(),
            Refusal::UnknownDevice => Self::unknown_device(),
            Refusal::UnknownFunction(name) => {
                Self::new(StatusCode::NOT_FOUND, &format!("Function {name} not found"))
            }
            Refusal::UnknownVariable => Self::new(StatusCode::NOT_FOUND, "Variable not found"),
            Refusal::UpdateRunning => Self::errors(StatusCode::CONFLICT, &refusal.to_string()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(why: StoreError) -> Self {
        match why {
            StoreError::NotFound => Self::new(StatusCode::NOT_FOUND, "Not found"),
            StoreError::TooMany(why) => Self::bad_request(why),
            StoreError::Taken => Self::errors(StatusCode::CONFLICT, "That name is already in use"),
            StoreError::Damaged(_) => {
                tracing::error!(%why, "a request met damaged data");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Stored data is damaged; see the log")
            }
            StoreError::Unavailable(_) => {
                tracing::warn!(%why, "a request found the store refusing");
                unavailable()
            }
        }
    }
}

impl From<BillingError> for ApiError {
    fn from(why: BillingError) -> Self {
        match why {
            BillingError::Store(why) => why.into(),
            BillingError::NoAccount(_) => Self::invalid_token(),
            BillingError::TooManyDevices { .. } => {
                Self::errors(StatusCode::FORBIDDEN, &why.to_string())
            }
            BillingError::Catalogue(_) | BillingError::CatalogueGone { .. } => {
                Self::bad_request(&why.to_string())
            }
        }
    }
}

fn unavailable() -> ApiError {
    let refused = ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The server cannot take this now; try again",
    );
    ApiError { retry_after_s: Some(1), ..refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_token_errors_speak_of_access_tokens() {
        let refusals = [
            Refusal::ArgumentTooLong(63),
            Refusal::DeviceFailed(503),
            Refusal::Offline,
            Refusal::Paused("paused until then".into()),
            Refusal::QueueFull,
            Refusal::Unavailable,
            Refusal::TimedOut,
            Refusal::UnknownDevice,
            Refusal::UnknownFunction("x".into()),
            Refusal::UnknownVariable,
            Refusal::UpdateRunning,
        ];
        for refusal in refusals {
            let body = ApiError::from(refusal).body.to_string().to_lowercase();
            assert!(!body.contains("access token"), "{body}");
        }
    }

    #[test]
    fn a_foreign_device_never_answers_401() {
        assert_eq!(ApiError::unknown_device().status, StatusCode::NOT_FOUND);
    }
}
