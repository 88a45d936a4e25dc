//! Firmware of products, releases, groups and flashing, through the API.

use serde_json::{Value, json};
use sim::firmware::Binary;

use crate::support::{Answer, World};

/// A product of argons with the world's device in it.
async fn product(world: &World, token: &str) -> u64 {
    let body = json!({"product": {"name": "Sensors", "platform_id": 12}});
    let made = world.ask("POST", "/v1/user/products", token, body).await.ok();
    let id = made["product"]["id"].as_u64().expect("a number");
    let devices = format!("/v1/products/{id}/devices");
    world.ask("POST", &devices, token, json!({"id": world.device.to_string()})).await.ok();
    id
}

fn application(product: u64, version: u16) -> Binary {
    let product = u16::try_from(product).expect("small");
    Binary::application(12, 20_000).of_product(product, version)
}

async fn upload(world: &World, product: u64, token: &str, version: u16, file: &[u8]) -> Answer {
    let path = format!("/v1/products/{product}/firmware");
    let version = version.to_string();
    let fields = [("version", version.as_str()), ("title", "First")];
    world.send_file("POST", &path, token, "/tmp/some/where/app.bin", file, &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_uploaded_shown_changed_downloaded_and_removed() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let id = product(&world, &token).await;
    let file = application(id, 3).build();
    let made = upload(&world, id, &token, 3, &file).await;
    assert_eq!(made.status.as_u16(), 201, "{made:?}");
    let made = made.json();
    assert_eq!(made["version"], 3);
    assert_eq!(made["name"], "app.bin");
    assert_eq!(made["size"], file.len());
    assert_eq!(upload(&world, id, &token, 3, &file).await.status.as_u16(), 409);
    let path = format!("/v1/products/{id}/firmware/3");
    let binary = world.bytes(&format!("{path}/binary"), &token).await;
    assert_eq!(binary, file);
    let changed = world.ask("PUT", &path, &token, json!({"title": "Second"})).await.ok();
    assert_eq!(changed["title"], "Second");
    let listed =
        world.ask("GET", &format!("/v1/products/{id}/firmware"), &token, Value::Null).await;
    assert_eq!(listed.ok()[0]["title"], "Second");
    world.ask("DELETE", &path, &token, Value::Null).await.ok();
    world.ask("GET", &path, &token, Value::Null).await.refused(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_suit_is_refused_at_upload_with_the_reason() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let id = product(&world, &token).await;
    let good = application(id, 3);
    let other_platform = Binary { platform: 13, ..good.clone() }.build();
    let other_product = application(id + 1, 3).build();
    let none = Binary { product: None, ..good.clone() }.build();
    let system = Binary { function: 4, ..good.clone() }.build();
    let whole = good.build();
    let mut damaged = whole.clone();
    damaged[9_000] ^= 1;
    for (file, reason) in [
        (&other_platform[..], "is for boron"),
        (&other_product, "is for product"),
        (&none, "names no product"),
        (&system, "is an application"),
        (&damaged, "damaged"),
        (&whole[..10_000], "truncated"),
        (b"int main() {}", "too few"),
    ] {
        let body = upload(&world, id, &token, 3, file).await.refused(400);
        assert!(body["error"].as_str().expect("text").contains(reason), "{reason}: {body}");
    }
    let other_version = upload(&world, id, &token, 4, &whole).await.refused(400);
    assert!(
        other_version["error"].as_str().expect("text").contains("version 3"),
        "{other_version}"
    );
    let large = Binary { bytes: 5 << 20, ..good }.build();
    upload(&world, id, &token, 3, &large).await.refused(413);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_targets_devices_by_group_lock_and_development() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let id = product(&world, &token).await;
    for version in [1, 2] {
        let file = application(id, version).build();
        assert_eq!(upload(&world, id, &token, version, &file).await.status.as_u16(), 201);
    }
    let base = format!("/v1/products/{id}");
    let device = format!("{base}/devices/{}", world.device);
    let shown = |key: &'static str| {
        let (world, device, token) = (&world, device.clone(), token.clone());
        async move { world.ask("GET", &device, &token, Value::Null).await.ok()[key].clone() }
    };
    let put = |path: String, body: Value| {
        let (world, token) = (&world, token.clone());
        async move { world.ask("PUT", &path, &token, body).await }
    };
    let release = format!("{base}/firmware/release");
    let all = json!({"version": 1, "product_default": true, "stages": [20, 100]});
    put(release.clone(), all).await.ok();
    assert_eq!(shown("targeted_firmware_release_version").await, 1);
    let unknown = json!({"version": 2, "groups": ["beta"]});
    put(release.clone(), unknown.clone()).await.refused(400);
    let group = json!({"name": "beta"});
    assert_eq!(world.ask("POST", &format!("{base}/groups"), &token, group).await.status, 201);
    put(release.clone(), unknown).await.ok();
    assert_eq!(shown("targeted_firmware_release_version").await, 1);
    put(device.clone(), json!({"groups": ["beta"]})).await.ok();
    assert_eq!(shown("targeted_firmware_release_version").await, 2);
    for (group, count) in [("beta", 1), ("gamma", 0)] {
        let path = format!("{base}/devices?groups={group}");
        let listed = world.ask("GET", &path, &token, Value::Null).await.ok();
        assert_eq!(listed["devices"].as_array().expect("a list").len(), count, "{listed}");
    }
    let locked = put(device.clone(), json!({"desired_firmware_version": 1, "flash": true})).await;
    assert_eq!(locked.ok()["desired_firmware_version"], 1);
    assert_eq!(shown("desired_firmware_version").await, 1);
    put(device.clone(), json!({"desired_firmware_version": null})).await.ok();
    assert_eq!(shown("desired_firmware_version").await, Value::Null);
    put(device.clone(), json!({"development": true})).await.ok();
    assert_eq!(shown("targeted_firmware_release_version").await, Value::Null);
    let releases = world.ask("GET", &format!("{base}/releases"), &token, Value::Null).await.ok();
    assert_eq!(releases["releases"][1]["stages"], json!([20, 100]));
    let one = format!("{base}/releases/{}", releases["releases"][1]["id"]);
    let paused = put(one.clone(), json!({"paused": true})).await.ok();
    assert_eq!(paused["release"]["state"], "paused");
    assert_eq!(put(one, json!({"paused": false})).await.ok()["release"]["state"], "running");
    let firmware = format!("{base}/firmware/1");
    world.ask("DELETE", &firmware, &token, Value::Null).await.refused(409);
    let withdrawal = json!({"version": 1});
    world.ask("DELETE", &release, &token, withdrawal.clone()).await.ok();
    world.ask("DELETE", &release, &token, withdrawal).await.refused(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flashing_says_what_is_wrong_before_anything_is_sent() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let path = format!("/v1/devices/{}", world.device);
    let flash = |name: &'static str, file: Vec<u8>| {
        let (world, path, token) = (&world, path.clone(), token.clone());
        async move { world.send_file("PUT", &path, &token, name, &file, &[("latest", "true")]).await }
    };
    let good = Binary::application(12, 20_000);
    flash("app.bin", good.build()).await.refused(408);
    flash("app.bin", good.build()[..9_999].to_vec()).await.refused(400);
    flash("app.ino", b"void setup() {}".to_vec()).await.refused(501);
    world.ask("PUT", &path, &token, json!({"app_id": "tinker"})).await.refused(501);
    let sources = vec![b'/'; 300_000];
    let refused = world.send_file("POST", "/v1/binaries", &token, "app.ino", &sources, &[]).await;
    let refused = refused.refused(501);
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("compiles nothing")));
    world.ask("POST", "/v1/binaries", "", Value::Null).await.refused(400);
    let unknown = json!({"product_id": 10_999, "version": 1});
    world.ask("PUT", &path, &token, unknown).await.refused(404);
    let shown = world.ask("GET", &path, &token, Value::Null).await.ok();
    assert_eq!(shown["firmware_update"], Value::Null);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_many_devices_change_at_once_and_the_reach_of_a_release_is_told_before() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let id = product(&world, &token).await;
    let groups = format!("/v1/products/{id}/groups");
    for name in ["canary", "lab"] {
        world.ask("POST", &groups, &token, json!({"name": name})).await.ok();
    }
    let devices = format!("/v1/products/{id}/devices");
    let device = world.device.to_string();
    let stranger = "0".repeat(24);
    let ids = json!([device, stranger, "no id"]);
    let body = json!({"ids": ids, "groups": ["canary"], "action": "add"});
    let told = world.ask("PUT", &devices, &token, body).await.ok();
    assert_eq!(told["updatedDeviceIds"], json!([device]));
    assert_eq!(told["nonmemberDeviceIds"], json!([stranger]));
    assert_eq!(told["invalidDeviceIds"], json!(["no id"]));
    let impact = async |query: &str| {
        let path = format!("/v1/products/{id}/impact?{query}");
        world.ask("GET", &path, &token, Value::Null).await.ok()["impact"]["devices"].clone()
    };
    assert_eq!(impact("version=2").await, 1);
    assert_eq!(impact("version=2&groups=canary,lab").await, 1);
    assert_eq!(impact("version=2&groups=lab").await, 0);
    let made = upload(&world, id, &token, 1, &application(id, 1).build()).await;
    assert_eq!(made.status.as_u16(), 201, "{made:?}");
    let release = format!("/v1/products/{id}/firmware/release");
    let release = |body: Value| world.ask("PUT", &release, &token, body);
    release(json!({"version": 1, "groups": ["canary"]})).await.ok();
    assert_eq!(impact("version=2").await, 0, "it has a release for its group");
    release(json!({"version": 1})).await.ok();
    let body = json!({"ids": [device], "groups": ["canary"], "action": "remove"});
    world.ask("PUT", &devices, &token, body).await.ok();
    assert_eq!(impact("version=2&groups=canary").await, 0);
    let body = json!({"ids": [device], "groups": ["nobody"]});
    world.ask("PUT", &devices, &token, body).await.refused(400);
    world.stop().await;
}
