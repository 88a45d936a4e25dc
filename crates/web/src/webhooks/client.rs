//! Sends a request: no redirects, no proxies, bounded in time and size, and only to addresses that
//! webhooks may reach. The check is made on the addresses that are then connected to.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::tls::Version;
use tracing::warn;
use url::Host;

use super::request::Outgoing;
use super::target::is_public;

/// What targets see of us; it stays the same from version to version.
const USER_AGENT: &str = "CloudChamber-Webhooks/1";
/// Bytes of an answer that are passed on.
pub(crate) const ANSWER_BYTES_MAX: usize = 100_000;
/// How long an idle connection is kept, and how many to one host.
const IDLE: Duration = Duration::from_secs(15);
const IDLE_PER_HOST_MAX: usize = 2;

/// What a target answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its `Content-Type`, or nothing.
    pub(crate) kind: String,
    /// The first [`ANSWER_BYTES_MAX`] of its bytes.
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// No whole answer within the time limit.
    #[error("no answer within {0:?} from {1}")]
    Late(Duration, String),
    /// The target lies in the operator's own network.
    #[error("{0} is in a private network: this server does not send there")]
    Private(String),
    /// Name resolution, connection or TLS failed, or the answer is no HTTP.
    #[error("{0}")]
    Unreachable(String),
}

/// The two clients: one that verifies certificates, one that does not.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    verifying: reqwest::Client,
    trusting: reqwest::Client,
    allow_private: bool,
    time_limit: Duration,
}

/// An address that webhooks may not reach, on its way through the client's errors.
#[derive(Debug, thiserror::Error)]
#[error("only private addresses")]
struct OnlyPrivate;

impl Clients {
    pub(crate) fn new(allow_private: bool, time_limit: Duration) -> Self {
        // Another part of the process may have chosen the same one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusting = builder(allow_private).tls_danger_accept_invalid_certs(true);
        let verifying = builder(allow_private).build().unwrap_or_else(|why| {
            warn!(why = %with_sources(&why), "no certificates to trust: webhooks reach no https address");
            let roots = rustls::RootCertStore::empty();
            let config = rustls::ClientConfig::builder().with_root_certificates(roots);
            let config = config.with_no_client_auth();
            let built = builder(allow_private).tls_backend_preconfigured(config).build();
            built.expect("nothing here can fail: no certificates are read")
        });
        let trusting = trusting.build().unwrap_or_else(|_| verifying.clone());
        Self { verifying, trusting, allow_private, time_limit }
    }

    /// Sends a request and reads the answer. `verify`: the target's certificate must be valid.
    pub(crate) async fn send(&self, request: Outgoing, verify: bool) -> Result<Answer, SendError> {
        let host = host_of(&request.url);
        if !self.allow_private && literal(&request.url).is_some_and(|address| !is_public(address)) {
            return Err(SendError::Private(host));
        }
        let client = if verify { &self.verifying } else { &self.trusting };
        let mut builder = client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        match tokio::time::timeout(self.time_limit, answer(builder)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) if is_private(&why) => Err(SendError::Private(host)),
            Ok(Err(why)) => Err(SendError::Unreachable(with_sources(&why.without_url()))),
            Err(_) => Err(SendError::Late(self.time_limit, host)),
        }
    }
}

fn builder(allow_private: bool) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .tls_version_min(Version::TLS_1_2)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .dns_resolver(Arc::new(Resolver { allow_private }))
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        let Some(chunk) = response.chunk().await? else { break };
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(Answer { status: response.status().as_u16(), kind, body })
}

/// Host and, if it is not the usual one, port: what people recognise, and what is throttled.
pub(crate) fn host_of(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn literal(url: &url::Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Resolves names to the addresses that may be connected to.
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = found.filter(|address| allow_private || is_public(address.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err(OnlyPrivate.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_private(why: &reqwest::Error) -> bool {
    sources(why).any(|source| source.is::<OnlyPrivate>())
}

fn sources<'e>(why: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(why);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// The innermost reason says what is the matter.
fn with_sources(why: &reqwest::Error) -> String {
    let last = sources(why).last().map(ToString::to_string);
    format!("{why}: {}", last.unwrap_or_default())
}
