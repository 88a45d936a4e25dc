//! Who may do what: every operation of the description, asked by nobody, by a stranger, by a member of
//! the product's team, and by the owner.

use model::{AccountId, ProductId, Timestamp};
use serde_json::{Value, json};
use store::{Client, FileHash, Group, Product, ProductFirmware, TokenHash, Webhook};

use crate::support::{Answer, KEY, OWNER, PASSWORD, World};

/// What a stranger gets who names the owner's things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// The very answer that a thing which does not exist gets.
    Nothing,
    /// An answer about the stranger's own things.
    Own,
    /// This refusal; it admits that the thing exists, because clients ask for just that.
    Told(u16),
}

/// What a member of the team of the owner's product gets, an administrator of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// The owner's answer.
    AsOwner,
    /// A stranger's answer.
    AsStranger,
}

/// One route. `{device}` and the like stand for things of the owner.
struct Row {
    method: &'static str,
    path: &'static str,
    body: Value,
    /// The answer without a token: 400, unless the route needs none.
    nobody: u16,
    stranger: Stranger,
    member: Member,
    /// The owner's answer.
    owner: u16,
}

fn row(
    method: &'static str,
    path: &'static str,
    body: Value,
    stranger: Stranger,
    owner: u16,
) -> Row {
    let is_products = path.starts_with("/v1/products/{");
    let member = if is_products { Member::AsOwner } else { Member::AsStranger };
    Row { method, path, body, nobody: 400, stranger, member, owner }
}

