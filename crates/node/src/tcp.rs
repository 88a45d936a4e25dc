//! Accepts TCP devices, up to a number in total and from one address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::metrics;
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
    let places = Places::new(&shared);
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
    places: &Arc<Places>,
    stop: &watch::Receiver<bool>,
) {
    if !shared.commit_health.accepts() {
        return metrics::connection_refused("refusing");
    }
    let place = match places.take(peer.ip()) {
        Ok(place) => place,
        Err(reason) => return metrics::connection_refused(reason),
    };
    let (shared, mut stop) = (Arc::clone(shared), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            ended = tcp_connection::serve(stream, peer, &shared) => debug!(?ended, "TCP connection ended"),
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        drop(place);
    });
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Who holds how many connections. The addresses are a stranger's choice, so the map is a keyed one.
struct Places {
    total_max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; free when dropped.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn new(shared: &Shared) -> Arc<Self> {
        Arc::new(Self {
            total_max: shared.config.tcp_connections_max,
            per_address_max: shared.config.tcp_connections_per_address_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from this address, or which bound is reached.
    fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, &'static str> {
        let mut taken = self.lock();
        if taken.total >= self.total_max {
            return Err("full");
        }
        if taken.by_address.get(&address).is_some_and(|count| *count >= self.per_address_max) {
            return Err("address_full");
        }
        taken.total += 1;
        *taken.by_address.entry(address).or_default() += 1;
        metrics::tcp_connections(taken.total);
        drop(taken);
        Ok(Place { places: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
        metrics::tcp_connections(taken.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_total_and_for_each_address_and_come_back() {
        let places = Arc::new(Places { total_max: 3, per_address_max: 2, taken: Mutex::default() });
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = places.take(a).ok();
        let second = places.take(a).ok();
        assert_eq!(places.take(a).err(), Some("address_full"));
        let third = places.take(b).ok();
        assert_eq!(places.take(b).err(), Some("full"));
        drop((first, second, third));
        assert!(places.lock().by_address.is_empty());
        assert!(places.take(a).is_ok());
    }
}
