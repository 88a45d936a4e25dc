//! The routes of products.

use super::{calls, devices as device_routes, events, product_devices, products as product_routes};
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
