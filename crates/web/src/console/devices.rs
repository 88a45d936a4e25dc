//! `/console/devices`: a page of the list, and what the API does not tell of a device.

use axum::Json;
use axum::extract::{Path, State as Shared};
use model::{DeviceId, DeviceState, ProductId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::{Device, Hour, StoreError, Vitals};

use super::fleet::{Question, Row, Sort};
use crate::api::devices::{described, object};
use crate::caller::{Actor, Caller, OwnedDevice};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::{State, utc_now};

/// Devices of a page, by default and at most.
const PAGE_DEFAULT: u64 = 50;
const PAGE_MAX: u64 = 200;
/// Longest text that is searched for, in bytes.
const TEXT_BYTES_MAX: usize = 128;
/// Days of usage that a device's page shows.
const DAYS_SHOWN: i64 = 31;
const HOURS_PER_DAY: i64 = 24;
/// The vital `net:sigstr` (`messages.md` §6.7): percent, in 256ths.
const SIGNAL_STRENGTH: u16 = 33;
const PARTS_PER_PERCENT: f64 = 256.0;

/// `q`, `online`, `product`, `sort`, `dir`, `page` and `per_page`.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.actor.account;
    let asked = question(&caller.query)?;
    let size = caller.query.number("per_page")?.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let page = caller.query.number("page")?.unwrap_or(1).max(1);
    let skip = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let take = usize::try_from(size).unwrap_or(usize::MAX);
    let fleet = state.fleets.fleet(&state.handle, account).await;
    let (rows, matching) = fleet.page(&asked, skip, take);
    let devices = shown(&state, &rows).await?;
    let products = state.store.products().list(account).await?;
    let products: BTreeMap<String, &str> =
        products.iter().map(|product| (product.id.to_string(), product.name.as_str())).collect();
    let (total, online) = fleet.counts();
    Ok(Json(json!({
        "devices": devices,
        "products": products,
        "page": page,
        "per_page": size,
        "matching": matching,
        "total": total,
        "online": online,
    })))
}

/// What only the console shows of a device: its keys and what it cost.
pub(super) async fn show(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = visible(&state, &caller.actor, &text).await?;
    let (id, now) = (device.id(), utc_now());
    let live = state.handle.states(&[id]).await.into_iter().next();
    let description = described(&state, id, live.as_ref()).await?;
    let former = state.store.devices().former_keys(id).await?;
    let former: Vec<Value> = former
        .iter()
        .map(|key| {
            json!({"sha256": hex::encode(key.key.hash.0), "replaced_at": key.replaced_at.to_string()})
        })
        .collect();
    let transport = live.as_ref().and_then(|live| live.transport);
    Ok(Json(json!({
        "device": object(&state, &device.0, live.as_ref(), description.as_deref()),
        "owned": device.0.account == Some(caller.actor.account),
        "transport": transport.map(|transport| match transport {
            model::link::Transport::Tcp => "RSA + AES over TCP",
            model::link::Transport::Udp => "DTLS over UDP",
        }),
        "events_dropped": live.as_ref().map_or(0, |live| live.events_dropped),
        "created_at": device.0.created_at.to_string(),
        "claimed_at": device.0.claimed_at.map(|at| at.to_string()),
        "key": device.0.key.map(|key| hex::encode(key.0)),
        "key_bound_at_first_use": device.0.first_use,
        "former_keys": former,
        "days": days(&state, &caller.actor, id, now).await?,
    })))
}

/// A device that the actor owns, or one of a product of the actor's.
async fn visible(state: &State, actor: &Actor, text: &str) -> Result<OwnedDevice, ApiError> {
    let Ok(id) = text.parse::<DeviceId>() else { return Err(ApiError::unknown_device()) };
    let found = state.store.devices().get(id).await?.ok_or_else(ApiError::unknown_device)?;
    if found.account == Some(actor.account) {
        return Ok(OwnedDevice(found));
    }
    let product = found.product.ok_or_else(ApiError::unknown_device)?;
    let product = state.store.products().get(product).await?;
    let is_paid = product.is_some_and(|product| product.account == actor.account);
    if is_paid { Ok(OwnedDevice(found)) } else { Err(ApiError::unknown_device()) }
}

/// Data Operations of each UTC day that had any, oldest first.
async fn days(
    state: &State,
    actor: &Actor,
    device: DeviceId,
    now: model::Timestamp,
) -> Result<Vec<Value>, StoreError> {
    let to = Hour(Hour::of(now).0 + 1);
    let today = to.0.div_euclid(HOURS_PER_DAY);
    let from = Hour((today - DAYS_SHOWN + 1) * HOURS_PER_DAY);
    let hours = state.store.ledger().hours_of_device(actor.account, device, from, to).await?;
    let mut sums = BTreeMap::<i64, u64>::new();
    for hour in hours {
        *sums.entry(hour.hour.0.div_euclid(HOURS_PER_DAY)).or_default() += hour.sum.operations;
    }
    let shown = sums.into_iter().map(|(day, operations)| {
        let date = Hour(day * HOURS_PER_DAY).start().to_string();
        json!({"date": date.get(..10), "operations": operations})
    });
    Ok(shown.collect())
}

/// The rows of a page as they are at this moment.
async fn shown(state: &State, rows: &[&Row]) -> Result<Vec<Value>, ApiError> {
    let ids: Vec<DeviceId> = rows.iter().map(|row| row.device).collect();
    let stored = state.store.devices().get_many(&ids).await?;
    let stored: BTreeMap<DeviceId, Device> =
        stored.into_iter().map(|device| (device.id, device)).collect();
    let live: Vec<DeviceState> = state.handle.states(&ids).await;
    let mut shown = Vec::with_capacity(rows.len());
    for (row, live) in rows.iter().zip(&live) {
        // A device that went since is left out until the list is read again.
        let Some(device) = stored.get(&row.device) else { continue };
        let mut object = object(state, device, Some(live), None);
        object["owned"] = json!(row.owned);
        object["signal"] = json!(signal(&state.store.devices().vitals(row.device, 1).await?));
        shown.push(object);
    }
    Ok(shown)
}

/// The strength of the signal in percent, if the last vitals told it.
fn signal(vitals: &[Vitals]) -> Option<f64> {
    let metrics = &vitals.first()?.metrics;
    let told = metrics.iter().find(|metric| metric.id == SIGNAL_STRENGTH)?;
    Some(f64::from(told.value) / PARTS_PER_PERCENT)
}

fn question(fields: &Fields) -> Result<Question, ApiError> {
    let text = fields.text("q").unwrap_or_default().trim().to_lowercase();
    if text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::bad_request("q has at most 128 bytes"));
    }
    let sort = match fields.text("sort").as_deref() {
        None | Some("" | "last_heard") => Sort::LastHeard,
        Some("firmware_version") => Sort::Firmware,
        Some("name") => Sort::Name,
        Some("online") => Sort::Online,
        Some("platform_id") => Sort::Platform,
        Some("product_id") => Sort::Product,
        Some("system_firmware_version") => Sort::System,
        Some(other) => {
            return Err(ApiError::bad_request(&format!("sort: nothing is sorted by {other}")));
        }
    };
    let online = match fields.text("online").as_deref() {
        None | Some("") => None,
        Some(text) => Some(text == "true"),
    };
    let product = fields.number("product")?.and_then(|number| u32::try_from(number).ok());
    Ok(Question {
        text,
        online,
        product: product.map(ProductId),
        sort,
        descending: fields.text("dir").as_deref() == Some("desc"),
    })
}
