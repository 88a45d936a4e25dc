//! Serves connections, each for as long as its client does something: so many of them, and no head or
//! body of a request for longer than its time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

use super::Peer;
use crate::limits::{Network, key_of};
use crate::metrics;

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// In total.
    pub(crate) total: usize,
    /// Of one address, IPv6 by /64.
    pub(crate) per_address: usize,
}

/// Connections; the total is a setting of [`LimitsConfig`](crate::LimitsConfig).
pub(crate) const PER_ADDRESS_MAX: usize = 1000;
/// From the connection, or the answer before, to the end of a request's head. Clients that keep a
/// connection for a minute, as most do, do not find it closed when they ask again.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// The same for proxies, which keep theirs for up to ten minutes.
const HEAD_TIME_OF_PROXIES: Duration = Duration::from_secs(620);
/// Between two pieces of a request's body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Accepts until `stopped`, then lets open requests finish. Dropped, it ends them.
pub(crate) async fn serve<L>(
    mut listener: L,
    app: Router,
    places: Places,
    mut stopped: watch::Receiver<bool>,
) where
    L: Listener<Addr = SocketAddr>,
{
    let mut connections = JoinSet::new();
    loop {
        let (io, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop(&mut stopped) => break,
        };
        match places.take(peer.ip()) {
            Ok(place) => {
                let head_time = places.head_time(peer.ip());
                let serving = connection(io, Peer(peer), head_time, app.clone(), stopped.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(reason) => metrics::connection_refused(reason),
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection<I>(
    io: I,
    peer: Peer,
    head_time: Duration,
    app: Router,
    mut stopped: watch::Receiver<bool>,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = app.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Body::new(TimeoutBody::new(BODY_TIME, body)));
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(why) = ended {
        if why.is_timeout() {
            metrics::connection_too_slow();
        }
        tracing::debug!(%why, "an HTTP connection ended");
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Who holds how many connections, or handshakes. The addresses are a stranger's choice, so the map is a keyed one.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    /// Proxies, and whoever no limit holds for.
    unbounded: Vec<Network>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; free when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Places {
    /// All are free. Addresses in `unbounded` count in total alone.
    pub(crate) fn new(bounds: Bounds, unbounded: Vec<Network>) -> Self {
        Self(Arc::new(Shared { bounds, unbounded, taken: Mutex::default() }))
    }

    /// For the same addresses.
    pub(crate) fn with(&self, bounds: Bounds) -> Self {
        Self::new(bounds, self.0.unbounded.clone())
    }

    fn head_time(&self, address: IpAddr) -> Duration {
        if self.is_bounded(address) { HEAD_TIME } else { HEAD_TIME_OF_PROXIES }
    }

    fn is_bounded(&self, address: IpAddr) -> bool {
        !self.0.unbounded.iter().any(|network| network.contains(address))
    }

    /// A place for a connection from this address, or which bound is reached.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let (bounds, is_bounded) = (self.0.bounds, self.is_bounded(address));
        let address = key_of(address);
        let mut taken = self.0.lock();
        if taken.total >= bounds.total {
            return Err("full");
        }
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if is_bounded && of_address >= bounds.per_address {
            return Err("address_full");
        }
        taken.total += 1;
        taken.by_address.insert(address, of_address + 1);
        drop(taken);
        Ok(Place { shared: Arc::clone(&self.0), address })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { total: 10, per_address: 3 };

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_places_and_they_come_back() {
        let places = Places::new(BOUNDS, Vec::new());
        let mut taken: Vec<_> = (0..BOUNDS.per_address)
            .map(|_| places.take(ip("192.0.2.1")).expect("a place"))
            .collect();
        assert_eq!(places.take(ip("192.0.2.1")).err(), Some("address_full"));
        assert!(places.take(ip("192.0.2.2")).is_ok());
        taken.pop();
        assert!(places.take(ip("192.0.2.1")).is_ok());
        drop(taken);
        assert!(places.0.lock().by_address.is_empty());
    }

    #[test]
    fn a_proxy_has_all_places_and_no_more() {
        let places = Places::new(BOUNDS, vec!["192.0.2.0/24".parse().expect("a network")]);
        let taken: Vec<_> =
            (0..BOUNDS.total).map(|_| places.take(ip("192.0.2.1")).expect("a place")).collect();
        assert_eq!(places.take(ip("198.51.100.1")).err(), Some("full"));
        drop(taken);
    }
}
