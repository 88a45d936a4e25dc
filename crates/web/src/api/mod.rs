//! The routes, one file for each resource.

mod agreements;
mod calls;
mod claims;
mod clients;
mod devices;
mod diagnostics;
mod events;
mod mfa;
mod oauth;
mod product_devices;
mod products;
mod provisioning;
mod server;
mod tokens;
mod user;
mod users;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware;
use axum::routing::{delete, get, post, put};
use tower_http::cors::{Any, CorsLayer};

use crate::error::ApiError;
use crate::limits::guard;
use crate::state::State;

/// Largest request body, in bytes: the largest event with its escapes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest list of devices, in bytes: 100,000 ids in lines fit.
const UPLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Every route of the API.
pub fn router(state: State) -> Router {
    Router::new()
        .merge(sign_in())
        .merge(devices_and_calls())
        .merge(event_streams())
        .merge(webhooks_and_integrations())
        .merge(products())
        .route("/health", get(server::health))
        .route("/metrics", get(server::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.limits.clone(), guard))
        .layer(cors())
        .with_state(state)
}

fn sign_in() -> Router<State> {
    Router::new()
        .route("/oauth/token", post(oauth::token))
        .route("/v1/access_tokens", get(tokens::list).delete(tokens::delete_all))
        .route("/v1/access_tokens/current", get(tokens::current).delete(tokens::delete_current))
        .route("/v1/access_tokens/{token}", delete(tokens::delete))
        .route("/v1/clients", get(clients::list).post(clients::create))
        .route("/v1/clients/{client}", put(clients::change).delete(clients::delete))
        .route("/v1/users", post(users::create))
        .route("/v1/user", get(user::show).put(users::change).delete(users::delete))
        .route("/v1/user/password-reset", post(users::ask_for_reset).put(users::reset))
        .route("/v1/user/mfa-enable", get(mfa::begin).post(mfa::confirm))
        .route("/v1/user/mfa-disable", put(mfa::disable))
        .route("/v1/user/identify", get(user::identify))
        .route("/v1/user/service_agreements", get(agreements::list))
        .route("/v1/user/service_agreements/{id}/notifications", get(agreements::notifications))
}

fn devices_and_calls() -> Router<State> {
    Router::new()
        .route("/v1/devices", get(devices::list).post(devices::claim))
        .route(
            "/v1/devices/{device}",
            get(devices::show).put(devices::change).delete(devices::unclaim),
        )
        .route("/v1/devices/{device}/ping", put(devices::ping))
        .route("/v1/devices/{device}/{name}", get(calls::variable).post(calls::function))
        .route("/v1/device_claims", post(claims::create))
        .route("/v1/provisioning/{device}", post(provisioning::provision))
        .route("/v1/serial_numbers/{serial}", get(server::serial_number))
        .route("/v1/build_targets", get(server::build_targets))
        .route("/v1/diagnostics/{device}", get(diagnostics::history))
        .route("/v1/diagnostics/{device}/last", get(diagnostics::last))
        .route("/v1/diagnostics/{device}/update", post(diagnostics::update))
}

fn event_streams() -> Router<State> {
    Router::new()
        .route("/v1/devices/events", get(events::stream_all).post(events::publish))
        .route("/v1/devices/events/", get(events::stream_all))
        .route("/v1/devices/events/{*prefix}", get(events::stream_all))
        .route("/v1/events", get(events::stream_all).post(events::publish))
        .route("/v1/events/", get(events::stream_all))
        .route("/v1/events/{*prefix}", get(events::stream_all))
        .route("/v1/devices/{device}/events", get(events::stream_device))
        .route("/v1/devices/{device}/events/", get(events::stream_device))
        .route("/v1/devices/{device}/events/{*prefix}", get(events::stream_device))
}

fn webhooks_and_integrations() -> Router<State> {
    Router::new()
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/webhooks/{webhook}",
            get(webhooks::show_webhook).put(webhooks::replace).delete(webhooks::delete),
        )
        .route("/v1/webhooks/{webhook}/test", post(webhooks::test))
        .route("/v1/integrations", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/integrations/{webhook}",
            get(webhooks::show_integration).put(webhooks::replace).delete(webhooks::delete),
        )
        .route("/v1/integrations/{webhook}/test", post(webhooks::test))
        .route("/v1/products/{product}/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/products/{product}/webhooks/{webhook}",
            get(webhooks::show_webhook).put(webhooks::replace).delete(webhooks::delete),
        )
        .route("/v1/products/{product}/webhooks/{webhook}/test", post(webhooks::test))
        .route("/v1/products/{product}/integrations", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/products/{product}/integrations/{webhook}",
            get(webhooks::show_integration).put(webhooks::replace).delete(webhooks::delete),
        )
        .route("/v1/products/{product}/integrations/{webhook}/test", post(webhooks::test))
}

fn products() -> Router<State> {
    Router::new()
        .route("/v1/user/products", get(products::list).post(products::create))
        .route("/v1/products", get(products::list).post(products::create))
        .route("/v1/products/{product}", get(products::show))
        .route(
            "/v1/products/{product}/devices",
            get(product_devices::list)
                .post(product_devices::add)
                .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX)),
        )
        .route(
            "/v1/products/{product}/devices/{device}",
            get(product_devices::show).put(product_devices::change).delete(product_devices::remove),
        )
        .route(
            "/v1/products/{product}/devices/{device}/owner",
            delete(product_devices::remove_owner),
        )
        .route("/v1/products/{product}/devices/{device}/ping", put(devices::ping))
        .route(
            "/v1/products/{product}/devices/{device}/{name}",
            get(calls::variable).post(calls::function),
        )
        .merge(product_streams())
}

fn product_streams() -> Router<State> {
    Router::new()
        .route("/v1/products/{product}/events", get(events::stream_all).post(events::publish))
        .route("/v1/products/{product}/events/", get(events::stream_all))
        .route("/v1/products/{product}/events/{*prefix}", get(events::stream_all))
        .route("/v1/products/{product}/devices/{device}/events", get(events::stream_device))
        .route("/v1/products/{product}/devices/{device}/events/", get(events::stream_device))
        .route(
            "/v1/products/{product}/devices/{device}/events/{*prefix}",
            get(events::stream_device),
        )
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
