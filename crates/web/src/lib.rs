//! Everything that speaks HTTP: sign-in, devices, functions, variables, publishing, event streams,
//! health and metrics, in the words that existing clients use.
//!
//! It holds no rule of the cloud: it turns requests into calls of [`node::Handle`] and the store, and
//! their refusals into statuses ([`error`] is the one table that knows both). Begin with [`router`]
//! and [`State`].

mod api;
mod body;
mod caller;
mod console;
pub mod error;
mod fields;
mod invitation;
mod limits;
mod metrics;
mod mfa;
mod paging;
pub mod password;
mod payer;
mod rights;
mod routes;
mod scope;
mod serve;
mod sse;
mod state;
mod telling;
mod token;
mod webhooks;

pub use api::{openapi, router};
pub use invitation::{InviteError, invite};
pub use limits::{LimitsConfig, Network};
pub use serve::{
    Certificate, CertificateError, CertificateFiles, HttpServer, Listeners, Peer, serve,
};
pub use state::{Registration, RenderMetrics, ServerKey, ServerKeys, State, WebConfig};
pub use token::{TokenLife, TokenRequest, issue};
pub use webhooks::{WebhooksConfig, template};
