//! The HTTP server itself: accept, serve, stop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::Layer;
use tower::util::MapRequestLayer;

use crate::webhooks::Webhooks;
use crate::{State, router};

/// How long open requests may take once the server is asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A running HTTP server.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    webhooks: Webhooks,
}

/// Serves the API on a bound listener.
pub fn serve(listener: TcpListener, state: State) -> std::io::Result<HttpServer> {
    let address = listener.local_addr()?;
    let (stop, mut stopped) = watch::channel(false);
    let webhooks = state.webhooks.clone();
    let service = MapRequestLayer::new(trim_slash).layer(router(state));
    let app = Router::new().fallback_service(service);
    let task = tokio::spawn(async move {
        let drained = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        // An event must not wait for the one before it to be acknowledged.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(why) = axum::serve(listener, app).with_graceful_shutdown(drained).await {
            tracing::error!(%why, "the HTTP server ended");
        }
    });
    Ok(HttpServer { address, stop, task, webhooks })
}

impl HttpServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, lets open requests finish for a few seconds, then ends. Event
    /// streams end with the hub, which the node closes.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.webhooks.stop().await;
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            self.task.abort();
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
