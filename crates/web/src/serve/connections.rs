//! Serves connections, each for as long as its client does something: so many of them, and no head or
//! body of a request for longer than its time.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use node::{Bounds, Place, Places};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

use super::Peer;
use crate::limits::{Network, key_of};
use crate::metrics;

/// Connections of one address, IPv6 by /64.
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
    admission: Admission,
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
        match admission.take(peer.ip()) {
            Ok(place) => {
                let head_time = admission.head_time(peer.ip());
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

/// Who may connect. IPv6 counts by /64.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    places: Places,
    /// Proxies, and whoever no limit holds for: they are bounded in total alone.
    unbounded: Arc<[Network]>,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds, unbounded: Vec<Network>) -> Self {
        Self { places: Places::new(bounds), unbounded: unbounded.into() }
    }

    /// For the same addresses.
    pub(crate) fn with(&self, bounds: Bounds) -> Self {
        Self { places: Places::new(bounds), unbounded: Arc::clone(&self.unbounded) }
    }

    /// A place for a connection from this address, or which bound is reached.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let key = key_of(address);
        if self.is_bounded(address) { self.places.take(key) } else { self.places.take_any(key) }
    }

    fn head_time(&self, address: IpAddr) -> Duration {
        if self.is_bounded(address) { HEAD_TIME } else { HEAD_TIME_OF_PROXIES }
    }

    fn is_bounded(&self, address: IpAddr) -> bool {
        !self.unbounded.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A client of a server that gives 200 ms for a head, and what stops that.
    fn client() -> (DuplexStream, watch::Sender<bool>) {
        let (ours, theirs) = duplex(4096);
        let (stop, stopped) = watch::channel(false);
        let app = Router::new().route("/", get(async || "well"));
        let peer = Peer(([192, 0, 2, 1], 5000).into());
        tokio::spawn(connection(theirs, peer, Duration::from_millis(200), app, stopped));
        (ours, stop)
    }

    async fn read_to_end(mut client: DuplexStream) -> String {
        let mut answer = String::new();
        let read =
            tokio::time::timeout(Duration::from_secs(20), client.read_to_string(&mut answer));
        read.await.expect("it is closed").expect("text");
        answer
    }

    #[test]
    fn a_proxy_is_bounded_in_total_alone_and_keeps_its_connections_longer() {
        let bounds = Bounds { total: 3, per_address: 1 };
        let admission = Admission::new(bounds, vec!["192.0.2.0/24".parse().expect("a network")]);
        let (proxy, other) = (ip("192.0.2.1"), ip("2001:db8::1"));
        let taken = [admission.take(other), admission.take(proxy), admission.take(proxy)];
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(admission.take(proxy).err(), Some("full"));
        drop(taken);
        let _one = admission.take(other).expect("a place");
        assert_eq!(admission.take(ip("2001:db8::2")).err(), Some("address_full"), "its /64");
        assert!(admission.head_time(proxy) > admission.head_time(other));
    }

    #[tokio::test]
    async fn a_client_that_ends_no_head_of_a_request_is_closed() {
        let (mut client, _stop) = client();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h").await.expect("sent");
        assert_eq!(read_to_end(client).await, "");
    }

    #[tokio::test]
    async fn a_client_at_rest_behind_its_answer_is_closed() {
        let (mut client, _stop) = client();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("well"), "{answer}");
    }

    #[tokio::test]
    async fn a_server_that_stops_closes_connections_at_rest() {
        let (ours, theirs) = duplex(4096);
        let (stop, stopped) = watch::channel(false);
        let peer = Peer(([192, 0, 2, 1], 5000).into());
        let serving = connection(theirs, peer, HEAD_TIME, Router::new(), stopped);
        let serving = tokio::spawn(serving);
        stop.send(true).expect("it listens");
        assert_eq!(read_to_end(ours).await, "");
        serving.await.expect("it ends");
    }
}
