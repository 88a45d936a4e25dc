//! `/v1/products/:product/devices`: which devices are in a product.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::{DeviceId, ProductId};
use serde_json::{Value, json};
use store::{Assignment, Device};

use crate::api::{devices, groups};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::{Scope, unknown_product};
use crate::state::{State, utc_now};

/// Devices of a page, by default and at most.
const PAGE_DEFAULT: u64 = 25;
const PAGE_MAX: u64 = 1_000;

/// A page of the product's devices, by id.
pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product(&state, &caller, &path).await?;
    let matching = matching(&state, product, &caller).await?;
    let size = caller.query.number("per_page")?.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let page = caller.query.number("page")?.unwrap_or(1).max(1);
    let total = matching.len() as u64;
    let start = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let size_of_page = usize::try_from(size).unwrap_or(usize::MAX);
    let ids: Vec<DeviceId> = matching.into_iter().skip(start).take(size_of_page).collect();
    let stored = state.store.devices().get_many(&ids).await?;
    let mut objects = devices::objects(&state, &stored).await;
    show_assignments(&state, product, &ids, &mut objects).await?;
    let meta = json!({
        "page": page,
        "per_page": size,
        "total_pages": total.div_ceil(size),
        "total": total,
        "total_records": total,
    });
    Ok(Json(json!({"devices": objects, "customers": [], "meta": meta})))
}

/// `id`, `ids`, or files with one id on each line. A device can be added by its owner, or if it has
/// none; one that cannot is told apart from one that does not exist by nobody.
pub(crate) async fn add(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product(&state, &caller, &path).await?;
    let asked = asked(&caller);
    if asked.is_empty() {
        return Err(ApiError::bad_request("id, ids or a file with device ids is required"));
    }
    let (mut updated, mut invalid) = (Vec::new(), Vec::new());
    for text in asked {
        match add_one(&state, &caller, product, &text).await? {
            Some(id) => updated.push(id.to_string()),
            None => invalid.push(text),
        }
    }
    Ok(Json(json!({
        "updated": updated.len(),
        "updatedDeviceIds": updated,
        "nonmemberDeviceIds": [],
        "invalidDeviceIds": invalid,
        "protectedDeviceIds": [],
    })))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    Ok(Json(devices::full_object(&state, &device.0).await?))
}

pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    if let (Some(product), true) = (device.0.product, groups::assigns(&caller)) {
        return groups::assign(&state, product, &device, &caller).await;
    }
    devices::change_device(&state, &device, &caller).await
}

pub(crate) async fn remove(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    if caller.fields.flag("deny") {
        let text = "Devices cannot be denied by this server";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    state.store.devices().set_product(device.id(), None).await?;
    state.handle.device_changed(device.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the device from the user who claimed it; it stays in the product.
pub(crate) async fn remove_owner(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    state.store.devices().set_owner(device.id(), None, utc_now()).await?;
    state.handle.device_changed(device.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show_assignments(
    state: &State,
    product: ProductId,
    ids: &[DeviceId],
    objects: &mut Value,
) -> Result<(), ApiError> {
    let found = state.store.assignments().assignments(ids).await?;
    let by_id: BTreeMap<DeviceId, Assignment> = found.into_iter().collect();
    let pairs: Vec<(DeviceId, Assignment)> =
        ids.iter().map(|id| (*id, by_id.get(id).cloned().unwrap_or_default())).collect();
    let targeted = state.updates.targeted(product, &pairs).await;
    let shown: BTreeMap<String, _> = pairs
        .iter()
        .zip(targeted)
        .map(|((id, assignment), targeted)| (id.to_string(), (assignment, targeted)))
        .collect();
    for object in objects.as_array_mut().into_iter().flatten() {
        let id = object["id"].as_str().unwrap_or_default();
        if let Some((assignment, targeted)) = shown.get(id) {
            groups::show_assignment(object, assignment, *targeted);
        }
    }
    Ok(())
}

async fn product(
    state: &State,
    caller: &Caller,
    path: &RawPathParams,
) -> Result<ProductId, ApiError> {
    let scope = Scope::of(state, &caller.actor, path).await?;
    scope.product.ok_or_else(unknown_product)
}

/// The devices that `deviceId` and `deviceName` let through.
async fn matching(
    state: &State,
    product: ProductId,
    caller: &Caller,
) -> Result<Vec<DeviceId>, ApiError> {
    let mut ids = state.store.products().devices(product).await?;
    if let Some(part) = caller.query.text("deviceId").filter(|part| !part.is_empty()) {
        let part = part.to_ascii_lowercase();
        ids.retain(|id| id.to_string().contains(&part));
    }
    if let Some(part) = caller.query.text("deviceName").filter(|part| !part.is_empty()) {
        let part = part.to_lowercase();
        let is_named = |device: &Device| {
            device.name.as_ref().is_some_and(|name| name.to_lowercase().contains(&part))
        };
        let stored = state.store.devices().get_many(&ids).await?;
        ids = stored.iter().filter(|device| is_named(device)).map(|device| device.id).collect();
    }
    if let Some(text) = caller.query.text("groups").filter(|text| !text.is_empty()) {
        let wanted: Vec<&str> = text.split(',').map(str::trim).collect();
        let assigned = state.store.assignments().assignments(&ids).await?;
        let is_in = |assignment: &Assignment| {
            assignment.groups.iter().any(|group| wanted.contains(&group.as_str()))
        };
        let matching = assigned.iter().filter(|(_, assignment)| is_in(assignment));
        ids = matching.map(|(id, _)| *id).collect();
        ids.sort();
    }
    Ok(ids)
}

fn asked(caller: &Caller) -> Vec<String> {
    let mut asked: Vec<String> = caller.fields.text("id").into_iter().collect();
    if let Some(Value::Array(ids)) = caller.fields.value("ids") {
        asked.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    for file in &caller.files {
        let text = String::from_utf8_lossy(&file.bytes);
        asked.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    asked.retain(|text| !text.is_empty());
    asked
}

async fn add_one(
    state: &State,
    caller: &Caller,
    product: ProductId,
    text: &str,
) -> Result<Option<DeviceId>, ApiError> {
    let Ok(id) = text.parse::<DeviceId>() else { return Ok(None) };
    let Some(device) = state.store.devices().get(id).await? else { return Ok(None) };
    if device.product == Some(product) {
        return Ok(Some(id));
    }
    let is_free = device.account.is_none_or(|owner| owner == caller.actor.account);
    if !is_free || !leaves_its_product(state, caller, &device).await? {
        return Ok(None);
    }
    let more = u64::from(device.account.is_none());
    let account = caller.actor.account;
    let _permit = state.handle.billing().devices_permit(account, more, utc_now()).await?;
    state.store.devices().set_product(id, Some(product)).await?;
    state.handle.device_changed(id).await?;
    state.updates.product_changed(product).await;
    Ok(Some(id))
}

/// Whether a device may leave the product it is in: only one of the caller's own.
async fn leaves_its_product(
    state: &State,
    caller: &Caller,
    device: &Device,
) -> Result<bool, ApiError> {
    let Some(product) = device.product else { return Ok(true) };
    let known = state.store.products().get(product).await?;
    Ok(known.is_none_or(|known| known.account == caller.actor.account))
}
