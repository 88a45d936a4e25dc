//! How much of large bodies is in memory at once: firmware, mostly.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;

use super::Limits;
use crate::error::ApiError;
use crate::serve::Peer;

/// Bytes of all large bodies that are read but not yet answered, and of those of one address.
const BYTES_MAX: usize = 256 << 20;
const BYTES_OF_ADDRESS_MAX: usize = BYTES_MAX / 4;
/// So much of each body takes no room.
const SMALL_BYTES: usize = 64 << 10;
/// How long a large body may take: who sends it slowly keeps room from others.
const TIME_MAX: Duration = Duration::from_secs(300);
/// What `Retry-After` says when there is none.
const RETRY_S: u64 = 5;

/// The room that large bodies share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyRoom(Arc<Mutex<Taken>>);

/// Bytes.
#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl BodyRoom {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn take(&mut self, address: IpAddr, bytes: usize) -> bool {
        let own = self.by_address.get(&address).copied().unwrap_or(0) + bytes;
        if own > BYTES_OF_ADDRESS_MAX || self.total + bytes > BYTES_MAX {
            return false;
        }
        self.by_address.insert(address, own);
        self.total += bytes;
        true
    }

    fn give_back(&mut self, address: IpAddr, bytes: usize) {
        let own = self.by_address.remove(&address).unwrap_or(0);
        if own > bytes {
            self.by_address.insert(address, own - bytes);
        }
        self.total -= bytes;
    }
}

/// What one body has of the room, until it is dropped.
#[derive(Debug)]
struct Held {
    room: BodyRoom,
    address: IpAddr,
    begun: Instant,
    read: Mutex<Read>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    NoRoom,
    TooSlow,
}

#[derive(Debug, Default)]
struct Read {
    bytes: usize,
    taken: usize,
    refused: Option<Refused>,
}

impl Held {
    fn new(room: BodyRoom, address: IpAddr) -> Self {
        Self { room, address, begun: Instant::now(), read: Mutex::default() }
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for so many bytes more.
    fn takes(&self, bytes: usize) -> bool {
        let mut read = self.read();
        read.bytes += bytes;
        let more = read.bytes.saturating_sub(SMALL_BYTES) - read.taken;
        if more > 0 && self.begun.elapsed() > TIME_MAX {
            read.refused = Some(Refused::TooSlow);
        } else if more > 0 && !self.room.lock().take(self.address, more) {
            read.refused = Some(Refused::NoRoom);
        } else {
            read.taken += more;
        }
        read.refused.is_none()
    }

    fn counted(self: &Arc<Self>, body: Body) -> Body {
        let held = Arc::clone(self);
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let chunk: Bytes = chunk?;
            if held.takes(chunk.len()) { Ok(chunk) } else { Err(axum::Error::new("refused")) }
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let taken = self.read().taken;
        if taken > 0 {
            self.room.lock().give_back(self.address, taken);
        }
    }
}

/// Answers 503 to a large body for which there is no room, and 408 to one that takes too long.
pub(crate) async fn hold_bodies(
    Shared(limits): Shared<Limits>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let is_small = |bytes| bytes <= SMALL_BYTES as u64;
    if request.body().size_hint().upper().is_some_and(is_small) {
        return next.run(request).await;
    }
    let address = limits.key(peer, request.headers());
    let held = Arc::new(Held::new(limits.bodies, address));
    let response = next.run(request.map(|body| held.counted(body))).await;
    let refused = held.read().refused;
    match refused {
        None => response,
        Some(Refused::NoRoom) => no_room().into_response(),
        Some(Refused::TooSlow) => too_slow().into_response(),
    }
}

fn no_room() -> ApiError {
    let text = "Too many uploads are under way; try again in a few seconds";
    let refused = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text);
    ApiError { retry_after_s: Some(RETRY_S), ..refused }
}

fn too_slow() -> ApiError {
    let text = format!("So large a body has to come within {} s", TIME_MAX.as_secs());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, &text)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::extract::DefaultBodyLimit;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;
    use crate::limits::LimitsConfig;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn status(limits: &Limits, last: u8, bytes: usize) -> StatusCode {
        let echo = post(async |body: Bytes| body.len().to_string());
        let layer = from_fn_with_state(limits.clone(), hold_bodies);
        let routes: Router =
            Router::new().route("/", echo).layer(DefaultBodyLimit::disable()).layer(layer);
        let mut request = Request::post("/").body(Body::from(vec![0; bytes])).expect("a request");
        let peer = SocketAddr::new(address(last), 1);
        request.extensions_mut().insert(ConnectInfo(Peer(peer)));
        routes.oneshot(request).await.expect("never fails").status()
    }

    #[tokio::test]
    async fn a_large_body_without_room_is_refused_and_an_answered_one_gives_its_room_back() {
        let limits = Limits::new(LimitsConfig::default());
        let largest = BYTES_OF_ADDRESS_MAX + SMALL_BYTES;
        for _ in 0..2 {
            assert_eq!(status(&limits, 1, largest).await, StatusCode::OK);
            assert_eq!(status(&limits, 1, largest + 1).await, StatusCode::SERVICE_UNAVAILABLE);
        }
        let others: Vec<_> =
            (1..=4).map(|last| Held::new(limits.bodies.clone(), address(last))).collect();
        assert!(others.iter().all(|held| held.takes(largest)));
        for last in [1, 5] {
            assert_eq!(status(&limits, last, SMALL_BYTES).await, StatusCode::OK);
            let refused = status(&limits, last, SMALL_BYTES + 1).await;
            assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
        }
        drop(others);
        assert_eq!(status(&limits, 5, SMALL_BYTES + 1).await, StatusCode::OK);
        let taken = limits.bodies.lock();
        assert_eq!((taken.total, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn a_body_that_takes_too_long_is_refused_when_it_is_large() {
        let late = || {
            let mut held = Held::new(BodyRoom::default(), address(1));
            held.begun = held.begun.checked_sub(TIME_MAX * 2).expect("the machine runs for longer");
            held
        };
        assert!(late().takes(SMALL_BYTES));
        let large = late();
        assert!(!large.takes(SMALL_BYTES + 1));
        assert_eq!(large.read().refused, Some(Refused::TooSlow));
    }

    #[test]
    fn a_small_body_takes_no_room_however_it_comes() {
        let room = BodyRoom::default();
        let held = Held::new(room.clone(), address(1));
        assert!((0..SMALL_BYTES).all(|_| held.takes(1)));
        assert_eq!(room.lock().total, 0);
        assert!(held.takes(1) && held.takes(10));
        assert_eq!(room.lock().total, 11);
        drop(held);
        assert_eq!(room.lock().total, 0);
    }
}
