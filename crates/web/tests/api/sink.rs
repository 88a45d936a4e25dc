//! Targets of webhooks on loopback: real HTTP servers that behave well, badly or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A server that remembers what it is asked.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

type Answer = Arc<dyn Fn(usize) -> Response + Send + Sync>;
type Shared = (Arc<Mutex<Vec<Call>>>, Answer);

impl Sink {
    /// Answers the request of each number.
    pub(crate) async fn answering(
        answer: impl Fn(usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1", Arc::new(answer)).await
    }

    /// Answers 200 and a text.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::answering(move |_| text.into_response()).await
    }

    /// Answers a status.
    pub(crate) async fn failing(status: StatusCode) -> Self {
        Self::answering(move |_| status.into_response()).await
    }

    /// Like `saying`, on another host.
    pub(crate) async fn elsewhere(text: &'static str) -> Self {
        Self::at("127.0.0.2", Arc::new(move |_| text.into_response())).await
    }

    async fn at(host: &str, answer: Answer) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let (address, calls) = (listener.local_addr().expect("an address"), Arc::default());
        let app = Router::new().fallback(record).with_state((Arc::clone(&calls), answer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, calls }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic").clone()
    }
}

async fn record(
    State((calls, answer)): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let number = {
        let mut calls = calls.lock().expect("no panic");
        calls.push(Call { method, uri, headers, body });
        calls.len() - 1
    };
    answer(number)
}

/// Accepts connections and does this with each.
pub(crate) async fn raw<F, T>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

/// Reads and never answers.
pub(crate) async fn hang(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

/// Answers one byte at a time.
pub(crate) async fn drip(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    let _ = stream.read(&mut buffer).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let _ = stream.write_all(head).await;
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Answers 100 MB.
pub(crate) async fn flood(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    let _ = stream.read(&mut buffer).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
    let part = vec![b'x'; 100_000];
    for _ in 0..1000 {
        if stream.write_all(&part).await.is_err() {
            return;
        }
    }
}
