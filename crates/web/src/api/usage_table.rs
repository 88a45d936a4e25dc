//! The routes of usage and plans.

use super::{agreements, usage, usage_reports};
use crate::routes::shapes as shape;
use crate::routes::{Routes, get, post, put};

pub(super) fn usage() -> Routes {
    Routes::about("Usage and plans")
        .add(
            put("/v1/user/service_agreements/{id}", "Changes the plan or its blocks, at once.")
                .needs("service_agreements:update")
                .takes::<shape::NewAgreement>()
                .gives::<shape::Agreement>(),
            agreements::change,
        )
        .add(
            post("/v1/user/service_agreements/{id}/usage_reports", "Asks for a report of usage.")
                .needs("usage:get")
                .takes::<shape::NewUsageReport>()
                .creates::<shape::UsageReport>(),
            usage_reports::create,
        )
        .add(
            get("/v1/user/usage_reports/{report}", "Shows a report, with the address it is at.")
                .needs("usage:get")
                .gives::<shape::UsageReport>(),
            usage_reports::show,
        )
        .add(
            get("/v1/usage_reports/{secret}", "Fetches a report; its address is all it needs.")
                .gives_raw("text/csv"),
            usage_reports::fetch,
        )
        .add(
            get("/v1/user/usage/why", "Lists what was counted lately, one by one, newest first.")
                .needs("usage:get")
                .query("device", "Only this device, by id or name.")
                .query("limit", "At most so many; 100 if not told, 10,000 at most.")
                .gives::<shape::Why>(),
            usage::why,
        )
        .add(
            get("/v1/user/usage/devices", "Tells what each device used on each day.")
                .needs("usage:get")
                .query("from", "First day in UTC, as 2026-01-31.")
                .query("to", "Last day.")
                .gives::<shape::DeviceDays>(),
            usage::devices,
        )
        .add(
            get("/v1/user/usage/estimate", "Reckons what a fleet would use, and the plan for it.")
                .needs("usage:get")
                .query("devices", "How many.")
                .query("every", "Each publishes once in this interval, such as 10m.")
                .query("publishes", "Instead: events each publishes in a day.")
                .query("deliveries", "Events each gets in a day.")
                .query("functions", "Calls each gets in a day.")
                .query("variables", "Variable requests each gets in a day.")
                .query("points", "Locations stored for each in a day.")
                .query("payload", "Bytes of data of an event; 100 if not told.")
                .query("connected", "wifi, cellular or tracker.")
                .query("catalogue", "Name of a plan catalogue.")
                .gives::<shape::Estimated>(),
            usage::estimate,
        )
}
