//! The limits before every route.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use model::AccountId;

use super::bodies::BodyRoom;
use super::streams::{OpenStream, OpenStreams};
use super::window::Windows;
use super::{LimitsConfig, Network, address, key_of};
use crate::error::ApiError;
use crate::serve::Peer;

/// Length of every window.
const WINDOW_MS: u64 = 300_000;
/// How long an address is locked out after too many failed sign-ins.
const LOCKOUT: Duration = Duration::from_secs(30 * 60);
/// Addresses counted at once, for each class; more make the idle ones forgotten.
const ADDRESSES_MAX: usize = 65_536;
/// Length of the window of serial numbers looked up, and how many users are counted at once.
const SERIALS_WINDOW_MS: u64 = 3_600_000;
const USERS_MAX: usize = 16_384;
/// What `Retry-After` says when too many streams are open: nobody knows when one closes.
const STREAM_RETRY_S: u64 = 10;

/// Marks an answer to `POST /oauth/token` that counts towards the lock-out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailedGrant;

/// The limits and what was counted so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    config: Arc<LimitsConfig>,
    started: Instant,
    counted: Arc<Mutex<Counted>>,
    serials: Arc<Mutex<Windows<AccountId>>>,
    streams: OpenStreams,
    pub(super) bodies: BodyRoom,
}

#[derive(Debug)]
struct Counted {
    windows: Windows<(Class, IpAddr)>,
    failures: HashMap<IpAddr, Failures>,
}

/// Failed sign-ins of an address, in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    /// End of the lock-out, in milliseconds since the start.
    locked_until_ms: u64,
    /// When the last one was.
    last_ms: u64,
}

/// What a request is counted as, beside the general limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    General,
    Management,
    Streams,
    Tokens,
}

impl Limits {
    pub(crate) fn new(config: LimitsConfig) -> Self {
        let windows = Windows::new(WINDOW_MS, ADDRESSES_MAX);
        Self {
            config: Arc::new(config),
            started: Instant::now(),
            counted: Arc::new(Mutex::new(Counted { windows, failures: HashMap::new() })),
            serials: Arc::new(Mutex::new(Windows::new(SERIALS_WINDOW_MS, USERS_MAX))),
            streams: OpenStreams::default(),
            bodies: BodyRoom::default(),
        }
    }

    /// HTTP connections, in total.
    pub(crate) fn connections_max(&self) -> usize {
        self.config.connections_max
    }

    /// Whose connections are not counted by address: proxies have everybody's.
    pub(crate) fn unbounded(&self) -> Vec<Network> {
        [&self.config.exempt[..], &self.config.trusted_proxies].concat()
    }

    /// Whom a request is counted for.
    pub(super) fn key(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        key_of(address::client(peer.0.ip(), headers, &self.config.trusted_proxies))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn limit(&self, class: Class) -> u32 {
        let limit = match class {
            Class::General => self.config.requests_max,
            Class::Management => self.config.management_requests_max,
            Class::Streams => self.config.streams_opened_max,
            Class::Tokens => self.config.token_requests_max,
        };
        if limit == 0 { u32::MAX } else { limit }
    }

    /// Takes or refuses a request. The special class is looked at first, so that the answer names the
    /// limit that matters; what is refused counts nowhere.
    fn admit(&self, class: Class, key: IpAddr) -> Result<(), ApiError> {
        let now = self.now_ms();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if class == Class::Tokens {
            counted.check_lockout(now, key)?;
        }
        let classes = [class, Class::General];
        let classes = if class == Class::General { &classes[1..] } else { &classes[..] };
        for class in classes {
            let checked = counted.windows.check(now, &(*class, key), self.limit(*class));
            checked.map_err(|wait_ms| refused(class.name(), wait_ms))?;
        }
        for class in classes {
            counted.windows.count(now, &(*class, key));
        }
        Ok(())
    }

    /// Takes or refuses the look-up of a serial number by a user.
    pub(crate) fn admit_serial(
        &self,
        user: AccountId,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let client = address::client(peer, headers, &self.config.trusted_proxies);
        let max = self.config.serial_lookups_max;
        if max == 0 || self.config.exempt.iter().any(|network| network.contains(client)) {
            return Ok(());
        }
        let now = self.now_ms();
        let mut serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = serials.check(now, &user, max);
        checked.map_err(|wait_ms| refused("serial numbers looked up", wait_ms))?;
        serials.count(now, &user);
        Ok(())
    }

    /// Remembers how a sign-in ended.
    fn signed_in(&self, key: IpAddr, failed: bool) {
        let now = self.now_ms();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            counted.fail(now, key, self.config.failed_sign_ins_max);
        } else {
            counted.failures.remove(&key);
        }
    }
}

impl Counted {
    fn check_lockout(&mut self, now: u64, key: IpAddr) -> Result<(), ApiError> {
        let Some(failures) = self.failures.get(&key) else { return Ok(()) };
        if failures.locked_until_ms == 0 {
            return Ok(());
        }
        if failures.locked_until_ms > now {
            return Err(refused("failed sign-ins", failures.locked_until_ms - now));
        }
        self.failures.remove(&key);
        Ok(())
    }

    fn fail(&mut self, now: u64, key: IpAddr, max: u32) {
        let lockout = u64::try_from(LOCKOUT.as_millis()).unwrap_or(u64::MAX);
        if self.failures.len() >= ADDRESSES_MAX {
            self.failures.retain(|_, failures| failures.last_ms + lockout > now);
        }
        if self.failures.len() >= ADDRESSES_MAX && !self.failures.contains_key(&key) {
            return;
        }
        let failures = self.failures.entry(key).or_default();
        failures.count += 1;
        failures.last_ms = now;
        if max > 0 && failures.count >= max {
            failures.locked_until_ms = now + lockout;
        }
    }
}

