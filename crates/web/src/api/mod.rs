//! The routes, one file for each resource.

pub(crate) mod agreements;
mod calls;
mod claims;
mod clients;
mod customers;
mod deliveries;
pub(crate) mod devices;
mod diagnostics;
mod events;
mod firmware;
mod firmware_table;
mod flash;
mod groups;
mod impact;
mod mfa;
pub(crate) mod oauth;
mod product_devices;
mod product_table;
mod products;
mod provisioning;
mod releases;
mod server;
mod table;
pub(crate) mod team;
mod tokens;
mod usage;
mod usage_csv;
mod usage_days;
mod usage_reports;
mod usage_table;
pub(crate) mod user;
pub(crate) mod users;
mod webhook_table;
pub(crate) mod webhooks;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use tower_http::cors::{Any, CorsLayer};
use utoipa::openapi::OpenApi;

use crate::console;
use crate::error::ApiError;
use crate::limits::{guard, hold_bodies};
use crate::routes::{self, Routes, page};
use crate::state::State;

/// Largest request body, in bytes: the largest event with its escapes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// What the framework says of what it refuses, in bytes.
const REFUSAL_BYTES_MAX: usize = 4096;
const JSON: &str = "application/json; charset=utf-8";
/// What the page of the description may load: its own style.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Every route of the API.
pub fn router(state: State) -> Router {
    let (routes, description) = routes().finish();
    routes
        .merge(not_offered())
        .merge(described(&description))
        .merge(console::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.limits.clone(), hold_bodies))
        .layer(middleware::from_fn_with_state(state.limits.clone(), guard))
        .layer(middleware::map_response(in_json))
        .layer(cors())
        .with_state(state)
}

/// The OpenAPI 3.1 description of every route.
pub fn openapi() -> OpenApi {
    routes().finish().1
}

/// The names of all scopes that tokens may have.
pub(crate) fn scopes() -> &'static BTreeSet<String> {
    static SCOPES: LazyLock<BTreeSet<String>> = LazyLock::new(|| routes::scopes(&openapi()));
    &SCOPES
}

fn routes() -> Routes {
    Routes::about("Server")
        .merge(table::sign_in())
        .merge(table::users())
        .merge(table::devices())
        .merge(table::calls())
        .merge(table::events())
        .merge(webhook_table::webhooks())
        .merge(webhook_table::integrations())
        .merge(product_table::products())
        .merge(product_table::devices())
        .merge(firmware_table::firmware_of_products())
        .merge(firmware_table::releases_of_products())
        .merge(firmware_table::groups_of_products())
        .merge(product_table::team())
        .merge(product_table::customers())
        .merge(usage_table::usage())
        .merge(table::server())
}

/// The description, as data and as a page.
fn described(description: &OpenApi) -> Router<State> {
    let json = description.to_json().unwrap_or_default();
    let text = page(description);
    let html = async move || ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(text));
    let kind = HeaderValue::from_static(JSON);
    let data = async move || ([(header::CONTENT_TYPE, kind)], json);
    Router::new().route("/openapi.json", get(data)).route("/docs", get(html))
}

/// Routes of the vendor's cloud that are no operations here. Clients compile before they flash, and
/// are told why not; what paths of ours would take for others answers as if it did not exist.
fn not_offered() -> Router<State> {
    let sources_max = DefaultBodyLimit::max(flash::FLASH_BYTES_MAX);
    Router::new()
        .route("/v1/binaries", post(flash::compile).layer(sources_max))
        .route("/v1/devices/{device}/unprotect", put(unknown_route))
        .route("/v1/devices/{device}/backup_files", put(unknown_route))
        .route("/v1/products/{product}/devices/{device}/unprotect", put(unknown_route))
        .route("/v1/products/{product}/devices/{device}/target_profile", put(unknown_route))
}

/// What the framework itself refuses, such as a path that is no UTF-8, it refuses in plain text; here
/// every refusal is JSON, and JSON tells its letters (`api/endpoints.md` §1.3, §1.4).
async fn in_json(response: Response) -> Response {
    let is_refusal = response.status().is_client_error() || response.status().is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let (is_text, is_json) = (
        kind.is_some_and(|kind| kind.starts_with(b"text/plain")),
        kind == Some(b"application/json".as_slice()),
    );
    let mut response = match is_refusal && is_text {
        true => refusal_in_json(response).await,
        false if is_json => response,
        false => return response,
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

async fn refusal_in_json(response: Response) -> Response {
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await;
    let text = text.unwrap_or_default();
    ApiError::new(status, &String::from_utf8_lossy(&text)).into_response()
}

async fn unknown_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not found: this server has no such route")
}

async fn unknown_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "This route has no such method")
}

/// Browsers may call the API from pages of any origin: a token, not a cookie, is what it asks for.
fn cors() -> CorsLayer {
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::ACCEPT,
        HeaderName::from_static("x-particle-tool"),
        HeaderName::from_static("x-particle-project"),
        HeaderName::from_static("last-event-id"),
    ];
    CorsLayer::new().allow_origin(Any).allow_methods(methods).allow_headers(headers)
}
