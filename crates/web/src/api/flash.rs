//! Firmware for one device: `PUT /v1/devices/:device` with a file, or with a product's version.

use axum::Json;
use axum::http::StatusCode;
use bytes::Bytes;
use model::ProductId;
use node::{Flash, Reason, UpdateView};
use serde_json::{Value, json};
use store::StoreError;

use crate::caller::{Caller, OwnedDevice};
use crate::error::ApiError;
use crate::state::State;
use crate::telling::to_the_end;

/// Largest body with a firmware file, in bytes; the setting `updates.image_bytes_max` is below it.
pub(crate) const FLASH_BYTES_MAX: usize = node::UpdatesConfig::IMAGE_BYTES_LIMIT + 64 * 1024;
/// What the compiler service of the vendor takes.
const SOURCES: [&str; 5] = [".ino", ".cpp", ".c", ".h", ".zip"];

/// Whether the request wants a device to be flashed.
pub(crate) fn is_wanted(caller: &Caller) -> bool {
    let fields = &caller.fields;
    let known_app = fields.has("app") || fields.has("app_id");
    !caller.files.is_empty() || known_app || (fields.has("product_id") && fields.has("version"))
}

/// Sends a file to a device. The answer comes when the transfer is taken; the event
/// `spark/flash/status` tells how it ends.
pub(crate) async fn flash(
    state: &State,
    device: &OwnedDevice,
    caller: &Caller,
) -> Result<Json<Value>, ApiError> {
    let file = wanted_file(state, caller).await?;
    let firmware = state.updates.check(&file)?;
    if let (Some(own), Some(product)) = (firmware.product, device.0.product)
        && own != product
    {
        return Err(node::firmware::FirmwareError::WrongProduct { file: own, product }.into());
    }
    let forced = caller.fields.flag("force") || caller.fields.flag("forced");
    let (device, state) = (device.id(), state.clone());
    // The file that was stored is an update's, or removed.
    to_the_end(async move {
        let flash = Flash { file, reason: Reason::Flash, forced };
        Ok(state.updates.flash(device, flash).await?)
    })
    .await?;
    let id = device.to_string();
    Ok(Json(json!({"ok": true, "id": id, "status": "Update started", "message": "Update started"})))
}

/// Refuses to compile. The sources are read all the same: whoever still sends misses the answer.
pub(crate) async fn compile(_caller: Caller) -> ApiError {
    compiles_nothing()
}

fn compiles_nothing() -> ApiError {
    let text = "This server compiles nothing: send one firmware binary (.bin)";
    ApiError::errors(StatusCode::NOT_IMPLEMENTED, text)
}

async fn wanted_file(state: &State, caller: &Caller) -> Result<Bytes, ApiError> {
    let Some(upload) = caller.files.first() else { return of_product(state, caller).await };
    let is_source = SOURCES.iter().any(|ending| upload.name.to_ascii_lowercase().ends_with(ending));
    if caller.files.len() > 1 || is_source {
        return Err(compiles_nothing());
    }
    Ok(upload.bytes.clone())
}

/// A version of a product of the caller.
async fn of_product(state: &State, caller: &Caller) -> Result<Bytes, ApiError> {
    if caller.fields.has("app") || caller.fields.has("app_id") {
        let text = "This server has no known applications: send a firmware binary";
        return Err(ApiError::errors(StatusCode::NOT_IMPLEMENTED, text));
    }
    let product = caller.actor.product(state, &caller.fields.required("product_id")?).await?;
    let version = super::firmware::version(&caller.fields.required("version")?)?;
    file_of(state, product.id, version).await
}

/// The file of a product's version.
pub(crate) async fn file_of(
    state: &State,
    product: ProductId,
    version: u16,
) -> Result<Bytes, ApiError> {
    let found = state.store.firmware().get(product, version).await?;
    let found = found.ok_or_else(super::firmware::unknown_version)?;
    let file = state.store.files().get(found.file).await?;
    Ok(file.ok_or(StoreError::Damaged("firmware file"))?)
}

/// An update in the words of the API.
pub(crate) fn shown(view: &UpdateView) -> Value {
    json!({
        "reason": view.reason,
        "status": view.status,
        "detail": view.detail,
        "bytes": view.progress.map(|(bytes, _)| bytes),
        "size": view.progress.map(|(_, size)| size),
        "file": view.file,
        "asked_at": view.asked_at.to_string(),
        "ended_at": view.ended_at.map(|at| at.to_string()),
    })
}
