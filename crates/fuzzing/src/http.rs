//! HTTP: any operation of the description, with things that exist and things that do not, and any
//! body. No answer is a 5xx.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use model::{AccountId, DeviceId, Timestamp};
use node::{Node, NodeConfig, Updates, UpdatesConfig};
use secure::keys::ServerKeys;
use store::{NewDevice, Store};
use tokio::runtime::Runtime;
use tower::ServiceExt;
use web::{LimitsConfig, State, TokenLife, TokenRequest, WebConfig};

use crate::script::Script;

pub(crate) fn run(input: &[u8]) {
    static SERVER: OnceLock<Mutex<Option<Server>>> = OnceLock::new();
    let server = SERVER.get_or_init(Mutex::default);
    // A finding ends the process or is told by the next one.
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    let mut current = match server.take() {
        Some(current) if current.asked < REQUESTS_MAX => current,
        Some(old) => {
            old.stop();
            Server::start()
        }
        None => Server::start(),
    };
    current.ask(&mut Script(input));
    *server = Some(current);
}

/// A server without sockets for HTTP, with one account that owns a device.
struct Server {
    runtime: Runtime,
    router: Router,
    node: Node,
    token: String,
    operations: Vec<(String, String)>,
    asked: u32,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (node, router, token) = runtime.block_on(assembled());
        Self { runtime, router, node, token, operations: operations(), asked: 0 }
    }

    fn stop(self) {
        let Self { runtime, router, node, .. } = self;
        drop(router);
        runtime.block_on(node.stop());
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        self.asked += 1;
        let Some(request) = self.request(script) else { return };
        let line = format!("{} {}", request.method(), request.uri());
        let router = self.router.clone();
        let (status, text) = self.runtime.block_on(async {
            let answer = router.oneshot(request).await.expect("never fails");
            let status = answer.status();
            let kind = answer.headers().get(header::CONTENT_TYPE);
            let is_endless = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
            if is_endless {
                return (status, None);
            }
            (status, to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.ok())
        });
        assert!(status.as_u16() != 500, "{line}: {status}, {text:?}");
    }

    fn request(&self, script: &mut Script<'_>) -> Option<Request<Body>> {
        let which = usize::from(script.number()) % self.operations.len();
        let (method, route) = &self.operations[which];
        let path: Vec<_> = route.split('/').map(|part| filled(part, script)).collect();
        let mut path = path.join("/");
        let query = script.bytes();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&encoded(query, b"=&%+"));
        }
        let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
        let mut request = Request::builder().method(method.as_str()).uri(path);
        if script.byte() != 0xff {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let mut request = request.body(Body::from(script.0.to_vec())).ok()?;
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        request.extensions_mut().insert(ConnectInfo(web::Peer(peer)));
        Some(request)
    }
}

const KINDS: [&str; 5] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data;boundary=b",
    "application/octet-stream",
    "",
];

/// A parameter of a path: the name of a thing that exists, or anything.
fn filled(part: &str, script: &mut Script<'_>) -> String {
    if !part.starts_with('{') {
        return part.to_owned();
    }
    match script.byte() % 4 {
        0 => encoded(script.bytes(), b""),
        _ if part.contains("product") => "10000".to_owned(),
        _ if part.contains("device") => DeviceId([1; 12]).to_string(),
        1 => "1".to_owned(),
        _ => "thing".to_owned(),
    }
}

fn encoded(bytes: &[u8], also: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || also.contains(byte);
    let encode = |byte: &u8| {
        if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
    };
    bytes.iter().map(encode).collect()
}

async fn assembled() -> (Node, Router, String) {
    let store = Arc::new(Store::in_memory().await.expect("memory"));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = NodeConfig { udp: any, tcp: any, shards: 1, ..NodeConfig::default() };
    let keys = ServerKeys::generate().expect("keys");
    let (node, handle) = Node::start(config, Arc::clone(&store), keys).await.expect("a node");
    let account = store.accounts().create("o@example.org", "none", Timestamp(1)).await;
    let account = account.expect("created").id;
    let device = NewDevice {
        id: DeviceId([1; 12]),
        account: Some(account),
        product: None,
        name: None,
        platform: Some(12),
        key: None,
        first_use: false,
    };
    store.devices().insert(&device, Timestamp(1)).await.expect("inserted");
    handle.device_changed(device.id).await.expect("told");
    let updates = Updates::start(Arc::clone(&store), handle.clone(), UpdatesConfig::default());
    let updates = updates.await.expect("updates");
    let token = token(&store, account).await;
    let everybody = vec!["0.0.0.0/0".parse().expect("a network")];
    let limits = LimitsConfig { exempt: everybody, ..LimitsConfig::default() };
    let config = WebConfig { limits, ..WebConfig::default() };
    let state = State::new(store, handle, updates, Arc::new(String::new), config);
    (node, web::router(state), token)
}

async fn token(store: &Store, account: AccountId) -> String {
    let request = TokenRequest {
        account,
        client: "fuzzing".into(),
        scopes: Vec::new(),
        life: TokenLife::Endless,
    };
    web::issue(store, request, Timestamp(1_769_862_896_789)).await.expect("a token").0
}

/// Methods and paths of the description; without those that end the token that is used.
fn operations() -> Vec<(String, String)> {
    let description = serde_json::to_value(web::openapi()).expect("JSON");
    let items = description["paths"].as_object().expect("paths");
    let of_item = |(path, item): (&String, &serde_json::Value)| -> Vec<(String, String)> {
        let methods = item.as_object().expect("an item").keys();
        methods.map(|method| (method.to_uppercase(), path.clone())).collect()
    };
    items
        .iter()
        .flat_map(of_item)
        .filter(|(method, path)| method != "DELETE" || !path.contains("access_token"))
        .collect()
}

/// What requests make stays in memory: after so many the server is made anew.
const REQUESTS_MAX: u32 = 4000;
const ANSWER_BYTES_MAX: usize = 4 << 20;
