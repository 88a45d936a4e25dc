//! The HTTP server itself: accept, serve, stop.

mod certificate;
mod connections;
mod redirect;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::serve::Listener;
use node::Bounds;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::Layer;
use tower::util::MapRequestLayer;

use crate::webhooks::Webhooks;
use crate::{State, router};
use connections::{Admission, PER_ADDRESS_MAX};
use tls::TlsListener;

pub use certificate::{Certificate, CertificateError, CertificateFiles};

/// How long open requests may take once the server is asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a peer may leave unacknowledged what it was sent, or take nothing. Streams write every few
/// seconds; the system alone would go on for 15 minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A running HTTP server.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    redirect: Option<SocketAddr>,
    is_tls: bool,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    webhooks: Webhooks,
}

/// Where the API is served.
#[derive(Debug)]
pub struct Listeners {
    /// Bound for the API.
    pub api: TcpListener,
    /// With it the API speaks TLS alone.
    pub certificate: Option<Certificate>,
    /// Bound for plain HTTP that sends clients on to the API; of use with a certificate only.
    pub redirect: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    /// Plain HTTP.
    fn from(api: TcpListener) -> Self {
        Self { api, certificate: None, redirect: None }
    }
}

/// Who opened the connection that a request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves the API on bound listeners; must be called inside a runtime.
pub fn serve(listeners: impl Into<Listeners>, state: State) -> std::io::Result<HttpServer> {
    let Listeners { api, certificate, redirect } = listeners.into();
    let address = api.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let (webhooks, handle) = (state.webhooks.clone(), state.handle.clone());
    let bounds = Bounds { total: state.limits.connections_max(), per_address: PER_ADDRESS_MAX };
    let admission = Admission::new(bounds, state.limits.unbounded());
    let is_tls = certificate.is_some();
    let state = State { is_tls, ..state };
    let service = MapRequestLayer::new(trim_slash).layer(router(state));
    let app = Router::new().fallback_service(service);
    let mut tasks = vec![match certificate {
        None => run(PlainListener(api), app, &admission, &stopped),
        Some(certificate) => run(
            TlsListener::start(api, certificate, &handle, &admission)?,
            app,
            &admission,
            &stopped,
        ),
    }];
    let redirected = redirect.as_ref().map(TcpListener::local_addr).transpose()?;
    if let Some(listener) = redirect {
        let app = redirect::router(address.port());
        tasks.push(run(PlainListener(listener), app, &admission, &stopped));
    }
    Ok(HttpServer { address, redirect: redirected, is_tls, stop, tasks, webhooks })
}

fn run<L>(
    listener: L,
    app: Router,
    admission: &Admission,
    stopped: &watch::Receiver<bool>,
) -> JoinHandle<()>
where
    L: Listener<Addr = SocketAddr>,
{
    tokio::spawn(connections::serve(listener, app, admission.clone(), stopped.clone()))
}

/// An event must not wait for the one before it to be acknowledged, and a peer that vanished must not
/// keep its place.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// Plain TCP.
struct PlainListener(TcpListener);

impl Listener for PlainListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        tune(&stream);
        (stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl HttpServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where plain HTTP is sent on from.
    pub fn redirect(&self) -> Option<SocketAddr> {
        self.redirect
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Takes no new connections, lets open requests finish for a few seconds, then ends. Event
    /// streams end with the hub, which the node closes.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        self.webhooks.stop().await;
        let deadline = tokio::time::Instant::now() + DRAIN;
        for mut task in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Mobile clients write a slash behind the path. An event prefix may end with one, so those stay.
fn trim_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() < 2 || !path.ends_with('/') || path.contains("/events/") {
        return request;
    }
    let mut text = path.trim_end_matches('/').to_owned();
    if let Some(query) = request.uri().query() {
        text = format!("{text}?{query}");
    }
    if let Ok(uri) = text.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_acknowledges_nothing_is_given_up_in_half_a_minute() {
        let mut listener = PlainListener(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        let address = listener.local_addr().expect("an address");
        let _peer = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await;
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().ok(), Some(Some(UNACKNOWLEDGED)));
        assert_eq!(stream.nodelay().ok(), Some(true));
    }
}
