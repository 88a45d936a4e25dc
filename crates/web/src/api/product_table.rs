//! The routes of products.

use super::{
    calls, claims, clients, customers as customer_routes, devices as device_routes, diagnostics,
    events, product_devices, products as product_routes, team as team_routes,
};
use crate::routes::shapes as shape;
use crate::routes::{Routes, delete, get, post, put};

/// Largest list of devices, in bytes: 100,000 ids in lines fit.
const UPLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
const PREFIX: &str = "Names of events begin with it; it may hold slashes.";

pub(super) fn products() -> Routes {
    let listed = |path| {
        get(path, "Lists the products of the caller, and those of whose teams the caller is.")
            .needs("products:list")
            .gives::<shape::Products>()
    };
    let created = |path| {
        post(path, "Creates a product.")
            .needs("products:create")
            .takes::<shape::NewProduct>()
            .creates::<shape::OneProduct>()
    };
    Routes::about("Products")
        .add(listed("/v1/user/products"), product_routes::list)
        .add(created("/v1/user/products"), product_routes::create)
        .add(listed("/v1/products"), product_routes::list)
        .add(created("/v1/products"), product_routes::create)
        .add(
            get("/v1/products/{product}", "Shows a product, by number or slug.")
                .needs("products:get")
                .gives::<shape::OneProduct>(),
            product_routes::show,
        )
        .add(
            put("/v1/products/{product}", "Changes what is told; what is not told stays.")
                .needs("products:update")
                .takes::<shape::ChangedProduct>()
                .gives::<shape::OneProduct>(),
            product_routes::change,
        )
        .merge(super::webhook_table::of_products())
        .merge(product_events())
}

pub(super) fn devices() -> Routes {
    Routes::about("Devices of products")
        .add(
            get("/v1/products/{product}/devices", "Lists a product's devices by pages.")
                .needs("devices:list")
                .query("page", "From 1 on.")
                .query("per_page", "25 unless given, at most 1000.")
                .query("deviceId", "Part of an id.")
                .query("deviceName", "Part of a name.")
                .query("groups", "Names of groups with commas: devices of any of them.")
                .query(
                    "quarantined",
                    "true: those whose firmware names the product but that are not in it.",
                )
                .query("denied", "true: those that are kept out of it and cannot connect.")
                .gives::<shape::ProductDevices>(),
            product_devices::list,
        )
        .add(
            post(
                "/v1/products/{product}/devices",
                "Adds devices, by id or by a file with one in each line.",
            )
            .needs("devices:import")
            .takes_or_file::<shape::DevicesToAdd>(UPLOAD_BYTES_MAX)
            .gives::<shape::DevicesAdded>(),
            product_devices::add,
        )
        .add(
            put("/v1/products/{product}/devices", "Changes the groups of many devices.")
                .needs("devices:update")
                .takes::<crate::routes::fleet_shapes::GroupsOfDevices>()
                .gives::<shape::DevicesAdded>(),
            super::impact::assign_groups,
        )
        .add(
            get("/v1/products/{product}/devices/{device}", "Shows a device of the product.")
                .needs("devices:get")
                .gives::<shape::Device>(),
            product_devices::show,
        )
        .add(
            put("/v1/products/{product}/devices/{device}", "Changes a device of the product.")
                .needs("devices:update")
                .takes_or_file::<shape::DeviceChange>(super::flash::FLASH_BYTES_MAX)
                .gives::<shape::DeviceChanged>(),
            product_devices::change,
        )
        .add(
            delete(
                "/v1/products/{product}/devices/{device}",
                "Takes a device out of the product, or denies it.",
            )
            .needs("devices:remove")
            .takes::<shape::Removal>(),
            product_devices::remove,
        )
        .add(
            delete(
                "/v1/products/{product}/devices/{device}/owner",
                "Takes a device from who claimed it; it stays in the product.",
            )
            .needs("devices:release"),
            product_devices::remove_owner,
        )
        .add(
            put(
                "/v1/products/{product}/devices/{device}/ping",
                "Asks a device for a sign of life.",
            )
            .needs("devices:ping")
            .gives::<shape::Pinged>(),
            device_routes::ping,
        )
        .add(
            get("/v1/products/{product}/devices/{device}/{name}", "Reads a variable.")
                .needs("devices.variable:get")
                .query("format", "raw: the value alone, as text.")
                .gives::<shape::Variable>(),
            calls::variable,
        )
        .add(
            post("/v1/products/{product}/devices/{device}/{name}", "Calls a function.")
                .needs("devices.function:call")
                .takes::<shape::Argument>()
                .gives::<shape::Returned>(),
            calls::function,
        )
}

