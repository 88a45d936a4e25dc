//! The console's own routes: the session, who may ask, the list of devices.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use model::Timestamp;
use secure::keys::{KeyKind, PrivateKey};
use serde_json::{Value, json};
use store::{Token, TokenHash};
use web::{ServerKey, ServerKeys, WebConfig};

use crate::support::{OWNER, PASSWORD, STRANGER, World};

/// Those that ask for an account, with the answer to its owner.
const ROUTES: [(&str, &str, u16); 9] = [
    ("GET", "/console/devices", 200),
    ("GET", "/console/devices/{device}", 200),
    ("GET", "/console/integrations", 200),
    ("GET", "/console/usage", 200),
    ("GET", "/console/server", 200),
    ("GET", "/console/server-keys", 200),
    ("GET", "/console/tokens", 200),
    ("POST", "/console/tokens", 201),
    ("DELETE", "/console/tokens/0000000000000000", 404),
];

fn body_of(method: &str) -> Value {
    if method == "POST" { json!({"name": "mine"}) } else { Value::Null }
}

#[tokio::test]
async fn only_tokens_good_for_the_whole_account_are_taken() {
    let world = World::with(with_keys).await;
    let owner = world.token(world.owner).await;
    let stranger = world.token(world.stranger).await;
    let scoped = Token {
        hash: TokenHash::of("scoped"),
        prefix: "scoped".into(),
        account: world.owner,
        client: "api-user".into(),
        scopes: vec!["devices:list".into()],
        created_at: Timestamp(1),
        expires_at: None,
    };
    world.store.tokens().insert(&scoped, None).await.expect("inserted");
    for (method, path, expected) in ROUTES {
        let path = path.replace("{device}", &world.device.to_string());
        let body = body_of(method);
        let status =
            async |token: &str| world.ask(method, &path, token, body.clone()).await.status.as_u16();
        assert_eq!(status("").await, 400, "{path} without a token");
        assert_eq!(status("scoped").await, 403, "{path} with a token for something else");
        assert_eq!(status(&owner).await, expected, "{path}");
        let about_a_device = path.starts_with("/console/devices/");
        let stranger = status(&stranger).await;
        assert_eq!(stranger, if about_a_device { 404 } else { expected }, "{path} of a stranger");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_stranger_sees_and_revokes_nothing_of_the_owner() {
    let world = World::new().await;
    let (owner, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let list = world.ask("GET", "/console/devices", &stranger, Value::Null).await.ok();
    assert_eq!((&list["total"], &list["devices"]), (&json!(0), &json!([])));
    let tokens = world.ask("GET", "/console/tokens", &owner, Value::Null).await.ok();
    let path = format!("/console/tokens/{}", tokens["tokens"][0]["id"].as_str().expect("an id"));
    world.ask("DELETE", &path, &stranger, Value::Null).await.refused(404);
    world.ask("DELETE", &path, &owner, Value::Null).await.ok();
    world.ask("GET", "/console/tokens", &owner, Value::Null).await.refused(401);
    world.stop().await;
}

#[tokio::test]
async fn a_session_begins_on_the_consoles_own_page_alone() {
    let world = World::new().await;
    let (status, _) = sign_in(&world, PASSWORD, &[]).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "without the header of the pages");
    let elsewhere = [("x-console", "1"), ("sec-fetch-site", "cross-site")];
    assert_eq!(sign_in(&world, PASSWORD, &elsewhere).await.0, StatusCode::FORBIDDEN);
    let own = [("x-console", "1"), ("sec-fetch-site", "same-origin")];
    assert_eq!(sign_in(&world, "wrong", &own).await.0, StatusCode::BAD_REQUEST);
    let (status, headers) = sign_in(&world, PASSWORD, &own).await;
    assert_eq!(status, StatusCode::OK);
    let cookie = headers[header::SET_COOKIE].to_str().expect("text");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    world.stop().await;
}

#[tokio::test]
async fn the_cookie_changes_nothing_without_the_header_that_other_origins_may_not_send() {
    let world = World::new().await;
    let (_, headers) = sign_in(&world, PASSWORD, &[("x-console", "1")]).await;
    let cookie = headers[header::SET_COOKIE].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let rename = format!("/v1/devices/{}", world.device);
    let body = || json!({"name": "renamed"});
    let own = [("cookie", cookie.as_str()), ("x-console", "1")];
    let plain = [("cookie", cookie.as_str())];
    let elsewhere = [own[0], own[1], ("sec-fetch-site", "cross-site")];
    let status = async |method: &str, path: &str, body: Value, with: &[(&str, &str)]| {
        request(&world, method, path, body, with).await.0.as_u16()
    };
    assert_eq!(status("PUT", &rename, body(), &plain).await, 400);
    assert_eq!(status("PUT", &rename, body(), &elsewhere).await, 400);
    assert_eq!(status("GET", "/v1/devices", Value::Null, &elsewhere).await, 400);
    assert_eq!(status("GET", "/v1/devices", Value::Null, &plain).await, 200);
    assert_eq!(status("PUT", &rename, body(), &own).await, 200);
    assert_eq!(status("DELETE", "/console/session", Value::Null, &own).await, 200);
    assert_eq!(status("GET", "/v1/devices", Value::Null, &plain).await, 401);
    let preflight = [
        ("origin", "http://other.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-console"),
    ];
    let (_, headers) = request(&world, "OPTIONS", &rename, Value::Null, &preflight).await;
    let allowed = headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("text");
    assert!(!allowed.contains("x-console") && !allowed.contains('*'), "{allowed}");
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    world.stop().await;
}

#[tokio::test]
async fn the_list_is_searched_sorted_and_shows_a_change_at_once() {
    let mut world = World::new().await;
    let token = world.token(world.owner).await;
    let second = world.register(Some(world.owner)).await;
    let names = async |query: &str| {
        let path = format!("/console/devices?{query}");
        let list = world.ask("GET", &path, &token, Value::Null).await.ok();
        let devices = list["devices"].as_array().expect("a list");
        devices.iter().map(|device| device["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, [Value::Null, Value::Null]);
    for (device, name) in [(world.device, "Pump <b>"), (second, "Valve")] {
        let path = format!("/v1/devices/{device}");
        world.ask("PUT", &path, &token, json!({"name": name})).await.ok();
    }
    assert_eq!(names("sort=name").await, ["Pump <b>", "Valve"]);
    assert_eq!(names("sort=name&dir=desc&per_page=1").await, ["Valve"]);
    assert_eq!(names("sort=name&per_page=1&page=2").await, ["Valve"]);
    assert_eq!(names("q=PUMP").await, ["Pump <b>"]);
    assert_eq!(names(&format!("q={second}")).await, ["Valve"]);
    assert_eq!(names("online=true").await, [] as [&str; 0]);
    world.ask("GET", "/console/devices?sort=luck", &token, Value::Null).await.refused(400);
    world.stop().await;
}

#[tokio::test]
async fn the_list_shows_the_devices_of_a_group_alone() {
    let mut world = World::new().await;
    let (token, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let second = world.register(Some(world.owner)).await;
    let made = world
        .ask("POST", "/v1/products", &token, json!({"name": "Glass", "platform_id": 12}))
        .await
        .ok();
    let product = &made["product"]["id"];
    let base = format!("/v1/products/{product}");
    world.ask("POST", &format!("{base}/groups"), &token, json!({"name": "roof"})).await.ok();
    let ids = json!({"ids": [world.device.to_string(), second.to_string()]});
    world.ask("POST", &format!("{base}/devices"), &token, ids).await.ok();
    let list = async |token: &str| {
        let path = format!("/console/devices?product={product}&group=roof");
        world.ask("GET", &path, token, Value::Null).await.ok()
    };
    let shown = list(&token).await;
    assert_eq!((&shown["matching"], &shown["groups"]), (&json!(0), &json!(["roof"])));
    let path = format!("{base}/devices/{second}");
    world.ask("PUT", &path, &token, json!({"groups": ["roof"]})).await.ok();
    // A quick reading rests for ten times as long as it took.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let shown = list(&token).await;
    assert_eq!(shown["devices"][0]["id"], second.to_string());
    assert_eq!((&shown["matching"], &shown["total"]), (&json!(1), &json!(2)));
    assert_eq!(list(&stranger).await["groups"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn who_works_on_a_product_sees_its_devices() {
    let world = World::new().await;
    let (token, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let made = world
        .ask("POST", "/v1/products", &token, json!({"name": "Glass", "platform_id": 12}))
        .await
        .ok();
    let base = format!("/v1/products/{}", made["product"]["id"]);
    let id = json!({"id": world.device.to_string()});
    world.ask("POST", &format!("{base}/devices"), &token, id).await.ok();
    let page = format!("/console/devices/{}", world.device);
    world.ask("GET", &page, &stranger, Value::Null).await.refused(404);
    let member = json!({"username": STRANGER, "role": "View-only"});
    world.ask("POST", &format!("{base}/team"), &token, member).await.ok();
    let shown = world.ask("GET", &page, &stranger, Value::Null).await.ok();
    assert_eq!((&shown["owned"], &shown["device"]["groups"]), (&json!(false), &json!([])));
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_made_with_scopes_that_there_are() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let wanted = |scopes: &[&str]| json!({"name": "reports", "scopes": scopes});
    world.ask("POST", "/console/tokens", &token, wanted(&["luck:have"])).await.refused(400);
    for unread in [json!([1]), json!({"devices:list": true}), json!(true)] {
        let body = json!({"name": "reports", "scopes": unread});
        world.ask("POST", "/console/tokens", &token, body).await.refused(400);
    }
    let path = "/console/tokens";
    let made = world.ask("POST", path, &token, wanted(&["devices:list"])).await.ok();
    let small = made["token"].as_str().expect("a token");
    world.ask("GET", "/v1/devices", small, Value::Null).await.ok();
    world.ask("GET", "/v1/products", small, Value::Null).await.refused(403);
    world.stop().await;
}

#[tokio::test]
async fn an_image_of_the_servers_key_holds_the_address_that_is_asked_for() {
    let world = World::with(with_keys).await;
    let token = world.token(world.owner).await;
    let bearer = format!("Bearer {token}");
    let get = async |file: &str| {
        let request = Request::builder().uri(format!("/console/server-keys/{file}"));
        let request = request.header(header::AUTHORIZATION, &bearer).body(Body::empty());
        let response = world.respond(request.expect("a request")).await;
        let (status, body) = (response.status().as_u16(), response.into_body());
        let bytes = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
        (status, bytes)
    };
    let (status, image) = get("server-ec.image.bin?host=10.1.2.3").await;
    assert_eq!((status, image.len(), &image[192..198]), (200, 320, &[0, 4, 10, 1, 2, 3][..]));
    assert_eq!(image[258..260], 15_684_u16.to_be_bytes());
    let (_, key) = get("server-ec.pub.der").await;
    assert_eq!(image[..91], key[..]);
    let (_, image) = get("server-rsa.image.bin?host=a.example&port=700").await;
    assert_eq!((image.len(), &image[384..395]), (512, &b"\x01\x09a.example"[..]));
    assert_eq!(image[450..452], 700_u16.to_be_bytes());
    for (file, refused) in [
        ("server-ec.image.bin", 400),
        ("server-ec.image.bin?host=0.0.0.0", 400),
        ("server-ec.image.bin?host=a&port=0", 400),
        ("server-ec.pem", 404),
        ("server-dsa.pub.der", 404),
    ] {
        assert_eq!(get(file).await.0, refused, "{file}");
    }
    world.stop().await;
}

fn with_keys(config: WebConfig) -> WebConfig {
    let key = |kind, port, dfu_address| {
        let key = PrivateKey::generate(kind).expect("a key");
        ServerKey { public: key.public_key().clone(), port, dfu_address }
    };
    let keys = ServerKeys {
        udp: key(KeyKind::P256, 15_684, 3298),
        tcp: key(KeyKind::Rsa2048, 15_683, 2082),
    };
    WebConfig { server_keys: Some(keys), ..config }
}

async fn sign_in(world: &World, password: &str, with: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let body = json!({"username": OWNER, "password": password});
    request(world, "POST", "/console/session", body, with).await
}

async fn request(
    world: &World,
    method: &str,
    path: &str,
    body: Value,
    with: &[(&str, &str)],
) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in with {
        request = request.header(*name, *value);
    }
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let response = world.respond(request.body(Body::from(text)).expect("a request")).await;
    (response.status(), response.headers().clone())
}
