//! `/v1/products/:product/firmware`: the versions of a product's firmware.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use model::{EventData, EventName, ProductId};
use node::NewRelease;
use node::rollout::Plan;
use serde_json::{Value, json};
use store::{Product, ProductFirmware, Release};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::{parameter, product_of};
use crate::state::{State, utc_now};

/// Longest title and description, in bytes.
const TITLE_BYTES_MAX: usize = 256;
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Versions of one product.
const VERSIONS_MAX: usize = 1_000;
/// Releases looked at for what they say of a version.
const RELEASES_SHOWN: u32 = 1_000;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let releases = in_force(&state, product.id).await?;
    let all = state.store.firmware().list(product.id).await?;
    Ok(Json(all.iter().map(|one| shown(one, &releases)).collect()))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let found = of_path(&state, product.id, &path).await?;
    Ok(Json(shown(&found, &in_force(&state, product.id).await?)))
}

/// A file with `version`, `title`, `description`.
pub(crate) async fn upload(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let version = version(&caller.fields.required("version")?)?;
    let [upload] = &caller.files[..] else {
        return Err(ApiError::errors(StatusCode::BAD_REQUEST, "Send one firmware binary as file"));
    };
    let firmware = state.updates.check(&upload.bytes)?;
    firmware.suits(model::Platform(product.platform))?;
    firmware.is_version(version, product.id)?;
    let others = state.store.firmware().list(product.id).await?;
    if others.len() >= VERSIONS_MAX {
        return Err(ApiError::bad_request("A product has at most 1000 versions of firmware"));
    }
    if others.iter().any(|other| other.version == version) {
        let text = format!("Version {version} of this product is there already");
        return Err(ApiError::errors(StatusCode::CONFLICT, &text));
    }
    let (title, description) = texts(&caller)?;
    let now = utc_now();
    let new = ProductFirmware {
        product: product.id,
        version,
        title: title.unwrap_or_default(),
        description: description.unwrap_or_default(),
        name: upload.name.clone(),
        mandatory: caller.fields.flag("mandatory"),
        file: state.store.files().put(upload.bytes.clone()).await?,
        bytes: upload.bytes.len() as u64,
        uploaded_by: caller.actor.account,
        uploaded_at: now,
        updated_at: now,
    };
    state.store.firmware().insert(&new).await?;
    // It may have been removed in between with an update that needed the same file.
    state.store.files().put(upload.bytes.clone()).await?;
    tell(&state, &product, "particle/firmware/create", json!({"version": version.to_string()}))
        .await;
    Ok((StatusCode::CREATED, Json(shown(&new, &[]))))
}

/// `title` and `description`.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let mut found = of_path(&state, product.id, &path).await?;
    let (title, description) = texts(&caller)?;
    found.title = title.unwrap_or(found.title);
    found.description = description.unwrap_or(found.description);
    found.updated_at = utc_now();
    let store = state.store.firmware();
    let (title, description) = (&found.title, &found.description);
    store.describe(product.id, found.version, title, description, found.updated_at).await?;
    Ok(Json(shown(&found, &in_force(&state, product.id).await?)))
}

/// A version that was never released.
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let found = of_path(&state, product.id, &path).await?;
    let releases = state.updates.releases(product.id, RELEASES_SHOWN).await?;
    let assigned = state.store.assignments().of_product(product.id).await?;
    let is_released = releases.iter().any(|one| one.release.version == found.version);
    let is_locked = assigned.iter().any(|(_, one)| one.desired == Some(found.version));
    if is_released || is_locked {
        let text = "A version that was released, or that devices are locked to, cannot be deleted";
        return Err(ApiError::errors(StatusCode::CONFLICT, text));
    }
    state.store.firmware().delete(product.id, found.version).await?;
    if !state.store.firmware().is_used(found.file).await? {
        state.store.files().delete(found.file).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn binary(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<impl IntoResponse, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let found = of_path(&state, product.id, &path).await?;
    let file = super::flash::file_of(&state, product.id, found.version).await?;
    let name = format!("attachment; filename=\"firmware-{}-{}.bin\"", product.id, found.version);
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], file))
}

