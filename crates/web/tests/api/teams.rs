//! Teams, API users, customers, and devices that are kept out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{AccountId, DeviceId};
use serde_json::{Value, json};

use crate::support::{OWNER, PASSWORD, STRANGER, World};

/// A world whose owner has a product.
struct Scene {
    world: World,
    owner: String,
    product: String,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let owner = world.token(world.owner).await;
        let body = json!({"name": "P", "platform_id": 12});
        let made = world.ask("POST", "/v1/products", &owner, body).await.ok();
        let product = format!("/v1/products/{}", made["product"]["id"]);
        Self { world, owner, product }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> crate::support::Answer {
        self.world.ask(method, &format!("{}{path}", self.product), &self.owner, body).await
    }

    /// An OAuth client of the product: its id and its secret.
    async fn client(&self) -> (String, String) {
        let made = self.ask("POST", "/clients", json!({"name": "App"})).await.ok();
        let text = |key: &str| made["client"][key].as_str().expect("a text").to_owned();
        (text("id"), text("secret"))
    }

    /// A device with an owner.
    async fn device(&mut self, account: Option<AccountId>) -> DeviceId {
        self.world.register(account).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sees_the_product_until_removed() {
    let scene = Scene::new().await;
    let (world, stranger) = (&scene.world, scene.world.token(scene.world.stranger).await);
    let mine = || world.ask("GET", "/v1/products", &stranger, Value::Null);
    world.ask("GET", &scene.product, &stranger, Value::Null).await.refused(404);
    scene.ask("POST", "/team", json!({"username": "nobody@example.org"})).await.refused(400);
    scene.ask("POST", "/team", json!({"username": STRANGER, "role": "King"})).await.refused(400);
    scene.ask("POST", "/team", json!({"username": STRANGER, "role": "Support"})).await.ok();
    world.ask("GET", &scene.product, &stranger, Value::Null).await.ok();
    assert_eq!(mine().await.ok()["products"].as_array().map(Vec::len), Some(1));
    let team = scene.ask("GET", "/team", Value::Null).await.ok();
    assert_eq!(
        (&team["team"][0]["username"], &team["team"][0]["role"]),
        (&json!(STRANGER), &json!("Support"))
    );
    let hook = json!({"event": "e", "url": "http://h.example/"});
    let path = format!("{}/webhooks", scene.product);
    let refused = world.ask("POST", &path, &stranger, hook.clone()).await.refused(403);
    assert_eq!(refused["error"], "unauthorized");
    let member = format!("/team/{STRANGER}");
    scene.ask("PUT", &member, json!({"role": "Developer"})).await.ok();
    world.ask("POST", &path, &stranger, hook).await.ok();
    assert_eq!(
        scene.ask("GET", "/webhooks", Value::Null).await.ok().as_array().map(Vec::len),
        Some(1)
    );
    scene.ask("DELETE", &member, Value::Null).await.ok();
    world.ask("GET", &scene.product, &stranger, Value::Null).await.refused(404);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_user_may_do_what_its_scopes_name_in_its_product_alone() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let wrong = json!({"friendly_name": "Bot", "scopes": ["devices:fly"]});
    scene.ask("POST", "/team", wrong).await.refused(400);
    let body = json!({"friendly_name": "Bot", "scopes": ["devices:list", "events:send"]});
    let made = scene.ask("POST", "/team", body).await.ok()["created"].clone();
    assert_eq!(made["is_programmatic"], true);
    let token = made["tokens"][0]["token"].as_str().expect("a token").to_owned();
    let get = |path: String| {
        let token = token.clone();
        async move { world.ask("GET", &path, &token, Value::Null).await }
    };
    let devices = format!("{}/devices", scene.product);
    get(devices.clone()).await.ok();
    get(format!("{}/webhooks", scene.product)).await.refused(403);
    get(format!("{}/team", scene.product)).await.refused(403);
    get("/v1/devices".into()).await.refused(403);
    let current = get("/v1/access_tokens/current".into()).await.ok();
    assert!(
        current["scopes"].as_array().is_some_and(|scopes| scopes.contains(&json!("devices:list")))
    );
    let other =
        world.ask("POST", "/v1/products", &scene.owner, json!({"name": "Q", "platform_id": 12}));
    let other = other.await.ok()["product"]["id"].to_string();
    get(format!("/v1/products/{other}/devices")).await.refused(404);
    let path = format!("/team/{}", made["username"].as_str().expect("a name"));
    let renewed = scene.ask("PUT", &format!("{path}/token"), Value::Null).await.ok();
    let next = renewed["updated"]["tokens"][0]["token"].as_str().expect("a token").to_owned();
    get(devices.clone()).await.refused(401);
    world.ask("GET", &devices, &next, Value::Null).await.ok();
    world.ask("GET", &format!("{}/team", scene.product), &next, Value::Null).await.refused(403);
    scene.ask("DELETE", &path, Value::Null).await.ok();
    world.ask("GET", &devices, &next, Value::Null).await.refused(401);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_product_makes_customers_who_have_their_own_devices() {
    let mut scene = Scene::new().await;
    let device = scene.device(None).await;
    let (id, secret) = scene.client().await;
    let customers = format!("{}/customers", scene.product);
    let world = &scene.world;
    let body = |email: &str, secret: &str| json!({"email": email, "password": PASSWORD, "client_id": id, "client_secret": secret});
    world.ask("POST", &customers, "", body("c@example.org", "wrong")).await.refused(400);
    world.ask("POST", &customers, "", body("no address", &secret)).await.refused(400);
    let made = world.ask("POST", &customers, "", body("c@example.org", &secret)).await.ok();
    let token = made["access_token"].as_str().expect("a token").to_owned();
    world.ask("POST", &customers, "", body("C@example.org", &secret)).await.refused(409);
    let claim = json!({"id": device.to_string()});
    world.ask("POST", "/v1/devices", &token, claim).await.ok();
    // A device that it made would be in the product, and paid for by its owner.
    let number = scene.product.rsplit('/').next();
    let made = json!({"product_id": number});
    world.ask("POST", "/v1/devices", &token, made).await.refused(403);
    let own = world.ask("GET", "/v1/devices", &token, Value::Null).await.ok();
    assert_eq!(own[0]["id"], device.to_string());
    let path = format!("{}/device_claims", scene.product);
    world.ask("POST", &path, &token, Value::Null).await.ok();
    for (method, path) in [
        ("GET", scene.product.clone()),
        ("GET", customers.clone()),
        ("POST", "/v1/products".into()),
    ] {
        world.ask(method, &path, &token, Value::Null).await.refused(403);
    }
    let listed = world.ask("GET", &customers, &scene.owner, Value::Null).await.ok();
    assert_eq!(listed["customers"][0]["email"], "c@example.org");
    assert_eq!(listed["customers"][0]["devices"], json!([device.to_string()]));
    let one = "/customers/c@example.org";
    scene.ask("PUT", one, json!({"password": "another password"})).await.ok();
    scene.ask("DELETE", one, Value::Null).await.ok();
    world.ask("GET", "/v1/devices", &token, Value::Null).await.refused(401);
    assert_eq!(
        world.store.devices().get(device).await.expect("read").expect("there").account,
        None
    );
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_signs_in_through_a_client_of_the_product_alone() {
    let scene = Scene::new().await;
    let (id, secret) = scene.client().await;
    let world = &scene.world;
    let body = json!({"email": "c@example.org", "password": PASSWORD, "client_id": id, "client_secret": secret});
    world.ask("POST", &format!("{}/customers", scene.product), "", body).await.ok();
    let name = format!("{}/c@example.org", scene.product.rsplit('/').next().expect("a number"));
    assert!(world.store.accounts().by_email(&name).await.expect("read").is_some());
    let wrong = world.sign_in(&name, "wrong").await;
    wrong.refused(400);
    assert_eq!(world.sign_in(&name, PASSWORD).await, wrong);
    let basic = format!("Basic {}", BASE64.encode(format!("{name}:{PASSWORD}")));
    world.ask_as("GET", "/v1/access_tokens", Some(basic), Value::Null).await.refused(401);
    let through = json!({
        "grant_type": "password", "username": "c@example.org", "password": PASSWORD,
        "client_id": id, "client_secret": secret,
    });
    let token = world.ask("POST", "/oauth/token", "", through).await.ok();
    let token = token["access_token"].as_str().expect("a token");
    world.ask("GET", "/v1/devices", token, Value::Null).await.ok();
    world.ask("GET", "/v1/products", token, Value::Null).await.refused(403);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_product_takes_nothing_that_the_owner_has_elsewhere() {
    let mut scene = Scene::new().await;
    let (owner, own) = (scene.world.owner, scene.world.device);
    let (in_another, free) = (scene.device(Some(owner)).await, scene.device(None).await);
    let (id, secret) = scene.client().await;
    let world = &scene.world;
    let body = json!({"name": "Q", "platform_id": 12});
    let other = world.ask("POST", "/v1/products", &scene.owner, body).await.ok();
    let other = format!("/v1/products/{}/devices", other["product"]["id"]);
    let one = json!({"id": in_another.to_string()});
    world.ask("POST", &other, &scene.owner, one).await.ok();
    let grant =
        json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let token = world.ask("POST", "/oauth/token", "", grant).await.ok();
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let devices = format!("{}/devices", scene.product);
    let ids = json!({"ids": [own.to_string(), in_another.to_string(), free.to_string()]});
    let told = world.ask("POST", &devices, &token, ids.clone()).await.ok();
    assert_eq!(told["updatedDeviceIds"], json!([free.to_string()]));
    let claims = format!("{}/device_claims", scene.product);
    let known = world.ask("POST", &claims, &token, Value::Null).await.ok();
    assert_eq!(known["device_ids"], json!([]), "the owner's devices are not the product's");
    let told = world.ask("POST", &devices, &scene.owner, ids).await.ok();
    assert_eq!(told["updated"], 3, "the owner may");
    let known = world.ask("POST", &claims, &token, Value::Null).await.ok();
    assert_eq!(known["device_ids"].as_array().map(Vec::len), Some(2));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_devices_come_to_the_product_and_the_owners_only_by_the_owner() {
    let mut scene = Scene::new().await;
    let (stranger, own) = (scene.world.stranger, scene.world.device);
    let theirs = scene.device(Some(stranger)).await;
    let member = json!({"username": STRANGER, "role": "Developer"});
    scene.ask("POST", "/team", member).await.ok();
    let token = scene.world.token(stranger).await;
    let ids = json!({"ids": [own.to_string(), theirs.to_string()]});
    let devices = format!("{}/devices", scene.product);
    let told = scene.world.ask("POST", &devices, &token, ids).await.ok();
    assert_eq!(told["updatedDeviceIds"], json!([theirs.to_string()]));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_know_the_key_of_a_products_device_gives_nobody_the_device() {
    let mut scene = Scene::new().await;
    let device = scene.device(None).await;
    scene.ask("POST", "/devices", json!({"id": device.to_string()})).await.ok();
    let world = &scene.world;
    let key = world.store.devices().get(device).await.expect("read").expect("there").key;
    let identity = sim::identity::Identity::of_fleet("e00fce68", 1, 2, false);
    let public = identity.key.public_key().expect("a key");
    assert_eq!(key.map(|key| key.0), Some(public.hash()), "the same device");
    let body = json!({"publicKey": pem(public.spki())});
    let path = format!("/v1/provisioning/{device}");
    let stranger = world.token(world.stranger).await;
    world.ask("POST", &path, &stranger, body.clone()).await.refused(403);
    world.ask("POST", &path, &scene.owner, body).await.ok();
    scene.world.stop().await;
}

fn pem(spki: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(spki))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_products_and_customers_stay_small_when_refreshed() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let (id, secret) = scene.client().await;
    let grant = |more: Value| {
        let mut body = json!({"client_id": id, "client_secret": secret});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        world.ask("POST", "/oauth/token", "", body)
    };
    let customer = json!({"email": "c@example.org", "password": PASSWORD, "client_id": id, "client_secret": secret});
    world.ask("POST", &format!("{}/customers", scene.product), "", customer).await.ok();
    for more in [
        json!({"grant_type": "client_credentials"}),
        json!({"grant_type": "client_credentials", "scope": "customer=c@example.org"}),
        json!({"grant_type": "password", "username": "c@example.org", "password": PASSWORD}),
    ] {
        let first = grant(more).await.ok();
        let refresh =
            json!({"grant_type": "refresh_token", "refresh_token": first["refresh_token"]});
        let second = grant(refresh).await.ok();
        let token = second["access_token"].as_str().expect("a token").to_owned();
        world.ask("POST", "/v1/products", &token, json!({})).await.refused(403);
        world.ask("GET", "/v1/clients", &token, Value::Null).await.refused(403);
    }
    let unknown = json!({"grant_type": "client_credentials", "scope": "customer=x@example.org"});
    assert_eq!(grant(unknown).await.refused(400)["error"], "invalid_grant");
    // The customer's password is good for the product's client alone, and the owner's is not.
    let owners = json!({"grant_type": "password", "username": OWNER, "password": PASSWORD});
    assert_eq!(grant(owners).await.refused(400)["error"], "invalid_grant");
    assert_eq!(
        world.sign_in("c@example.org", PASSWORD).await.refused(400)["error"],
        "invalid_grant"
    );
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_device_leaves_and_comes_back_when_it_is_added_again() {
    let scene = Scene::new().await;
    let id = scene.world.device.to_string();
    scene.ask("POST", "/devices", json!({"id": id})).await.ok();
    scene.ask("DELETE", &format!("/devices/{id}"), json!({"deny": true})).await.ok();
    scene.ask("GET", &format!("/devices/{id}"), Value::Null).await.refused(404);
    let denied = || async {
        scene.world.store.teams().denied(model::ProductId(10_000)).await.expect("read")
    };
    assert_eq!(denied().await, [scene.world.device]);
    scene.ask("POST", "/devices", json!({"id": id})).await.ok();
    assert_eq!(denied().await, []);
    let waiting = scene.ask("GET", "/devices?quarantined=true", Value::Null).await.ok();
    assert_eq!(waiting["devices"], json!([]));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_device_that_goes_to_a_stranger_is_no_longer_shown() {
    let scene = Scene::new().await;
    let (world, id) = (&scene.world, scene.world.device.to_string());
    scene.ask("POST", "/devices", json!({"id": id})).await.ok();
    scene.ask("DELETE", &format!("/devices/{id}"), json!({"deny": true})).await.ok();
    let denied = scene.ask("GET", "/devices?denied=true", Value::Null).await.ok();
    assert_eq!(denied["devices"][0]["id"], id);
    world.ask("DELETE", &format!("/v1/devices/{id}"), &scene.owner, Value::Null).await.ok();
    let stranger = world.token(world.stranger).await;
    world.ask("POST", "/v1/devices", &stranger, json!({"id": id})).await.ok();
    let denied = scene.ask("GET", "/devices?denied=true", Value::Null).await.ok();
    assert_eq!(denied["devices"], json!([]));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_user_without_a_token_gets_no_new_one_with_more_scopes() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let body = json!({"friendly_name": "Bot", "scopes": ["devices:list"]});
    let made = scene.ask("POST", "/team", body).await.ok()["created"].clone();
    let token = made["tokens"][0]["token"].as_str().expect("a token");
    world.ask("DELETE", "/v1/access_tokens/current", token, Value::Null).await.ok();
    let path = format!("/team/{}/token", made["username"].as_str().expect("a name"));
    scene.ask("PUT", &path, Value::Null).await.refused(400);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_takes_serial_numbers_by_which_devices_are_found() {
    let mut scene = Scene::new().await;
    let (one, two) = (scene.device(None).await.to_string(), scene.device(None).await.to_string());
    let lines = format!("device_id,serial\r\n{one},P046AF450AB1A\r\n\"{two}\",p046af450ab1a\r\n");
    let path = format!("{}/devices", scene.product);
    let added = scene.world.upload(&path, &scene.owner, &lines).await.ok();
    assert_eq!(
        (&added["updatedDeviceIds"], &added["invalidDeviceIds"]),
        (&json!([one]), &json!([two]))
    );
    let find = |token: String| {
        let world = &scene.world;
        async move { world.ask("GET", "/v1/serial_numbers/p046af450ab1a", &token, Value::Null).await }
    };
    let found = find(scene.owner.clone()).await.ok();
    assert_eq!(
        (&found["device_id"], &found["serial_number"]),
        (&json!(one), &json!("P046AF450AB1A"))
    );
    let stranger = scene.world.token(scene.world.stranger).await;
    find(stranger).await.refused(404);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_looks_up_a_few_serial_numbers_an_hour() {
    let world = World::with(|config| web::WebConfig {
        limits: web::LimitsConfig { serial_lookups_max: 2, ..web::LimitsConfig::default() },
        ..config
    })
    .await;
    let (owner, stranger) = (world.token(world.owner).await, world.token(world.stranger).await);
    let find = |token: String| {
        let world = &world;
        async move { world.ask("GET", "/v1/serial_numbers/x", &token, Value::Null).await }
    };
    for _ in 0..2 {
        find(owner.clone()).await.refused(404);
    }
    find(owner).await.refused(429);
    find(stranger).await.refused(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_code_sets_a_new_password_once_and_ends_all_tokens() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    for name in ["nobody@example.org", OWNER, OWNER, OWNER, OWNER] {
        world.ask("POST", "/v1/user/password-reset", "", json!({"username": name})).await.ok();
    }
    let letters = world.store.letters().letters(10).await.expect("read");
    assert_eq!(letters.len(), 3, "only to who has an account, and not without end");
    assert!(letters.iter().all(|letter| letter.address == OWNER));
    let is_code = |word: &&str| word.len() == 40;
    let code = letters[0].body.split_whitespace().find(is_code).expect("a code").to_owned();
    let reset = |code: &str, password: &str| {
        let body = json!({"token": code, "password": password});
        world.ask("PUT", "/v1/user/password-reset", "", body)
    };
    reset(&code, "short").await.refused(400);
    reset("wrong", "a new password").await.refused(400);
    reset(&code, "a new password").await.ok();
    reset(&code, "another password").await.refused(400);
    world.ask("GET", "/v1/user", &token, Value::Null).await.refused(401);
    world.sign_in(OWNER, "a new password").await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_client_proves_itself_by_http_basic_too() {
    use base64::Engine;
    let scene = Scene::new().await;
    let (id, secret) = scene.client().await;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    let (path, basic) = (format!("{}/customers", scene.product), Some(format!("Basic {basic}")));
    let made =
        scene.world.ask_as("POST", &path, basic, json!({"email": "b@example.org"})).await.ok();
    assert_eq!(made["token_type"], "bearer");
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_product_gives_nobody_rights() {
    let scene = Scene::new().await;
    let (id, secret) = scene.client().await;
    let body =
        json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let granted = scene.world.ask("POST", "/oauth/token", "", body).await.ok();
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": granted["refresh_token"], "client_id": id, "client_secret": secret});
    let refreshed = scene.world.ask("POST", "/oauth/token", "", refresh).await.ok();
    let token = refreshed["access_token"].as_str().expect("a token");
    let ask = |method: &'static str, path: &str, body: Value| {
        let path = format!("{}{path}", scene.product);
        let world = &scene.world;
        async move { world.ask(method, &path, token, body).await }
    };
    ask("GET", "/devices", Value::Null).await.ok();
    ask("POST", "/webhooks", json!({"event": "e", "url": "http://h.example/"})).await.ok();
    let administrator = json!({"username": STRANGER, "role": "Administrator"});
    ask("POST", "/team", administrator).await.refused(403);
    ask("GET", "/team", Value::Null).await.refused(403);
    ask("POST", "/clients", json!({"name": "Next"})).await.refused(403);
    ask("DELETE", &format!("/clients/{id}"), Value::Null).await.refused(403);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_and_administrators_make_clients_of_a_product() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let (path, client) = (format!("{}/clients", scene.product), json!({"name": "App"}));
    let make = |token: String| {
        let (path, client) = (path.clone(), client.clone());
        async move { world.ask("POST", &path, &token, client).await }
    };
    let stranger = world.token(world.stranger).await;
    scene.ask("POST", "/team", json!({"username": STRANGER, "role": "Developer"})).await.ok();
    make(stranger.clone()).await.refused(403);
    world.ask("GET", &path, &stranger, Value::Null).await.ok();
    scene.ask("PUT", &format!("/team/{STRANGER}"), json!({"role": "Administrator"})).await.ok();
    make(stranger).await.ok();
    make(world.token_for(world.owner, &["clients:create"]).await).await.refused(403);
    let body = json!({"friendly_name": "Bot", "scopes": ["clients:create"]});
    let made = scene.ask("POST", "/team", body).await.ok();
    let token = made["created"]["tokens"][0]["token"].as_str().expect("a token");
    make(token.into()).await.refused(403);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_a_product_is_claimed_by_who_belongs_to_the_product_alone() {
    let mut scene = Scene::new().await;
    let device = scene.device(None).await.to_string();
    scene.ask("POST", "/devices", json!({"id": device})).await.ok();
    let (world, owner) = (&scene.world, format!("/devices/{device}/owner"));
    let claim = |token: String, id: String| async move {
        world.ask("POST", "/v1/devices", &token, json!({"id": id})).await
    };
    let stranger = world.token(world.stranger).await;
    let unknown = claim(stranger.clone(), "0".repeat(24)).await;
    assert_eq!(unknown.status.as_u16(), 404);
    assert_eq!(claim(stranger.clone(), device.clone()).await, unknown);
    let foreign = claim(customer(world, &stranger).await, device.clone()).await;
    assert_eq!(foreign, unknown, "a customer of another product");
    scene.ask("POST", "/team", json!({"username": STRANGER, "role": "Support"})).await.ok();
    assert_eq!(claim(stranger.clone(), device.clone()).await, unknown);
    let member = format!("/team/{STRANGER}");
    scene.ask("PUT", &member, json!({"role": "Developer"})).await.ok();
    let own = customer(world, &scene.owner).await;
    for token in [stranger, own, scene.owner.clone()] {
        claim(token, device.clone()).await.ok();
        scene.ask("DELETE", &owner, Value::Null).await.ok();
    }
    scene.world.stop().await;
}

/// The token of a customer of the first product of the account with this token.
async fn customer(world: &World, token: &str) -> String {
    let listed = world.ask("GET", "/v1/products", token, Value::Null).await.ok();
    let product = match listed["products"][0]["id"].as_u64() {
        Some(id) => id.to_string(),
        None => {
            let body = json!({"name": "Theirs", "platform_id": 12});
            world.ask("POST", "/v1/products", token, body).await.ok()["product"]["id"].to_string()
        }
    };
    let path = format!("/v1/products/{product}");
    let app = json!({"name": "App"});
    let made = world.ask("POST", &format!("{path}/clients"), token, app).await.ok();
    let (id, secret) = (&made["client"]["id"], &made["client"]["secret"]);
    let body = json!({"email": "c@example.org", "client_id": id, "client_secret": secret});
    let made = world.ask("POST", &format!("{path}/customers"), "", body).await.ok();
    made["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_device_without_a_key_takes_none_from_a_stranger() {
    let scene = Scene::new().await;
    let (world, id) = (&scene.world, DeviceId([7; 12]));
    let device = store::NewDevice {
        id,
        account: None,
        product: Some(model::ProductId(10_000)),
        name: None,
        platform: Some(12),
        key: None,
        first_use: false,
    };
    world.store.devices().insert(&device, model::Timestamp(1)).await.expect("inserted");
    let key = sim::identity::Identity::of_fleet("e00fce68", 1, 77, false).key;
    let pem = key.public_key().expect("a key").to_pem();
    let send = |token: String| {
        let body = json!({"deviceID": id.to_string(), "publicKey": pem});
        async move { world.ask("POST", &format!("/v1/provisioning/{id}"), &token, body).await }
    };
    send(world.token(world.stranger).await).await.refused(403);
    send(scene.owner.clone()).await.ok();
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_credentials_are_shown_to_who_may_change_it_alone() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let hook = json!({
        "event": "e",
        "url": "http://user:hidden@h.example/{{{PARTICLE_DEVICE_ID}}}",
        "auth": {"username": "me", "password": "hidden"},
        "headers": {"Authorization": "Bearer hidden", "X-Api-Key": "hidden", "Content-Type": "a/b"},
    });
    let made = scene.ask("POST", "/webhooks", hook.clone()).await.ok();
    let path = format!("/webhooks/{}", made["id"].as_str().expect("an id"));
    let stranger = world.token(world.stranger).await;
    let small = world.token_for(world.owner, &["integrations:list", "integrations:get"]).await;
    scene.ask("POST", "/team", json!({"username": STRANGER, "role": "View-only"})).await.ok();
    for token in [&stranger, &small] {
        for part in ["/webhooks", &path, "/integrations"] {
            let answer =
                world.ask("GET", &format!("{}{part}", scene.product), token, Value::Null).await;
            assert!(!answer.text.contains("hidden"), "{part}: {answer:?}");
            assert!(answer.text.contains("h.example/{{{PARTICLE_DEVICE_ID}}}"), "{answer:?}");
            assert!(answer.text.contains("\"me\"") && answer.text.contains("a/b"), "{answer:?}");
            assert!(answer.status.is_success());
        }
    }
    scene.ask("PUT", &format!("/team/{STRANGER}"), json!({"role": "Developer"})).await.ok();
    for token in [&scene.owner, &stranger] {
        let path = format!("{}{path}", scene.product);
        let seen = world.ask("GET", &path, token, Value::Null).await.ok();
        for key in ["url", "auth", "headers"] {
            assert_eq!(seen["webhook"][key], hook[key]);
        }
    }
    scene.world.stop().await;
}
