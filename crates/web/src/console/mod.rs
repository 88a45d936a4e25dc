//! The web console: pages and scripts embedded in the binary, and the few routes that only they use.
//!
//! The pages are one shell whose scripts ask the same `/v1` API as any other client. They hold no token:
//! [`cookie`] does, where scripts cannot read it.

mod assets;
pub(crate) mod cookie;
mod devices;
mod fleet;
mod integrations;
mod kept;
mod keys;
mod server;
mod session;
mod tokens;
mod usage;

use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{delete, get};
use axum::{Extension, Router};

use crate::routes::{Needs, Reach};
use crate::state::State;

pub(crate) use fleet::Fleets;

/// Where the shell is served: what follows is the scripts' business.
const PAGES: [&str; 13] = [
    "/",
    "/billing",
    "/devices",
    "/devices/{device}",
    "/events",
    "/integrations",
    "/integrations/{integration}",
    "/login",
    "/products",
    "/products/{product}",
    "/server",
    "/start",
    "/team",
];

/// Nothing from elsewhere, nothing inline, no page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types lit-html";

/// What the console's own routes ask of a token: to be good for the whole account.
const NEEDS: Needs = Needs { scope: Some("console"), reach: Reach::Account };

/// The console's pages and routes.
pub(crate) fn routes() -> Router<State> {
    let pages =
        PAGES.iter().fold(Router::new(), |router, path| router.route(path, get(assets::page)));
    pages
        .route("/assets/{version}/{name}", get(assets::asset))
        .route("/console/session", get(session::show).post(session::begin).delete(session::end))
        .route("/console/devices", get(devices::list))
        .route("/console/devices/{device}", get(devices::show))
        .route("/console/tokens", get(tokens::list).post(tokens::create))
        .route("/console/tokens/{token}", delete(tokens::revoke))
        .route("/console/integrations", get(integrations::list))
        .route("/console/usage", get(usage::show))
        .route("/console/server", get(server::show))
        .route("/console/server-keys", get(keys::list))
        .route("/console/server-keys/{file}", get(keys::file))
        .layer(Extension(NEEDS))
        .layer(middleware::map_response(guarded))
}

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
