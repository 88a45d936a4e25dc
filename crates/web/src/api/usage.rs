//! `/v1/user/usage`: what the caller's devices used, and why; the calculator.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use axum::Json;
use axum::extract::State as Shared;
use metering::{Connectivity, Interval, Mix, Question, Traffic, parse_day};
use model::{Bearer, DeviceId, Timestamp};
use serde_json::{Value, json};
use store::{CarriedSum, Counted, CountedOperation, Hour, Sum, WhoseOperations};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::State;

const DAY_MS: i64 = 86_400_000;
/// Operations in one answer if the caller does not say, and at most.
const OPERATIONS: u64 = 100;
const OPERATIONS_MAX: u64 = 10_000;
/// Days that one question may span.
const DAYS_MAX: i64 = 400;
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

/// What a device used on a day.
#[derive(Default)]
struct Day {
    sum: Sum,
    kinds: BTreeMap<&'static str, u64>,
    carried: CarriedSum,
    is_cellular: bool,
}

/// `from`, `to` (days, both included)
pub(crate) async fn devices(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (from, to) = days(&caller.query)?;
    let (from, to) = (Hour::of(from), Hour::of(Timestamp(to.0 + DAY_MS)));
    let account = caller.actor.account;
    state.store.settle().await?;
    let mut days = BTreeMap::<(i64, DeviceId), Day>::new();
    let day = |hour: Hour| hour.start().0.div_euclid(DAY_MS);
    for line in state.store.ledger().device_hours(account, from, to).await? {
        let of = days.entry((day(line.hour), line.device)).or_default();
        of.sum.add(line.sum);
        *of.kinds.entry(line.kind.name()).or_default() += line.sum.operations;
    }
    for line in state.store.ledger().device_traffic(account, from, to).await? {
        let of = days.entry((day(line.hour), line.device)).or_default();
        of.carried.add(line.sum);
        of.is_cellular |= line.bearer != Bearer::Wifi;
    }
    let days: Vec<Value> =
        days.iter().map(|((day, device), of)| shown(*day, *device, of)).collect();
    Ok(Json(json!({"data": days})))
}

fn shown(day: i64, device: DeviceId, of: &Day) -> Value {
    let mut date = Timestamp(day * DAY_MS).to_string();
    date.truncate("2026-01-31".len());
    json!({
        "date": date,
        "device_id": device.to_string(),
        "data_operations": of.sum.operations,
        "data_operations_by_kind": of.kinds,
        "messages": of.sum.messages,
        "payload_bytes": of.sum.bytes,
        "bytes_received": of.carried.received,
        "bytes_sent": of.carried.sent,
        "cellular": of.is_cellular,
    })
}

fn days(query: &Fields) -> Result<(Timestamp, Timestamp), ApiError> {
    let day = |key| {
        let text = query.required(key)?;
        let told = format!("{key} is no day: write it as 2026-01-31");
        parse_day(&text).ok_or_else(|| ApiError::bad_request(&told))
    };
    let (from, to) = (day("from")?, day("to")?);
    if from > to {
        return Err(ApiError::bad_request("from lies behind to"));
    }
    if (to.0 - from.0) / DAY_MS >= DAYS_MAX {
        return Err(ApiError::bad_request("from and to are more than 400 days apart"));
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
