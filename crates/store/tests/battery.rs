//! The same tests for every kind of store.

mod support;

use std::path::Path;
use std::sync::Arc;

use model::event::Origin;
use model::journal::{Charge, Entry, OperationKind};
use model::link::{Source, Transport};
use model::message::{Subscribe, SubscriptionContent};
use model::{
    AccountId, ApplicationDescription, DescribePart, DeviceId, Event, EventId, EventName,
    EventPrefix, Hello, KeyHash, Metric, Platform, ProductId, SystemDescription, Timestamp,
};
use store::{
    CLAIM_CODE_CHARS, CLAIM_CODE_LIFE_MS, DeviceKey, Hour, Missed, NewDevice, OpenError, Product,
    Redeemed, RefreshToken, Store, StoreError, Sum, Token, TokenHash,
};
use support::{NOW, account, on_each};

fn device(number: u32) -> DeviceId {
    let mut id = [0xe0; 12];
    id[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId(id)
}

fn key(number: u8) -> DeviceKey {
    DeviceKey { hash: KeyHash([number; 32]), spki: vec![number; 91] }
}

fn new_device(number: u32) -> NewDevice {
    NewDevice {
        id: device(number),
        account: None,
        product: None,
        name: None,
        platform: None,
        key: None,
        first_use: false,
    }
}

fn later(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

#[tokio::test]
async fn an_address_has_one_account_whatever_its_case() {
    on_each(async |store: Arc<Store>| {
        let accounts = store.accounts();
        let ann = accounts.create("Ann@Example.org", "h1", NOW).await.expect("new");
        assert_eq!(ann.email, "Ann@Example.org");
        let twice = accounts.create("ann@example.ORG", "h2", NOW).await;
        assert_eq!(twice, Err(StoreError::Taken));
        assert_eq!(accounts.by_email("ANN@example.org").await, Ok(Some(ann.clone())));
        accounts.set_password(ann.id, "h3").await.expect("there");
        accounts.set_info(ann.id, Some("{}")).await.expect("there");
        let bob = account(&store, "bob@example.org").await;
        assert_eq!(accounts.set_email(bob, "ann@example.org").await, Err(StoreError::Taken));
        let ann = accounts.by_id(ann.id).await.expect("readable").expect("there");
        assert_eq!((ann.password_hash.as_str(), ann.info.as_deref()), ("h3", Some("{}")));
        assert_eq!(accounts.list().await.expect("readable").len(), 2);
        assert_eq!(accounts.set_password(AccountId(99), "x").await, Err(StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn an_account_goes_with_its_tokens_and_its_devices_stay_without_owner() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        store.tokens().insert(&token(ann, "t", None), None).await.expect("new");
        let owned = NewDevice { account: Some(ann), name: Some("x".into()), ..new_device(1) };
        store.devices().insert(&owned, NOW).await.expect("new");
        store.accounts().delete(ann).await.expect("there");
        assert_eq!(store.tokens().find(TokenHash::of("t")).await, Ok(None));
        let left = store.devices().get(device(1)).await.expect("readable").expect("there");
        assert_eq!((left.account, left.name), (None, None));
        let next = account(&store, "ann@example.org").await;
        assert_ne!(next, ann, "a number is never given twice");
    })
    .await;
}

fn token(account: AccountId, text: &str, expires_at: Option<Timestamp>) -> Token {
    Token {
        hash: TokenHash::of(text),
        prefix: text.chars().take(4).collect(),
        account,
        client: "particle-cli".into(),
        scopes: vec!["devices:list".into(), "events".into()],
        created_at: NOW,
        expires_at,
    }
}

fn refresh(account: AccountId, text: &str, access: &str) -> RefreshToken {
    RefreshToken {
        hash: TokenHash::of(text),
        access: TokenHash::of(access),
        account,
        client: "particle".into(),
        scopes: Vec::new(),
        expires_at: Some(later(1000)),
    }
}

#[tokio::test]
async fn tokens_are_found_listed_revoked_and_purged() {
    on_each(async |store: Arc<Store>| {
        let (ann, tokens) = (account(&store, "ann@example.org").await, store.tokens());
        let kept = token(ann, "kept", None);
        tokens.insert(&kept, None).await.expect("new");
        tokens.insert(&token(ann, "old", Some(later(10))), None).await.expect("new");
        tokens.insert(&token(ann, "b", Some(later(99))), None).await.expect("new");
        assert_eq!(tokens.find(TokenHash::of("kept")).await, Ok(Some(kept.clone())));
        assert_eq!(tokens.find(TokenHash::of("other")).await, Ok(None));
        assert_eq!(tokens.list(ann).await.expect("readable").len(), 3);
        assert_eq!(tokens.purge(later(11)).await, Ok(1));
        assert_eq!(tokens.delete(TokenHash::of("b")).await, Ok(true));
        assert_eq!(tokens.delete(TokenHash::of("b")).await, Ok(false));
        tokens.insert(&token(ann, "c", None), None).await.expect("new");
        assert_eq!(tokens.delete_all(ann, Some(kept.hash)).await, Ok(1));
        assert_eq!(tokens.list(ann).await, Ok(vec![kept]));
        assert_eq!(tokens.delete_all(ann, None).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_not_after_its_access_token_was_revoked() {
    on_each(async |store: Arc<Store>| {
        let (ann, tokens) = (account(&store, "ann@example.org").await, store.tokens());
        let (access, again) = (token(ann, "a1", None), refresh(ann, "r1", "a1"));
        tokens.insert(&access, Some(&again)).await.expect("new");
        let (next, next_again) = (token(ann, "a2", None), refresh(ann, "r2", "a2"));
        let exchange = |used, at| tokens.exchange(used, at, &next, &next_again);
        assert_eq!(tokens.refresh(again.hash, later(1000)).await, Ok(None));
        assert_eq!(exchange(again.hash, later(1000)).await, Ok(false), "expired");
        assert_eq!(tokens.refresh(again.hash, NOW).await, Ok(Some(again.clone())));
        assert_eq!(exchange(again.hash, NOW).await, Ok(true));
        assert_eq!(tokens.find(access.hash).await, Ok(None));
        assert_eq!(tokens.list(ann).await, Ok(vec![next.clone()]));
        assert_eq!(exchange(again.hash, NOW).await, Ok(false), "used");
        assert_eq!(tokens.refresh(again.hash, NOW).await, Ok(None));
        assert_eq!(tokens.delete(next.hash).await, Ok(true));
        assert_eq!(exchange(next_again.hash, NOW).await, Ok(false), "revoked");
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_among_the_devices_of_one_owner() {
    on_each(async |store: Arc<Store>| {
        let devices = store.devices();
        let ann = account(&store, "ann@example.org").await;
        let bob = account(&store, "bob@example.org").await;
        for (number, owner) in [(1, ann), (2, ann), (3, bob)] {
            let new = NewDevice { account: Some(owner), ..new_device(number) };
            devices.insert(&new, NOW).await.expect("new");
        }
        devices.rename(device(1), Some("Kitchen")).await.expect("free");
        assert_eq!(devices.rename(device(2), Some("kitchen")).await, Err(StoreError::Taken));
        devices.rename(device(3), Some("kitchen")).await.expect("another owner");
        let found = devices.by_name(ann, "KITCHEN").await.expect("readable").expect("there");
        assert_eq!(found.id, device(1));
        devices.set_owner(device(3), Some(ann), NOW).await.expect("there");
        let moved = devices.get(device(3)).await.expect("readable").expect("there");
        assert_eq!((moved.account, moved.name), (Some(ann), None));
        assert_eq!(devices.count(ann).await, Ok(3));
        devices.set_notes(device(1), Some("by the door")).await.expect("there");
        devices.set_owner(device(1), None, NOW).await.expect("there");
        let freed = devices.get(device(1)).await.expect("readable").expect("there");
        assert_eq!((freed.account, freed.name, freed.notes), (None, None, None));
        assert_eq!(devices.rename(device(9), None).await, Err(StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_key_may_serve_several_devices_and_a_replaced_one_is_remembered() {
    on_each(async |store: Arc<Store>| {
        let devices = store.devices();
        for number in [1, 2] {
            let new = NewDevice { key: Some(key(1)), first_use: true, ..new_device(number) };
            devices.insert(&new, NOW).await.expect("new");
        }
        assert_eq!(devices.by_key(key(1).hash).await, Ok(vec![device(1), device(2)]));
        assert_eq!(devices.count_first_use().await, Ok(2));
        assert_eq!(devices.set_key(device(1), &key(1), NOW).await, Ok(false));
        assert_eq!(devices.set_key(device(1), &key(2), later(5)).await, Ok(true));
        assert_eq!(devices.key(device(1)).await, Ok(Some(key(2))));
        let former = devices.former_keys(device(1)).await.expect("readable");
        assert_eq!((former.len(), &former[0].key, former[0].replaced_at), (1, &key(1), later(5)));
        assert_eq!(devices.by_key(key(1).hash).await, Ok(vec![device(2)]));
        assert_eq!(devices.count_first_use().await, Ok(1));
        let unknown = devices.set_key(device(9), &key(1), NOW).await;
        assert_eq!(unknown, Err(StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn an_import_adds_what_is_new_and_leaves_the_rest_as_it_was() {
    on_each(async |store: Arc<Store>| {
        let devices = store.devices();
        devices.insert(&NewDevice { key: Some(key(9)), ..new_device(7) }, NOW).await.expect("new");
        assert_eq!(devices.insert(&new_device(7), NOW).await, Err(StoreError::Taken));
        let list: Vec<NewDevice> = (0..1000)
            .map(|number| NewDevice { key: Some(key(1)), ..new_device(number) })
            .chain([new_device(3)])
            .collect();
        let imported = devices.import(&list, NOW).await.expect("new");
        assert_eq!((imported.added, imported.present), (999, vec![device(7), device(3)]));
        assert_eq!(devices.key(device(7)).await, Ok(Some(key(9))));
        let mut seen = Vec::new();
        while let Ok(page) = devices.page(seen.last().copied(), 300).await
            && !page.is_empty()
        {
            seen.extend(page.into_iter().map(|device| device.id));
        }
        assert_eq!(seen, (0..1000).map(device).collect::<Vec<_>>());
        let some = devices.get_many(&[device(5), device(2), device(5000)]).await;
        let some: Vec<_> = some.expect("readable").iter().map(|device| device.id).collect();
        assert_eq!(some, [device(2), device(5)]);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_fails_changes_nothing() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        let named = |number| NewDevice {
            account: Some(ann),
            name: Some("same".into()),
            ..new_device(number)
        };
        let refused = store.devices().import(&[named(1), named(2)], NOW).await;
        assert_eq!(refused, Err(StoreError::Taken));
        assert_eq!(store.devices().page(None, 10).await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn a_claim_code_is_good_once_for_a_day_and_takes_no_device_from_its_owner() {
    on_each(async |store: Arc<Store>| {
        let claims = store.claims();
        let ann = account(&store, "ann@example.org").await;
        let bob = account(&store, "bob@example.org").await;
        store.devices().insert(&new_device(1), NOW).await.expect("new");
        let code = claims.create(ann, NOW).await.expect("made");
        assert_eq!(code.len(), CLAIM_CODE_CHARS);
        let unknown = claims.redeem(&code, device(9), NOW).await;
        assert_eq!(unknown, Err(StoreError::NotFound), "no device: the code stays");
        let claimed = claims.redeem(&code, device(1), NOW).await;
        assert_eq!(claimed, Ok(Redeemed::Claimed(ann)));
        assert_eq!(claims.redeem(&code, device(1), NOW).await, Ok(Redeemed::Unknown));
        let other = claims.create(bob, NOW).await.expect("made");
        let kept = Redeemed::OwnedByOther { owner: ann, wanted_by: bob };
        assert_eq!(claims.redeem(&other, device(1), NOW).await, Ok(kept));
        let late = claims.create(bob, NOW).await.expect("made");
        let end = later(CLAIM_CODE_LIFE_MS);
        assert_eq!(claims.redeem(&late, device(1), end).await, Ok(Redeemed::Unknown));
        let owned = store.devices().list(ann).await.expect("readable");
        assert_eq!((owned.len(), owned[0].claimed_at), (1, Some(NOW)));
    })
    .await;
}

#[tokio::test]
async fn settings_keep_the_first_value_when_two_ask_at_once() {
    on_each(async |store: Arc<Store>| {
        let settings = store.settings();
        assert_eq!(settings.get("cookie").await, Ok(None));
        assert_eq!(settings.get_or_set("cookie", b"one").await, Ok(b"one".to_vec()));
        assert_eq!(settings.get_or_set("cookie", b"two").await, Ok(b"one".to_vec()));
        settings.set("cookie", b"three").await.expect("writable");
        assert_eq!(settings.get("cookie").await, Ok(Some(b"three".to_vec())));
    })
    .await;
}

#[tokio::test]
async fn the_owner_of_a_product_pays_for_its_devices() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        let bob = account(&store, "bob@example.org").await;
        let id = store.products().free_id().await.expect("readable");
        let product = Product {
            id,
            account: ann,
            name: "Lamp".into(),
            slug: "lamp-v1".into(),
            description: String::new(),
            platform: 13,
            location_opt_in: true,
            created_at: NOW,
        };
        store.products().insert(&product).await.expect("new");
        assert_eq!(store.products().insert(&product).await, Err(StoreError::Taken));
        assert_eq!(store.products().free_id().await, Ok(ProductId(id.0 + 1)));
        assert_eq!(store.products().by_slug("lamp-v1").await, Ok(Some(product.clone())));
        let owned = NewDevice { account: Some(bob), product: Some(id), ..new_device(1) };
        store.devices().insert(&owned, NOW).await.expect("new");
        let registered = store.devices().registered(device(1)).await;
        let registered = registered.expect("readable").expect("there");
        assert_eq!((registered.owner, registered.row.account), (Some(bob), Some(ann)));
        assert_eq!(store.recover().await.expect("readable").devices, [registered]);
        store.products().delete(id).await.expect("there");
        let registered = store.devices().registered(device(1)).await;
        assert_eq!(registered.expect("readable").expect("there").row.account, Some(bob));
    })
    .await;
}

fn source(record: u64) -> Source {
    Source { record, message_id: 9, confirmable: true }
}

fn session(number: u32, full_handshake: bool, record: u64) -> Entry {
    Entry::Session {
        device: device(number),
        transport: Transport::Udp,
        snapshot: model::link::Snapshot::new([7; 100].into()),
        peer: ([192, 0, 2, 1], 5000).into(),
        hello: Hello {
            product_id: 0xFFFF,
            product_version: 1,
            flags: Default::default(),
            platform: Platform(13),
            device_id: Some(device(number)),
            system: None,
        },
        full_handshake,
        source: source(record),
        at: NOW,
    }
}

fn subscribe(number: u32, prefix: &str, record: u64) -> Entry {
    Entry::Subscribe { device: device(number), subscribe: wants(prefix), source: source(record) }
}

fn wants(prefix: &str) -> Subscribe {
    Subscribe {
        prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
        device: None,
        content: SubscriptionContent::Any,
    }
}

fn describe(number: u32, part: DescribePart) -> Entry {
    Entry::Describe { device: device(number), part: Arc::new(part), source: None, at: NOW }
}

fn publish(number: u32, account: AccountId, record: u64) -> Entry {
    let charge = Charge {
        account,
        device: device(number),
        product: None,
        kind: OperationKind::Publish,
        operations: 1,
        bytes: 3,
        at: NOW,
    };
    Entry::Publish {
        event: Arc::new(Event {
            id: EventId(0),
            account,
            origin: Origin::Device(device(number)),
            product: None,
            name: EventName::parse(b"temp").expect("a name"),
            data: None,
            ttl_s: 60,
            published_at: NOW,
        }),
        source: Some(source(record)),
        charge: Some(charge),
        point: None,
    }
}

fn application(function: &str) -> ApplicationDescription {
    ApplicationDescription { functions: vec![function.into()], variables: vec![] }
}

#[tokio::test]
async fn what_was_journalled_is_recovered() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        for number in [1, 2] {
            let new = NewDevice { account: Some(ann), key: Some(key(1)), ..new_device(number) };
            store.devices().insert(&new, NOW).await.expect("new");
        }
        let mut journal = store.journal().expect("the only writer");
        assert!(store.journal().is_none());
        let first = [session(1, true, 1), session(2, true, 1), subscribe(1, "a", 2)];
        journal.append(NOW, &first).expect("written");
        store.settle().await.expect("folded");
        let second = [
            subscribe(1, "b", 3),
            describe(1, DescribePart::Application(application("led"))),
            describe(2, DescribePart::Application(application("led"))),
            Entry::Reserve { device: device(1), record_limit: 4096 },
            publish(1, ann, 70),
            Entry::Forget { device: device(2) },
        ];
        journal.append(NOW, &second).expect("written");
        let recovery = store.recover().await.expect("readable");
        let [one] = &recovery.sessions[..] else { panic!("one session: {recovery:?}") };
        assert_eq!(one.session.device, device(1));
        assert_eq!((one.session.record_limit, one.session.record_seen), (4096, 70));
        assert_eq!(one.session.recent, [1, 2, 3, 70].map(source));
        assert_eq!(one.subscriptions, ["a", "b"].map(wants));
        assert!(one.session.online);
        assert_eq!(recovery.devices.len(), 2);
        let [first, second] = &recovery.devices[..] else { panic!("two devices") };
        let shared = first.row.description.as_ref().zip(second.row.description.as_ref());
        assert!(shared.is_some_and(|(a, b)| Arc::ptr_eq(a, b) && **a == application("led")));
        assert_eq!(first.last_handshake_at, Some(NOW));
    })
    .await;
}

#[tokio::test]
async fn record_numbers_that_were_only_heard_are_recovered_and_go_with_their_session() {
    on_each(async |store: Arc<Store>| {
        store.devices().insert(&new_device(1), NOW).await.expect("new");
        let mut journal = store.journal().expect("the only writer");
        let heard = |record_seen| Entry::Presence {
            device: device(1),
            online: true,
            peer: None,
            last_heard: NOW,
            record_seen,
        };
        for (entries, seen) in [
            (vec![session(1, true, 1), heard(70)], 70),
            (vec![heard(0)], 70),
            (vec![heard(90)], 90),
            (vec![session(1, true, 2), heard(5)], 5),
        ] {
            journal.append(NOW, &entries).expect("written");
            let recovery = store.recover().await.expect("readable");
            assert_eq!(recovery.sessions[0].session.record_seen, seen);
        }
    })
    .await;
}

#[tokio::test]
async fn a_hello_in_a_resumed_session_clears_subscriptions_and_keeps_the_record_numbers() {
    on_each(async |store: Arc<Store>| {
        store.devices().insert(&new_device(1), NOW).await.expect("new");
        let mut journal = store.journal().expect("the only writer");
        let reserve = Entry::Reserve { device: device(1), record_limit: 9000 };
        journal.append(NOW, &[session(1, true, 1), subscribe(1, "a", 500), reserve]).expect("ok");
        store.settle().await.expect("folded");
        journal.append(NOW, &[session(1, false, 400)]).expect("ok");
        let recovery = store.recover().await.expect("readable");
        let one = &recovery.sessions[0];
        assert_eq!((one.session.record_limit, one.session.record_seen), (9000, 500));
        assert_eq!(one.subscriptions, []);
        journal.append(NOW, &[session(1, true, 2)]).expect("ok");
        let recovery = store.recover().await.expect("readable");
        let one = &recovery.sessions[0];
        assert_eq!((one.session.record_limit, one.session.record_seen), (1024, 2));
        assert_eq!(one.session.recent, [source(2)]);
    })
    .await;
}

#[tokio::test]
async fn what_a_device_told_of_itself_is_kept_until_the_device_goes() {
    on_each(async |store: Arc<Store>| {
        let devices = store.devices();
        devices.insert(&new_device(1), NOW).await.expect("new");
        let system = SystemDescription { raw: b"{}".to_vec(), ..Default::default() };
        let metrics = vec![Metric { id: 18, value: -60 }];
        let mut journal = store.journal().expect("the only writer");
        let told = [
            session(1, true, 1),
            describe(1, DescribePart::Application(application("old"))),
            describe(1, DescribePart::Application(application("new"))),
            describe(1, DescribePart::System(system.clone())),
            describe(1, DescribePart::Metrics(metrics.clone())),
        ];
        journal.append(NOW, &told).expect("ok");
        store.settle().await.expect("folded");
        assert_eq!(devices.application(device(1)).await, Ok(Some(application("new"))));
        assert_eq!(devices.system(device(1)).await, Ok(Some((system, NOW))));
        let vitals = devices.vitals(device(1), 5).await.expect("readable");
        assert_eq!((vitals.len(), &vitals[0].metrics), (1, &metrics));
        let kept = devices.get(device(1)).await.expect("readable").expect("there");
        assert_eq!((kept.platform, kept.last_heard), (Some(13), Some(NOW)));
        assert_eq!(kept.peer, Some(([192, 0, 2, 1], 5000).into()));
        devices.delete(device(1)).await.expect("there");
        assert_eq!(devices.delete(device(1)).await, Err(StoreError::NotFound));
        assert_eq!(devices.system(device(1)).await, Ok(None));
        assert_eq!(store.recover().await.expect("readable").sessions, []);
    })
    .await;
}

/// The journal may not have been told before the server stopped.
#[tokio::test]
async fn a_session_from_before_its_key_was_replaced_or_denied_is_not_recovered() {
    on_each(async |store: Arc<Store>| {
        let devices = store.devices();
        let mut journal = store.journal().expect("the only writer");
        for number in 1..=4 {
            let new = NewDevice { key: Some(key(1)), ..new_device(number) };
            devices.insert(&new, NOW).await.expect("new");
            journal.append(NOW, &[session(number, true, 1)]).expect("ok");
        }
        store.settle().await.expect("folded");
        devices.set_key(device(1), &key(2), later(1)).await.expect("replaced");
        devices.set_key(device(2), &key(2), later(-1)).await.expect("replaced");
        store.teams().deny(ProductId(1), device(3), NOW).await.expect("denied");
        let recovery = store.recover().await.expect("readable");
        let left: Vec<_> = recovery.sessions.iter().map(|one| one.session.device).collect();
        assert_eq!(left, [device(2), device(4)]);
    })
    .await;
}

#[tokio::test]
async fn the_ledger_sums_by_account_device_and_hour() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        let mut journal = store.journal().expect("the only writer");
        for _ in 0..3 {
            journal.append(NOW, &[publish(1, ann, 1), publish(2, ann, 1)]).expect("ok");
            store.settle().await.expect("folded");
        }
        let hour = Hour::of(NOW);
        let (from, to) = (hour, Hour(hour.0 + 1));
        let ledger = store.ledger();
        let total = Sum { messages: 6, operations: 6, bytes: 18 };
        assert_eq!(ledger.total(ann, from, to).await, Ok(total));
        assert_eq!(ledger.total(ann, to, Hour(to.0 + 1)).await, Ok(Sum::default()));
        let hours = ledger.account_hours(ann, from, to).await.expect("readable");
        assert_eq!((hours.len(), hours[0].sum, hours[0].hour), (1, total, hour));
        let by_device = ledger.device_hours(ann, from, to).await.expect("readable");
        assert_eq!(by_device.iter().map(|row| row.sum.operations).collect::<Vec<_>>(), [3, 3]);
        let one = ledger.hours_of_device(ann, device(2), from, to).await.expect("readable");
        assert_eq!((one.len(), one[0].device, one[0].sum.bytes), (1, device(2), 9));
        let carried = ledger.traffic_of_device(ann, device(2), from, to).await.expect("readable");
        assert_eq!(carried, []);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_comes_back_gets_its_accounts_events() {
    on_each(async |store: Arc<Store>| {
        let ann = account(&store, "ann@example.org").await;
        let bob = account(&store, "bob@example.org").await;
        let mut journal = store.journal().expect("the only writer");
        let first = journal.append(NOW, &[publish(1, ann, 1), publish(2, bob, 1)]).expect("ok");
        journal.append(NOW, &[publish(1, ann, 2)]).expect("ok");
        let replay = store.replay(ann, first, NOW, |_| true).await.expect("readable");
        let ids: Vec<u64> = replay.events.iter().map(|event| event.id.0).collect();
        assert_eq!((ids, replay.missed), (vec![first.0 + 2], Missed::Nothing));
        assert_eq!(replay.upto, EventId(first.0 + 2));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_was_not_closed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ids = Vec::new();
    for round in 0..3 {
        let store = Store::open(folder.path()).await.expect("opens");
        let ann = AccountId(1);
        let mut journal = store.journal().expect("the only writer");
        for _ in 0..=round {
            ids.push(journal.append(NOW, &[publish(1, ann, 1)]).expect("ok").0);
        }
        drop((journal, store));
    }
    assert_eq!(ids, (1..=6).collect::<Vec<_>>());
    let store = Store::open(folder.path()).await.expect("opens");
    let total = store.ledger().total(AccountId(1), Hour(0), Hour(i64::MAX)).await;
    assert_eq!(total.expect("readable").operations, 6);
    store.close().await.expect("closes");
    assert!(store.accounts().list().await.is_err(), "closed");
    Store::open(folder.path()).await.expect("the folder is free though the store is still there");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = Store::open(folder.path()).await.expect("opens");
    let second = Store::open(folder.path()).await.expect_err("in use");
    assert!(matches!(second, OpenError::Locked { .. }));
    assert!(second.to_string().contains("another process"), "{second}");
}

#[tokio::test]
async fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = Store::open(file.path()).await.expect_err("a file");
    assert!(matches!(refused, OpenError::NotAFolder { .. }));
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    Store::open(folder.path()).await.expect("opens").close().await.expect("closes");
    let file = folder.path().join("store.sqlite");
    pretend_newer(&file).await;
    let refused = Store::open(folder.path()).await.expect_err("newer");
    assert!(matches!(refused, OpenError::NewerVersion { found: 9999, .. }), "{refused}");
}

async fn pretend_newer(file: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("opens");
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
               execution_time) VALUES (9999, 'future', 1, x'00', 0)";
    sqlx::query(sql).execute(&pool).await.expect("writable");
    pool.close().await;
}

#[tokio::test]
async fn damage_in_the_journal_is_told_with_file_and_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("opens");
    let mut journal = store.journal().expect("the only writer");
    journal.append(NOW, &[publish(1, AccountId(1), 1)]).expect("ok");
    journal.append(NOW, &[publish(1, AccountId(1), 2)]).expect("ok");
    drop((journal, store));
    let segment = folder.path().join("journal/00000000000000000001.journal");
    let mut bytes = std::fs::read(&segment).expect("there");
    bytes[70] ^= 4;
    std::fs::write(&segment, bytes).expect("writable");
    match Store::open(folder.path()).await {
        Err(refused) => {
            assert!(matches!(refused, OpenError::Damaged { offset: 24, .. }), "{refused}");
        }
        // The fold may have reached the tables before the store was dropped: nothing is lost then.
        Ok(store) => {
            let total = store.ledger().total(AccountId(1), Hour(0), Hour(i64::MAX)).await;
            assert_eq!(total.expect("readable").operations, 2);
        }
    }
}
