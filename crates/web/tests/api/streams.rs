//! Event streams: what they show, and when they end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, header};
use futures_util::StreamExt;
use model::event::Origin;
use model::{AccountId, DeviceId, Event, EventId, EventName, ProductId, Timestamp};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{STRANGER, World};

/// Longer than a stream goes on without its right, and than it is silent.
const LONG: Duration = Duration::from_secs(15);

async fn open(world: &World, path: &str, token: &str) -> BodyDataStream {
    let request = Request::builder()
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty());
    let response = world.respond(request.expect("a request")).await;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    let mut stream = response.into_body().into_data_stream();
    assert_eq!(text(stream.next().await), ":ok\n\n");
    stream
}

fn text(piece: Option<Result<axum::body::Bytes, axum::Error>>) -> String {
    let bytes = piece.expect("open").expect("no error");
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What a stream says until it ends.
async fn rest(stream: BodyDataStream) -> Option<String> {
    let pieces = timeout(LONG, stream.map(|piece| text(Some(piece))).collect::<Vec<_>>()).await;
    pieces.ok().map(|pieces| pieces.concat())
}

fn event(account: AccountId, device: DeviceId, name: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId(1),
        account,
        origin: Origin::Device(device),
        product: Some(ProductId(10_000)),
        name: EventName::parse(name.as_bytes()).expect("a name"),
        data: None,
        ttl_s: 60,
        published_at: Timestamp(1),
    })
}

/// The owner's product, with its device, and the path of it.
async fn product(world: &World, owner: &str) -> String {
    let body = json!({"name": "P", "platform_id": 12});
    let made = world.ask("POST", "/v1/products", owner, body).await.ok();
    let path = format!("/v1/products/{}", made["product"]["id"]);
    let device = json!({"id": world.device.to_string()});
    world.ask("POST", &format!("{path}/devices"), owner, device).await.ok();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_the_role_or_the_device_that_it_was_opened_by() {
    let world = World::new().await;
    let (owner, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let path = product(&world, &owner).await;
    let member = json!({"username": STRANGER, "role": "View-only"});
    world.ask("POST", &format!("{path}/team"), &owner, member).await.ok();
    let revoked = world.token(world.owner).await;
    let of_device = format!("/v1/devices/{}", world.device);
    let ending = [
        open(&world, "/v1/devices/events", &revoked).await,
        open(&world, &format!("{path}/events"), &stranger).await,
        open(&world, &format!("{of_device}/events"), &owner).await,
    ];
    let mut going_on = open(&world, &format!("{path}/events"), &owner).await;
    let mut own = open(&world, "/v1/devices/events/none", &stranger).await;
    world.ask("DELETE", "/v1/access_tokens/current", &revoked, Value::Null).await.ok();
    world.ask("DELETE", &format!("{path}/team/{STRANGER}"), &owner, Value::Null).await.ok();
    world.ask("DELETE", &of_device, &owner, Value::Null).await.ok();
    let hub = world.handle.streams().clone();
    let (account, device) = (world.owner, world.device);
    let busy = tokio::spawn(async move {
        loop {
            hub.push(&[event(account, device, "busy")]);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let told = futures_util::future::join_all(ending.map(rest)).await;
    for (number, told) in told.into_iter().enumerate() {
        let told = told.unwrap_or_else(|| panic!("stream {number} goes on"));
        assert!(told.matches("busy").count() < 40, "{number}");
    }
    busy.abort();
    while timeout(Duration::from_millis(100), going_on.next()).await.is_ok() {}
    world.handle.streams().push(&[event(account, device, "last")]);
    assert!(text(going_on.next().await).contains("event: last"));
    assert_eq!(text(timeout(LONG, own.next()).await.expect("in time")), "\n");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_claimed_a_device_of_anothers_product_sees_its_events() {
    let world = World::new().await;
    let (owner, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    product(&world, &owner).await;
    let devices = world.store.devices();
    devices.set_owner(world.device, Some(world.stranger), Timestamp(2)).await.expect("claimed");
    world.handle.device_changed(world.device).await.expect("told");
    let path = format!("/v1/devices/{}/events/te", world.device);
    let mut stream = open(&world, &path, &stranger).await;
    world.handle.streams().push(&[
        event(world.owner, DeviceId([9; 12]), "temp/other"),
        event(world.owner, world.device, "other"),
        event(world.owner, world.device, "temp"),
    ]);
    let told = timeout(LONG, stream.next()).await.expect("in time");
    assert!(text(told).starts_with("event: temp\n"));
    assert_eq!(world.ask("GET", &path, &owner, Value::Null).await.refused(404)["ok"], false);
    world.stop().await;
}

/// The ids that a piece of a stream tells, in order.
fn ids(piece: &str) -> Vec<u64> {
    let ids = piece.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_replay_comes_in_pieces_and_lacks_nothing_that_comes_meanwhile() {
    let world = World::new().await;
    let owner = world.token(world.owner).await;
    let publish = async |name: &str| {
        let body = json!({"name": name, "data": "\u{1}".repeat(16_384)});
        world.ask("POST", "/v1/devices/events", &owner, body).await.ok();
    };
    for _ in 0..200 {
        publish("before").await;
    }
    let request = Request::builder()
        .uri("/v1/devices/events")
        .header(header::AUTHORIZATION, format!("Bearer {owner}"))
        .header("last-event-id", "0")
        .body(Body::empty());
    let response = world.respond(request.expect("a request")).await;
    let mut stream = response.into_body().into_data_stream();
    let first = text(stream.next().await);
    // Each byte of the data becomes six.
    assert!((6 << 20..8 << 20).contains(&first.len()), "{}", first.len());
    for _ in 0..10 {
        publish("meanwhile").await;
    }
    let mut seen = ids(&first);
    while seen.len() < 210 {
        let piece = text(timeout(LONG, stream.next()).await.expect("in time"));
        assert!(!piece.contains(":missed"));
        seen.extend(ids(&piece));
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    publish("live").await;
    let piece = text(timeout(LONG, stream.next()).await.expect("in time"));
    assert!(piece.starts_with("event: live\n"));
    world.stop().await;
}
