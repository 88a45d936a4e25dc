//! `/v1/products/:product/devices`: which devices are in a product.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::{AccountId, DeviceId, ProductId};
use serde_json::{Value, json};
use store::{Assignment, Device, Product, StoreError};

use crate::api::{devices, groups};
use crate::caller::{Actor, Caller};
use crate::error::ApiError;
use crate::paging::Page;
use crate::payer::{payer_of, permit};
use crate::rights;
use crate::scope::{Scope, product_of};
use crate::state::{State, utc_now};
use crate::telling::to_the_end;

/// Devices of a page, by default.
const PAGE_DEFAULT: u64 = 25;
/// Longest serial number, in bytes.
const SERIAL_BYTES_MAX: usize = 64;

/// A page of the product's devices, by id.
pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    let (is_quarantine, is_denied) =
        (caller.query.flag("quarantined"), caller.query.flag("denied"));
    let matching = match (is_quarantine, is_denied) {
        (true, _) => quarantined(&state, product).await?,
        (false, true) => state.store.teams().denied(product).await?,
        (false, false) => matching(&state, product, &caller).await?,
    };
    let page = Page::of(&caller.query, PAGE_DEFAULT)?;
    let meta = page.meta(matching.len());
    let ids: Vec<DeviceId> = page.cut(matching).collect();
    let stored = state.store.devices().get_many(&ids).await?;
    let mut objects = devices::objects(&state, &stored).await;
    show_assignments(&state, product, &ids, &mut objects).await?;
    for object in objects.as_array_mut().into_iter().flatten() {
        object["quarantined"] = json!(is_quarantine);
        object["denied"] = json!(is_denied && !is_quarantine);
    }
    Ok(Json(json!({"devices": objects, "customers": [], "meta": meta})))
}

