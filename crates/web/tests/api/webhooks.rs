//! Webhooks against real HTTP servers on loopback.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use model::event::Origin;
use model::{AccountId, EventData, EventName};
use node::{EventStream, StreamBound, StreamFilter, StreamItem};
use serde_json::{Value, json};
use web::{WebConfig, WebhooksConfig};

use crate::sink::{Sink, drip, flood, hang, raw};
use crate::support::World;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);
/// The time limit of a request here.
const LIMIT: Duration = Duration::from_millis(400);

fn quick(config: WebConfig) -> WebConfig {
    let webhooks = WebhooksConfig {
        allow_private_targets: true,
        time_limit: LIMIT,
        retry_after: [Duration::from_millis(100), Duration::from_millis(200)],
        ..WebhooksConfig::default()
    };
    WebConfig { webhooks, ..config }
}

/// A world whose owner listens to the events of webhooks.
struct Scene {
    world: World,
    token: String,
    stream: EventStream,
    waiting: VecDeque<Told>,
}

/// An event of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    name: String,
    data: String,
}

impl Scene {
    async fn new() -> Self {
        Self::with(quick).await
    }

    async fn with(change: impl FnOnce(WebConfig) -> WebConfig) -> Self {
        let world = World::with(change).await;
        let token = world.token(world.owner).await;
        let filter = StreamFilter::account(world.owner);
        let stream = world.handle.streams().subscribe(filter, StreamBound::default());
        Self { world, token, stream, waiting: VecDeque::new() }
    }

