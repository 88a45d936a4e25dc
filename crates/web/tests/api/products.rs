//! Products and their devices.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::World;

async fn product(world: &World, token: &str, name: &str) -> Value {
    let body = json!({"product": {"name": name, "platform_id": 12, "description": "d"}});
    let made = world.ask("POST", "/v1/user/products", token, body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    made.ok()["product"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_found_by_number_and_by_slug() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let made = product(&world, &token, "My Product").await;
    let (id, slug) = (made["id"].to_string(), made["slug"].as_str().expect("a slug").to_owned());
    assert_eq!(slug, format!("my-product-{id}"));
    for name in [id, slug] {
        let path = format!("/v1/products/{name}");
        assert_eq!(world.ask("GET", &path, &token, Value::Null).await.ok()["product"], made);
    }
    let listed = world.ask("GET", "/v1/user/products", &token, Value::Null).await.ok();
    assert_eq!(listed["products"], json!([made]));
    for wrong in [json!({"product": {"name": "x"}}), json!({"name": "", "platform_id": 12})] {
        world.ask("POST", "/v1/user/products", &token, wrong).await.refused(400);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_own_and_free_devices_join_a_product_and_others_look_unknown() {
    let mut world = World::new().await;
    let (own, free) = (world.device.to_string(), world.register(None).await.to_string());
    let foreign = world.register(Some(world.stranger)).await.to_string();
    let unknown = "0".repeat(24);
    let token = world.token(world.owner).await;
    let id = product(&world, &token, "P").await["id"].to_string();
    let path = format!("/v1/products/{id}/devices");
    let lines = format!("{own}\r\n{free}\n{foreign}\n{unknown}\n\n");
    let added = world.upload(&path, &token, &lines).await.ok();
    assert_eq!(added["updated"], 2);
    assert_eq!(added["updatedDeviceIds"], json!([own, free]));
    assert_eq!(added["invalidDeviceIds"], json!([foreign, unknown]));
    let listed =
        world.ask("GET", &format!("{path}?per_page=1&page=2"), &token, Value::Null).await.ok();
    assert_eq!(listed["meta"]["total"], 2);
    assert_eq!(listed["devices"].as_array().map(Vec::len), Some(1));
    let found = world.ask("GET", &format!("{path}?deviceId={own}"), &token, Value::Null).await.ok();
    assert_eq!(found["devices"][0]["id"], own);
    let stranger = world.token(world.stranger).await;
    let theirs = product(&world, &stranger, "Q").await["id"].to_string();
    let path = format!("/v1/products/{theirs}/devices");
    let refused = world.ask("POST", &path, &stranger, json!({"ids": [free, own]})).await.ok();
    assert_eq!(refused["invalidDeviceIds"], json!([free, own]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_can_be_made_for_a_product_and_has_no_key_yet() {
    let world = World::new().await;
    let (token, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let id = product(&world, &token, "P").await["id"].clone();
    let made = world.ask("POST", "/v1/devices", &token, json!({"product_id": id})).await.ok();
    let device = made["id"].as_str().expect("an id").parse().expect("a device id");
    let stored = world.store.devices().get(device).await.expect("read").expect("there");
    assert_eq!((stored.account, stored.key), (Some(world.owner), None));
    assert_eq!(stored.product.map(|product| product.0).map(Value::from), Some(id.clone()));
    world.ask("POST", "/v1/devices", &stranger, json!({"product_id": id})).await.refused(404);
    world.ask("POST", "/v1/devices", &stranger, json!({"product_id": 12})).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_leaves_a_product_or_only_its_owner() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let id = product(&world, &token, "P").await["id"].to_string();
    let (path, device) = (format!("/v1/products/{id}/devices"), world.device);
    world.ask("POST", &path, &token, json!({"id": device.to_string()})).await.ok();
    let one = format!("{path}/{device}");
    let renamed = world.ask("PUT", &one, &token, json!({"name": "new"})).await.ok();
    assert_eq!(renamed["name"], "new");
    world.ask("DELETE", &format!("{one}/owner"), &token, Value::Null).await.ok();
    let stored = world.store.devices().get(device).await.expect("read").expect("there");
    assert!(stored.account.is_none() && stored.product.is_some());
    world.ask("GET", &one, &token, Value::Null).await.ok();
    world.ask("DELETE", &one, &token, json!({})).await.ok();
    world.ask("GET", &one, &token, Value::Null).await.refused(404);
    world.stop().await;
}
