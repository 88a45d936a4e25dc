//! `/console/usage`: the open period of the account, by kind, by day and by device, with where it will
//! end.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use metering::{Limit, Period};
use model::Timestamp;
use node::Standing;
use serde_json::{Map, Value, json};
use store::{AccountHour, Hour};

use crate::api::agreements;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::still_of;
use crate::state::{State, utc_now};

/// Devices of the list of those that used most.
const BUSIEST_SHOWN: u32 = 10;
const HOURS_PER_DAY: i64 = 24;
/// A forecast from less than this much of a period says nothing.
const FORECAST_FROM_MS: i64 = 3_600_000;

pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let (account, now) = (caller.actor.account, utc_now());
    let standing = agreements::standing(&state, account).await?;
    let period = standing.keeper.period();
    let (from, to) = (Hour::of(period.start), Hour(Hour::of(now).0 + 1));
    let ledger = state.store.ledger();
    let hours = ledger.account_hours(account, from, to).await?;
    let busiest = ledger.busiest_devices(account, from, to, BUSIEST_SHOWN).await?;
    let ids: Vec<_> = busiest.iter().map(|(device, _)| *device).collect();
    let stored = still_of(&state, account, state.store.devices().get_many(&ids).await?).await?;
    let name = |id| stored.iter().find(|device| device.id == id).and_then(|d| d.name.as_deref());
    let busiest: Vec<Value> = busiest
        .iter()
        .map(|(id, sum)| {
            json!({"id": id.to_string(), "name": name(*id), "operations": sum.operations})
        })
        .collect();
    Ok(Json(json!({
        "agreement": agreements::agreement(&standing),
        "forecast": forecast(&standing, period, now),
        "kinds": kinds(&hours),
        "days": days(&hours),
        "busiest": busiest,
        "catalogues": state.handle.billing().catalogues().names().collect::<Vec<_>>(),
    })))
}

/// What each limit will stand at when the period ends, if it goes on as so far. Devices are not used up.
fn forecast(standing: &Standing, period: Period, now: Timestamp) -> Value {
    let (elapsed, length) = (now.0 - period.start.0, period.end.0 - period.start.0);
    if elapsed < FORECAST_FROM_MS {
        return Value::Null;
    }
    let (elapsed, length) = (i128::from(elapsed), i128::from(length));
    let at_end = |limit: Limit| {
        let used = i128::from(limit.used(&standing.usage));
        if limit == Limit::Devices { used } else { used * length / elapsed }
    };
    let told = Limit::ALL.map(|limit| {
        (limit.name().to_owned(), json!(u64::try_from(at_end(limit)).unwrap_or(u64::MAX)))
    });
    Value::Object(told.into_iter().collect())
}

/// Data Operations of each kind.
fn kinds(hours: &[AccountHour]) -> Map<String, Value> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for hour in hours {
        *sums.entry(hour.kind.name()).or_default() += hour.sum.operations;
    }
    sums.into_iter().map(|(kind, sum)| (kind.to_owned(), json!(sum))).collect()
}

/// Data Operations of each UTC day that had any, by kind, oldest first.
fn days(hours: &[AccountHour]) -> Vec<Value> {
    let mut sums = BTreeMap::<i64, BTreeMap<&str, u64>>::new();
    for hour in hours {
        let day = sums.entry(hour.hour.0.div_euclid(HOURS_PER_DAY)).or_default();
        *day.entry(hour.kind.name()).or_default() += hour.sum.operations;
    }
    let shown = sums.into_iter().map(|(day, kinds)| {
        let date = Hour(day * HOURS_PER_DAY).start().to_string();
        json!({"date": date.get(..10), "kinds": kinds})
    });
    shown.collect()
}
