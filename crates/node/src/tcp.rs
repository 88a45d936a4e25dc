//! Accepts TCP devices, up to a number in total and from one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::metrics;
use crate::places::{Bounds, Places};
use crate::shared::Shared;
use crate::tcp_connection;

/// Connections that the kernel keeps for us in a reconnect storm.
const BACKLOG: i32 = 4096;
/// After an error of `accept`, such as no more files: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts and serves until `stop` is told or dropped; then every connection is closed.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (total, per_address) =
        (shared.config.tcp_connections_max, shared.config.tcp_connections_per_address_max);
    let places = Places::new(Bounds { total, per_address });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => accept(stream, canonical(peer), &shared, &places, &stop),
            Err(error) => {
                warn!(%error, "TCP connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    places: &Places,
    stop: &watch::Receiver<bool>,
) {
    if !shared.commit_health.accepts() {
        return metrics::connection_refused("refusing");
    }
    let place = match places.take(peer.ip()) {
        Ok(place) => place,
        Err(reason) => return metrics::connection_refused(reason),
    };
    metrics::tcp_connections(places.taken());
    let (shared, places, mut stop) = (Arc::clone(shared), places.clone(), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            ended = tcp_connection::serve(stream, peer, &shared) => debug!(?ended, "TCP connection ended"),
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        drop(place);
        metrics::tcp_connections(places.taken());
    });
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
