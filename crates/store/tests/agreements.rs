//! Agreements, notices and closed periods, on each kind of store.

mod support;

use model::journal::{Carried, Charge, Entry, MessageName, OperationKind};
use model::{AccountId, Bearer, DeviceId, Traffic};
use store::{
    ClosedPeriod, Decided, Hour, NewDevice, NewNotice, OpenUsage, Product, Store, StoredAgreement,
};
use support::{NOW, account, on_each};

fn decided(account: AccountId, opened: i64, closes: i64) -> Decided {
    let agreement = StoredAgreement {
        account,
        agreement: "free".to_owned(),
        keeper: "remembers".to_owned(),
        opened: Hour(opened),
        closes: Hour(closes),
    };
    Decided { agreement, closed: None, notices: Vec::new() }
}

async fn charge(store: &Store, account: AccountId, hours: &[i64]) {
    let mut journal = store.journal().expect("free");
    let entry = |hour: &i64| Entry::Attempt {
        charge: Charge {
            account,
            device: DeviceId([1; 12]),
            product: None,
            kind: OperationKind::Publish,
            operations: 1,
            bytes: 10,
            at: Hour(*hour).start(),
        },
        name: MessageName::None,
        attempt: 1,
    };
    let entries: Vec<Entry> = hours.iter().map(entry).collect();
    journal.append(NOW, &entries).expect("written");
    drop(journal);
    store.settle().await.expect("folded");
}

async fn carry(store: &Store, account: AccountId, bearer: Bearer, hours: &[i64]) {
    let mut journal = store.journal().expect("free");
    let entry = |hour: &i64| {
        Entry::Traffic(Carried {
            account,
            device: DeviceId([1; 12]),
            product: None,
            bearer,
            traffic: Traffic { received: 10, sent: 20 },
            at: Hour(*hour).start(),
        })
    };
    let entries: Vec<Entry> = hours.iter().map(entry).collect();
    journal.append(NOW, &entries).expect("written");
    drop(journal);
    store.settle().await.expect("folded");
}

#[tokio::test]
async fn an_account_without_an_agreement_is_told_apart() {
    on_each(|store| async move {
        let agreements = store.agreements();
        let (first, second) = (account(&store, "a@x").await, account(&store, "b@x").await);
        agreements.decide(&decided(first, 0, 10)).await.expect("written");
        assert_eq!(agreements.without().await.expect("read"), [(second, NOW)]);
        assert_eq!(agreements.all().await.expect("read"), [decided(first, 0, 10).agreement]);
        store.accounts().delete(first).await.expect("there");
        assert_eq!(agreements.all().await.expect("read"), []);
    })
    .await;
}

#[tokio::test]
async fn an_open_usage_is_that_of_its_hours_alone() {
    on_each(|store| async move {
        let owner = account(&store, "a@x").await;
        let agreements = store.agreements();
        charge(&store, owner, &[99, 100, 100, 199, 200]).await;
        for bearer in [Bearer::Cellular, Bearer::Tracker, Bearer::Tracker, Bearer::Wifi] {
            carry(&store, owner, bearer, &[99, 100, 199, 200]).await;
        }
        agreements.decide(&decided(owner, 100, 200)).await.expect("written");
        let (cellular_bytes, tracker_bytes) = (60, 120);
        let usage = OpenUsage { account: owner, operations: 3, cellular_bytes, tracker_bytes };
        assert_eq!(agreements.open_usages().await.expect("read"), [usage]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_counted_in_a_period_that_was_closed() {
    on_each(|store| async move {
        let owner = account(&store, "a@x").await;
        let other = account(&store, "b@x").await;
        charge(&store, owner, &[50]).await;
        store.agreements().decide(&decided(owner, 100, 200)).await.expect("written");
        charge(&store, owner, &[50, 99, 100, 150]).await;
        charge(&store, other, &[50]).await;
        let ledger = store.ledger();
        let sum = |account, from, to| async move {
            ledger.total(account, Hour(from), Hour(to)).await.expect("read").operations
        };
        assert_eq!(sum(owner, 0, 100).await, 1);
        assert_eq!(sum(owner, 100, 101).await, 3);
        assert_eq!(sum(owner, 0, 1000).await, 5);
        assert_eq!(sum(other, 0, 100).await, 1);
        let devices = ledger.device_hours(owner, Hour(0), Hour(1000)).await.expect("read");
        let of_devices: u64 = devices.iter().map(|line| line.sum.operations).sum();
        assert_eq!(of_devices, 5);
    })
    .await;
}

#[tokio::test]
async fn notices_are_listed_newest_first_and_mailed_oldest_first() {
    on_each(|store| async move {
        let owner = account(&store, "a@x").await;
        let agreements = store.agreements();
        let notice = |body: &str| NewNotice { at: NOW, body: body.to_owned() };
        let notices = vec![notice("first"), notice("second")];
        let closed = ClosedPeriod { opened: Hour(0), closed: Hour(10), body: "used".to_owned() };
        let written = Decided { closed: Some(closed.clone()), notices, ..decided(owner, 10, 20) };
        agreements.decide(&written).await.expect("written");
        assert_eq!(agreements.closed_periods(owner, 9).await.expect("read"), [closed]);
        let listed = agreements.notices(owner, 10).await.expect("read");
        assert_eq!(listed.iter().map(|n| &n.body).collect::<Vec<_>>(), ["second", "first"]);
        let due = agreements.notices_to_mail(1).await.expect("read");
        assert_eq!(due[0].body, "first");
        agreements.notice_mailed(due[0].id, NOW).await.expect("there");
        let due = agreements.notices_to_mail(9).await.expect("read");
        assert_eq!(due.iter().map(|n| &n.body).collect::<Vec<_>>(), ["second"]);
    })
    .await;
}

#[tokio::test]
async fn the_owner_of_a_product_pays_for_its_devices() {
    on_each(|store| async move {
        let (vendor, user) = (account(&store, "a@x").await, account(&store, "b@x").await);
        let product = Product {
            id: model::ProductId(7),
            account: vendor,
            name: "p".to_owned(),
            slug: "p".to_owned(),
            description: String::new(),
            platform: 13,
            location_opt_in: false,
            created_at: NOW,
        };
        store.products().insert(&product).await.expect("new");
        for (number, account, product) in [
            (1, Some(user), None),
            (2, Some(user), Some(product.id)),
            (3, None, Some(product.id)),
            (4, None, None),
            // In a product that does not exist.
            (5, Some(user), Some(model::ProductId(8))),
            (6, None, Some(model::ProductId(8))),
        ] {
            let id = DeviceId([number; 12]);
            let device = NewDevice {
                id,
                account,
                product,
                name: None,
                platform: None,
                key: None,
                first_use: false,
            };
            store.devices().insert(&device, NOW).await.expect("new");
        }
        let agreements = store.agreements();
        assert_eq!(agreements.paid_devices().await.expect("read"), [(vendor, 2), (user, 2)]);
        assert_eq!(agreements.paid_devices_of(vendor).await.expect("read"), 2);
        assert_eq!(agreements.paid_devices_of(user).await.expect("read"), 2);
    })
    .await;
}
