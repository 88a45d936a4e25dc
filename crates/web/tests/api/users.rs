//! Registration, changes of an account, second factors, OAuth clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use web::{Registration, WebConfig};

use crate::support::{OWNER, PASSWORD, STRANGER, World};

const NEW: &str = "new@example.org";

fn open(config: WebConfig) -> WebConfig {
    WebConfig { registration: Registration::Open, ..config }
}

fn basic(user: &str, password: &str) -> Option<String> {
    Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_takes_registrations_and_a_closed_one_none() {
    let world = World::with(open).await;
    let info = json!({"first_name": "N"});
    let user = json!({"username": NEW, "password": PASSWORD, "account_info": info});
    world.ask("POST", "/v1/users", "", user.clone()).await.ok();
    let token = world.sign_in(NEW, PASSWORD).await.ok();
    let token = token["access_token"].as_str().expect("a token");
    assert_eq!(world.ask("GET", "/v1/user", token, Value::Null).await.ok()["account_info"], info);
    let again = world.ask("POST", "/v1/users", "", user.clone()).await.refused(400);
    assert_eq!(again["errors"][0], "username is already in use");
    for (key, value) in [("username", "no address"), ("password", "short")] {
        let mut wrong = user.clone();
        wrong[key] = json!(value);
        let text =
            world.ask("POST", "/v1/users", "", wrong).await.refused(400)["errors"][0].clone();
        assert!(text.as_str().is_some_and(|text| text.starts_with(key)), "{text}");
    }
    world.stop().await;
    let world = World::new().await;
    world.ask("POST", "/v1/users", "", user).await.refused(403);
    world.sign_in(NEW, PASSWORD).await.refused(400);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn address_and_password_change_only_with_the_current_password() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let change = |body: Value| world.ask("PUT", "/v1/user", &token, body);
    change(json!({"password": "another one"})).await.refused(403);
    change(json!({"username": NEW, "current_password": "wrong"})).await.refused(403);
    change(json!({"username": STRANGER, "current_password": PASSWORD})).await.refused(400);
    change(json!({})).await.refused(400);
    change(json!({"username": NEW, "current_password": PASSWORD})).await.ok();
    world.sign_in(OWNER, PASSWORD).await.refused(400);
    let all = json!({
        "password": "another one", "current_password": PASSWORD, "invalidate_tokens": true,
    });
    change(all).await.ok();
    change(json!({"account_info": {}})).await.refused(401);
    world.sign_in(NEW, PASSWORD).await.refused(400);
    world.sign_in(NEW, "another one").await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_leaves_its_devices_to_whoever_claims_them() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    world.ask("DELETE", "/v1/user", &token, json!({"password": "wrong"})).await.refused(403);
    world.ask("DELETE", "/v1/user", &token, json!({"password": PASSWORD})).await.ok();
    world.ask("GET", "/v1/user", &token, Value::Null).await.refused(401);
    world.sign_in(OWNER, PASSWORD).await.refused(400);
    let (stranger, id) = (world.token(world.stranger).await, world.device.to_string());
    world.ask("POST", "/v1/devices", &stranger, json!({"id": id})).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_reset_tells_nobody_who_has_an_account() {
    let world = World::new().await;
    let ask = |user: &'static str| {
        world.ask("POST", "/v1/user/password-reset", "", json!({"username": user}))
    };
    assert_eq!(ask(OWNER).await, ask("nobody@example.org").await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_by_password_and_both_mistakes_look_alike() {
    let world = World::new().await;
    let list = |user, password| {
        world.ask_as("GET", "/v1/access_tokens", basic(user, password), Value::Null)
    };
    world.token(world.owner).await;
    assert_eq!(list(OWNER, PASSWORD).await.ok().as_array().map(Vec::len), Some(1));
    let wrong = list(OWNER, "wrong").await;
    assert_eq!(wrong.refused(401)["errors"][0], "Bad password");
    assert_eq!(list("nobody@example.org", "wrong").await, wrong);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_and_each_password_works_once() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let begun = world.ask("GET", "/v1/user/mfa-enable", &token, Value::Null).await.ok();
    let secret = begun["secret"].as_str().expect("a secret");
    assert!(begun["qr_url"].as_str().is_some_and(|url| url.contains(secret)));
    let secret = Secret::try_from_base32(secret).expect("base 32");
    let passwords = Builder::new().with_secret(secret).build().expect("a generator");
    // The step before this one: the next two steps stay usable.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("a time").as_secs();
    let at = |seconds: u64| passwords.generate(seconds).to_string();
    let enrol = |otp: String| {
        let body = json!({"mfa_token": begun["mfa_token"], "otp": otp});
        world.ask("POST", "/v1/user/mfa-enable", &token, body)
    };
    enrol("000000".into()).await.refused(400);
    world.sign_in(OWNER, PASSWORD).await.ok();
    assert_eq!(enrol(at(now)).await.ok()["enrolled"], true);
    assert_eq!(
        world.ask("GET", "/v1/user", &token, Value::Null).await.ok()["mfa"]["enabled"],
        true
    );
    let challenge = world.sign_in(OWNER, PASSWORD).await.refused(403);
    assert_eq!(challenge["error"], "mfa_required");
    let answer = |otp: String| {
        let grant = "urn:custom:mfa-otp";
        let body = json!({"grant_type": grant, "mfa_token": challenge["mfa_token"], "otp": otp});
        world.ask("POST", "/oauth/token", "", body)
    };
    assert_eq!(answer(at(now)).await.refused(400)["error"], "invalid_grant");
    let granted = answer(at(now + 30)).await.ok();
    assert!(granted["access_token"].is_string());
    answer(at(now + 30)).await.refused(400);
    let listed = world
        .ask_as("GET", "/v1/access_tokens", basic(OWNER, PASSWORD), Value::Null)
        .await
        .refused(403);
    assert_eq!(listed["error"], "mfa_required");
    let wrong = json!({"current_password": "wrong"});
    world.ask("PUT", "/v1/user/mfa-disable", &token, wrong).await.refused(403);
    let right = json!({"current_password": PASSWORD});
    world.ask("PUT", "/v1/user/mfa-disable", &token, right).await.ok();
    world.sign_in(OWNER, PASSWORD).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_client_proves_itself_by_its_secret() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let made = world.ask("POST", "/v1/clients", &token, json!({"name": "App"})).await.ok();
    let client = &made["client"];
    let grant = |secret: &Value| {
        let grant = "client_credentials";
        let body = json!({"grant_type": grant, "client_id": client["id"], "client_secret": secret});
        world.ask("POST", "/oauth/token", "", body)
    };
    assert_eq!(grant(&json!("wrong")).await.refused(400)["error"], "invalid_client");
    let granted = grant(&client["secret"]).await.ok();
    let acting = granted["access_token"].as_str().expect("a token");
    assert_eq!(world.ask("GET", "/v1/user", acting, Value::Null).await.ok()["username"], OWNER);
    let listed = world.ask("GET", "/v1/clients", &token, Value::Null).await.ok();
    assert_eq!(listed["clients"][0]["id"], client["id"]);
    assert!(listed["clients"][0].get("secret").is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_kept_to_scopes_makes_and_changes_no_client() {
    let world = World::new().await;
    let small = world.token_for(world.owner, &["clients:create", "clients:update"]).await;
    let app = || json!({"name": "App"});
    let refused = world.ask("POST", "/v1/clients", &small, app()).await.refused(403);
    assert_eq!(refused["error"], "unauthorized");
    let whole = world.token(world.owner).await;
    let made = world.ask("POST", "/v1/clients", &whole, app()).await.ok();
    let path = format!("/v1/clients/{}", made["client"]["id"].as_str().expect("an id"));
    world.ask("PUT", &path, &small, app()).await.refused(403);
    world.ask("PUT", &path, &whole, app()).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_was_given_ends_with_the_client() {
    let world = World::new().await;
    let owner = world.token(world.owner).await;
    let made = world.ask("POST", "/v1/clients", &owner, json!({"name": "App"})).await.ok();
    let client = &made["client"];
    let grant = |body: Value| world.ask("POST", "/oauth/token", "", body);
    let proof = json!({"grant_type": "client_credentials", "client_id": client["id"], "client_secret": client["secret"]});
    let granted = grant(proof).await.ok();
    let token = granted["access_token"].as_str().expect("a token");
    world.ask("GET", "/v1/devices", token, Value::Null).await.ok();
    let path = format!("/v1/clients/{}", client["id"].as_str().expect("an id"));
    assert_eq!(world.ask("DELETE", &path, &owner, Value::Null).await.ok(), Value::Null);
    world.ask("GET", "/v1/devices", token, Value::Null).await.refused(401);
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]});
    assert_eq!(grant(refresh).await.refused(400)["error"], "invalid_grant");
    world.ask("GET", "/v1/devices", &owner, Value::Null).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_of_a_registered_client_needs_the_clients_secret() {
    let world = World::new().await;
    let owner = world.token(world.owner).await;
    let made = world.ask("POST", "/v1/clients", &owner, json!({"name": "App"})).await.ok();
    let (id, secret) = (&made["client"]["id"], &made["client"]["secret"]);
    let grant = |body: Value| world.ask("POST", "/oauth/token", "", body);
    let proof =
        json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let refresh = &grant(proof).await.ok()["refresh_token"];
    for (id, secret) in [
        (&json!("particle"), &json!("particle")),
        (&Value::Null, &Value::Null),
        (id, &json!("wrong")),
    ] {
        let body = json!({"grant_type": "refresh_token", "refresh_token": refresh, "client_id": id, "client_secret": secret});
        assert_eq!(grant(body).await.refused(400)["error"], "invalid_client");
    }
    let body = json!({"grant_type": "refresh_token", "refresh_token": refresh, "client_id": id, "client_secret": secret});
    grant(body).await.ok();
    // Clients that nobody registered go on as they are, under any name.
    let first = world.sign_in(OWNER, PASSWORD).await.ok();
    let body = json!({"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": "particle", "client_secret": "particle"});
    let second = grant(body).await.ok();
    let body = json!({"grant_type": "refresh_token", "refresh_token": second["refresh_token"]});
    grant(body).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_refused_spends_nothing() {
    let world = World::new().await;
    let granted = world.sign_in(OWNER, PASSWORD).await.ok();
    let grant = |end: &str| {
        let body = json!({"grant_type": "refresh_token", "refresh_token": granted["refresh_token"], "expires_at": end});
        world.ask("POST", "/oauth/token", "", body)
    };
    grant("yesterday").await.refused(400);
    grant("2020-01-01").await.refused(400);
    let token = granted["access_token"].as_str().expect("a token");
    world.ask("GET", "/v1/user", token, Value::Null).await.ok();
    grant("2999-01-01").await.ok();
    world.ask("GET", "/v1/user", token, Value::Null).await.refused(401);
    assert_eq!(grant("2999-01-01").await.refused(400)["error"], "invalid_grant");
    world.stop().await;
}