/// `id`, `ids`, or files with one device on each line: its id, and behind a comma its serial number. A
/// device can be added by its owner, or if it has none, or if it waits in the product's quarantine;
/// one that cannot is told apart from one that does not exist by nobody. What was denied is let in.
pub(crate) async fn add(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let asked = asked(&caller);
    if asked.is_empty() {
        return Err(ApiError::bad_request("id, ids or a file with device ids is required"));
    }
    let (mut updated, mut invalid) = (Vec::new(), Vec::new());
    let by = acts_as(&caller);
    for asked in asked {
        let (id, state, product) = (asked.id.clone(), state.clone(), product.clone());
        let added = to_the_end(async move { add_one(&state, by, &product, &asked).await });
        match added.await? {
            Some(id) => updated.push(id.to_string()),
            None => invalid.push(id),
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

/// Whose devices and products the caller may dispose of: those of the account, unless the token is kept
/// to one product.
fn acts_as(caller: &Caller) -> Option<AccountId> {
    let Actor { account, token, .. } = &caller.actor;
    rights::product_of(token).is_none().then_some(*account)
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
    let denied = scope.product.filter(|_| caller.fields.flag("deny"));
    to_the_end(async move {
        if let Some(product) = denied {
            state.store.teams().deny(product, device.id(), utc_now()).await?;
        }
        put_into(&state, &device.0, None).await?;
        state.handle.device_changed(device.id()).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Takes the device from the user who claimed it; it stays in the product.
pub(crate) async fn remove_owner(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    devices::release(state, device.id()).await?;
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

/// Whose devices a product may hold: its owner's and its customers'.
async fn owners(state: &State, product: ProductId) -> Result<BTreeSet<AccountId>, ApiError> {
    let known = state.store.products().get(product).await?;
    let customers = state.store.teams().customers(product).await?;
    let customers = customers.iter().map(|customer| customer.account);
    Ok(known.map(|known| known.account).into_iter().chain(customers).collect())
}

/// Devices whose firmware names the product though they are not in it: those of its owner and of its
/// customers, and not denied.
async fn quarantined(state: &State, product: ProductId) -> Result<Vec<DeviceId>, ApiError> {
    let denied = state.store.teams().denied(product).await?;
    let mut ids = Vec::new();
    for owner in owners(state, product).await? {
        let owned = state.store.devices().list(owner).await?;
        let outside = owned.iter().filter(|device| device.product != Some(product));
        ids.extend(outside.map(|device| device.id).filter(|id| denied.binary_search(id).is_err()));
    }
    Ok(naming(state, product, &ids).await)
}

/// Those whose firmware names the product.
async fn naming(state: &State, product: ProductId, ids: &[DeviceId]) -> Vec<DeviceId> {
    let names_it = |number: Option<u16>| number.map(u32::from) == Some(product.0);
    let states = state.handle.states(ids).await;
    let naming = states.iter().filter(|live| names_it(live.firmware_product));
    naming.map(|live| live.device).collect()
}

/// A device to add.
struct Asked {
    id: String,
    serial: Option<String>,
}

impl Asked {
    /// `ID` or `ID,SERIAL`; further columns are for others.
    fn parse(line: &str) -> Self {
        let mut columns = line.split(',').map(|column| column.trim().trim_matches('"'));
        let id = columns.next().unwrap_or_default().to_owned();
        let serial = columns.next().filter(|serial| !serial.is_empty()).map(str::to_owned);
        Self { id, serial }
    }
}

fn asked(caller: &Caller) -> Vec<Asked> {
    let mut asked: Vec<Asked> =
        caller.fields.text("id").iter().map(|text| Asked::parse(text)).collect();
    if let Some(Value::Array(ids)) = caller.fields.value("ids") {
        asked.extend(ids.iter().filter_map(Value::as_str).map(Asked::parse));
    }
    for file in &caller.files {
        asked.extend(String::from_utf8_lossy(&file.bytes).lines().map(Asked::parse));
    }
    // The heading of a table is no device.
    let is_heading = |text: &str| ["id", "device_id", "deviceid"].contains(&&*text.to_lowercase());
    asked.retain(|asked| !asked.id.is_empty() && !is_heading(&asked.id));
    asked
}

/// Tells the shard of a device that is in the product already as well: it may not have been told.
async fn add_one(
    state: &State,
    by: Option<AccountId>,
    product: &Product,
    asked: &Asked,
) -> Result<Option<DeviceId>, ApiError> {
    let Ok(id) = asked.id.parse::<DeviceId>() else { return Ok(None) };
    let Some(device) = state.store.devices().get(id).await? else { return Ok(None) };
    if device.product != Some(product.id) && !join(state, by, product, &device).await? {
        return Ok(None);
    }
    state.store.teams().allow(product.id, id).await?;
    state.handle.device_changed(id).await?;
    match &asked.serial {
        Some(serial) => Ok(set_serial(state, id, serial).await?.then_some(id)),
        None => Ok(Some(id)),
    }
}

/// Puts a device into the product, if nobody else has a say in it.
async fn join(
    state: &State,
    by: Option<AccountId>,
    product: &Product,
    device: &Device,
) -> Result<bool, ApiError> {
    if !is_free(state, by, product, device).await? || !leaves_its_product(state, by, device).await?
    {
        return Ok(false);
    }
    let permit = permit(state, payer_of(state, device).await?, product.account).await?;
    // Somebody may have taken it while the permit was waited for; who holds one is alone.
    let known = state.store.devices().get(device.id).await?;
    let seen = (device.account, device.product);
    if known.is_none_or(|known| (known.account, known.product) != seen) {
        return Ok(false);
    }
    state.store.devices().set_product(device.id, Some(product.id)).await?;
    // The keeper of updates may be busy for long, and others wait for theirs.
    drop(permit);
    tell_keeper(state, device, Some(product.id)).await;
    Ok(true)
}

/// Whether nobody who is not asked owns the device: it has no owner, or is the caller's or a customer's.
/// What the product's owner has elsewhere is for the owner to add, unless its firmware names the product.
async fn is_free(
    state: &State,
    by: Option<AccountId>,
    product: &Product,
    device: &Device,
) -> Result<bool, ApiError> {
    let Some(owner) = device.account else { return Ok(true) };
    if Some(owner) == by {
        return Ok(true);
    }
    if owner == product.account {
        return Ok(!naming(state, product.id, &[device.id]).await.is_empty());
    }
    is_customers(state, product, device).await
}

/// Puts a device into a product, or into none.
async fn put_into(
    state: &State,
    device: &Device,
    product: Option<ProductId>,
) -> Result<(), ApiError> {
    state.store.devices().set_product(device.id, product).await?;
    tell_keeper(state, device, product).await;
    Ok(())
}

/// The updates of a device's former product end with it, and the key of a denied device counts no more:
/// its session ends.
async fn tell_keeper(state: &State, device: &Device, product: Option<ProductId>) {
    for changed in device.product.into_iter().chain(product) {
        state.updates.product_changed(changed).await;
    }
}

async fn is_customers(state: &State, product: &Product, device: &Device) -> Result<bool, ApiError> {
    let customers = state.store.teams().customers(product.id).await?;
    Ok(customers.iter().any(|customer| Some(customer.account) == device.account))
}

/// False if the number is too long or another device's.
async fn set_serial(state: &State, id: DeviceId, serial: &str) -> Result<bool, ApiError> {
    if serial.len() > SERIAL_BYTES_MAX {
        return Ok(false);
    }
    match state.store.teams().set_serial(id, serial).await {
        Ok(()) => Ok(true),
        Err(StoreError::Taken) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// Whether a device may leave the product it is in: only one of the caller's own.
async fn leaves_its_product(
    state: &State,
    by: Option<AccountId>,
    device: &Device,
) -> Result<bool, ApiError> {
    let Some(product) = device.product else { return Ok(true) };
    let known = state.store.products().get(product).await?;
    Ok(known.is_none_or(|known| Some(known.account) == by))
}
