//! Clients that go away before they are answered: what was written by then is told to the shards, and
//! asking again tells them too.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use model::{AccountId, DeviceId, ProductId, Timestamp};
use serde_json::{Value, json};

use crate::support::{Answer, KEY, PASSWORD, World};

/// Polls of the longest request, and how often it is tried with each number of them.
const POLLS: usize = 24;
const TIMES: usize = 4;

/// A world whose owner has a product.
struct Scene {
    world: World,
    token: String,
    product: ProductId,
}

/// Whose a device is, and in which product.
type Place = (Option<AccountId>, Option<ProductId>);

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let token = world.token(world.owner).await;
        let body = json!({"name": "P", "platform_id": 12});
        let made = world.ask("POST", "/v1/products", &token, body).await.ok();
        let number = made["product"]["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let product = ProductId(number.expect("a number"));
        Self { world, token, product }
    }

    /// A device that its shard knows.
    async fn device(&mut self, (account, product): Place) -> DeviceId {
        let device = self.world.register(account).await;
        self.world.store.devices().set_product(device, product).await.expect("put into it");
        self.world.handle.device_changed(device).await.expect("told");
        device
    }

    fn of_product(&self) -> String {
        format!("/v1/products/{}", self.product)
    }

    async fn stored(&self, device: DeviceId) -> Place {
        let found = self.world.store.devices().get(device).await.expect("read");
        found.map_or((None, None), |found| (found.account, found.product))
    }

    /// What the shards go by.
    fn told(&self, device: DeviceId, accounts: &[AccountId]) -> Place {
        let rows = accounts.iter().flat_map(|account| {
            let rows = self.world.handle.fleet(*account);
            rows.into_iter().map(move |row| (*account, row))
        });
        let rows: Vec<_> = rows.filter(|(_, row)| row.device == device).collect();
        let owner = rows.iter().find(|(_, row)| row.owned).map(|(account, _)| *account);
        (owner, rows.first().and_then(|(_, row)| row.product))
    }

    async fn await_told(&self, device: DeviceId, accounts: &[AccountId], context: &str) {
        for _ in 0..200 {
            if self.told(device, accounts) == self.stored(device).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (told, stored) = (self.told(device, accounts), self.stored(device).await);
        panic!("{context}: the shard goes by {told:?}, the store has {stored:?}");
    }

    /// Asks this of one device after the other, and goes away ever later.
    async fn leave(
        &mut self,
        from: Place,
        ask: impl Fn(DeviceId) -> (&'static str, String, Value),
    ) {
        for polls in departures() {
            let device = self.device(from).await;
            let (method, path, body) = ask(device);
            await_answer(self.world.ask(method, &path, &self.token, body), polls).await;
            let context = format!("{method} {path}, after {polls} polls");
            self.await_told(device, &[self.world.owner], &context).await;
        }
    }
}

/// After how many polls clients go away. How often there is something new to look at differs from one time to
/// the next: each is tried several times.
fn departures() -> impl Iterator<Item = usize> {
    (1..=POLLS).flat_map(|polls| [polls; TIMES])
}

/// Waits for an answer, and goes away when it was looked for this often and something happened again.
async fn await_answer(asked: impl Future<Output = Answer>, polls: usize) {
    let (mut asked, mut left) = (pin!(asked), polls);
    let answer = poll_fn(|context| {
        let Some(less) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = less;
        asked.as_mut().poll(context).map(Some)
    });
    if let Some(answer) = answer.await {
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_who_claimed_or_released_a_device_and_went_away() {
    let mut scene = Scene::new().await;
    let (owner, product) = (Some(scene.world.owner), Some(scene.product));
    scene
        .leave((None, None), |id| ("POST", "/v1/devices".into(), json!({"id": id.to_string()})))
        .await;
    scene.leave((owner, None), |id| ("DELETE", format!("/v1/devices/{id}"), Value::Null)).await;
    let path = format!("{}/devices", scene.of_product());
    let released = |id: DeviceId| ("DELETE", format!("{path}/{id}/owner"), Value::Null);
    scene.leave((owner, product), released).await;
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_which_product_a_device_joined_or_left_by_who_went_away() {
    let mut scene = Scene::new().await;
    let (owner, product) = (Some(scene.world.owner), Some(scene.product));
    let path = format!("{}/devices", scene.of_product());
    scene.leave((owner, None), |id| ("POST", path.clone(), json!({"id": id.to_string()}))).await;
    scene.leave((owner, product), |id| ("DELETE", format!("{path}/{id}"), Value::Null)).await;
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_whose_a_device_is_that_was_made_by_who_went_away() {
    let scene = Scene::new().await;
    for (number, polls) in (1..).zip(departures()) {
        let device = DeviceId([number; 12]);
        let path = format!("/v1/provisioning/{device}");
        let body = json!({"publicKey": KEY});
        await_answer(scene.world.ask("POST", &path, &scene.token, body), polls).await;
        let context = format!("made, after {polls} polls");
        scene.await_told(device, &[scene.world.owner], &context).await;
    }
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_that_the_customer_was_removed_by_who_went_away() {
    let mut scene = Scene::new().await;
    for (number, polls) in (1..).zip(departures()) {
        let email = format!("customer{number}@example.org");
        let teams = scene.world.store.teams();
        let made = teams.create_customer(scene.product, &email, "", Timestamp(1)).await;
        let account = made.expect("made").account;
        let device = scene.device((Some(account), None)).await;
        let path = format!("{}/customers/{email}", scene.of_product());
        await_answer(scene.world.ask("DELETE", &path, &scene.token, Value::Null), polls).await;
        let context = format!("a customer, after {polls} polls");
        scene.await_told(device, &[account], &context).await;
    }
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_that_the_owner_went_away_for_good() {
    let mut scene = Scene::new().await;
    let hash = web::password::hash(PASSWORD).expect("a hash");
    for (number, polls) in (1..).zip(departures()) {
        let email = format!("user{number}@example.org");
        let made = scene.world.store.accounts().create(&email, &hash, Timestamp(1)).await;
        let account = made.expect("made").id;
        let device = scene.device((Some(account), None)).await;
        let (token, body) = (scene.world.token(account).await, json!({"password": PASSWORD}));
        await_answer(scene.world.ask("DELETE", "/v1/user", &token, body), polls).await;
        let context = format!("a user, after {polls} polls");
        scene.await_told(device, &[account], &context).await;
    }
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_for_what_the_store_has_tells_the_shard() {
    let mut scene = Scene::new().await;
    let owner = Some(scene.world.owner);
    let (claimed, joined) = (scene.device((None, None)).await, scene.device((owner, None)).await);
    let devices = scene.world.store.devices();
    devices.set_owner(claimed, owner, Timestamp(2)).await.expect("written");
    devices.set_product(joined, Some(scene.product)).await.expect("written");
    let path = format!("{}/devices", scene.of_product());
    for (path, device) in [("/v1/devices", claimed), (&path, joined)] {
        let body = json!({"id": device.to_string()});
        scene.world.ask("POST", path, &scene.token, body).await.ok();
        assert_eq!(scene.told(device, &[scene.world.owner]), scene.stored(device).await, "{path}");
    }
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_learns_that_the_api_user_that_had_a_device_was_removed() {
    let mut scene = Scene::new().await;
    let path = format!("{}/team", scene.of_product());
    let body = json!({"friendly_name": "Bot", "scopes": ["device_claims:create"]});
    scene.world.ask("POST", &path, &scene.token, body).await.ok();
    let members = scene.world.store.teams().members(scene.product).await.expect("read");
    let program = scene.world.store.accounts().by_id(members[0].account).await.expect("read");
    let program = program.expect("there");
    let device = scene.device((Some(program.id), None)).await;
    let path = format!("{path}/{}", program.email);
    scene.world.ask("DELETE", &path, &scene.token, Value::Null).await.ok();
    assert_eq!(scene.stored(device).await, (None, None));
    assert_eq!(scene.told(device, &[program.id]), (None, None));
    scene.world.stop().await;
}
