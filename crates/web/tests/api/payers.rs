//! Whose plan a device takes room in: the owner's of its product, else its own owner's.

use metering::Plan;
use model::{AccountId, DeviceId, ProductId, Timestamp};
use node::NewTerms;
use serde_json::{Value, json};
use store::{Device, Member, NewDevice};

use crate::support::{Answer, KEY, World};

/// Devices of the free plan.
const FREE_DEVICES: u8 = 100;
/// A device that the server does not know.
const NEW: &str = "e00fce680000000000000099";

/// A world whose owner has a product; the stranger works in its team.
struct Scene {
    world: World,
    owner: String,
    member: String,
    product: ProductId,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let (owner, member) = (world.token(world.owner).await, world.token(world.stranger).await);
        let body = json!({"name": "P", "platform_id": 12});
        let made = world.ask("POST", "/v1/products", &owner, body).await.ok();
        let number = made["product"]["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let product = ProductId(number.expect("a number"));
        let role = Member {
            product,
            account: world.stranger,
            role: "Developer".into(),
            programmatic: false,
            added_at: Timestamp(1),
        };
        world.store.teams().put_member(&role).await.expect("a member");
        Self { world, owner, member, product }
    }

    /// Puts an account on the free plan, and gives it so many more devices than it had.
    async fn fill(&self, account: AccountId, more: u8) {
        let free = NewTerms { catalogue: None, plan: Plan::Free, anchor: None };
        let now = Timestamp(1_800_000_000_000);
        self.world.handle.billing().agree(account, &free, now).await.expect("agreed");
        let kind = u8::try_from(account.0).expect("a small number");
        let devices: Vec<_> = (0..more).map(|number| device(account, [kind, number])).collect();
        self.world.store.devices().import(&devices, now).await.expect("imported");
    }

    async fn add(&self, token: &str, device: DeviceId) -> Answer {
        let path = format!("/v1/products/{}/devices", self.product);
        self.world.ask("POST", &path, token, json!({"id": device.to_string()})).await
    }

    async fn claim(&self, token: &str, device: DeviceId) -> Answer {
        self.world.ask("POST", "/v1/devices", token, json!({"id": device.to_string()})).await
    }

    async fn provision(&self, token: &str, product: Value) -> Answer {
        let body = json!({"publicKey": KEY, "product_id": product});
        self.world.ask("POST", &format!("/v1/provisioning/{NEW}"), token, body).await
    }

    async fn stored(&self, device: DeviceId) -> Option<Device> {
        self.world.store.devices().get(device).await.expect("read")
    }

    /// A device of the product that nobody owns.
    async fn unowned(&mut self) -> DeviceId {
        let device = self.world.register(None).await;
        let devices = self.world.store.devices();
        devices.set_product(device, Some(self.product)).await.expect("put into it");
        device
    }
}

fn device(account: AccountId, [kind, number]: [u8; 2]) -> NewDevice {
    NewDevice {
        id: DeviceId([0x77, kind, number, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        account: Some(account),
        product: None,
        name: None,
        platform: None,
        key: None,
        first_use: false,
    }
}

fn too_many(answer: &Answer) {
    let told = answer.refused(403);
    assert!(told["error"].as_str().expect("a text").contains("devices"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_puts_a_device_into_no_product_but_one_that_the_caller_may_add_to() {
    let scene = Scene::new().await;
    let new = NEW.parse().expect("an id");
    let nobody = scene.world.store.accounts().create("n@example.org", "", Timestamp(1)).await;
    let nobody = scene.world.token(nobody.expect("made").id).await;
    for foreign in [json!(scene.product.0), json!(10_999), json!(u64::MAX), json!("é")] {
        let told = scene.provision(&nobody, foreign).await.refused(404);
        assert_eq!(told["error"], "Product not found.");
        assert!(scene.stored(new).await.is_none());
    }
    scene.provision(&scene.member, json!(scene.product.0)).await.ok();
    let stored = scene.stored(new).await.expect("there");
    assert_eq!((stored.account, stored.product), (Some(scene.world.stranger), Some(scene.product)));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_platform_stands_for_no_product_when_a_key_is_sent() {
    let scene = Scene::new().await;
    scene.provision(&scene.member, json!(26)).await.ok();
    let stored = scene.stored(NEW.parse().expect("an id")).await.expect("there");
    assert_eq!((stored.product, stored.platform), (None, Some(26)));
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_a_member_makes_takes_room_in_the_plan_of_the_products_owner() {
    let scene = Scene::new().await;
    scene.fill(scene.world.stranger, FREE_DEVICES).await;
    let of_product = json!({"product_id": scene.product.0});
    let make = |body: Value| scene.world.ask("POST", "/v1/devices", &scene.member, body);
    make(of_product.clone()).await.ok();
    too_many(&make(json!({"product_id": 12})).await);

    // With its first device and the one that was made.
    scene.fill(scene.world.owner, FREE_DEVICES - 2).await;
    too_many(&make(of_product).await);
    too_many(&scene.provision(&scene.member, json!(scene.product.0)).await);
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_another_takes_room_in_the_plan_of_the_owner_whose_product_it_joins() {
    let mut scene = Scene::new().await;
    let (own, account) = (scene.world.device, scene.world.stranger);
    let (first, second) =
        (scene.world.register(Some(account)).await, scene.world.register(Some(account)).await);
    scene.fill(scene.world.owner, FREE_DEVICES - 2).await;
    assert_eq!(scene.add(&scene.member, first).await.ok()["updated"], 1);
    too_many(&scene.add(&scene.member, second).await);
    assert_eq!(scene.stored(second).await.expect("there").product, None);
    assert_eq!(scene.add(&scene.owner, own).await.ok()["updated"], 1, "it is counted already");
    scene.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claiming_a_device_of_a_product_takes_no_room_for_its_payer_stays() {
    let mut scene = Scene::new().await;
    let (of_product, free) = (scene.unowned().await, scene.world.register(None).await);
    // More than the plan has: it was made smaller.
    for account in [scene.world.owner, scene.world.stranger] {
        scene.fill(account, FREE_DEVICES + 1).await;
    }
    scene.claim(&scene.member, of_product).await.ok();
    let stored = scene.stored(of_product).await.expect("there");
    assert_eq!(stored.account, Some(scene.world.stranger));
    too_many(&scene.claim(&scene.member, free).await);
    scene.world.stop().await;
}
