//! `/console/devices`: a page of the list, and what the API does not tell of a device.

use axum::Json;
use axum::extract::{Path, State as Shared};
use model::link::Transport;
use model::{AccountId, DeviceId, DeviceState, ProductId, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{CarriedSum, Device, Hour, StoreError, Vitals};

use super::fleet::{Question, Row, Sort};
use crate::api::devices::{full_object, object};
use crate::caller::{Actor, Caller, OwnedDevice};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::routes::{Needs, Reach};
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

/// `q`, `online`, `product`, `group` (of that product), `sort`, `dir`, `page` and `per_page`.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.actor.account;
    let mut asked = question(&caller.query)?;
    let groups = groups(&state, account, &mut asked, &caller.query).await?;
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
        "groups": groups,
        "page": page,
        "per_page": size,
        "matching": matching,
        "total": total,
        "online": online,
    })))
}

/// The names of the asked product's groups, for the list of filters; puts the devices of the asked one
/// into the question. Products of others have none here.
async fn groups(
    state: &State,
    account: AccountId,
    asked: &mut Question,
    query: &Fields,
) -> Result<Vec<String>, ApiError> {
    let Some(id) = asked.product else { return Ok(Vec::new()) };
    let product = state.store.products().get(id).await?;
    if product.is_none_or(|product| product.account != account) {
        return Ok(Vec::new());
    }
    if let Some(name) = query.text("group").filter(|name| !name.is_empty()) {
        let groups = state.fleets.groups(&state.store, account, id).await?;
        asked.group = Some(groups.get(&name).map(Arc::clone).unwrap_or_default());
    }
    let all = state.store.assignments().groups(id).await?;
    Ok(all.into_iter().map(|group| group.name).collect())
}

/// What only the console shows of a device: its keys, its session and what it cost.
pub(super) async fn show(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = visible(&state, &caller.actor, &text).await?;
    let (id, now) = (device.id(), utc_now());
    let live = state.handle.states(&[id]).await.into_iter().next();
    let former = state.store.devices().former_keys(id).await?;
    let former: Vec<Value> = former
        .iter()
        .map(|key| {
            json!({"sha256": hex::encode(key.key.hash.0), "replaced_at": key.replaced_at.to_string()})
        })
        .collect();
    Ok(Json(json!({
        "device": full_object(&state, &device.0).await?,
        "owned": device.0.account == Some(caller.actor.account),
        "session": live.as_ref().map(session),
        "created_at": device.0.created_at.to_string(),
        "claimed_at": device.0.claimed_at.map(|at| at.to_string()),
        "key": device.0.key.map(|key| hex::encode(key.0)),
        "key_bound_at_first_use": device.0.first_use,
        "former_keys": former,
        "days": days(&state, &device.0, now).await?,
    })))
}

fn session(live: &DeviceState) -> Value {
    json!({
        "transport": live.transport.map(|transport| match transport {
            Transport::Tcp => "RSA + AES over TCP",
            Transport::Udp => "DTLS over UDP",
        }),
        "handshakes": live.handshakes,
        "resumes": live.resumes,
        "events_dropped": live.events_dropped,
    })
}

/// A device that the actor owns, or one of a product that the actor owns or works on.
async fn visible(state: &State, actor: &Actor, text: &str) -> Result<OwnedDevice, ApiError> {
    let Ok(id) = text.parse::<DeviceId>() else { return Err(ApiError::unknown_device()) };
    let found = state.store.devices().get(id).await?.ok_or_else(ApiError::unknown_device)?;
    if found.account == Some(actor.account) {
        return Ok(OwnedDevice(found));
    }
    let product = found.product.ok_or_else(ApiError::unknown_device)?;
    let needs = Needs { scope: Some("devices:get"), reach: Reach::Product };
    let looking = Actor { needs, ..actor.clone() };
    match looking.product(state, &product.to_string()).await {
        Ok(_) => Ok(OwnedDevice(found)),
        Err(_) => Err(ApiError::unknown_device()),
    }
}

/// Data Operations and bytes of one UTC day.
#[derive(Debug, Default)]
struct Day {
    operations: u64,
    carried: CarriedSum,
}

/// What a device used on each UTC day that it used anything, oldest first; whoever pays for it.
async fn days(state: &State, device: &Device, now: Timestamp) -> Result<Vec<Value>, StoreError> {
    let to = Hour(Hour::of(now).0 + 1);
    let today = to.0.div_euclid(HOURS_PER_DAY);
    let from = Hour((today - DAYS_SHOWN + 1) * HOURS_PER_DAY);
    let Some(payer) = payer(state, device).await? else { return Ok(Vec::new()) };
    let (ledger, id) = (state.store.ledger(), device.id);
    let mut days = BTreeMap::<i64, Day>::new();
    for line in ledger.hours_of_device(payer, id, from, to).await? {
        let day = days.entry(line.hour.0.div_euclid(HOURS_PER_DAY)).or_default();
        day.operations += line.sum.operations;
    }
    for line in ledger.traffic_of_device(payer, id, from, to).await? {
        days.entry(line.hour.0.div_euclid(HOURS_PER_DAY)).or_default().carried.add(line.sum);
    }
    let shown = days.into_iter().map(|(day, of)| {
        let date = Hour(day * HOURS_PER_DAY).start().to_string();
        json!({
            "date": date.get(..10),
            "operations": of.operations,
            "received": of.carried.received,
            "sent": of.carried.sent,
        })
    });
    Ok(shown.collect())
}

/// The owner of the device's product, else its own.
async fn payer(state: &State, device: &Device) -> Result<Option<AccountId>, StoreError> {
    let Some(product) = device.product else { return Ok(device.account) };
    let product = state.store.products().get(product).await?;
    Ok(product.map(|product| product.account).or(device.account))
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
        group: None,
        sort,
        descending: fields.text("dir").as_deref() == Some("desc"),
    })
}
