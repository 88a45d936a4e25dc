//! `/v1/user/usage`: what the caller's devices used, and why; the calculator.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU64;

use axum::Json;
use axum::extract::State as Shared;
use metering::{Connectivity, Interval, Mix, Question, Traffic, parse_day};
use model::{DeviceId, Timestamp};
use serde_json::{Value, json};
use store::{Counted, CountedOperation, WhoseOperations};

use super::usage_days::{self, DAY_MS, DeviceDay, date};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::State;

/// Operations in one answer if the caller does not say, and at most.
const OPERATIONS: u64 = 100;
const OPERATIONS_MAX: u64 = 10_000;
/// Days that one question may span.
const DAYS_MAX: i64 = 400;
/// Lines in one answer.
const LINES_MAX: usize = 100_000;
const TOO_MUCH: &str =
    "These are more than 100,000 lines: ask for fewer days, or for a usage report";
/// Bytes of an event's data if the caller does not say.
const PAYLOAD_BYTES: u64 = 100;

/// `device`, `limit`
pub(crate) async fn why(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let device = match caller.query.text("device") {
        Some(device) => Some(caller.actor.device(&state, &device).await?.0.id),
        None => None,
    };
    let limit = caller.query.number("limit")?.unwrap_or(OPERATIONS);
    if !(1..=OPERATIONS_MAX).contains(&limit) {
        return Err(ApiError::bad_request("limit must be from 1 to 10,000"));
    }
    let whose = WhoseOperations { account: caller.actor.account, device };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Counted { since, operations, left_out } = state.store.counted(whose, limit).await?;
    Ok(Json(json!({"data": {
        "window_start": since.map(|at| at.to_string()),
        "left_out": left_out,
        "operations": operations.iter().rev().map(operation).collect::<Vec<_>>(),
    }})))
}

fn operation(counted: &CountedOperation) -> Value {
    let CountedOperation { at, device, product, kind, name, attempt, operations, bytes } = counted;
    json!({
        "at": at.to_string(),
        "device_id": device.to_string(),
        "product_id": product.map(|product| product.0),
        "rule": kind.rule(),
        "kind": kind.name(),
        "name": name,
        "attempt": attempt,
        "data_operations": operations,
        "payload_bytes": bytes,
    })
}

/// `from`, `to` (days, both included)
pub(crate) async fn devices(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (from, to) = days(&caller.query, ["from", "to"])?;
    state.store.settle().await?;
    let (mut shown, mut day) = (Vec::new(), from);
    while day <= to {
        let lines = usage_days::devices_of(&state.store, caller.actor.account, day).await?;
        shown.extend(without_products(lines).values().map(|line| device_day(day, line)));
        if shown.len() > LINES_MAX {
            return Err(ApiError::bad_request(TOO_MUCH));
        }
        day.0 += DAY_MS;
    }
    Ok(Json(json!({"data": shown})))
}

/// One line for each device.
fn without_products(lines: Vec<DeviceDay>) -> BTreeMap<(DeviceId, bool), DeviceDay> {
    let mut devices = BTreeMap::<(DeviceId, bool), DeviceDay>::new();
    for line in lines {
        match devices.entry((line.device, line.is_month)) {
            Entry::Occupied(entry) => entry.into_mut().add(line),
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
        }
    }
    devices
}

fn device_day(day: Timestamp, of: &DeviceDay) -> Value {
    json!({
        "date": date(day),
        "span": if of.is_month { "month" } else { "day" },
        "device_id": of.device.to_string(),
        "data_operations": of.sum.operations,
        "data_operations_by_kind": of.kinds,
        "messages": of.sum.messages,
        "payload_bytes": of.sum.bytes,
        "bytes_received": of.carried.received,
        "bytes_sent": of.carried.sent,
        "cellular": of.is_cellular,
    })
}

/// Two days of a question, the second one included.
pub(super) fn days(
    query: &Fields,
    keys: [&'static str; 2],
) -> Result<(Timestamp, Timestamp), ApiError> {
    let day = |key: &str| {
        let text = query.required(key)?;
        let told = format!("{key} is no day: write it as 2026-01-31");
        parse_day(&text).ok_or_else(|| ApiError::bad_request(&told))
    };
    let [first, last] = keys;
    let (from, to) = (day(first)?, day(last)?);
    if from > to {
        return Err(ApiError::bad_request(&format!("{first} lies behind {last}")));
    }
    if (to.0 - from.0) / DAY_MS >= DAYS_MAX {
        let told = format!("{first} and {last} are more than {DAYS_MAX} days apart");
        return Err(ApiError::bad_request(&told));
    }
    Ok((from, to))
}

/// `devices`, `every` or `publishes`, `deliveries`, `functions`, `variables`, `points` a day;
/// `payload`, `connected`, `catalogue`
pub(crate) async fn estimate(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let billing = state.handle.billing();
    let name = caller.query.text("catalogue");
    let name = name.unwrap_or_else(|| billing.default_catalogue().to_owned());
    let catalogue = billing.catalogues().get(&name);
    let catalogue = catalogue.map_err(|why| ApiError::bad_request(&why.to_string()))?;
    let estimate = metering::estimate(&question(&caller.query)?, &catalogue);
    Ok(Json(json!({"data": estimate})))
}

fn question(query: &Fields) -> Result<Question, ApiError> {
    let devices = query.number("devices")?.and_then(NonZeroU64::new);
    let devices = devices.ok_or_else(|| ApiError::bad_request("devices must be at least 1"))?;
    let payload = query.number("payload")?.unwrap_or(PAYLOAD_BYTES);
    let payload_bytes = narrow(payload, "payload")?;
    let connectivity = match query.text("connected").as_deref() {
        None | Some("wifi") => Connectivity::Wifi,
        Some("cellular") => Connectivity::Cellular,
        Some("tracker") => Connectivity::Tracker,
        Some(_) => return Err(ApiError::bad_request("connected is wifi, cellular or tracker")),
    };
    Ok(Question { devices, traffic: traffic(query)?, payload_bytes, connectivity })
}

fn traffic(query: &Fields) -> Result<Traffic, ApiError> {
    let number = |key| narrow(query.number(key)?.unwrap_or(0), key);
    let mix = Mix {
        publishes: number("publishes")?,
        deliveries: number("deliveries")?,
        functions: number("functions")?,
        variables: number("variables")?,
        points: number("points")?,
    };
    match query.text("every") {
        Some(_) if mix != Mix::default() => {
            Err(ApiError::bad_request("give every, or messages a day, not both"))
        }
        Some(every) => {
            let interval: Result<Interval, _> = every.parse();
            interval.map(Traffic::Every).map_err(|why| ApiError::bad_request(&why.to_string()))
        }
        None if mix == Mix::default() => Err(ApiError::bad_request(
            "give every (such as 10m), or messages a day of each device: publishes, deliveries, functions, variables, points",
        )),
        None => Ok(Traffic::PerDay(mix)),
    }
}

fn narrow(number: u64, key: &str) -> Result<u32, ApiError> {
    u32::try_from(number).map_err(|_| ApiError::bad_request(&format!("{key} is too large")))
}
