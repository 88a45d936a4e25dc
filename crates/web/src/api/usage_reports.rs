//! `/v1/user/service_agreements/:id/usage_reports`: usage as comma-separated values, fetched without a token by an
//! address that nobody guesses.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream;
use model::{DeviceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{NewUsageReport, ReportBounds, UsageReport};
use tokio::sync::Semaphore;

use super::agreements::refuse_other;
use super::usage::days;
use super::usage_csv::Csv;
use super::usage_days::{DAY_MS, date};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::{State, utc_now};

/// How long a report can be fetched.
const LIFE_MS: i64 = 7 * DAY_MS;
/// Reports of an account that were asked for and not looked at yet, and how long they are waited for.
const WAITING_MAX: u32 = 3;
const WAITING_MS: i64 = 600_000;
/// Reports of an account, fetched or not.
const KEPT_MAX: u32 = 100;
/// Devices, or products, that one may be about.
const CHOSEN_MAX: usize = 1000;
/// Days of reports read at once; others wait for their turn.
static READERS: Semaphore = Semaphore::const_new(2);

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A line for each device and day.
    Devices,
    /// A line for each product and day.
    Products,
}

/// What is asked for, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    /// The first day.
    pub(super) from: Timestamp,
    /// The last day.
    pub(super) to: Timestamp,
    /// Only these, if there are any.
    pub(super) devices: Vec<DeviceId>,
    /// Only these, if there are any.
    pub(super) products: Vec<ProductId>,
}

/// `report_type`, `date_period_start`, `date_period_end`, `devices`, `products`
pub(crate) async fn create(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    refuse_other(&id)?;
    let wanted = wanted(&caller)?;
    let now = utc_now();
    let report = NewUsageReport {
        account: caller.actor.account,
        request: serde_json::to_string(&wanted).map_err(|_| ApiError::bad_request("bad report"))?,
        secret: hex::encode(rand::random::<[u8; 24]>()),
        created_at: now,
        expires_at: Timestamp(now.0.saturating_add(LIFE_MS)),
    };
    let waits_since = Timestamp(now.0.saturating_sub(WAITING_MS));
    let bounds = ReportBounds { waiting: WAITING_MAX, waits_since, kept: KEPT_MAX };
    let id = state.store.usage_reports().begin_report(&report, bounds).await?;
    let Some(id) = id else {
        let text = "Three usage reports are outstanding: look at them first";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
    };
    let report = UsageReport { id, report, available_at: None };
    Ok((StatusCode::CREATED, Json(json!({"data": shown(&report, &wanted, None)}))))
}

/// A report is ready when everything is summed up that was counted before somebody looks at it.
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let number = id.parse().unwrap_or(0);
    let found = state.store.usage_reports().report(caller.actor.account, number, utc_now()).await?;
    let report = found.ok_or_else(unknown)?;
    if report.available_at.is_none() {
        state.store.settle().await?;
        state.store.usage_reports().report_available(report.id, utc_now()).await?;
    }
    let wanted = serde_json::from_str(&report.report.request).map_err(|_| unknown())?;
    let url = address(&state, &caller.headers, &report.report.secret);
    Ok(Json(json!({"data": shown(&report, &wanted, Some(url))})))
}

/// Anybody who knows the address.
pub(crate) async fn fetch(
    Shared(state): Shared<State>,
    Path(secret): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let found = state.store.usage_reports().report_to_fetch(&secret, utc_now()).await?;
    let UsageReport { id, report, .. } = found.ok_or_else(unknown)?;
    let wanted: Wanted = serde_json::from_str(&report.request).map_err(|_| unknown())?;
    state.store.settle().await?;
    let account = state.store.accounts().by_id(report.account).await?.ok_or_else(unknown)?;
    let name = format!(
        "attachment; filename=\"usage-{}-{}-{id}.csv\"",
        date(wanted.from),
        date(wanted.to)
    );
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let csv = Csv::new(state, account, wanted);
    // Nobody holds a turn while his own connection takes what he has.
    let lines = stream::try_unfold(csv, async |mut csv| {
        let _turn = READERS.acquire().await;
        let next = csv.next().await?;
        Ok::<_, store::StoreError>(next.map(|text| (text, csv)))
    });
    Ok((headers, Body::from_stream(lines)))
}

fn wanted(caller: &Caller) -> Result<Wanted, ApiError> {
    let fields = &caller.fields;
    let kind = match fields.required("report_type")?.as_str() {
        "devices" => Kind::Devices,
        "products" => Kind::Products,
        _ => return Err(ApiError::bad_request("report_type is devices or products")),
    };
    let (from, to) = days(fields, ["date_period_start", "date_period_end"])?;
    let devices = chosen(fields.value("devices"), "devices", "ids of devices")?;
    let products: Vec<u32> = chosen(fields.value("products"), "products", "numbers of products")?;
    Ok(Wanted { kind, from, to, devices, products: products.into_iter().map(ProductId).collect() })
}

/// A list, or a text with commas.
fn chosen<T: std::str::FromStr>(
    value: Option<&Value>,
    key: &str,
    what: &str,
) -> Result<Vec<T>, ApiError> {
    let told = || ApiError::bad_request(&format!("{key} is a list of at most 1,000 {what}"));
    let texts: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::Number(number)) => vec![number.to_string()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect(),
        Some(Value::Bool(_) | Value::Object(_)) => return Err(told()),
    };
    if texts.len() > CHOSEN_MAX {
        return Err(told());
    }
    texts.iter().map(|text| text.trim().parse().map_err(|_| told())).collect()
}

/// A report as JSON:API has it; ready if it has an address.
fn shown(report: &UsageReport, wanted: &Wanted, address: Option<String>) -> Value {
    json!({
        "id": report.id.to_string(),
        "type": "usage_report",
        "attributes": {
            "state": if address.is_some() { "available" } else { "pending" },
            "report_type": wanted.kind,
            "date_period_start": date(wanted.from),
            "date_period_end": date(wanted.to),
            "devices": wanted.devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "products": wanted.products.iter().map(|product| product.0).collect::<Vec<_>>(),
            "created_at": report.report.created_at.to_string(),
            "expires_at": report.report.expires_at.to_string(),
            "download_url": address,
        },
    })
}

/// The whole URL as the caller reaches this server.
fn address(state: &State, headers: &HeaderMap, secret: &str) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_tls = state.is_tls || text(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let scheme = if is_tls { "https" } else { "http" };
    match text(header::HOST) {
        Some(host) => format!("{scheme}://{host}/v1/usage_reports/{secret}"),
        None => format!("/v1/usage_reports/{secret}"),
    }
}

/// What a proxy that speaks TLS tells.
const FORWARDED_PROTO: header::HeaderName = header::HeaderName::from_static("x-forwarded-proto");

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not found: usage reports are kept for 7 days")
}
