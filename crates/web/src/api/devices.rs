//! `/v1/devices`: list, look, claim, rename, note, signal, ping, unclaim.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawPathParams, State as Shared};
use axum::http::StatusCode;
use model::{AccountId, ApplicationDescription, DeviceId, DeviceState};
use rand::Rng;
use serde_json::{Map, Value, json};
use store::{Device, DeviceKey, NewDevice};

use crate::api::{flash, groups};
use crate::caller::{Actor, Caller, OwnedDevice};
use crate::error::ApiError;
use crate::payer::{payer_of, permit};
use crate::rights;
use crate::scope::Scope;
use crate::state::{State, utc_now};
use crate::telling::to_the_end;

/// Longest device name and notes, in bytes.
const NAME_BYTES_MAX: usize = 128;
const NOTES_BYTES_MAX: usize = 4096;
/// Smaller numbers are those of platforms.
const FIRST_PRODUCT: u32 = 10_000;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let devices = state.store.devices().list(caller.actor.account).await?;
    Ok(Json(objects(&state, &devices).await))
}

/// The objects of a list, newest handshake first.
pub(crate) async fn objects(state: &State, devices: &[Device]) -> Value {
    let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
    let states = state.handle.states(&ids).await;
    let live: std::collections::BTreeMap<DeviceId, DeviceState> =
        states.into_iter().map(|live| (live.device, live)).collect();
    let mut shown: Vec<_> =
        devices.iter().map(|device| (handshake_at(device, live.get(&device.id)), device)).collect();
    shown.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let objects = shown.iter().map(|(_, device)| object(state, device, live.get(&device.id), None));
    objects.collect()
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = caller.actor.device(&state, &device).await?;
    Ok(Json(full_object(&state, &device.0).await?))
}

/// The object of one device, with what it can do.
pub(crate) async fn full_object(state: &State, device: &Device) -> Result<Value, ApiError> {
    let live = state_of(state, device.id).await;
    let described = described(state, device.id, live.as_ref()).await?;
    let mut shown = object(state, device, live.as_ref(), described.as_deref());
    if let (Value::Object(fields), Some((system, _))) =
        (&mut shown, state.store.devices().system(device.id).await?)
    {
        fields.insert("imei".into(), json!(system.imei));
        fields.insert("iccid".into(), json!(system.iccid));
        fields.insert("last_iccid".into(), json!(system.iccid));
    }
    assigned(state, device, &mut shown).await?;
    shown["denied"] = json!(state.store.teams().is_denied(device.id).await?);
    let update = state.updates.of_device(device.id).await?;
    shown["firmware_update"] = update.as_ref().map_or(Value::Null, flash::shown);
    Ok(shown)
}

/// What a product says about its device.
async fn assigned(state: &State, device: &Device, shown: &mut Value) -> Result<(), ApiError> {
    let Some(product) = device.product else { return Ok(()) };
    let assignment = groups::assignment(state, &OwnedDevice(device.clone())).await?;
    let pair = [(device.id, assignment)];
    let targeted = state.updates.targeted(product, &pair).await;
    groups::show_assignment(shown, &pair[0].1, targeted.first().copied().flatten());
    Ok(())
}

/// What a device can do: as its shard knows it, else as it was stored (a device that has not been seen
/// since the start). In safe mode nothing is in force.
pub(crate) async fn described(
    state: &State,
    id: DeviceId,
    live: Option<&DeviceState>,
) -> Result<Option<Arc<ApplicationDescription>>, ApiError> {
    if live.is_some_and(|live| live.safe_mode) {
        return Ok(None);
    }
    if let Some(described) = live.and_then(|live| live.description.clone()) {
        return Ok(Some(described));
    }
    Ok(state.store.devices().application(id).await?.map(Arc::new))
}

/// `{id}` claims a device that nobody owns; `{product_id}` alone makes one.
pub(crate) async fn claim(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let is_new = !caller.fields.has("id") && caller.fields.has("product_id");
    to_the_end(async move {
        if is_new { create(&state, &caller).await } else { claim_known(&state, &caller).await }
    })
    .await
}

async fn claim_known(state: &State, caller: &Caller) -> Result<Json<Value>, ApiError> {
    let text = caller.fields.required("id")?;
    let id: DeviceId = text.parse().map_err(|_| unknown_to_claim())?;
    let account = caller.actor.account;
    let device = claimable(state, id, account).await?;
    if device.account.is_none() {
        check_claim(state, &caller.actor, &device).await?;
        take(state, &device, account).await?;
    }
    // One that the caller has already as well: its shard may not have been told.
    state.handle.device_changed(id).await?;
    let online = state_of(state, id).await.is_some_and(|live| live.online);
    Ok(Json(json!({
        "user_id": account.to_string(),
        "id": id.to_string(),
        "connected": online,
        "ok": true,
    })))
}

