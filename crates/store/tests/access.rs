//! Who may come in: people by invitation, devices unless a product denies them. And what stays of them.

mod support;

use std::sync::Arc;

use model::journal::Entry;
use model::{AccountId, DescribePart, DeviceId, KeyHash, Metric, ProductId, Timestamp};
use store::{DeviceKey, Invitation, NewDevice, Product, Store, StoreError, TokenHash};
use support::{NOW, account, on_each};

const DAY_MS: i64 = 86_400_000;
const DEVICE: DeviceId = DeviceId([0xe0; 12]);
const PRODUCT: ProductId = ProductId(10_000);

fn day(number: i64) -> Timestamp {
    Timestamp(NOW.0 + number * DAY_MS)
}

fn invitation(email: &str, days: i64) -> Invitation {
    Invitation { email: email.into(), made_at: NOW, expires_at: day(days) }
}

#[tokio::test]
async fn an_invitation_makes_one_account_of_its_address_while_it_lasts() {
    on_each(async |store: Arc<Store>| {
        let (invitations, code) = (store.invitations(), TokenHash::of("code"));
        invitations.invite(&invitation("Ann@x.org", 7), code).await.expect("kept");
        assert_eq!(invitations.invitations(NOW).await, Ok(vec![invitation("Ann@x.org", 7)]));
        assert_eq!(invitations.is_invited("ann@X.org", code, NOW).await, Ok(true));
        assert_eq!(invitations.is_invited("ann@x.org", code, day(7)).await, Ok(false));
        assert_eq!(invitations.accept("ann@x.org", code, "h", day(7)).await, Ok(None));
        assert_eq!(invitations.accept("bob@x.org", code, "h", NOW).await, Ok(None));
        let other = TokenHash::of("other");
        assert_eq!(invitations.accept("ann@x.org", other, "h", NOW).await, Ok(None));
        let made = invitations.accept("ann@x.org", code, "h", NOW).await.expect("readable");
        assert_eq!(made.expect("an account").email, "ann@x.org");
        assert_eq!(invitations.accept("ann@x.org", code, "h", NOW).await, Ok(None));
        let again = invitations.invite(&invitation("ANN@x.org", 7), code).await;
        assert_eq!(again, Err(StoreError::Taken));
        assert_eq!(invitations.withdraw("ann@x.org").await, Err(StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_denied_device_has_no_key_until_it_is_let_in_or_goes_to_an_outsider() {
    on_each(async |store: Arc<Store>| {
        let (owner, other) = (account(&store, "a@x").await, account(&store, "b@x").await);
        let customer = {
            furnish(&store, owner).await;
            store.teams().create_customer(PRODUCT, "c@x", "", NOW).await.expect("new").account
        };
        let (teams, devices) = (store.teams(), store.devices());
        let key = || async {
            let one = devices.registered(DEVICE).await.expect("readable").expect("there");
            let all = store.recover().await.expect("readable").devices;
            assert_eq!(all.first().map(|device| device.key), Some(one.key));
            one.key
        };
        assert_eq!(key().await, Some(KeyHash([7; 32])));
        teams.deny(PRODUCT, DEVICE, NOW).await.expect("kept");
        assert_eq!((key().await, teams.is_denied(DEVICE).await), (None, Ok(true)));
        assert_eq!(teams.allow(PRODUCT, DEVICE).await, Ok(true));
        assert_eq!(teams.allow(PRODUCT, DEVICE).await, Ok(false));
        assert!(key().await.is_some());
        teams.deny(PRODUCT, DEVICE, NOW).await.expect("kept");
        for inside in [owner, customer] {
            devices.set_owner(DEVICE, Some(inside), NOW).await.expect("there");
            assert_eq!(key().await, None);
        }
        devices.set_owner(DEVICE, Some(other), NOW).await.expect("there");
        assert!(key().await.is_some());
    })
    .await;
}

/// A product and a device that nobody owns.
async fn furnish(store: &Store, owner: AccountId) {
    let product = Product {
        id: PRODUCT,
        account: owner,
        name: "p".into(),
        slug: "p".into(),
        description: String::new(),
        platform: 12,
        location_opt_in: false,
        created_at: NOW,
    };
    store.products().insert(&product).await.expect("new");
    let device = NewDevice {
        id: DEVICE,
        account: None,
        product: None,
        name: None,
        platform: None,
        key: Some(DeviceKey { hash: KeyHash([7; 32]), spki: vec![7; 91] }),
        first_use: false,
    };
    store.devices().insert(&device, NOW).await.expect("new");
}

#[tokio::test]
async fn vital_signs_are_kept_for_thirty_days() {
    on_each(async |store: Arc<Store>| {
        let owner = account(&store, "a@x").await;
        furnish(&store, owner).await;
        let mut journal = store.journal().expect("the only writer");
        for number in [0, 1, 29, 31] {
            let metrics = vec![Metric { id: 6, value: number }];
            let part = Arc::new(DescribePart::Metrics(metrics));
            let at = day(i64::from(number));
            let told = Entry::Describe { device: DEVICE, part, source: None, at };
            journal.append(at, &[told]).expect("ok");
        }
        store.settle().await.expect("folded");
        let kept = store.devices().vitals(DEVICE, 9).await.expect("readable");
        let kept: Vec<i32> = kept.iter().map(|vitals| vitals.metrics[0].value).collect();
        assert_eq!(kept, [31, 29]);
    })
    .await;
}
