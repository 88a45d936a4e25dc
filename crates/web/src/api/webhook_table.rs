//! The routes of webhooks, which are integrations by another name, of accounts and of products.

use super::{deliveries, webhooks};
use crate::routes::shapes as shape;
use crate::routes::{Routes, delete, get, post, put};

pub(super) fn webhooks() -> Routes {
    under_webhooks(
        Routes::about("Webhooks"),
        [
            "/v1/webhooks",
            "/v1/webhooks/{webhook}",
            "/v1/webhooks/{webhook}/test",
            "/v1/webhooks/{webhook}/deliveries",
            "/v1/webhooks/{webhook}/deliveries/{delivery}/replay",
        ],
    )
}

pub(super) fn integrations() -> Routes {
    let own = [
        "/v1/integrations",
        "/v1/integrations/{webhook}",
        "/v1/integrations/{webhook}/test",
        "/v1/integrations/{webhook}/deliveries",
        "/v1/integrations/{webhook}/deliveries/{delivery}/replay",
    ];
    under_integrations(Routes::about("Integrations"), own)
}

pub(super) fn of_products() -> Routes {
    let webhooks = [
        "/v1/products/{product}/webhooks",
        "/v1/products/{product}/webhooks/{webhook}",
        "/v1/products/{product}/webhooks/{webhook}/test",
        "/v1/products/{product}/webhooks/{webhook}/deliveries",
        "/v1/products/{product}/webhooks/{webhook}/deliveries/{delivery}/replay",
    ];
    let integrations = [
        "/v1/products/{product}/integrations",
        "/v1/products/{product}/integrations/{webhook}",
        "/v1/products/{product}/integrations/{webhook}/test",
        "/v1/products/{product}/integrations/{webhook}/deliveries",
        "/v1/products/{product}/integrations/{webhook}/deliveries/{delivery}/replay",
    ];
    let routes = under_webhooks(Routes::about("Integrations of products"), webhooks);
    under_integrations(routes, integrations)
}

fn under_webhooks(routes: Routes, paths: [&'static str; 5]) -> Routes {
    let shown = get(paths[1], "Shows a webhook, its last requests and its counts.");
    under(routes, paths)
        .add(shown.needs("integrations:get").gives::<shape::OneWebhook>(), webhooks::show_webhook)
}

fn under_integrations(routes: Routes, paths: [&'static str; 5]) -> Routes {
    let shown = get(paths[1], "Shows an integration, its last requests and its counts.");
    under(routes, paths).add(
        shown.needs("integrations:get").gives::<shape::OneIntegration>(),
        webhooks::show_integration,
    )
}

fn under(routes: Routes, [all, one, test, history, replay]: [&'static str; 5]) -> Routes {
    routes
        .add(
            get(all, "Lists them.").needs("integrations:list").lists::<shape::Webhook>(),
            webhooks::list,
        )
        .add(
            post(all, "Creates one.")
                .needs("integrations:create")
                .takes::<shape::NewWebhook>()
                .creates::<shape::Webhook>(),
            webhooks::create,
        )
        .add(
            put(one, "Replaces the definition.")
                .needs("integrations:update")
                .takes::<shape::NewWebhook>()
                .gives::<shape::Webhook>(),
            webhooks::replace,
        )
        .add(delete(one, "Removes it.").needs("integrations:remove"), webhooks::delete)
        .add(
            post(test, "Causes it once.")
                .needs("integrations:test")
                .takes::<shape::WebhookTest>()
                .gives::<shape::Done>(),
            webhooks::test,
        )
        .add(
            get(history, "Lists what was sent and answered, newest first; kept for 30 days.")
                .needs("integrations:get")
                .query("outcome", "success, error, skipped or discarded.")
                .query("event", "Names of events begin with it.")
                .query("device", "A device's id, or api.")
                .query("before", "Only those before this id: the next page.")
                .query("limit", "100 unless given, at most 1000.")
                .gives::<shape::DeliveryHistory>(),
            deliveries::list,
        )
        .add(
            post(replay, "Sends the event of a delivery once more.")
                .needs("integrations:test")
                .gives::<shape::Done>(),
            deliveries::replay,
        )
}
