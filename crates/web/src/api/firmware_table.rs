//! The routes of firmware, releases and groups.

use super::flash::FLASH_BYTES_MAX;
use super::{firmware, groups, impact, releases};
use crate::routes::fleet_shapes as shape;
use crate::routes::{Routes, delete, get, post, put};

pub(super) fn firmware_of_products() -> Routes {
    Routes::about("Firmware of products")
        .add(
            get("/v1/products/{product}/firmware", "Lists a product's firmware, newest first.")
                .needs("firmware:list")
                .lists::<shape::ProductFirmware>(),
            firmware::list,
        )
        .add(
            post("/v1/products/{product}/firmware", "Uploads a version of a product's firmware.")
                .needs("firmware:create")
                .takes_or_file::<shape::NewFirmware>(FLASH_BYTES_MAX)
                .creates::<shape::ProductFirmware>(),
            firmware::upload,
        )
        .add(
            put("/v1/products/{product}/firmware/release", "Releases a version, or withdraws it.")
                .needs("firmware:release")
                .takes::<shape::NewRelease>(),
            firmware::release,
        )
        .add(
            delete("/v1/products/{product}/firmware/release", "Withdraws a version.")
                .needs("firmware:release")
                .takes::<shape::Withdrawal>(),
            firmware::withdraw,
        )
        .add(
            get("/v1/products/{product}/firmware/{version}", "Shows a version.")
                .needs("firmware:get")
                .gives::<shape::ProductFirmware>(),
            firmware::show,
        )
        .add(
            put("/v1/products/{product}/firmware/{version}", "Changes title and description.")
                .needs("firmware:update")
                .takes::<shape::FirmwareChange>()
                .gives::<shape::ProductFirmware>(),
            firmware::change,
        )
        .add(
            delete(
                "/v1/products/{product}/firmware/{version}",
                "Removes a version that was never released.",
            )
            .needs("firmware:remove"),
            firmware::delete,
        )
        .add(
            get("/v1/products/{product}/firmware/{version}/binary", "Downloads a version's file.")
                .needs("firmware:get")
                .gives_raw("application/octet-stream"),
            firmware::binary,
        )
}

pub(super) fn releases_of_products() -> Routes {
    Routes::about("Releases")
        .add(
            get("/v1/products/{product}/releases", "Lists the newest releases and how they fare.")
                .needs("firmware:list")
                .gives::<shape::Releases>(),
            releases::list,
        )
        .add(
            get("/v1/products/{product}/releases/{release}", "Shows how a release fares.")
                .needs("firmware:get")
                .gives::<shape::OneRelease>(),
            releases::show,
        )
        .add(
            put("/v1/products/{product}/releases/{release}", "Stops a release, or lets it go on.")
                .needs("firmware:release")
                .takes::<shape::ReleaseChange>()
                .gives::<shape::OneRelease>(),
            releases::change,
        )
        .add(
            get(
                "/v1/products/{product}/releases/{release}/devices",
                "Lists a release's devices by pages, with what became of it there.",
            )
            .needs("firmware:get")
            .query("page", "From 1 on.")
            .query("per_page", "100 unless given, at most 1000.")
            .query("state", "waiting, updating, updated, failed or left_alone.")
            .gives::<shape::ReleaseDevices>(),
            releases::devices,
        )
        .add(
            get("/v1/products/{product}/impact", "Tells what a release would reach.")
                .needs("firmware:list")
                .query("version", "Which version; needed.")
                .query("groups", "For these groups, with commas; otherwise for all devices.")
                .gives::<shape::Impact>(),
            impact::of_release,
        )
}

pub(super) fn groups_of_products() -> Routes {
    Routes::about("Groups")
        .add(
            get("/v1/products/{product}/groups", "Lists the groups of a product's devices.")
                .needs("groups:list")
                .gives::<shape::Groups>(),
            groups::list,
        )
        .add(
            post("/v1/products/{product}/groups", "Creates a group.")
                .needs("groups:create")
                .takes::<shape::GroupChange>()
                .creates::<shape::OneGroup>(),
            groups::create,
        )
        .add(
            get("/v1/products/{product}/groups/{group}", "Shows a group.")
                .needs("groups:get")
                .gives::<shape::OneGroup>(),
            groups::show,
        )
        .add(
            put("/v1/products/{product}/groups/{group}", "Changes a group.")
                .needs("groups:update")
                .takes::<shape::GroupChange>()
                .gives::<shape::OneGroup>(),
            groups::change,
        )
        .add(
            delete("/v1/products/{product}/groups/{group}", "Removes a group; its devices stay.")
                .needs("groups:remove"),
            groups::delete,
        )
}