/// `version` for all devices (`product_default`) or for `groups`; with neither it is withdrawn.
pub(crate) async fn release(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let version = version(&caller.fields.required("version")?)?;
    let found = state.store.firmware().get(product.id, version).await?;
    found.ok_or_else(unknown_version)?;
    let groups = super::groups::known(&state, product.id, &names(&caller, "groups")).await?;
    let for_all = caller.fields.flag("product_default");
    if !for_all && groups.is_empty() {
        state.updates.withdraw(product.id, version, &[]).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let plan = plan(&state, &caller)?;
    let made_by = caller.actor.account;
    let new =
        |groups| NewRelease { product: product.id, version, groups, plan: plan.clone(), made_by };
    if for_all {
        state.updates.release(new(Vec::new())).await?;
    }
    if !groups.is_empty() {
        state.updates.release(new(groups)).await?;
    }
    let immediate = caller.fields.flag("intelligent");
    let data = json!({"immediate": immediate, "version": version});
    tell(&state, &product, "particle/firmware/release", data).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws a version from `groups`, or altogether.
pub(crate) async fn withdraw(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let version = version(&caller.fields.required("version")?)?;
    match state.updates.withdraw(product.id, version, &names(&caller, "groups")).await? {
        0 => Err(ApiError::from(node::UpdatesError::NotInForce)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Texts of a list, which in a form is one text with commas.
pub(crate) fn names(caller: &Caller, key: &str) -> Vec<String> {
    let written: Vec<String> = match caller.fields.value(key) {
        Some(Value::Array(values)) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(text)) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    written.into_iter().filter(|name| !name.is_empty()).collect()
}

/// A product version of a request.
pub(crate) fn version(text: &str) -> Result<u16, ApiError> {
    let number = text.trim().parse::<u16>().ok().filter(|number| *number != 0xffff);
    number.ok_or_else(|| ApiError::bad_request("version must be a number from 0 to 65534"))
}

/// No such version of the product.
pub(crate) fn unknown_version() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Firmware version not found")
}

/// The stages of the request, if it has any.
fn plan(state: &State, caller: &Caller) -> Result<Option<Plan>, ApiError> {
    let percents: Vec<u8> = match caller.fields.value("stages") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(values)) => {
            let percent = |value: &Value| u8::try_from(value.as_u64()?).ok();
            values.iter().map(|value| percent(value).unwrap_or(0)).collect()
        }
        Some(_) => names(caller, "stages").iter().map(|text| text.parse().unwrap_or(0)).collect(),
    };
    let usual = state.updates.config().plan.clone();
    let plan = usual.with_stages(&percents).map_err(node::UpdatesError::from)?;
    Ok(Some(plan))
}

async fn of_path(
    state: &State,
    product: ProductId,
    path: &RawPathParams,
) -> Result<ProductFirmware, ApiError> {
    let text = parameter(path, "version").unwrap_or_default();
    let number = text.parse().map_err(|_| unknown_version())?;
    let found = state.store.firmware().get(product, number).await?;
    found.ok_or_else(unknown_version)
}

/// The releases of a product that are in force.
pub(crate) async fn in_force(state: &State, product: ProductId) -> Result<Vec<Release>, ApiError> {
    let all = state.updates.releases(product, RELEASES_SHOWN).await?;
    let in_force = all.into_iter().map(|view| view.release);
    Ok(in_force.filter(|release| release.ended_at.is_none()).collect())
}

fn texts(caller: &Caller) -> Result<(Option<String>, Option<String>), ApiError> {
    let bounded = |key: &str, max: usize| match caller.fields.text(key) {
        Some(text) if text.len() > max => {
            Err(ApiError::bad_request(&format!("{key} has at most {max} bytes")))
        }
        other => Ok(other),
    };
    Ok((bounded("title", TITLE_BYTES_MAX)?, bounded("description", DESCRIPTION_BYTES_MAX)?))
}

/// Events about firmware are seen on the product's streams. One that is lost changes nothing else.
async fn tell(state: &State, product: &Product, name: &str, data: Value) {
    let Ok(name) = EventName::parse(name.as_bytes()) else { return };
    let data = EventData { format: 0, bytes: data.to_string().into_bytes().into() };
    let (account, id) = (product.account, product.id);
    let told = state.handle.publish_to_product(account, id, name, Some(data), 60).await;
    if let Err(why) = told {
        tracing::debug!(%why, "an event about firmware was not published");
    }
}

fn shown(firmware: &ProductFirmware, releases: &[Release]) -> Value {
    let of_version = || releases.iter().filter(|release| release.version == firmware.version);
    let groups: Vec<&String> = of_version().flat_map(|release| &release.groups).collect();
    json!({
        "_id": format!("{}-{}", firmware.product, firmware.version),
        "version": firmware.version,
        "title": firmware.title,
        "description": firmware.description,
        "name": firmware.name,
        "size": firmware.bytes,
        "product_id": firmware.product.0,
        "mandatory": firmware.mandatory,
        "uploaded_by": {"id": firmware.uploaded_by.to_string()},
        "uploaded_on": firmware.uploaded_at.to_string(),
        "updated_at": firmware.updated_at.to_string(),
        "current": of_version().next().is_some(),
        "product_default": of_version().any(|release| release.groups.is_empty()),
        "groups": groups,
        "hash": firmware.file.to_string(),
    })
}

impl From<node::UpdatesError> for ApiError {
    fn from(why: node::UpdatesError) -> Self {
        match why {
            node::UpdatesError::Refused(refusal) => refusal.into(),
            node::UpdatesError::Store(why) => why.into(),
            node::UpdatesError::Firmware(why) => why.into(),
            node::UpdatesError::NotInForce => Self::new(StatusCode::NOT_FOUND, &why.to_string()),
            node::UpdatesError::Lacks(_) | node::UpdatesError::Plan(_) => {
                Self::errors(StatusCode::BAD_REQUEST, &why.to_string())
            }
        }
    }
}

impl From<node::firmware::FirmwareError> for ApiError {
    fn from(why: node::firmware::FirmwareError) -> Self {
        let status = match why {
            node::firmware::FirmwareError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::errors(status, &why.to_string())
    }
}
