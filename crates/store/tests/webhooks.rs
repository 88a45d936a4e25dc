//! Webhooks, OAuth clients and second factors, on every kind of store.

mod support;

use model::{AccountId, ProductId, Timestamp};
use store::{Client, StoreError, TokenHash, Webhook, WebhookDay};
use support::{NOW, account, on_each};

fn webhook(id: &str, account: AccountId) -> Webhook {
    Webhook {
        id: id.into(),
        account,
        product: None,
        definition: "{}".into(),
        created_at: NOW,
        updated_at: NOW,
    }
}

#[tokio::test]
async fn a_webhook_is_listed_replaced_and_removed() {
    on_each(|store| async move {
        let (a, b) = (account(&store, "a@x").await, account(&store, "b@x").await);
        let hooks = store.webhooks();
        let first = webhook("1", a);
        let second = Webhook { product: Some(ProductId(7)), ..webhook("2", a) };
        hooks.insert(&first).await.expect("inserted");
        hooks.insert(&second).await.expect("inserted");
        hooks.insert(&webhook("3", b)).await.expect("inserted");
        assert_eq!(hooks.insert(&first).await, Err(StoreError::Taken));
        assert_eq!(hooks.list(a).await.expect("a list"), [first, second]);
        assert_eq!(hooks.accounts().await.expect("a list"), [a, b]);
        hooks.replace("1", "{\"a\":1}", Timestamp(2)).await.expect("replaced");
        let found = hooks.get("1").await.expect("read").expect("there");
        assert_eq!((found.definition.as_str(), found.updated_at), ("{\"a\":1}", Timestamp(2)));
        hooks.delete("1").await.expect("removed");
        assert_eq!(hooks.get("1").await, Ok(None));
        assert_eq!(hooks.delete("1").await, Err(StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn counts_of_a_webhook_add_up_for_each_day_and_go_with_it() {
    on_each(|store| async move {
        let hooks = store.webhooks();
        hooks.insert(&webhook("1", account(&store, "a@x").await)).await.expect("inserted");
        let one = WebhookDay { day: 5, succeeded: 1, skipped: 2, ..WebhookDay::default() };
        let other = WebhookDay { day: 6, discarded: 1, ..WebhookDay::default() };
        for day in [one, one, other] {
            hooks.count("1", day).await.expect("counted");
        }
        hooks.count("gone", one).await.expect("ignored");
        let twice = WebhookDay { succeeded: 2, skipped: 4, ..one };
        assert_eq!(hooks.days("1", 0).await.expect("days"), [twice, other]);
        hooks.purge_days(6).await.expect("purged");
        assert_eq!(hooks.days("1", 0).await.expect("days"), [other]);
        assert_eq!(hooks.days("gone", 0).await.expect("days"), []);
        hooks.delete("1").await.expect("removed");
        assert_eq!(hooks.days("1", 0).await.expect("days"), []);
    })
    .await;
}

#[tokio::test]
async fn a_one_time_password_is_used_once() {
    on_each(|store| async move {
        let (a, factors) = (account(&store, "a@x").await, store.second_factors());
        assert_eq!(factors.secret(a).await, Ok(None));
        assert_eq!(factors.use_step(a, 9).await, Ok(false));
        factors.set(a, Some(b"secret")).await.expect("set");
        assert_eq!(factors.secret(a).await, Ok(Some(b"secret".to_vec())));
        assert_eq!(factors.use_step(a, 9).await, Ok(true));
        assert_eq!(factors.use_step(a, 9).await, Ok(false));
        assert_eq!(factors.use_step(a, 8).await, Ok(false));
        assert_eq!(factors.use_step(a, 10).await, Ok(true));
        factors.set(a, None).await.expect("taken away");
        assert_eq!(factors.secret(a).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn a_client_is_known_by_its_id_and_goes_with_its_account() {
    on_each(|store| async move {
        let (a, clients) = (account(&store, "a@x").await, store.clients());
        let client = Client {
            id: "app-1".into(),
            account: a,
            product: None,
            name: "App".into(),
            kind: "installed".into(),
            redirect_uri: None,
            scope: None,
            secret: TokenHash::of("s"),
            created_at: NOW,
        };
        clients.insert(&client).await.expect("inserted");
        store.webhooks().insert(&webhook("1", a)).await.expect("inserted");
        store.second_factors().set(a, Some(b"s")).await.expect("set");
        assert_eq!(clients.list(a).await, Ok(vec![client.clone()]));
        clients.update("app-1", "App 2", Some("*")).await.expect("updated");
        let found = clients.get("app-1").await.expect("read").expect("there");
        assert_eq!((found.name.as_str(), found.scope.as_deref()), ("App 2", Some("*")));
        store.accounts().delete(a).await.expect("removed");
        assert_eq!(clients.get("app-1").await, Ok(None));
        assert_eq!(store.webhooks().list(a).await, Ok(vec![]));
        assert_eq!(store.second_factors().secret(a).await, Ok(None));
    })
    .await;
}