pub(super) fn team() -> Routes {
    let changed = |method: fn(_, _) -> _| {
        let operation: crate::routes::Operation =
            method("/v1/products/{product}/team/{username}", "Gives a member another role.");
        operation.needs("team:update").takes::<shape::RoleChange>().gives::<shape::Object>()
    };
    Routes::about("Teams of products")
        .add(
            get("/v1/products/{product}/team", "Lists who works on a product beside its owner.")
                .needs("team:list")
                .gives::<shape::Team>(),
            team_routes::list,
        )
        .add(
            post("/v1/products/{product}/team", "Adds a member, or makes an API user with scopes.")
                .needs("team:create")
                .takes::<shape::NewMember>()
                .gives::<shape::Object>(),
            team_routes::add,
        )
        .add(changed(put), team_routes::change)
        .add(changed(post), team_routes::change)
        .add(
            delete("/v1/products/{product}/team/{username}", "Removes a member.")
                .needs("team:remove"),
            team_routes::remove,
        )
        .add(
            put("/v1/products/{product}/team/{username}/token", "Renews the token of an API user.")
                .needs("team:update")
                .gives::<shape::Object>(),
            team_routes::renew,
        )
        .add(
            get("/v1/products/{product}/clients", "Lists the OAuth clients of a product.")
                .needs("clients:list")
                .gives::<shape::Clients>(),
            clients::list,
        )
        .add(
            post("/v1/products/{product}/clients", "Registers an OAuth client of a product.")
                .needs("clients:create")
                .takes::<shape::NewClient>()
                .gives::<shape::OneClient>(),
            clients::create,
        )
        .add(
            put("/v1/products/{product}/clients/{client}", "Changes an OAuth client.")
                .needs("clients:update")
                .takes::<shape::ClientChange>()
                .gives::<shape::OneClient>(),
            clients::change,
        )
        .add(
            delete("/v1/products/{product}/clients/{client}", "Removes an OAuth client.")
                .needs("clients:remove"),
            clients::delete,
        )
}

pub(super) fn customers() -> Routes {
    Routes::about("Customers of products")
        .add(
            get("/v1/products/{product}/customers", "Lists a product's customers by pages.")
                .needs("customers:list")
                .query("page", "From 1 on.")
                .query("per_page", "25 unless given, at most 1000.")
                .gives::<shape::Customers>(),
            customer_routes::list,
        )
        .add(
            post(
                "/v1/products/{product}/customers",
                "Makes a customer and a token of it. A client of the product proves itself, by fields or by HTTP Basic.",
            )
            .takes::<shape::NewCustomer>()
            .gives::<shape::Granted>(),
            customer_routes::create,
        )
        .add(
            put("/v1/products/{product}/customers/{email}", "Gives a customer a new password.")
                .needs("customers:update")
                .takes::<shape::NewPassword>()
                .gives::<shape::Done>(),
            customer_routes::change,
        )
        .add(
            delete("/v1/products/{product}/customers/{email}", "Removes a customer.")
                .needs("customers:remove"),
            customer_routes::remove,
        )
        .add(
            post("/v1/products/{product}/device_claims", "Makes a code by which a device joins a customer.")
                .needs("device_claims:create")
                .gives::<shape::ClaimCode>(),
            claims::create_for_product,
        )
        .add(
            get("/v1/products/{product}/diagnostics/{device}", "Lists the vital signs a device told.")
                .needs("devices.diagnostics:get")
                .query("start_date", "`YYYY-MM-DD` or a time; from then on.")
                .query("end_date", "A day, which is in it as a whole, or a time, which is not.")
                .gives::<shape::DiagnosticsHistory>(),
            diagnostics::history,
        )
        .add(
            get("/v1/products/{product}/diagnostics/{device}/last", "Shows the newest vital signs.")
                .needs("devices.diagnostics:get")
                .gives::<shape::LastDiagnostics>(),
            diagnostics::last,
        )
        .add(
            post("/v1/products/{product}/diagnostics/{device}/update", "Asks for vital signs.")
                .needs("devices.diagnostics:update")
                .gives::<shape::Done>(),
            diagnostics::update,
        )
}

fn product_events() -> Routes {
    Routes::about("Events of products")
        .add(
            get("/v1/products/{product}/events", "Streams the events of a product.")
                .needs("events:get")
                .alias("/v1/products/{product}/events/")
                .streams(),
            events::stream_all,
        )
        .add(
            post("/v1/products/{product}/events", "Publishes an event for a product.")
                .needs("events:send")
                .takes::<shape::NewEvent>()
                .gives::<shape::Done>(),
            events::publish,
        )
        .add(
            get("/v1/products/{product}/events/{*prefix}", PREFIX).needs("events:get").streams(),
            events::stream_all,
        )
        .add(
            get(
                "/v1/products/{product}/devices/{device}/events",
                "Streams the events of a product's device.",
            )
            .needs("events:get")
            .alias("/v1/products/{product}/devices/{device}/events/")
            .streams(),
            events::stream_device,
        )
        .add(
            get("/v1/products/{product}/devices/{device}/events/{*prefix}", PREFIX)
                .needs("events:get")
                .streams(),
            events::stream_device,
        )
}
