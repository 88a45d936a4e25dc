//! Plans, usage and its reports.

use metering::Plan;
use model::Timestamp;
use node::NewTerms;
use serde_json::{Value, json};

use crate::support::World;

const REPORTS: &str = "/v1/user/service_agreements/1/usage_reports";

fn january(kind: &str) -> Value {
    json!({
        "report_type": kind,
        "date_period_start": "2026-01-01",
        "date_period_end": "2026-01-31",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_pending_then_available_where_nobody_guesses_it_and_needs_no_token() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let made = world.ask("POST", REPORTS, &token, january("devices")).await;
    assert_eq!(made.status.as_u16(), 201, "{made:?}");
    let made = made.json()["data"].clone();
    let attributes = &made["attributes"];
    assert_eq!((&made["type"], &attributes["state"]), (&json!("usage_report"), &json!("pending")));
    assert_eq!(attributes["download_url"], Value::Null);
    let path = format!("/v1/user/usage_reports/{}", made["id"].as_str().expect("a text"));
    let shown = world.ask("GET", &path, &token, Value::Null).await.ok()["data"].clone();
    assert_eq!((&shown["id"], &shown["attributes"]["state"]), (&made["id"], &json!("available")));
    let url = shown["attributes"]["download_url"].as_str().expect("an address").to_owned();
    let secret = url.rsplit('/').next().expect("a part");
    assert!(secret.len() >= 32, "{url}");
    assert_eq!(world.ask("GET", &path, &token, Value::Null).await.ok()["data"], shown);

    let file = world.ask("GET", &url, "", Value::Null).await;
    assert_eq!((file.status.as_u16(), file.kind.as_str()), (200, "text/csv; charset=utf-8"));
    let lines: Vec<&str> = file.text.lines().collect();
    assert!(lines[0].starts_with("Query date: 20"), "{lines:?}");
    assert_eq!(lines[1], "Account queried: owner@example.org");
    assert_eq!(lines[2..4], ["\"Query type: All Devices, 31 days of data\"", "\"\""]);
    assert!(
        lines[4].starts_with("Date,Device ID,Device Name,Product ID,Product Name,Connectivity")
    );
    assert_eq!(lines.len(), 5, "nothing was used");

    let stranger = world.token(world.stranger).await;
    world.ask("GET", &path, &stranger, Value::Null).await.refused(404);
    let other = url.replace(secret, &"0".repeat(secret.len()));
    world.ask("GET", &other, "", Value::Null).await.refused(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_a_whole_one_of_the_host_that_was_asked() {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    let world = World::new().await;
    let token = world.token(world.owner).await;
    world.ask("POST", REPORTS, &token, january("products")).await.ok();
    for (proxy, start) in [("http", "http://cloud.example/"), ("https", "https://cloud.example/")] {
        let request = Request::builder()
            .uri("/v1/user/usage_reports/1")
            .header("authorization", format!("Bearer {token}"))
            .header("host", "cloud.example")
            .header("x-forwarded-proto", proxy);
        let answer = world.respond(request.body(Body::empty()).expect("a request")).await;
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let url = body["data"]["attributes"]["download_url"].as_str().expect("an address");
        assert!(url.starts_with(start), "{url}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_reports_may_be_outstanding() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    for _ in 0..3 {
        world.ask("POST", REPORTS, &token, january("devices")).await.ok();
    }
    world.ask("POST", REPORTS, &token, january("devices")).await.refused(429);
    world.ask("GET", "/v1/user/usage_reports/2", &token, Value::Null).await.ok();
    world.ask("POST", REPORTS, &token, january("devices")).await.ok();
    let stranger = world.token(world.stranger).await;
    world.ask("POST", REPORTS, &stranger, january("devices")).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_makes_no_sense_is_refused_with_what_is_wrong() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    for (key, value, named) in [
        ("report_type", json!("bills"), "devices or products"),
        ("report_type", Value::Null, "report_type"),
        ("date_period_start", json!("2026-02-30"), "date_period_start is no day"),
        ("date_period_start", json!("01/02/2026"), "date_period_start is no day"),
        ("date_period_start", Value::Null, "date_period_start"),
        ("date_period_end", json!("2025-12-31"), "lies behind"),
        ("date_period_end", json!("2031-01-01"), "400 days"),
        ("devices", json!("nobody"), "ids of devices"),
        ("devices", json!({"a": 1}), "ids of devices"),
        ("devices", json!(vec!["0".repeat(24); 1001]), "at most 1,000"),
        ("products", json!(["x"]), "numbers of products"),
        ("products", json!(-1), "numbers of products"),
    ] {
        let mut body = january("devices");
        body[key] = value;
        let told = world.ask("POST", REPORTS, &token, body).await.refused(400);
        assert!(told["error"].as_str().expect("a text").contains(named), "{key}: {told}");
    }
    let other = REPORTS.replace("/1/", "/2/");
    world.ask("POST", &other, &token, january("devices")).await.refused(404);
    for id in ["0", "9", "-1", "x", "99999999999999999999"] {
        let path = format!("/v1/user/usage_reports/{id}");
        world.ask("GET", &path, &token, Value::Null).await.refused(404);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_usage_that_make_no_sense_are_refused_with_what_is_wrong() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    for (path, named) in [
        ("devices", "from"),
        ("devices?from=2026-01-01", "to"),
        ("devices?from=2026-01-32&to=2026-02-01", "from is no day"),
        ("devices?from=2026-02-01&to=2026-01-01", "lies behind"),
        ("devices?from=2024-01-01&to=2026-01-01", "400 days"),
        ("why?limit=0", "1 to 10,000"),
        ("why?limit=many", "limit"),
        ("why?limit=10001", "1 to 10,000"),
        ("estimate", "devices"),
        ("estimate?devices=0&every=10m", "at least 1"),
        ("estimate?devices=-5&every=10m", "devices"),
        ("estimate?devices=5", "give every"),
        ("estimate?devices=5&every=soon", "number and a unit"),
        ("estimate?devices=5&every=0s", "longer than zero"),
        ("estimate?devices=5&every=-1m", "number and a unit"),
        ("estimate?devices=5&every=10m&publishes=1", "not both"),
        ("estimate?devices=5&every=10m&connected=lan", "wifi, cellular or tracker"),
        ("estimate?devices=5&every=10m&payload=99999999999", "too large"),
        ("estimate?devices=5&every=10m&catalogue=1999", "there are 2021, 2022, 2025"),
    ] {
        let answer = world.ask("GET", &format!("/v1/user/usage/{path}"), &token, Value::Null).await;
        let told = answer.refused(400);
        assert!(told["error"].as_str().expect("a text").contains(named), "{path}: {told}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_changes_its_own_plan_and_blocks_and_no_more() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let path = "/v1/user/service_agreements/1";
    let change = async |body: Value| world.ask("PUT", path, &token, body).await;
    let told = change(json!({"plan": "free"})).await.refused(403);
    assert!(told["error"].as_str().expect("a text").contains("operator"), "unlimited: {told}");

    let free = NewTerms { catalogue: None, plan: Plan::Free, anchor: None };
    let now = Timestamp(1_800_000_000_000);
    world.handle.billing().agree(world.owner, &free, now).await.expect("agreed");
    let blocks = |answer: Value| answer["data"]["attributes"]["pricing_terms"]["blocks"].clone();
    assert_eq!(blocks(change(json!({"plan": "growth"})).await.ok()), 1);
    assert_eq!(blocks(change(json!({"add_blocks": 3})).await.ok()), 4);
    assert_eq!(blocks(change(json!({"blocks": "5"})).await.ok()), 5);
    for (body, named) in [
        (json!({"plan": "gold"}), "there is no plan \"gold\""),
        (json!({"blocks": 0}), "0 blocks are not possible"),
        (json!({"blocks": -1}), "-1 blocks are not possible"),
        (json!({"blocks": 1.5}), "whole number"),
        (json!({"blocks": "many"}), "whole number"),
        (json!({"add_blocks": 0}), "must not be 0"),
        (json!({"add_blocks": -5}), "0 blocks are not possible"),
        (json!({"add_blocks": i64::MIN}), "blocks are not possible"),
        (json!({"blocks": 2, "add_blocks": 1}), "not both"),
        (json!({"plan": "free", "blocks": 2}), "has no blocks"),
    ] {
        let told = change(body.clone()).await.refused(400);
        assert!(told["error"].as_str().expect("a text").contains(named), "{body}: {told}");
    }
    assert_eq!(blocks(change(json!({})).await.ok()), 5, "nothing was changed by what was refused");
    for plan in ["unlimited", "enterprise"] {
        change(json!({"plan": plan})).await.refused(403);
    }
    world.ask("PUT", "/v1/user/service_agreements/2", &token, json!({})).await.refused(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_asks_for_less_is_told_the_plan_in_force_and_the_one_to_come() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let path = "/v1/user/service_agreements/1";
    let plan = Plan::parse("growth", Some(4), None).expect("a plan");
    let growth = NewTerms { catalogue: None, plan, anchor: None };
    let now = Timestamp(1_800_000_000_000);
    world.handle.billing().agree(world.owner, &growth, now).await.expect("agreed");
    for (body, blocks, next) in [
        (json!({"add_blocks": -2}), 4, json!(["growth", 2])),
        (json!({"plan": "free"}), 4, json!(["free", null])),
        (json!({"plan": "growth"}), 4, json!(null)),
        (json!({"blocks": 1}), 4, json!(["growth", 1])),
        (json!({"add_blocks": 1}), 5, json!(null)),
    ] {
        let told = world.ask("PUT", path, &token, body.clone()).await.ok();
        let listed = world.ask("GET", "/v1/user/service_agreements", &token, Value::Null).await;
        assert_eq!(listed.ok()["data"][0], told["data"]);
        let attributes = &told["data"]["attributes"];
        let terms = &attributes["pricing_terms"];
        assert_eq!((&terms["plan"], &terms["blocks"]), (&json!("growth"), &json!(blocks)));
        if next.is_null() {
            assert_eq!(terms["next"], next, "{body}");
            continue;
        }
        assert_eq!(json!([terms["next"]["plan"], terms["next"]["blocks"]]), next, "{body}");
        assert_eq!(terms["next"]["from"], attributes["current_billing_period_end"]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_changed_in_parts_and_its_devices_learn_whether_to_store_locations() {
    let world = World::new().await;
    let token = world.token(world.owner).await;
    let body = json!({"product": {"name": "P", "platform_id": 12, "description": "d"}});
    let made = world.ask("POST", "/v1/products", &token, body).await.ok()["product"].clone();
    let path = format!("/v1/products/{}", made["id"]);
    let change = async |body: Value| world.ask("PUT", &path, &token, body).await;
    let opt_in = json!({"settings": {"location": {"opt_in": true}}});
    let changed = change(opt_in.clone()).await.ok()["product"].clone();
    assert_eq!(changed["settings"], opt_in["settings"]);
    assert_eq!((&changed["name"], &changed["slug"]), (&made["name"], &made["slug"]));
    let changed = change(json!({"product": {"name": "Q"}})).await.ok()["product"].clone();
    assert_eq!((&changed["name"], &changed["settings"]), (&json!("Q"), &opt_in["settings"]));
    for (body, named) in [
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(65)}), "at most 64"),
        (json!({"settings": {"location": {"opt_in": "yes"}}}), "opt_in"),
        (json!({"settings": 5}), "opt_in"),
    ] {
        let told = change(body.clone()).await.refused(400);
        assert!(told["error"].as_str().expect("a text").contains(named), "{body}: {told}");
    }
    assert_eq!(world.ask("GET", &path, &token, Value::Null).await.ok()["product"], changed);
    world.stop().await;
}