/// Gives a device that nobody owned to the account.
pub(crate) async fn take(
    state: &State,
    device: &Device,
    account: AccountId,
) -> Result<(), ApiError> {
    let payer = payer_of(state, device).await?;
    let _permit = permit(state, payer, payer.unwrap_or(account)).await?;
    // Somebody may have claimed it while the permit was waited for, or put it into a product; who holds
    // one is alone.
    let known = claimable(state, device.id, account).await?;
    if known.product != device.product {
        return Err(unknown_to_claim());
    }
    if known.account.is_none() {
        state.store.devices().set_owner(device.id, Some(account), utc_now()).await?;
    }
    Ok(())
}

/// The device, if nobody has it or the account itself; one that has another owner is refused.
async fn claimable(state: &State, id: DeviceId, account: AccountId) -> Result<Device, ApiError> {
    let device = state.store.devices().get(id).await?.ok_or_else(unknown_to_claim)?;
    if device.account.is_none_or(|owner| owner == account) {
        return Ok(device);
    }
    let text = "That belongs to someone else. To request a transfer, ask its owner to unclaim it";
    Err(ApiError::errors(StatusCode::FORBIDDEN, text))
}

/// To who has no part in its product, a device there does not exist, though nobody owns it yet.
async fn check_claim(state: &State, actor: &Actor, device: &Device) -> Result<(), ApiError> {
    if actor.works_on(state, device.product).await? { Ok(()) } else { Err(unknown_to_claim()) }
}

fn unknown_to_claim() -> ApiError {
    ApiError::errors(StatusCode::NOT_FOUND, "device does not exist")
}

/// A new device of the caller, with an id of this server and without a key: that is sent afterwards.
async fn create(state: &State, caller: &Caller) -> Result<Json<Value>, ApiError> {
    if rights::customer_of(&caller.actor.token).is_some() {
        let text = "A customer claims devices of the product and makes none";
        return Err(ApiError::errors(StatusCode::FORBIDDEN, text));
    }
    let number = caller.fields.required("product_id")?;
    let mut id = [0; 12];
    rand::rng().fill_bytes(&mut id);
    let id = DeviceId(id);
    make(state, &caller.actor, id, Some(&number), None).await?;
    state.handle.device_changed(id).await?;
    let account = caller.actor.account;
    Ok(Json(json!({"id": id.to_string(), "user_id": account.to_string(), "ok": true})))
}

/// A new device of the actor, in the product of this number, which must be one that the actor may add to.
/// Numbers of platforms stand for no product.
pub(crate) async fn make(
    state: &State,
    actor: &Actor,
    id: DeviceId,
    number: Option<&str>,
    key: Option<DeviceKey>,
) -> Result<(), ApiError> {
    let platform = number.and_then(platform_of);
    let product = match number.filter(|_| platform.is_none()) {
        Some(number) => Some(actor.product(state, number).await?),
        None => None,
    };
    let payer = product.as_ref().map_or(actor.account, |product| product.account);
    let device = NewDevice {
        id,
        account: Some(actor.account),
        product: product.as_ref().map(|product| product.id),
        name: None,
        platform: platform.or_else(|| product.map(|product| product.platform)),
        key,
        first_use: false,
    };
    let _permit = permit(state, None, payer).await?;
    Ok(state.store.devices().insert(&device, utc_now()).await?)
}

fn platform_of(number: &str) -> Option<u16> {
    number.parse().ok().filter(|number| u32::from(*number) < FIRST_PRODUCT)
}

pub(crate) async fn unclaim(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = caller.actor.device(&state, &device).await?;
    release(state, device.id()).await?;
    Ok(Json(json!({"ok": true})))
}

/// Takes a device from its owner.
pub(crate) async fn release(state: State, device: DeviceId) -> Result<(), ApiError> {
    to_the_end(async move {
        state.store.devices().set_owner(device, None, utc_now()).await?;
        Ok(state.handle.device_changed(device).await?)
    })
    .await
}

/// One of `name`, `notes` and `signal`.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    Path(device): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = caller.actor.device(&state, &device).await?;
    change_device(&state, &device, &caller).await
}

