//! Accepts TLS connections. Handshakes run beside each other, so that a slow one delays nobody.

use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use node::{Bounds, Handle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Certificate;
use super::connections::Admission;
use super::tune;
use crate::metrics;

/// Handshakes under way.
const HANDSHAKES: Bounds = Bounds { total: 4096, per_address: 256 };
/// How long one may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Connections ready to be served that nobody took yet.
const READY_MAX: usize = 64;

/// A listener whose connections have done their handshake.
#[derive(Debug)]
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    tasks: [JoinHandle<()>; 2],
}

impl TlsListener {
    pub(crate) fn start(
        listener: TcpListener,
        certificate: Certificate,
        handle: &Handle,
        admission: &Admission,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(certificate.server_config());
        let (tell, ready) = mpsc::channel(READY_MAX);
        let door = Door { listener, acceptor, tell, admission: admission.with(HANDSHAKES) };
        let tasks =
            [handle.spawn("TLS", door.run()), handle.spawn("certificate", certificate.follow())];
        Ok(Self { address, ready, tasks })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The other end lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    tell: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    admission: Admission,
}

impl Door {
    async fn run(mut self) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            let place = match self.admission.take(peer.ip()) {
                Ok(place) => place,
                Err(reason) => {
                    metrics::connection_refused(reason);
                    continue;
                }
            };
            let (acceptor, tell) = (self.acceptor.clone(), self.tell.clone());
            tokio::spawn(async move {
                tune(&stream);
                match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => drop(tell.send((stream, peer)).await),
                    Ok(Err(why)) => tracing::debug!(%why, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
                drop(place);
            });
        }
    }
}