    /// Creates a webhook and gives its id.
    async fn hook(&self, definition: Value) -> String {
        let made = self.world.ask("POST", "/v1/webhooks", &self.token, definition).await.ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn publish(&self, name: &str, data: &str) {
        let body = json!({"name": name, "data": data});
        self.world.ask("POST", "/v1/devices/events", &self.token, body).await.ok();
    }

    /// The next event that a webhook made.
    async fn told(&mut self) -> Told {
        self.told_within(SOON).await.expect("an event of a webhook")
    }

    async fn told_within(&mut self, span: Duration) -> Option<Told> {
        let next = async {
            loop {
                if let Some(told) = self.waiting.pop_front() {
                    return told;
                }
                let StreamItem::Events(events) = self.stream.next().await else { panic!("closed") };
                let made = events.iter().filter(|event| event.origin == Origin::Internal);
                self.waiting.extend(made.map(|event| {
                    let data = event.data.as_ref().map(|data| data.bytes.to_vec());
                    let data = String::from_utf8(data.unwrap_or_default()).expect("text");
                    Told { name: event.name.as_str().into(), data }
                }));
            }
        };
        tokio::time::timeout(span, next).await.ok()
    }

    async fn report(&self, id: &str) -> Value {
        let path = format!("/v1/webhooks/{id}");
        let answer = self.world.ask("GET", &path, &self.token, Value::Null).await;
        answer.ok()["webhook"].clone()
    }
}

fn told(name: &str, data: &str) -> Told {
    Told { name: name.into(), data: data.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_the_prefix_becomes_a_request_and_its_answer_events() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("fine").await);
    let id = scene
        .hook(json!({
            "event": "temp", "url": sink.url("/in/{{PARTICLE_EVENT_NAME}}"),
            "json": {"v": "{{{PARTICLE_EVENT_VALUE}}}"}, "headers": {"X-A": "b"},
            "auth": {"username": "u", "password": "secret"},
        }))
        .await;
    scene.publish("Temp", "no").await;
    scene.publish("temp/out", r#"{"a":"b"}"#).await;
    assert_eq!(scene.told().await, told("hook-sent/temp/out", ""));
    assert_eq!(scene.told().await, told("hook-response/temp/out/0", "fine"));
    let [call] = sink.calls().try_into().expect("one request");
    assert_eq!((call.method.as_str(), call.uri.path()), ("POST", "/in/temp%2Fout"));
    let body: Value = serde_json::from_str(&call.body).expect("JSON");
    assert_eq!((&body["v"], &body["coreid"]), (&json!(r#"{"a":"b"}"#), &json!("api")));
    assert_eq!(call.headers["x-a"], "b");
    let shown = scene.report(&id).await;
    assert_eq!(shown["counters"][0]["success"], 1);
    assert_eq!(shown["logs"][0]["response"]["body"], "fine");
    assert_eq!(shown["logs"][0]["request"]["headers"]["authorization"], "…");
    assert_eq!(shown["errors"], json!([]));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_come_in_parts_and_empty_ones_in_none() {
    let text: &'static str = "r".repeat(1100).leak();
    let mut scene = Scene::new().await;
    let sink = Sink::answering(
        move |number| if number == 0 { text.into_response() } else { "".into_response() },
    );
    let sink = sink.await;
    scene.hook(json!({"event": "a", "url": sink.url("/"), "responseTopic": "own/{{PARTICLE_EVENT_NAME}}"})).await;
    scene.publish("a", "").await;
    scene.told().await;
    let mut parts = Vec::new();
    for number in 0..3 {
        let part = scene.told().await;
        assert_eq!(part.name, format!("own/a/{number}"));
        parts.push(part.data);
    }
    assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [512, 512, 76]);
    scene.publish("a", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/a");
    assert_eq!(scene.told_within(LIMIT).await, None);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_makes_causes_none() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("again").await);
    let hook = json!({"event": "loop", "url": sink.url("/"), "responseTopic": "loop/more"});
    scene.hook(hook).await;
    scene.hook(json!({"event": "hook-", "url": sink.url("/")})).await;
    scene.publish("loop", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/loop");
    assert_eq!(scene.told().await.name, "loop/more/0");
    assert_eq!(scene.told_within(LIMIT).await, None);
    assert_eq!(sink.calls().len(), 1);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_is_tried_three_times_and_holds_up_nobody() {
    let (mut scene, fine) = (Scene::new().await, Sink::elsewhere("ok").await);
    let slow = raw(hang).await;
    let id = scene.hook(json!({"event": "slow", "url": format!("http://{slow}/")})).await;
    scene.hook(json!({"event": "fine", "url": fine.url("/")})).await;
    for number in 0..30 {
        scene.publish(&format!("slow/{number}"), "").await;
    }
    scene.publish("fine", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/fine");
    assert_eq!(scene.told().await.name, "hook-response/fine/0");
    let mut discarded = 0;
    while discarded < 30 {
        let event = scene.told().await;
        assert!(event.name.starts_with("hook-error/slow/"), "{event:?}");
        discarded += usize::from(event.data.starts_with("Discarded after 3 attempts"));
    }
    let shown = scene.report(&id).await;
    assert_eq!(shown["counters"][0]["discarded"], 30);
    assert!(shown["counters"][0]["sleep"].as_u64() > Some(0), "{shown}");
    assert_eq!(shown["logs"].as_array().map(Vec::len), Some(10));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_told_first_and_last_and_retried_between() {
    for (status, requests) in [
        (StatusCode::INTERNAL_SERVER_ERROR, 3),
        (StatusCode::TOO_MANY_REQUESTS, 3),
        (StatusCode::REQUEST_TIMEOUT, 3),
        (StatusCode::NOT_FOUND, 1),
    ] {
        let (mut scene, sink) = (Scene::new().await, Sink::failing(status).await);
        scene.hook(json!({"event": "a", "url": sink.url("/")})).await;
        scene.publish("a", "").await;
        let text = format!("error status {} from 127.0.0.1", status.as_u16());
        assert_eq!(scene.told().await, told("hook-error/a/0", &text));
        if requests > 1 {
            let text = format!("Discarded after 3 attempts: {text}");
            assert_eq!(scene.told().await, told("hook-error/a/0", &text));
        }
        assert_eq!(scene.told_within(LIMIT).await, None, "{status}");
        assert_eq!(sink.calls().len(), requests, "{status}");
        scene.world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_recovers_gets_the_event_after_all() {
    let mut scene = Scene::new().await;
    let failing = |number| match number {
        0 => StatusCode::BAD_GATEWAY.into_response(),
        _ => "ok".into_response(),
    };
    let sink = Sink::answering(failing).await;
    scene.hook(json!({"event": "a", "url": sink.url("/")})).await;
    scene.publish("a", "").await;
    assert_eq!(scene.told().await.name, "hook-error/a/0");
    assert_eq!(scene.told().await.name, "hook-sent/a");
    assert_eq!(scene.told().await, told("hook-response/a/0", "ok"));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_loopback_or_anywhere_are_not_followed_and_final() {
    for status in [StatusCode::FOUND, StatusCode::PERMANENT_REDIRECT] {
        let (mut scene, secret) = (Scene::new().await, Sink::saying("secret").await);
        for (count, to) in [secret.url("/admin"), "http://192.0.2.1/".into()].iter().enumerate() {
            let location = to.clone();
            let answer = move |_| (status, [(header::LOCATION, location.clone())]).into_response();
            let sink = Sink::answering(answer).await;
            let name = format!("to-{count}");
            scene.hook(json!({"event": name, "url": sink.url("/")})).await;
            scene.publish(&name, "").await;
            let text = format!("error status {} from 127.0.0.1", status.as_u16());
            assert_eq!(scene.told().await, told(&format!("hook-error/{name}/0"), &text));
            assert_eq!(scene.told_within(LIMIT).await, None);
            assert_eq!((sink.calls().len(), secret.calls().len()), (1, 0));
        }
        scene.world.stop().await;
    }
}

/// How a target of [`Bad`] behaves.
#[derive(Debug, Clone, Copy)]
enum Bad {
    Drips,
    Fails,
    Floods,
    Hangs,
    Redirects,
    Refuses,
}

impl Bad {
    async fn target(self) -> String {
        let address = match self {
            Self::Drips => raw(drip).await,
            Self::Floods => raw(flood).await,
            Self::Hangs => raw(hang).await,
            Self::Refuses => {
                let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
                free.local_addr().expect("an address")
            }
            Self::Fails => Sink::failing(StatusCode::INTERNAL_SERVER_ERROR).await.address,
            Self::Redirects => {
                let elsewhere = |_| (StatusCode::FOUND, [(header::LOCATION, "/")]).into_response();
                Sink::answering(elsewhere).await.address
            }
        };
        format!("http://{address}/")
    }

    /// What the host's attempts after many faults are: skipped, unless they were no faults of its own.
    fn is_throttled(self) -> bool {
        !matches!(self, Self::Floods | Self::Redirects)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_target_is_throttled_and_another_webhook_is_served_at_once() {
    use Bad::{Drips, Fails, Floods, Hangs, Redirects, Refuses};
    for bad in [Drips, Fails, Floods, Hangs, Redirects, Refuses] {
        let (mut scene, fine) = (Scene::new().await, Sink::elsewhere("ok").await);
        let id = scene.hook(json!({"event": "bad", "url": bad.target().await})).await;
        scene.hook(json!({"event": "fine", "url": fine.url("/")})).await;
        for _ in 0..20 {
            scene.publish("bad", "").await;
        }
        for number in 0..5 {
            scene.publish("fine", &number.to_string()).await;
        }
        let mut served = 0;
        while served < 5 {
            served += usize::from(scene.told().await.name == "hook-sent/fine");
        }
        assert_eq!(fine.calls().len(), 5, "{bad:?}");
        tokio::time::sleep(3 * LIMIT).await;
        let counted = scene.report(&id).await["counters"][0].clone();
        let skipped = counted["sleep"].as_u64().unwrap_or(0);
        assert_eq!(skipped > 0, bad.is_throttled(), "{bad:?}: {counted}");
        scene.world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_and_dripping_answers_are_failures() {
    let mut scene = Scene::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let free = free.expect("an address");
    scene.hook(json!({"event": "refuses", "url": format!("http://{free}/")})).await;
    scene.hook(json!({"event": "drips", "url": format!("http://{}/", raw(drip).await)})).await;
    scene.publish("refuses", "").await;
    let first = scene.told().await;
    assert_eq!(first.name, "hook-error/refuses/0");
    assert!(first.data.contains("refused"), "{first:?}");
    assert!(scene.told().await.data.starts_with("Discarded after 3 attempts"));
    scene.publish("drips", "").await;
    let late = scene.told().await;
    assert_eq!(late.name, "hook-error/drips/0");
    assert!(late.data.starts_with("no answer within 400ms from 127.0.0.1:"), "{late:?}");
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_huge_answer_the_first_100_000_bytes_count() {
    let mut scene = Scene::with(|config| {
        let mut config = quick(config);
        config.webhooks.time_limit = SOON;
        config
    })
    .await;
    let url = format!("http://{}/", raw(flood).await);
    scene.hook(json!({"event": "a", "url": url})).await;
    scene.hook(json!({"event": "whole", "url": url, "unchunked": true})).await;
    scene.publish("whole", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/whole");
    let whole = scene.told().await;
    assert_eq!((&*whole.name, whole.data.len()), ("hook-response/whole/0", 100_000));
    scene.publish("a", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/a");
    let mut bytes = 0;
    for number in 0..100_000_usize.div_ceil(512) {
        let part = scene.told().await;
        assert_eq!(part.name, format!("hook-response/a/{number}"));
        bytes += part.data.len();
    }
    assert_eq!(bytes, 100_000);
    assert_eq!(scene.told_within(LIMIT).await, None);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_network_is_refused_by_address_and_by_name() {
    let private = |config| {
        let mut config = quick(config);
        config.webhooks.allow_private_targets = false;
        config
    };
    let (mut scene, sink) = (Scene::with(private).await, Sink::saying("secret").await);
    let port = sink.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"] {
        let id = scene.hook(json!({"event": "a", "url": format!("http://{host}:{port}/")})).await;
        scene.publish("a", "").await;
        let event = scene.told().await;
        assert_eq!(event.name, "hook-error/a/0");
        assert!(event.data.contains("private network"), "{host}: {event:?}");
        let path = format!("/v1/webhooks/{id}");
        scene.world.ask("DELETE", &path, &scene.token, Value::Null).await.ok();
    }
    assert_eq!(scene.told_within(LIMIT).await, None);
    assert!(sink.calls().is_empty());
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_deleted_and_foreign_webhooks_send_nothing() {
    let (scene, sink) = (Scene::new().await, Sink::saying("ok").await);
    scene.hook(json!({"event": "a", "url": sink.url("/"), "disabled": true})).await;
    let device = json!({"event": "a", "url": sink.url("/"), "deviceID": "0".repeat(24)});
    scene.hook(device).await;
    let id = scene.hook(json!({"event": "a", "url": sink.url("/")})).await;
    let path = format!("/v1/integrations/{id}");
    scene.world.ask("DELETE", &path, &scene.token, Value::Null).await.ok();
    let stranger = scene.world.token(scene.world.stranger).await;
    let hook = json!({"event": "a", "url": sink.url("/")});
    scene.world.ask("POST", "/v1/webhooks", &stranger, hook).await.ok();
    scene.publish("a", "").await;
    tokio::time::sleep(LIMIT).await;
    assert!(sink.calls().is_empty(), "{:?}", sink.calls());
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_webhook_has_only_what_was_sent_last() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("ok").await);
    let url = sink.url("/");
    let id = scene.hook(json!({"event": "a", "url": url, "name": "old"})).await;
    let path = format!("/v1/integrations/{id}");
    let new = json!({"event": "b", "url": url, "requestType": "PUT"});
    let put = scene.world.ask("PUT", &path, &scene.token, new).await.ok();
    assert_eq!((&put["event"], &put["name"]), (&json!("b"), &Value::Null));
    scene.publish("a", "").await;
    scene.publish("b", "").await;
    assert_eq!(scene.told().await.name, "hook-sent/b");
    assert_eq!(sink.calls().len(), 1);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_causes_a_webhook_once_with_its_data() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("ok").await);
    let id = scene.hook(json!({"event": "a", "url": sink.url("/"), "body": "{{x}}"})).await;
    let device = scene.world.device.to_string();
    let body = json!({"data": "{\"x\":5}", "device_id": device});
    let path = format!("/v1/integrations/{id}/test");
    scene.world.ask("POST", &path, &scene.token, body).await.ok();
    assert_eq!(scene.told().await.name, "hook-sent/a");
    assert_eq!(sink.calls()[0].body, "5");
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_checked_bounded_and_seen_under_both_names() {
    let few = |config| {
        let mut config = quick(config);
        config.webhooks.per_account_max = 2;
        config
    };
    let scene = Scene::with(few).await;
    let ask = |method, path: &'static str, body| scene.world.ask(method, path, &scene.token, body);
    let hook = json!({"event": "a", "url": "http://h.example/", "integration_type": "Webhook"});
    let both = json!({"event": "a", "url": "http://h.example/", "json": {}, "form": {}});
    ask("POST", "/v1/webhooks", both).await.refused(400);
    ask("POST", "/v1/webhooks", json!({"event": "a"})).await.refused(400);
    let azure =
        json!({"event": "a", "url": "http://h.example/", "integration_type": "AzureIotHub"});
    ask("POST", "/v1/integrations", azure).await.refused(400);
    let made = ask("POST", "/v1/integrations", hook.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let seen = ask("GET", "/v1/webhooks", Value::Null).await.ok();
    assert_eq!(seen, ask("GET", "/v1/integrations", Value::Null).await.ok());
    assert_eq!(seen[0]["id"], made.ok()["id"]);
    ask("POST", "/v1/webhooks", hook.clone()).await.ok();
    let full = ask("POST", "/v1/webhooks", hook).await.refused(400);
    assert!(full["error"].as_str().is_some_and(|text| text.contains("at most 2")), "{full}");
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_products_webhook_answers_to_the_device_that_caused_it() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("ok").await);
    let ask =
        |method, path: String, body| scene.world.ask(method, &*path.leak(), &scene.token, body);
    let product = json!({"product": {"name": "P", "platform_id": 12}});
    let made = ask("POST", "/v1/user/products".into(), product).await.ok();
    let product = made["product"]["id"].to_string();
    let hook = json!({"event": "a", "url": sink.url("/{{PRODUCT_ID}}")});
    ask("POST", format!("/v1/products/{product}/webhooks"), hook).await.ok();
    scene.publish("a", "of the account").await;
    ask("POST", format!("/v1/products/{product}/events"), json!({"name": "a"})).await.ok();
    assert_eq!(scene.told().await.name, "hook-sent/a");
    assert_eq!(scene.told().await.name, "api/hook-response/a/0");
    assert_eq!(sink.calls().len(), 1);
    assert_eq!(sink.calls()[0].uri.path(), format!("/{product}"));
    scene.world.stop().await;
}

/// The stranger's events are none of the owner's business, whatever they are called.
#[tokio::test(flavor = "multi_thread")]
async fn only_events_of_the_same_account_count() {
    let (scene, sink) = (Scene::new().await, Sink::saying("ok").await);
    scene.hook(json!({"event": "a", "url": sink.url("/")})).await;
    let name = EventName::parse(b"a").expect("a name");
    let data = Some(EventData { format: 0, bytes: (*b"x").into() });
    let stranger: AccountId = scene.world.stranger;
    scene.world.handle.publish(stranger, name, data, 60).await.expect("published");
    tokio::time::sleep(LIMIT).await;
    assert!(sink.calls().is_empty());
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_can_be_searched_and_sent_again() {
    let mut scene = Scene::new().await;
    let (well, broken) = (Sink::saying("ok").await, Sink::failing(StatusCode::NOT_FOUND).await);
    let good = scene
        .hook(json!({"event": "good", "url": well.url("/"), "body": "{{{PARTICLE_EVENT_VALUE}}}"}))
        .await;
    let bad = scene.hook(json!({"event": "bad", "url": broken.url("/")})).await;
    for (name, data) in [("good/1", "first"), ("good/2", "second"), ("bad/1", "third")] {
        scene.publish(name, data).await;
        while !scene.told().await.name.ends_with("/0") {}
    }
    let search = |id: String, query: &'static str| {
        let (world, token) = (&scene.world, scene.token.clone());
        async move {
            let path = format!("/v1/integrations/{id}/deliveries{query}");
            world.ask("GET", &path, &token, Value::Null).await.ok()["deliveries"].clone()
        }
    };
    let all = search(good.clone(), "").await;
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert_eq!((&all[0]["event"], &all[0]["outcome"]), (&json!("good/2"), &json!("success")));
    assert_eq!(all[1]["details"]["request"]["body"], "first");
    assert_eq!(search(good.clone(), "?event=good/1").await.as_array().map(Vec::len), Some(1));
    assert_eq!(search(good.clone(), "?outcome=error").await, json!([]));
    assert_eq!(search(good.clone(), "?device=api&limit=1").await.as_array().map(Vec::len), Some(1));
    assert_eq!(search(bad, "?outcome=error").await[0]["event"], "bad/1");
    let first = all[1]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/webhooks/{good}/deliveries/{first}/replay");
    scene.world.ask("POST", &path, &scene.token, Value::Null).await.ok();
    assert_eq!(scene.told().await.name, "hook-sent/good/1");
    assert_eq!(well.calls().last().map(|call| call.body.clone()).as_deref(), Some("first"));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_shows_no_more_of_a_large_request_than_its_head() {
    let (mut scene, sink) = (Scene::new().await, Sink::saying("fine").await);
    let value = "{{{PARTICLE_EVENT_VALUE}}}";
    let id = scene
        .hook(json!({
            "event": "temp", "url": sink.url("/in"), "noDefaults": true,
            "query": {"a": value, "b": value}, "headers": {"X-Long": value},
        }))
        .await;
    scene.publish("temp", &"v".repeat(10_000)).await;
    assert_eq!(scene.told().await, told("hook-sent/temp", ""));
    assert_eq!(scene.told().await.name, "hook-response/temp/0");
    let [call] = sink.calls().try_into().expect("one request");
    assert!(call.uri.query().is_some_and(|query| query.len() > 20_000), "it was sent whole");
    let log = scene.report(&id).await["logs"][0]["request"].clone();
    assert_eq!(log["url"].as_str().map(str::len), Some(2048));
    assert!(log.to_string().len() < 4096, "{}", log.to_string().len());
    scene.world.stop().await;
}