/// The same for a device that was looked up.
pub(crate) async fn change_device(
    state: &State,
    device: &OwnedDevice,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    if flash::is_wanted(caller) {
        return flash::flash(state, device, caller).await;
    }
    if caller.fields.has("name") {
        return rename(state, device, caller).await;
    }
    if caller.fields.has("notes") {
        return set_notes(state, device, caller).await;
    }
    if let Some(signal) = caller.fields.text("signal") {
        let on = matches!(signal.as_str(), "1" | "true");
        state.handle.signal(device.id(), on).await?;
        let id = device.id().to_string();
        return Ok(Json(json!({"id": id, "connected": true, "signaling": on})));
    }
    Err(ApiError::bad_request("Nothing to change: send name, notes or signal"))
}

async fn rename(
    state: &State,
    device: &OwnedDevice,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    let name = caller.fields.text("name").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(ApiError::bad_request("A device name has 1 to 128 bytes of text"));
    }
    if name.parse::<DeviceId>().is_ok() {
        return Err(ApiError::bad_request("A device name must not look like a device id"));
    }
    state.store.devices().rename(device.id(), Some(name)).await?;
    state.handle.device_changed(device.id()).await?;
    let (id, at) = (device.id().to_string(), utc_now().to_string());
    Ok(Json(json!({"id": id, "name": name, "updated_at": at})))
}

async fn set_notes(
    state: &State,
    device: &OwnedDevice,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    let notes = caller.fields.text("notes").unwrap_or_default();
    if notes.len() > NOTES_BYTES_MAX {
        return Err(ApiError::bad_request("Notes have at most 4096 bytes"));
    }
    state.store.devices().set_notes(device.id(), Some(&notes)).await?;
    let (id, at) = (device.id().to_string(), utc_now().to_string());
    Ok(Json(json!({"id": id, "notes": notes, "updated_at": at})))
}

pub(crate) async fn ping(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope::of(&state, &caller.actor, &path).await?;
    let device = scope.device(&state, &caller.actor, &path).await?;
    let online = state.handle.ping(device.id()).await?;
    Ok(Json(json!({"online": online, "ok": true})))
}

/// How one device is at this moment.
pub(crate) async fn state_of(state: &State, id: DeviceId) -> Option<DeviceState> {
    state.handle.states(&[id]).await.into_iter().next()
}

fn handshake_at(device: &Device, live: Option<&DeviceState>) -> Option<model::Timestamp> {
    live.and_then(|live| live.last_handshake_at).or(device.last_handshake_at)
}

/// The device object of the API; functions and variables are null in lists and when never described.
pub(crate) fn object(
    state: &State,
    device: &Device,
    live: Option<&DeviceState>,
    description: Option<&ApplicationDescription>,
) -> Value {
    let online = live.is_some_and(|live| live.online);
    let platform =
        live.and_then(|live| live.platform).map(|platform| platform.0).or(device.platform);
    let product = device.product.map(|product| product.0).or_else(|| platform.map(u32::from));
    let last_heard = live.and_then(|live| live.last_heard).or(device.last_heard);
    let address = live.and_then(|live| live.peer).or(device.peer).map(|peer| peer.ip().to_string());
    json!({
        "id": device.id.to_string(),
        "name": device.name,
        "last_app": null,
        "last_ip_address": address,
        "last_heard": last_heard.map(|at| at.to_string()),
        "last_handshake_at": handshake_at(device, live).map(|at| at.to_string()),
        "product_id": product.unwrap_or(0),
        "online": online,
        "connected": online,
        "platform_id": platform.unwrap_or(0),
        "cellular": state.handle.is_cellular(device.id, platform.map(model::Platform)),
        "notes": device.notes,
        "functions": description.map(|description| &description.functions),
        "variables": description.map(variables),
        "status": "normal",
        "firmware_product_id": live.and_then(|live| live.firmware_product),
        "firmware_version": live.and_then(|live| live.firmware_version),
        "system_firmware_version": live.and_then(|live| live.system_version).map(release_text),
        "firmware_updates_enabled": live.and_then(|live| live.updates_enabled).unwrap_or(true),
        "firmware_updates_forced": live.and_then(|live| live.updates_forced).unwrap_or(false),
        "safe_mode": live.is_some_and(|live| live.safe_mode),
    })
}

fn variables(description: &ApplicationDescription) -> Map<String, Value> {
    let pairs = description.variables.iter();
    pairs.map(|(name, kind)| (name.to_string(), json!(kind.as_str()))).collect()
}

/// The Device OS release of a system module version: 6200 is 6.2. The last digits count release
/// candidates as well, so they tell no patch release.
pub(super) fn release_text(version: u16) -> String {
    format!("{}.{}", version / 1000, version / 100 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_versions_tell_the_release() {
        assert_eq!(release_text(6200), "6.2");
        assert_eq!(release_text(1512), "1.5");
    }
}
