//! The objects about firmware, releases and groups as the description tells them.
#![allow(dead_code, reason = "read by the derive macro alone")]

use serde_json::Value;
use utoipa::ToSchema;

/// A version of a product's firmware, with its file.
#[derive(ToSchema)]
pub(crate) struct NewFirmware {
    /// From 0 to 65534, as in the file.
    #[schema(required = true)]
    version: u16,
    title: Option<String>,
    description: Option<String>,
    mandatory: Option<bool>,
}

/// What people wrote about a version.
#[derive(ToSchema)]
pub(crate) struct FirmwareChange {
    title: Option<String>,
    description: Option<String>,
}

/// A version of a product's firmware.
#[derive(ToSchema)]
pub(crate) struct ProductFirmware {
    _id: String,
    version: u16,
    title: String,
    description: String,
    /// The file's name when it was uploaded.
    name: String,
    size: u64,
    product_id: u32,
    mandatory: bool,
    uploaded_by: Value,
    uploaded_on: String,
    updated_at: String,
    /// Whether a release of it is in force.
    current: bool,
    /// Whether that is for all devices.
    product_default: bool,
    /// Groups for which a release of it is in force.
    groups: Vec<String>,
    /// SHA-256 of the file.
    hash: String,
}

/// A release. With neither `product_default` nor `groups` the version is withdrawn.
#[derive(ToSchema)]
pub(crate) struct NewRelease {
    #[schema(required = true)]
    version: u16,
    /// For all devices.
    product_default: Option<bool>,
    /// For those of these groups.
    groups: Option<Vec<String>>,
    /// Said in the event of the release; devices are updated as soon as they can be in any case.
    intelligent: Option<bool>,
    /// Rising percentages of the devices, the last 100.
    stages: Option<Vec<u8>>,
}

/// What a release would reach.
#[derive(ToSchema)]
pub(crate) struct Impact {
    impact: Reach,
}

/// Devices by what a release would do to them.
#[derive(ToSchema)]
pub(crate) struct Reach {
    version: u16,
    /// All that it would be for.
    devices: u64,
    /// Those of them that run the version already.
    up_to_date: u64,
    /// Those of them that would get it as soon as their stage is open.
    online: u64,
    /// Left out, because they are locked to a version.
    locked: u64,
    /// Left out, because they are for development.
    development: u64,
}

/// Groups of many devices.
#[derive(ToSchema)]
pub(crate) struct GroupsOfDevices {
    /// At most 1000.
    #[schema(required = true)]
    ids: Vec<String>,
    /// Groups of the product.
    #[schema(required = true)]
    groups: Vec<String>,
    /// `add`, `remove`, or `replace` (unless told).
    action: Option<String>,
}

/// Which releases end.
#[derive(ToSchema)]
pub(crate) struct Withdrawal {
    #[schema(required = true)]
    version: u16,
    /// Only those for these groups.
    groups: Option<Vec<String>>,
}

/// A release and how it fares.
#[derive(ToSchema)]
pub(crate) struct Release {
    id: u64,
    version: u16,
    groups: Vec<String>,
    product_default: bool,
    made_at: String,
    #[schema(required = true)]
    ended_at: Option<String>,
    /// `running`, `paused`, `halted`, `complete` or `ended`.
    state: String,
    /// Why it halted.
    #[schema(required = true)]
    why: Option<String>,
    #[schema(required = true)]
    stages: Option<Vec<u8>>,
    /// The newest open stage, from 1 on.
    #[schema(required = true)]
    stage: Option<u64>,
    /// Devices by what became of the release there; absent when it ended.
    devices: Value,
}

/// A release.
#[derive(ToSchema)]
pub(crate) struct OneRelease {
    release: Release,
}

/// The newest releases.
#[derive(ToSchema)]
pub(crate) struct Releases {
    releases: Vec<Release>,
}

/// Stops a release or lets it go on.
#[derive(ToSchema)]
pub(crate) struct ReleaseChange {
    #[schema(required = true)]
    paused: bool,
}

/// Devices of a release.
#[derive(ToSchema)]
pub(crate) struct ReleaseDevices {
    devices: Vec<ReleaseDevice>,
    meta: Value,
}

/// A device of a release.
#[derive(ToSchema)]
pub(crate) struct ReleaseDevice {
    id: String,
    /// `waiting`, `updating`, `updated`, `failed` or `left_alone`.
    state: String,
    /// Its stage, from 1 on.
    #[schema(required = true)]
    stage: Option<u64>,
}

/// A group of a product's devices.
#[derive(ToSchema)]
pub(crate) struct GroupChange {
    /// Letters, digits, dashes, dots and underscores, at most 32.
    name: Option<String>,
    description: Option<String>,
    color: Option<String>,
}

/// A group of a product's devices.
#[derive(ToSchema)]
pub(crate) struct Group {
    name: String,
    description: String,
    color: String,
    device_count: u64,
    created_at: String,
}

/// A group.
#[derive(ToSchema)]
pub(crate) struct OneGroup {
    group: Group,
}

/// The groups of a product.
#[derive(ToSchema)]
pub(crate) struct Groups {
    groups: Vec<Group>,
}
