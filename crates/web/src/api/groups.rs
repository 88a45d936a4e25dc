//! `/v1/products/:product/groups`: groups of a product's devices; and what is assigned to one device.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::ProductId;
use serde_json::{Value, json};
use store::{Assignment, AssignmentChange, Group, GroupChange, StoreError};

use crate::api::firmware::{names, unknown_version, version};
use crate::caller::{Caller, OwnedDevice};
use crate::error::ApiError;
use crate::scope::{parameter, product_of};
use crate::state::{State, utc_now};

/// Longest name, and longest description, in bytes.
const NAME_BYTES_MAX: usize = 32;
const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Groups of a product.
const GROUPS_MAX: usize = 200;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let groups = state.store.assignments().groups(product.id).await?;
    let counts = counts(&state, product.id).await?;
    let shown: Vec<Value> = groups.iter().map(|group| shown(group, &counts)).collect();
    Ok(Json(json!({"groups": shown})))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let group = of_path(&state, product.id, &path).await?;
    let counts = counts(&state, product.id).await?;
    Ok(Json(json!({"group": shown(&group, &counts)})))
}

/// `name`, `description`, `color`.
pub(crate) async fn create(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let new = Group {
        product: product.id,
        name: String::new(),
        description: String::new(),
        color: String::new(),
        created_at: utc_now(),
    };
    let group = changed(new, &caller)?;
    if state.store.assignments().groups(product.id).await?.len() >= GROUPS_MAX {
        return Err(ApiError::bad_request("A product has at most 200 groups"));
    }
    state.store.assignments().insert_group(&group).await?;
    Ok((StatusCode::CREATED, Json(json!({"group": shown(&group, &[])}))))
}

pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let group = of_path(&state, product.id, &path).await?;
    let name = group.name.clone();
    let group = changed(group, &caller)?;
    if group.name != name && is_released(&state, product.id, &name).await? {
        return Err(has_release());
    }
    state.store.assignments().update_group(&name, &group).await?;
    state.updates.product_changed(product.id).await;
    Ok(Json(json!({"group": shown(&group, &counts(&state, product.id).await?)})))
}

pub(crate) async fn delete(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let group = of_path(&state, product.id, &path).await?;
    if is_released(&state, product.id, &group.name).await? {
        return Err(has_release());
    }
    state.store.assignments().delete_group(product.id, &group.name).await?;
    state.updates.product_changed(product.id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What a device of a product is assigned to.
pub(crate) async fn assignment(
    state: &State,
    device: &OwnedDevice,
) -> Result<Assignment, ApiError> {
    let found = state.store.assignments().assignments(&[device.id()]).await?;
    Ok(found.into_iter().next().map(|(_, assignment)| assignment).unwrap_or_default())
}

/// Writes what is assigned to a device into its object.
pub(crate) fn show_assignment(shown: &mut Value, assignment: &Assignment, targeted: Option<u16>) {
    shown["development"] = json!(assignment.development);
    shown["groups"] = json!(assignment.groups);
    shown["desired_firmware_version"] = json!(assignment.desired);
    shown["targeted_firmware_release_version"] = json!(targeted);
}

/// Whether the request assigns something to a device of a product.
pub(crate) fn assigns(caller: &Caller) -> bool {
    ["desired_firmware_version", "development", "groups"].iter().any(|key| caller.fields.has(key))
}

/// `desired_firmware_version` (a number, or null to unlock), `development`, `groups`. A lock sends the version as
/// soon as the device is there, with `flash` or without.
pub(crate) async fn assign(
    state: &State,
    product: ProductId,
    device: &OwnedDevice,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    let mut change = AssignmentChange::default();
    let mut shown = json!({"id": device.id().to_string(), "updated_at": utc_now().to_string()});
    if caller.fields.has("development") {
        let development = caller.fields.flag("development");
        change.development = Some(development);
        shown["development"] = json!(development);
    }
    if caller.fields.has("groups") {
        let names = known(state, product, &names(caller, "groups")).await?;
        shown["groups"] = json!(names);
        change.groups = Some(GroupChange::Replace(names));
    }
    if caller.fields.has("desired_firmware_version") {
        let desired = desired(state, product, caller).await?;
        change.desired = Some(desired);
        shown["desired_firmware_version"] = json!(desired);
    }
    if state.store.assignments().assign(product, &[device.id()], &change).await?.is_empty() {
        return Err(StoreError::NotFound.into());
    }
    state.updates.product_changed(product).await;
    Ok(Json(shown))
}

/// Those names, all of which must be groups of the product.
pub(crate) async fn known(
    state: &State,
    product: ProductId,
    names: &[String],
) -> Result<Vec<String>, ApiError> {
    let groups = state.store.assignments().groups(product).await?;
    for name in names {
        if !groups.iter().any(|group| group.name == *name) {
            return Err(ApiError::bad_request(&format!("The product has no group {name:?}")));
        }
    }
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    Ok(names)
}

async fn desired(
    state: &State,
    product: ProductId,
    caller: &Caller,
) -> Result<Option<u16>, ApiError> {
    let text = caller.fields.text("desired_firmware_version");
    let Some(text) = text.filter(|text| !text.is_empty() && text != "null") else {
        return Ok(None);
    };
    let version = version(&text)?;
    let found = state.store.firmware().get(product, version).await?;
    found.map(|_| Some(version)).ok_or_else(unknown_version)
}

fn changed(group: Group, caller: &Caller) -> Result<Group, ApiError> {
    let name = caller.fields.text("name").unwrap_or(group.name);
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_good) {
        let text = "A group's name has 1 to 32 letters, digits, dashes, dots and underscores";
        return Err(ApiError::bad_request(text));
    }
    let description = caller.fields.text("description").unwrap_or(group.description);
    if description.len() > DESCRIPTION_BYTES_MAX {
        return Err(ApiError::bad_request("description has at most 1024 bytes"));
    }
    let color = caller.fields.text("color").unwrap_or(group.color);
    if color.len() > NAME_BYTES_MAX {
        return Err(ApiError::bad_request("color has at most 32 bytes"));
    }
    Ok(Group { name, description, color, ..group })
}

async fn of_path(
    state: &State,
    product: ProductId,
    path: &RawPathParams,
) -> Result<Group, ApiError> {
    let name = parameter(path, "group").unwrap_or_default();
    let groups = state.store.assignments().groups(product).await?;
    let found = groups.into_iter().find(|group| group.name == name);
    found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Group not found"))
}

/// A release names its groups: one that has a release in force keeps its name.
async fn is_released(state: &State, product: ProductId, name: &str) -> Result<bool, ApiError> {
    let releases = state.store.releases().in_force().await?;
    let of_product = releases.iter().filter(|release| release.product == product);
    Ok(of_product.flat_map(|release| &release.groups).any(|group| group == name))
}

fn has_release() -> ApiError {
    let text = "A release for this group is in force: withdraw it first";
    ApiError::errors(StatusCode::CONFLICT, text)
}

async fn counts(state: &State, product: ProductId) -> Result<Vec<(String, u64)>, ApiError> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for (_, assignment) in state.store.assignments().of_product(product).await? {
        for group in assignment.groups {
            *counts.entry(group).or_default() += 1;
        }
    }
    Ok(counts.into_iter().collect())
}

fn shown(group: &Group, counts: &[(String, u64)]) -> Value {
    let devices =
        counts.iter().find(|(name, _)| *name == group.name).map_or(0, |(_, count)| *count);
    json!({
        "name": group.name,
        "description": group.description,
        "color": group.color,
        "device_count": devices,
        "created_at": group.created_at.to_string(),
    })
}