impl Class {
    fn of(method: &Method, path: &str) -> Self {
        let is_stream = path.ends_with("/events") || path.contains("/events/");
        let manages = path == "/v1/access_tokens"
            || path.starts_with("/v1/access_tokens/")
            || path == "/v1/users"
            || path.starts_with("/v1/user/password-reset")
            || path.starts_with("/v1/user/mfa-")
            || (path == "/v1/user" && matches!(*method, Method::DELETE | Method::PUT));
        match path {
            "/console/session" | "/oauth/token" if method == Method::POST => Self::Tokens,
            _ if is_stream && matches!(*method, Method::GET | Method::HEAD) => Self::Streams,
            _ if manages => Self::Management,
            _ => Self::General,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::General => "requests",
            Self::Management => "requests about tokens and users",
            Self::Streams => "event streams opened",
            Self::Tokens => "sign-ins",
        }
    }
}

/// Lets a request through, or answers 429.
pub(crate) async fn guard(
    Shared(limits): Shared<Limits>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let client = address::client(peer.ip(), request.headers(), &limits.config.trusted_proxies);
    if limits.config.exempt.iter().any(|network| network.contains(client)) {
        return next.run(request).await;
    }
    let (key, class) = (key_of(client), Class::of(request.method(), request.uri().path()));
    if let Err(refused) = limits.admit(class, key) {
        return refused.into_response();
    }
    match class {
        Class::General | Class::Management => next.run(request).await,
        Class::Streams => run_stream(&limits, key, request, next).await,
        Class::Tokens => run_sign_in(&limits, key, request, next).await,
    }
}

async fn run_sign_in(limits: &Limits, key: IpAddr, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.extensions().get::<FailedGrant>().is_some() {
        limits.signed_in(key, true);
    } else if response.status() == StatusCode::OK {
        limits.signed_in(key, false);
    }
    response
}

async fn run_stream(limits: &Limits, key: IpAddr, request: Request, next: Next) -> Response {
    let Some(open) = limits.streams.open(key, limits.config.streams_open_max.max(1)) else {
        return refused("event streams open at once", STREAM_RETRY_S * 1000).into_response();
    };
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream { hold(response, open) } else { response }
}

/// Keeps the stream's place until its body is dropped, that is until the socket is known closed.
fn hold(response: Response, open: OpenStream) -> Response {
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let _held = &open;
            chunk
        }))
    })
}

fn refused(what: &str, wait_ms: u64) -> ApiError {
    let seconds = wait_ms.div_ceil(1000).max(1);
    let text = format!("Too many {what} from this address; try again in {seconds} s");
    let refused = ApiError::oauth(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", &text);
    ApiError { retry_after_s: Some(seconds), ..refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_tenth_failure_in_a_row_locks_one_address_out() {
        let limits = Limits::new(LimitsConfig::default());
        (0..9).for_each(|_| limits.signed_in(key(1), true));
        assert!(limits.admit(Class::Tokens, key(1)).is_ok());
        limits.signed_in(key(1), true);
        let refused = limits.admit(Class::Tokens, key(1)).expect_err("locked out");
        assert_eq!(refused.retry_after_s, Some(1800));
        assert!(limits.admit(Class::Tokens, key(2)).is_ok());
        assert!(limits.admit(Class::General, key(1)).is_ok());
    }

    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let limits = Limits::new(LimitsConfig::default());
        (0..9).for_each(|_| limits.signed_in(key(1), true));
        limits.signed_in(key(1), false);
        limits.signed_in(key(1), true);
        assert!(limits.admit(Class::Tokens, key(1)).is_ok());
    }

    #[test]
    fn the_special_limit_is_named_and_refusals_do_not_count() {
        let config = LimitsConfig { streams_opened_max: 2, ..LimitsConfig::default() };
        let limits = Limits::new(config);
        (0..2).for_each(|_| assert!(limits.admit(Class::Streams, key(1)).is_ok()));
        for _ in 0..20_000 {
            let refused = limits.admit(Class::Streams, key(1)).expect_err("over the limit");
            assert!(refused.body.to_string().contains("event streams"));
        }
        assert!(limits.admit(Class::General, key(1)).is_ok());
    }

    #[test]
    fn routes_belong_to_their_class() {
        let class = |method, path| Class::of(&method, path);
        assert_eq!(class(Method::POST, "/oauth/token"), Class::Tokens);
        assert_eq!(class(Method::POST, "/console/session"), Class::Tokens);
        assert_eq!(class(Method::GET, "/console/session"), Class::General);
        assert_eq!(class(Method::GET, "/v1/devices/events"), Class::Streams);
        assert_eq!(class(Method::GET, "/v1/events/a"), Class::Streams);
        assert_eq!(class(Method::HEAD, "/v1/devices/events"), Class::Streams);
        assert_eq!(class(Method::POST, "/v1/devices/events"), Class::General);
        assert_eq!(class(Method::DELETE, "/v1/access_tokens/x"), Class::Management);
        assert_eq!(class(Method::GET, "/v1/user"), Class::General);
    }

    #[test]
    fn an_ipv6_client_is_known_by_its_64_bit_network() {
        let a: IpAddr = "2001:db8::1".parse().expect("an address");
        let b: IpAddr = "2001:db8::2:1".parse().expect("an address");
        assert_eq!(key_of(a), key_of(b));
    }
}