/// Those that destroy come last.
fn rows() -> Vec<Row> {
    use Member::AsOwner;
    use Stranger::{Nothing, Own, Told};
    let none = || Value::Null;
    let password = json!({"grant_type": "password", "username": OWNER, "password": PASSWORD});
    let key = json!({"publicKey": KEY});
    let placed = json!({"publicKey": KEY, "product_id": "{product}"});
    let hook = || json!({"event": "taken", "url": "http://h.example/"});
    let product = || json!({"product": {"name": "New", "platform_id": 12}});
    let release = || json!({"version": 1, "product_default": true});
    let lock = || json!({"desired_firmware_version": 1, "groups": ["private-group"]});
    let claim = json!({"id": "{device}"});
    let program = || json!({"friendly_name": "Bot", "scopes": ["devices:list"]});
    let role = || json!({"role": "Support"});
    let customer = || json!({"email": "new@example.org"});
    let secret = || json!({"password": PASSWORD});
    let days = json!({"date_period_start": "2026-01-01", "date_period_end": "2026-01-31"});
    let mut report = days;
    report["report_type"] = json!("devices");
    let user = || json!({"username": "new@example.org", "password": PASSWORD});
    vec![
        Row { nobody: 200, ..row("GET", "/health", none(), Own, 200) },
        Row { nobody: 200, ..row("GET", "/metrics", none(), Own, 200) },
        Row { nobody: 200, ..row("POST", "/oauth/token", password, Own, 200) },
        row("GET", "/v1/access_tokens", none(), Own, 200),
        row("GET", "/v1/access_tokens/current", none(), Own, 200),
        row("GET", "/v1/user", none(), Own, 200),
        Row { nobody: 403, ..row("POST", "/v1/users", user(), Told(403), 403) },
        row("PUT", "/v1/user", json!({"account_info": {}}), Own, 200),
        row("DELETE", "/v1/user", json!({"password": "wrong"}), Told(403), 403),
        Row { nobody: 200, ..row("POST", "/v1/user/password-reset", user(), Own, 200) },
        Row { nobody: 400, ..row("PUT", "/v1/user/password-reset", user(), Told(400), 400) },
        row("GET", "/v1/user/mfa-enable", none(), Own, 200),
        row("POST", "/v1/user/mfa-enable", json!({"mfa_token": "x", "otp": "1"}), Told(400), 400),
        row("PUT", "/v1/user/mfa-disable", json!({"current_password": ""}), Told(403), 403),
        row("GET", "/v1/clients", none(), Own, 200),
        row("POST", "/v1/clients", json!({"name": "App"}), Own, 200),
        row("PUT", "/v1/clients/{client}", json!({"name": "taken"}), Nothing, 200),
        row("DELETE", "/v1/clients/{client}", none(), Nothing, 204),
        row("GET", "/v1/user/identify", none(), Own, 200),
        row("GET", "/v1/user/service_agreements", none(), Own, 200),
        row("GET", "/v1/user/service_agreements/1/notifications", none(), Own, 200),
        row("GET", "/v1/devices", none(), Own, 200),
        row("GET", "/v1/devices/{device}", none(), Nothing, 200),
        row("PUT", "/v1/devices/{device}", json!({"name": "taken"}), Nothing, 200),
        row("PUT", "/v1/devices/{device}", json!({"notes": "taken"}), Nothing, 200),
        row("PUT", "/v1/devices/{device}", json!({"signal": 1}), Nothing, 408),
        row("PUT", "/v1/devices/{device}/ping", none(), Nothing, 200),
        row("GET", "/v1/devices/{device}/v", none(), Nothing, 408),
        row("POST", "/v1/devices/{device}/f", none(), Nothing, 408),
        row("POST", "/v1/devices", json!({"id": "{device}"}), Told(403), 200),
        row("POST", "/v1/device_claims", none(), Own, 200),
        row("GET", "/v1/devices/events", none(), Own, 200),
        row("GET", "/v1/devices/events/", none(), Own, 200),
        row("GET", "/v1/devices/events/a", none(), Own, 200),
        row("POST", "/v1/devices/events", json!({"name": "a"}), Own, 200),
        row("GET", "/v1/events", none(), Own, 200),
        row("GET", "/v1/events/", none(), Own, 200),
        row("GET", "/v1/events/a", none(), Own, 200),
        row("POST", "/v1/events", json!({"name": "a"}), Own, 200),
        row("GET", "/v1/devices/{device}/events", none(), Nothing, 200),
        row("GET", "/v1/devices/{device}/events/", none(), Nothing, 200),
        row("GET", "/v1/devices/{device}/events/a", none(), Nothing, 200),
        row("POST", "/v1/provisioning/{device}", key, Told(403), 200),
        Row { member: AsOwner, ..row("POST", "/v1/provisioning/{new}", placed, Nothing, 200) },
        Row { nobody: 200, ..row("GET", "/v1/build_targets", none(), Own, 200) },
        row("GET", "/v1/serial_numbers/{serial}", none(), Nothing, 200),
        row("GET", "/v1/user/service_agreements", none(), Own, 200),
        row("GET", "/v1/user/service_agreements/1/notifications", none(), Own, 200),
        row("PUT", "/v1/user/service_agreements/1", json!({"plan": "enterprise"}), Told(403), 403),
        row("POST", "/v1/user/service_agreements/1/usage_reports", report, Own, 201),
        row("GET", "/v1/user/usage_reports/{report}", none(), Nothing, 200),
        Row { nobody: 404, ..row("GET", "/v1/usage_reports/{secret}", none(), Own, 200) },
        row("GET", "/v1/user/usage/why", none(), Own, 200),
        row("GET", "/v1/user/usage/why?device={device}", none(), Nothing, 200),
        row("GET", "/v1/user/usage/devices?from=2026-01-01&to=2026-01-31", none(), Own, 200),
        row("GET", "/v1/user/usage/estimate?devices=100&every=10m", none(), Own, 200),
        row("GET", "/v1/diagnostics/{device}", none(), Nothing, 200),
        row("GET", "/v1/diagnostics/{device}/last", none(), Nothing, 404),
        row("POST", "/v1/diagnostics/{device}/update", none(), Nothing, 408),
        row("GET", "/v1/products/{product}/diagnostics/{device}", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/diagnostics/{device}/last", none(), Nothing, 404),
        row("POST", "/v1/products/{product}/diagnostics/{device}/update", none(), Nothing, 408),
        row("GET", "/v1/products/{product}/team", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/team", program(), Nothing, 200),
        row("PUT", "/v1/products/{product}/team/{helper}", role(), Nothing, 200),
        row("POST", "/v1/products/{product}/team/{helper}", role(), Nothing, 200),
        row("PUT", "/v1/products/{product}/team/{program}/token", none(), Nothing, 200),
        row("DELETE", "/v1/products/{product}/team/{helper}", none(), Nothing, 204),
        row("GET", "/v1/products/{product}/clients", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/clients", json!({"name": "App"}), Nothing, 200),
        row("PUT", "/v1/products/{product}/clients/{pclient}", json!({"name": "x"}), Nothing, 200),
        row("DELETE", "/v1/products/{product}/clients/{pclient}", none(), Nothing, 204),
        row("GET", "/v1/products/{product}/customers", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/customers", customer(), Told(400), 400),
        row("PUT", "/v1/products/{product}/customers/{customer}", secret(), Nothing, 200),
        row("DELETE", "/v1/products/{product}/customers/{customer}", none(), Nothing, 204),
        row("POST", "/v1/products/{product}/device_claims", none(), Nothing, 200),
        row("GET", "/v1/user/products", none(), Own, 200),
        row("POST", "/v1/user/products", product(), Own, 201),
        row("GET", "/v1/products", none(), Own, 200),
        row("POST", "/v1/products", product(), Own, 201),
        row("GET", "/v1/products/{product}", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/devices", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/devices", json!({"id": "{device}"}), Nothing, 200),
        row(
            "PUT",
            "/v1/products/{product}/devices",
            json!({"ids": ["{device}"], "groups": ["private-group"]}),
            Nothing,
            200,
        ),
        row("GET", "/v1/products/{product}/impact?version=1", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/devices/{device}", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/devices/{device}", json!({"notes": "x"}), Nothing, 200),
        row("PUT", "/v1/products/{product}/devices/{device}/ping", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/devices/{device}/v", none(), Nothing, 408),
        row("POST", "/v1/products/{product}/devices/{device}/f", none(), Nothing, 408),
        row("GET", "/v1/products/{product}/events", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/events/", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/events/a", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/events", json!({"name": "a"}), Nothing, 200),
        row("GET", "/v1/products/{product}/devices/{device}/events", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/devices/{device}/events/", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/devices/{device}/events/a", none(), Nothing, 200),
        row("PUT", "/v1/devices/{device}", json!({"app": "tinker"}), Nothing, 501),
        row("GET", "/v1/products/{product}/firmware", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/firmware", json!({"version": 3}), Nothing, 400),
        row("GET", "/v1/products/{product}/firmware/1", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/firmware/1", json!({"title": "taken"}), Nothing, 200),
        row("GET", "/v1/products/{product}/firmware/1/binary", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/groups", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/groups", json!({"name": "new"}), Nothing, 201),
        row("GET", "/v1/products/{product}/groups/private-group", none(), Nothing, 200),
        row(
            "PUT",
            "/v1/products/{product}/groups/private-group",
            json!({"color": "x"}),
            Nothing,
            200,
        ),
        row("PUT", "/v1/products/{product}/firmware/release", release(), Nothing, 204),
        row("GET", "/v1/products/{product}/releases", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/releases/1", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/releases/1", json!({"paused": true}), Nothing, 200),
        row("GET", "/v1/products/{product}/releases/1/devices", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/devices/{device}", lock(), Nothing, 200),
        row(
            "DELETE",
            "/v1/products/{product}/firmware/release",
            json!({"version": 1}),
            Nothing,
            204,
        ),
        row("DELETE", "/v1/products/{product}/groups/private-group", none(), Nothing, 204),
        row("DELETE", "/v1/products/{product}/firmware/2", none(), Nothing, 204),
        row("GET", "/v1/webhooks", none(), Own, 200),
        row("POST", "/v1/webhooks", hook(), Own, 201),
        row("GET", "/v1/webhooks/{webhook}", none(), Nothing, 200),
        row("PUT", "/v1/webhooks/{webhook}", hook(), Nothing, 200),
        row("POST", "/v1/webhooks/{webhook}/test", none(), Nothing, 200),
        row("GET", "/v1/webhooks/{webhook}/deliveries", none(), Nothing, 200),
        row("POST", "/v1/webhooks/{webhook}/deliveries/9/replay", none(), Nothing, 404),
        row("GET", "/v1/integrations", none(), Own, 200),
        row("POST", "/v1/integrations", hook(), Own, 201),
        row("GET", "/v1/integrations/{webhook}", none(), Nothing, 200),
        row("PUT", "/v1/integrations/{webhook}", hook(), Nothing, 200),
        row("POST", "/v1/integrations/{webhook}/test", none(), Nothing, 200),
        row("GET", "/v1/integrations/{webhook}/deliveries", none(), Nothing, 200),
        row("POST", "/v1/integrations/{webhook}/deliveries/9/replay", none(), Nothing, 404),
        row("PUT", "/v1/products/{product}", json!({"name": "taken"}), Nothing, 200),
        row("GET", "/v1/products/{product}/webhooks", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/webhooks", hook(), Nothing, 201),
        row("GET", "/v1/products/{product}/webhooks/{phook}", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/webhooks/{phook}", hook(), Nothing, 200),
        row("POST", "/v1/products/{product}/webhooks/{phook}/test", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/webhooks/{phook}/deliveries", none(), Nothing, 200),
        row(
            "POST",
            "/v1/products/{product}/webhooks/{phook}/deliveries/9/replay",
            none(),
            Nothing,
            404,
        ),
        row("GET", "/v1/products/{product}/integrations", none(), Nothing, 200),
        row("POST", "/v1/products/{product}/integrations", hook(), Nothing, 201),
        row("GET", "/v1/products/{product}/integrations/{phook}", none(), Nothing, 200),
        row("PUT", "/v1/products/{product}/integrations/{phook}", hook(), Nothing, 200),
        row("POST", "/v1/products/{product}/integrations/{phook}/test", none(), Nothing, 200),
        row("GET", "/v1/products/{product}/integrations/{phook}/deliveries", none(), Nothing, 200),
        row(
            "POST",
            "/v1/products/{product}/integrations/{phook}/deliveries/9/replay",
            none(),
            Nothing,
            404,
        ),
        row("GET", "/v1/products/{product}/webhooks/{webhook}", none(), Nothing, 404),
        row("DELETE", "/v1/products/{product}/webhooks/{phook}", none(), Nothing, 204),
        row("DELETE", "/v1/products/{product}/integrations/{nothing}", none(), Nothing, 404),
        row("DELETE", "/v1/webhooks/{webhook}", none(), Nothing, 204),
        row("DELETE", "/v1/integrations/{nothing}", none(), Nothing, 404),
        row("DELETE", "/v1/products/{product}/devices/{device}/owner", none(), Nothing, 204),
        row("POST", "/v1/devices", claim, Told(403), 200),
        row("DELETE", "/v1/products/{product}/devices/{device}", none(), Nothing, 204),
        row("DELETE", "/v1/devices/{device}", none(), Nothing, 200),
        Row { nobody: 404, ..row("DELETE", "/v1/access_tokens/{nothing}", none(), Nothing, 404) },
        row("DELETE", "/v1/access_tokens/current", none(), Own, 200),
        row("DELETE", "/v1/access_tokens", none(), Own, 200),
    ]
}

/// The id of the owner's OAuth client.
const CLIENT: &str = "private-client";
/// The id of an OAuth client of the owner's product.
const PRODUCT_CLIENT: &str = "private-product-client";
/// A member of the team of the owner's product whom others change.
const HELPER: &str = "private-helper@example.org";
/// An API user of the owner's product.
const PROGRAM: &str = "private-bot@product.api";
/// A customer of the owner's product.
const CUSTOMER: &str = "private-customer@example.org";
/// The serial number of the owner's device.
const SERIAL: &str = "private-P046AF";

fn client(world: &World, id: &str, product: Option<ProductId>) -> Client {
    Client {
        id: id.into(),
        account: world.owner,
        product,
        name: "private-app".into(),
        kind: "installed".into(),
        redirect_uri: None,
        scope: None,
        secret: TokenHash::of("secret"),
        created_at: Timestamp(1),
    }
}

/// Where the owner's usage report is.
const REPORT: &str = "known-to-who-was-told";

async fn report(world: &World) {
    let request = json!({"kind": "devices", "from": 0, "to": 0, "devices": [], "products": []});
    let report = store::NewUsageReport {
        account: world.owner,
        request: request.to_string(),
        secret: REPORT.into(),
        created_at: Timestamp(1),
        expires_at: Timestamp(i64::MAX),
    };
    let bounds = store::ReportBounds { waiting: 3, waits_since: Timestamp(0), kept: 9 };
    let reports = world.store.usage_reports();
    assert_eq!(reports.begin_report(&report, bounds).await, Ok(Some(1)));
    reports.report_available(1, Timestamp(2)).await.expect("there");
}

/// The owner's product.
const PRODUCT: ProductId = ProductId(10_500);

fn product(world: &World) -> Product {
    Product {
        id: PRODUCT,
        account: world.owner,
        name: "private-product".into(),
        slug: "private-product".into(),
        description: String::new(),
        platform: 12,
        location_opt_in: false,
        created_at: Timestamp(1),
    }
}

fn group() -> Group {
    Group {
        product: PRODUCT,
        name: "private-group".into(),
        description: String::new(),
        color: String::new(),
        created_at: Timestamp(1),
    }
}

fn firmware(world: &World, version: u16, file: FileHash) -> ProductFirmware {
    ProductFirmware {
        product: PRODUCT,
        version,
        title: "private-title".into(),
        description: String::new(),
        name: "private-file.bin".into(),
        mandatory: false,
        file,
        bytes: 12,
        uploaded_by: world.owner,
        uploaded_at: Timestamp(1),
        updated_at: Timestamp(1),
    }
}

fn member(account: AccountId, role: &str) -> store::Member {
    store::Member {
        product: PRODUCT,
        account,
        role: role.into(),
        programmatic: role == "Programmatic",
        added_at: Timestamp(1),
    }
}

fn webhook(world: &World, id: &str, product: Option<ProductId>) -> Webhook {
    let definition = json!({"event": "private-event", "url": "http://private.example/", "integration_type": "Webhook"});
    Webhook {
        id: id.into(),
        account: world.owner,
        product,
        definition: definition.to_string(),
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
    }
}

/// What the rows' paths and bodies stand for.
struct Names(Vec<(&'static str, String)>);

impl Names {
    /// Things of the owner.
    fn of(world: &World) -> Self {
        Self(vec![
            ("{device}", world.device.to_string()),
            ("{client}", CLIENT.into()),
            ("{pclient}", PRODUCT_CLIENT.into()),
            ("{helper}", HELPER.into()),
            ("{program}", PROGRAM.into()),
            ("{customer}", CUSTOMER.into()),
            ("{serial}", SERIAL.into()),
            ("{product}", PRODUCT.0.to_string()),
            ("{webhook}", "private-webhook".into()),
            ("{phook}", "private-product-webhook".into()),
            ("{nothing}", "0".repeat(40)),
            ("{new}", "9".repeat(24)),
            ("{report}", "1".into()),
            ("{secret}", REPORT.into()),
        ])
    }

    /// Things that do not exist, as long and of the same letters.
    fn nowhere() -> Self {
        Self(vec![
            ("{device}", "0".repeat(24)),
            ("{client}", "nobodys-client".into()),
            ("{pclient}", "nobodys-client".into()),
            ("{helper}", "nobody@example.org".into()),
            ("{program}", "nobody@product.api".into()),
            ("{customer}", "nobody@example.org".into()),
            ("{serial}", "NOBODYS1".into()),
            ("{product}", "10999".into()),
            ("{webhook}", "nobodys-webhook".into()),
            ("{phook}", "nobodys-webhook".into()),
            ("{nothing}", "0".repeat(40)),
            ("{new}", "9".repeat(24)),
            ("{report}", "9".into()),
            ("{secret}", "nobodys-report".into()),
        ])
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.0 {
            text = text.replace(name, value);
        }
        text
    }

    async fn ask(&self, world: &World, row: &Row, token: &str) -> Answer {
        let body = serde_json::from_str(&self.fill(&row.body.to_string())).expect("JSON");
        world.ask(row.method, &self.fill(row.path), token, body).await
    }
}

/// Words that only the owner may read.
async fn furnish(world: &World) -> Vec<String> {
    let devices = world.store.devices();
    devices.rename(world.device, Some("private-name")).await.expect("named");
    devices.set_notes(world.device, Some("private-notes")).await.expect("noted");
    world.store.clients().insert(&client(world, CLIENT, None)).await.expect("a client");
    world.store.products().insert(&product(world)).await.expect("a product");
    let assignments = world.store.assignments();
    assignments.insert_group(&group()).await.expect("a group");
    let file = world.store.files().put("private-file".into()).await.expect("a file");
    for version in [1, 2] {
        let firmware = firmware(world, version, file);
        world.store.firmware().insert(&firmware).await.expect("firmware");
    }
    devices.set_product(world.device, Some(PRODUCT)).await.expect("a member");
    let client = client(world, PRODUCT_CLIENT, Some(PRODUCT));
    world.store.clients().insert(&client).await.expect("a client");
    let teams = world.store.teams();
    teams.set_serial(world.device, SERIAL).await.expect("a serial number");
    teams.create_customer(PRODUCT, CUSTOMER, "", Timestamp(1)).await.expect("a customer");
    for (name, role) in [(HELPER, "Developer"), (PROGRAM, "Programmatic")] {
        let account = world.store.accounts().create(name, "", Timestamp(1)).await.expect("made").id;
        teams.put_member(&member(account, role)).await.expect("a member");
        // What an API user may do is written on its token.
        world.token(account).await;
    }
    world.handle.device_changed(world.device).await.expect("told");
    report(world).await;
    for (id, product) in [("private-webhook", None), ("private-product-webhook", Some(PRODUCT))] {
        let webhook = webhook(world, id, product);
        world.store.webhooks().insert(&webhook).await.expect("a webhook");
    }
    vec![OWNER.into(), "private-".into(), world.device.to_string()]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_but_the_open_routes_answers() {
    let world = World::new().await;
    let (names, description) = (Names::of(&world), description());
    for row in rows() {
        let answer = names.ask(&world, &row, "").await;
        assert_eq!(answer.status.as_u16(), row.nobody, "{} {}: {answer:?}", row.method, row.path);
        let wrong = names.ask(&world, &row, &"0".repeat(40)).await;
        if row.nobody == 400 && is_token_asked_for(&description, &row) {
            assert_eq!(wrong.refused(401)["error"], "invalid_token", "{} {}", row.method, row.path);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_neither_reads_changes_nor_finds_out_about_anything() {
    let world = World::new().await;
    let secrets = furnish(&world).await;
    let kept = world.token(world.owner).await;
    let before = owners_view(&world).await;
    let (names, nowhere) = (Names::of(&world), Names::nowhere());
    for row in rows().iter().filter(|row| row.nobody == 400) {
        let context = format!("{} {}", row.method, row.path);
        let answer = names.ask(&world, row, &world.token(world.stranger).await).await;
        match row.stranger {
            Stranger::Nothing => {
                assert_eq!(answer.status.as_u16(), 404, "{context}: {answer:?}");
                let other = nowhere.ask(&world, row, &world.token(world.stranger).await).await;
                assert_eq!(answer, other, "{context} tells what exists");
            }
            Stranger::Own => assert!(answer.status.is_success(), "{context}: {answer:?}"),
            Stranger::Told(status) => assert_eq!(answer.status.as_u16(), status, "{context}"),
        }
        for secret in &secrets {
            assert!(!answer.text.contains(secret), "{context} tells {secret}: {answer:?}");
        }
    }
    assert_eq!(owners_view(&world).await, before);
    assert!(world.ask("GET", "/v1/user", &kept, Value::Null).await.status.is_success());
    world.stop().await;
}

/// Everything of the owner that a stranger might have changed.
async fn owners_view(world: &World) -> Vec<Value> {
    let token = world.token(world.owner).await;
    let paths = ["/v1/user", "/v1/devices", "/v1/clients", "/v1/webhooks", "/v1/products"];
    let of_product = ["firmware", "groups", "releases", "devices"]
        .map(|thing| format!("/v1/products/{PRODUCT}/{thing}"));
    let mut seen = Vec::new();
    for path in paths.into_iter().chain(of_product.iter().map(String::as_str)) {
        seen.push(world.ask("GET", path, &token, Value::Null).await.ok());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_served_for_the_product_and_a_stranger_beside_it() {
    let world = World::new().await;
    furnish(&world).await;
    let name = "member@example.org";
    let account = world.store.accounts().create(name, "", Timestamp(1)).await.expect("made").id;
    world.store.teams().put_member(&member(account, "Administrator")).await.expect("a member");
    let names = Names::of(&world);
    // A device without an owner would be the member's to claim.
    for row in rows().into_iter().filter(|row| !row.path.ends_with("/owner")) {
        let answer = names.ask(&world, &row, &world.token(account).await).await;
        let status = answer.status.as_u16();
        let is_right = match (row.member, row.stranger) {
            // A serial number is one of the product's device.
            _ if row.path.starts_with("/v1/serial_numbers") => status == 200,
            (Member::AsOwner, _) => status == row.owner,
            (Member::AsStranger, Stranger::Nothing) => status == 404,
            (Member::AsStranger, Stranger::Own) => answer.status.is_success(),
            (Member::AsStranger, Stranger::Told(told)) => status == told,
        };
        assert!(is_right, "{} {}: {answer:?}", row.method, row.path);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_may_look_changes_nothing() {
    let world = World::new().await;
    furnish(&world).await;
    let name = "viewer@example.org";
    let account = world.store.accounts().create(name, "", Timestamp(1)).await.expect("made").id;
    world.store.teams().put_member(&member(account, "View-only")).await.expect("a member");
    let (names, description, before) =
        (Names::of(&world), description(), owners_view(&world).await);
    let token = world.token(account).await;
    for row in rows().iter().filter(|row| row.member == Member::AsOwner) {
        let operation = operation_of(&description, row).expect("described");
        let Some(scope) = operation["security"][0]["token"][0].as_str() else { continue };
        let answer = names.ask(&world, row, &token).await;
        let looks = scope.ends_with(":get") || scope.ends_with(":list");
        // What a row before could not make is not there to be seen.
        let is_right = if looks {
            [row.owner, 404].contains(&answer.status.as_u16())
        } else {
            answer.status.as_u16() == 403
        };
        assert!(is_right, "{} {}: {answer:?}", row.method, row.path);
    }
    assert_eq!(owners_view(&world).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_served_by_every_route() {
    let world = World::new().await;
    furnish(&world).await;
    let names = Names::of(&world);
    for row in rows() {
        let answer = names.ask(&world, &row, &world.token(world.owner).await).await;
        assert_eq!(answer.status.as_u16(), row.owner, "{} {}: {answer:?}", row.method, row.path);
    }
    world.stop().await;
}

/// Traces, source files, statements, and the folders that this machine has.
fn never_told() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/home".into());
    let temporary = std::env::temp_dir().display().to_string();
    let folders = [format!("{home}/"), format!("{temporary}/")];
    let texts = [".rs", "panicked", "stack backtrace", "SELECT ", "sqlite"];
    let source = env!("CARGO_MANIFEST_DIR").to_owned();
    texts.map(str::to_owned).into_iter().chain(folders).chain([source]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_json_that_says_what_is_wrong_and_nothing_of_others() {
    let world = World::new().await;
    let secrets = furnish(&world).await;
    let nowhere = Names::nowhere();
    let mut rows = rows();
    rows.push(row("GET", "/v1/no/such/route", Value::Null, Stranger::Own, 404));
    rows.push(row("PATCH", "/v1/devices", Value::Null, Stranger::Own, 405));
    for path in ["/v1/devices/%ff", "/v1/products/%ff/devices", "/v1/devices/events/%ff"] {
        rows.push(row("GET", path, Value::Null, Stranger::Own, 400));
    }
    let bodies =
        [Value::Null, json!({"name": 7, "id": [], "url": "x", "product_id": "é"}), json!({})];
    for row in rows {
        for token in ["", "wrong", &world.token(world.stranger).await] {
            for body in bodies.iter().chain([&row.body]) {
                let asked = Row { body: body.clone(), ..row };
                for names in [&Names::of(&world), &nowhere] {
                    let answer = names.ask(&world, &asked, token).await;
                    check_refusal(&answer, &secrets, &format!("{} {}", row.method, row.path));
                }
            }
        }
    }
    world.stop().await;
}

fn check_refusal(answer: &Answer, secrets: &[String], context: &str) {
    if answer.status.is_success() {
        return;
    }
    // 501 is said of what this server does not offer.
    assert!(matches!(answer.status.as_u16(), 400..=499 | 501), "{context}: {answer:?}");
    assert_eq!(answer.kind, "application/json; charset=utf-8", "{context}: {answer:?}");
    let body = answer.json();
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{context}: {answer:?}");
    for never in never_told() {
        assert!(!answer.text.contains(&never), "{context} tells {never}: {answer:?}");
    }
    for secret in secrets {
        assert!(!answer.text.contains(secret), "{context} tells {secret}: {answer:?}");
    }
}

/// What the vendor's cloud has and this server does not.
#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_not_offered_answer_as_those_that_do_not_exist() {
    let world = World::new().await;
    let (names, token) = (Names::of(&world), world.token(world.owner).await);
    for (method, path) in [
        ("GET", "/v1/user/search"),
        ("GET", "/v1/orgs"),
        ("GET", "/v1/sims"),
        ("GET", "/v1/ledgers"),
        ("GET", "/v1/ledgers/a/instances/b/versions"),
        ("GET", "/v1/env"),
        ("PATCH", "/v1/env"),
        ("GET", "/v1/secrets"),
        ("POST", "/v1/logic/execute"),
        ("GET", "/v1/networks"),
        ("GET", "/v1/libraries"),
        ("GET", "/v1/device-os/versions"),
        ("POST", "/v1/orgs/a/events"),
        ("GET", "/v1/products/{product}/config"),
        ("GET", "/v1/products/{product}/locations"),
        ("GET", "/v1/products/{product}/sims"),
        ("PUT", "/v1/devices/{device}/unprotect"),
        ("PUT", "/v1/products/{product}/devices/{device}/target_profile"),
    ] {
        let asked = row(method, path, Value::Null, Stranger::Own, 404);
        let answer = names.ask(&world, &asked, &token).await;
        assert!(answer.refused(404)["error"].is_string(), "{method} {path}");
    }
    world.stop().await;
}

/// The table has a row for each operation of the description.
#[test]
fn every_operation_has_a_row() {
    let rows = rows();
    let mut operations = 0;
    for (method, path) in operations_of(&description()) {
        operations += 1;
        let is_in = rows.iter().any(|row| row.method == method && same_route(&path, row.path));
        assert!(is_in, "{method} {path} has no row");
    }
    assert!(operations > 80, "{operations} operations found");
}

fn description() -> Value {
    serde_json::to_value(web::openapi()).expect("JSON")
}

/// Methods and paths.
fn operations_of(description: &Value) -> Vec<(String, String)> {
    let items = description["paths"].as_object().expect("paths");
    let methods =
        |item: &Value| item.as_object().expect("an item").keys().cloned().collect::<Vec<_>>();
    let all = items.iter().flat_map(|(path, item)| {
        methods(item).into_iter().map(|method| (method.to_uppercase(), path.clone()))
    });
    all.collect()
}

/// Whether a path of the table is one of the route's: parameters stand for anything, a query for none.
fn same_route(route: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let route: Vec<&str> = route.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    route.len() == path.len()
        && route.iter().zip(&path).all(|(a, b)| a == b || (a.starts_with('{') && !b.is_empty()))
}

/// The operation of the description that serves a row; a route without parameters comes first.
fn operation_of<'d>(description: &'d Value, row: &Row) -> Option<&'d Value> {
    let path = row.path.trim_end_matches('/');
    let mut all: Vec<_> = operations_of(description)
        .into_iter()
        .filter(|(method, route)| *method == row.method && same_route(route, path))
        .collect();
    all.sort_by_key(|(_, route)| route.matches('{').count());
    let (method, route) = all.first()?;
    Some(&description["paths"][route][method.to_lowercase()])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_answers_are_as_the_description_says() {
    let world = World::new().await;
    furnish(&world).await;
    let (names, description) = (Names::of(&world), description());
    for row in rows() {
        let context = format!("{} {}", row.method, row.path);
        let operation = operation_of(&description, &row).unwrap_or_else(|| panic!("{context}"));
        let answer = names.ask(&world, &row, &world.token(world.owner).await).await;
        let responses = &operation["responses"];
        let status = answer.status.as_u16().to_string();
        let told =
            if answer.status.is_success() { &responses[&status] } else { &responses["default"] };
        assert!(told.is_object(), "{context}: {status} is not described");
        let Some(content) = told["content"].as_object() else {
            assert!(answer.text.is_empty(), "{context}: {answer:?}");
            continue;
        };
        let kind = answer.kind.split(';').next().unwrap_or_default();
        let schema = &content.get(kind).unwrap_or_else(|| panic!("{context}: {kind}"))["schema"];
        if kind == "application/json" {
            check_schema(&description, schema, &answer.json(), &context);
        }
    }
    world.stop().await;
}

fn is_token_asked_for(description: &Value, row: &Row) -> bool {
    operation_of(description, row).is_some_and(|operation| operation["security"].is_array())
}

fn check_schema(description: &Value, schema: &Value, answer: &Value, context: &str) {
    let mut schema = schema.clone();
    schema["components"] = description["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    if let Err(why) = validator.validate(answer) {
        panic!("{context}: {why} at {}: {answer}", why.instance_path);
    }
}

/// The committed description is the one of this code. `UPDATE_SNAPSHOTS=1` writes it anew.
#[test]
fn the_committed_description_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api/openapi.json");
    let text = web::openapi().to_pretty_json().expect("JSON") + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &text).expect("written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/api/openapi.json is old: run this test with UPDATE_SNAPSHOTS=1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_as_data_and_as_a_page() {
    let world = World::new().await;
    let data = world.ask("GET", "/openapi.json", "", Value::Null).await.ok();
    assert_eq!(data, description());
    assert_eq!(data["openapi"], "3.1.0");
    let page = world.ask("GET", "/docs", "", Value::Null).await;
    assert!(page.status.is_success() && page.kind.starts_with("text/html"), "{page:?}");
    assert!(page.text.contains("/v1/devices/{device}/ping") && !page.text.contains("<script"));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "nothing is loaded");
    world.stop().await;
}
