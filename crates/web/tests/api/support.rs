//! A server without sockets for HTTP: requests go straight into the router.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use model::{AccountId, DeviceId, Timestamp};
use node::{Handle, Node, NodeConfig, Updates, UpdatesConfig};
use secure::keys::ServerKeys;
use serde_json::{Value, json};
use sim::identity::Identity;
use store::{DeviceKey, NewDevice, Store};
use tower::ServiceExt;
use web::{LimitsConfig, State, TokenLife, TokenRequest, WebConfig};

/// The password of everybody here.
pub(crate) const PASSWORD: &str = "correct horse";
/// Who owns what there is.
pub(crate) const OWNER: &str = "owner@example.org";
/// Somebody else with an account of the same server.
pub(crate) const STRANGER: &str = "stranger@example.net";

/// A public key on P-256 that no device has.
pub(crate) const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsYudQ7uh1yymVr+MFKqpolygfzrS\n\
9lpXPfyxUmQIma2I4zFLeHFlsf8oUeKDfw95HPiwALKMglmiSgvviP7nww==\n\
-----END PUBLIC KEY-----\n";

/// A server with two accounts, the first of which owns a device.
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) handle: Handle,
    pub(crate) owner: AccountId,
    pub(crate) stranger: AccountId,
    pub(crate) device: DeviceId,
    router: Router,
    node: Node,
    registered: u32,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Answer {
    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The body of an answer that must be a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        if self.status == StatusCode::NO_CONTENT { Value::Null } else { self.json() }
    }

    /// The body of an answer that must have this status.
    pub(crate) fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.json()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// A server with other settings.
    pub(crate) async fn with(change: impl FnOnce(WebConfig) -> WebConfig) -> Self {
        let store = Arc::new(Store::in_memory().await.expect("memory"));
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = NodeConfig { udp: any, tcp: any, shards: 1, ..NodeConfig::default() };
        let keys = ServerKeys::generate().expect("keys");
        let started = Node::start(config, Arc::clone(&store), keys).await;
        let (node, handle) = started.expect("a node");
        let hash = web::password::hash(PASSWORD).expect("a hash");
        let create = |email| store.accounts().create(email, &hash, Timestamp(1));
        let owner = create(OWNER).await.expect("created").id;
        let stranger = create(STRANGER).await.expect("created").id;
        let updates = Updates::start(Arc::clone(&store), handle.clone(), UpdatesConfig::default());
        let updates = updates.await.expect("updates");
        let config = change(WebConfig { limits: limits(), ..WebConfig::default() });
        let state =
            State::new(Arc::clone(&store), handle.clone(), updates, Arc::new(String::new), config);
        let router = web::router(state);
        let device = DeviceId([0; 12]);
        let mut world =
            Self { store, handle, owner, stranger, device, router, node, registered: 0 };
        world.device = world.register(Some(owner)).await;
        world
    }

    /// A device that never connects.
    pub(crate) async fn register(&mut self, account: Option<AccountId>) -> DeviceId {
        self.registered += 1;
        let identity = Identity::of_fleet("e00fce68", 1, self.registered, false);
        let key = identity.key.public_key().expect("a key");
        let key = DeviceKey { hash: model::KeyHash(key.hash()), spki: key.spki().to_vec() };
        let device = NewDevice {
            id: identity.id,
            account,
            product: None,
            name: None,
            platform: Some(12),
            key: Some(key),
            first_use: false,
        };
        self.store.devices().insert(&device, Timestamp(1)).await.expect("inserted");
        self.handle.device_changed(identity.id).await.expect("told");
        identity.id
    }

    /// What `POST /oauth/token` answers.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({"grant_type": "password", "username": email, "password": password});
        self.ask("POST", "/oauth/token", "", body).await
    }

    /// A new token of an account.
    pub(crate) async fn token(&self, account: AccountId) -> String {
        self.token_for(account, &[]).await
    }

    /// A new token of an account that is good for these scopes alone; none: for everything.
    pub(crate) async fn token_for(&self, account: AccountId, scopes: &[&str]) -> String {
        let request = TokenRequest {
            account,
            client: "test".into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            life: TokenLife::Endless,
        };
        let now = Timestamp(1_769_862_896_789);
        web::issue(&self.store, request, now).await.expect("a token").0
    }

    /// A request with a JSON body (null: none) and a Bearer token, if any.
    pub(crate) async fn ask(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let authorization = (!token.is_empty()).then(|| format!("Bearer {token}"));
        self.ask_as(method, path, authorization, body).await
    }

    /// The same with any `Authorization`.
    pub(crate) async fn ask_as(
        &self,
        method: &str,
        path: &str,
        authorization: Option<String>,
        body: Value,
    ) -> Answer {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(path);
        if let Some(text) = authorization {
            request = request.header(header::AUTHORIZATION, text);
        }
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send(request.body(Body::from(text)).expect("a request")).await
    }

    /// Sends a file of lines, as the command-line client does.
    pub(crate) async fn upload(&self, path: &str, token: &str, lines: &str) -> Answer {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{lines}\r\n--b--\r\n"
        );
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "multipart/form-data;boundary=b");
        self.send(request.body(Body::from(body)).expect("a request")).await
    }

    /// Sends a file of bytes before fields, as the clients do.
    pub(crate) async fn send_file(
        &self,
        method: &str,
        path: &str,
        token: &str,
        name: &str,
        file: &[u8],
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend(file);
        for (key, value) in fields {
            let part =
                format!("\r\n--b\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}");
            body.extend(part.into_bytes());
        }
        body.extend(b"\r\n--b--\r\n");
        let request = Request::builder()
            .method(method.parse::<Method>().expect("a method"))
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "multipart/form-data;boundary=b");
        self.send(request.body(Body::from(body)).expect("a request")).await
    }

    /// What is downloaded.
    pub(crate) async fn bytes(&self, path: &str, token: &str) -> Vec<u8> {
        let request = Request::builder()
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty());
        let response = self.respond(request.expect("a request")).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.into_body().collect().await.expect("a body").to_bytes().to_vec()
    }

    /// Any request, and the answer with its head.
    pub(crate) async fn respond(&self, mut request: Request<Body>) -> axum::response::Response {
        let peer: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(web::Peer(peer)));
        self.router.clone().oneshot(request).await.expect("an answer")
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.respond(request).await;
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        // An event stream has no end: its head is its answer.
        let text = if kind.starts_with("text/event-stream") {
            String::new()
        } else {
            let bytes = response.into_body().collect().await.expect("a body").to_bytes();
            String::from_utf8(bytes.to_vec()).expect("text")
        };
        Answer { status, kind, text }
    }

    pub(crate) async fn stop(self) {
        self.node.stop().await;
    }
}

fn limits() -> LimitsConfig {
    let everybody = ["0.0.0.0/0".parse().expect("a network")];
    LimitsConfig { exempt: everybody.to_vec(), ..LimitsConfig::default() }
}
