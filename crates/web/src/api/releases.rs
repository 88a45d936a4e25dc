//! `/v1/products/:product/releases`: how releases fare, stage by stage and device by device.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use axum::http::StatusCode;
use node::rollout::Phase;
use node::{MemberView, ReleaseView};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::paging::Page;
use crate::scope::{parameter, product_of};
use crate::state::State;

/// Releases in a list, newest first.
const LIST_MAX: u32 = 100;
/// Devices of a page, by default.
const PAGE_DEFAULT: u64 = 100;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?;
    let all = state.updates.releases(product.id, LIST_MAX).await?;
    let all: Vec<Value> = all.iter().map(shown).collect();
    Ok(Json(json!({"releases": all})))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let view = of_path(&state, &caller, &path).await?;
    Ok(Json(json!({"release": shown(&view)})))
}

/// `paused`: true stops it, false lets it go on, also after it stopped itself.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let view = of_path(&state, &caller, &path).await?;
    caller.fields.required("paused")?;
    state.updates.set_paused(view.release.id, caller.fields.flag("paused")).await?;
    let view = of_path(&state, &caller, &path).await?;
    Ok(Json(json!({"release": shown(&view)})))
}

/// A page of the release's devices, by id; `state` picks those of one state.
pub(crate) async fn devices(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let view = of_path(&state, &caller, &path).await?;
    let members = state.updates.members(view.release.id).await?;
    let wanted = caller.query.text("state");
    let all: Vec<Value> = members.iter().map(member).collect();
    let is_wanted = |one: &&Value| wanted.as_deref().is_none_or(|state| one["state"] == state);
    let matching: Vec<&Value> = all.iter().filter(is_wanted).collect();
    let page = Page::of(&caller.query, PAGE_DEFAULT)?;
    let meta = page.meta(matching.len());
    let shown: Vec<&Value> = page.cut(matching).collect();
    Ok(Json(json!({"devices": shown, "meta": meta})))
}

async fn of_path(
    state: &State,
    caller: &Caller,
    path: &RawPathParams,
) -> Result<ReleaseView, ApiError> {
    let product = product_of(state, caller, path).await?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "Release not found");
    let id: u64 = parameter(path, "release").unwrap_or_default().parse().map_err(|_| unknown())?;
    let all = state.updates.releases(product.id, LIST_MAX).await?;
    all.into_iter().find(|view| view.release.id == id).ok_or_else(unknown)
}

fn shown(view: &ReleaseView) -> Value {
    let release = &view.release;
    let progress = view.progress.as_ref();
    let phase = progress.map(|progress| &progress.phase);
    let (state, why) = match (release.ended_at, phase) {
        (Some(_), _) => ("ended", None),
        (None, Some(Phase::Paused)) => ("paused", None),
        (None, Some(Phase::Halted(why))) => ("halted", Some(why)),
        (None, Some(Phase::Running) | None) if is_complete(view) => ("complete", None),
        (None, Some(Phase::Running) | None) => ("running", None),
    };
    json!({
        "id": release.id,
        "version": release.version,
        "groups": release.groups,
        "product_default": release.groups.is_empty(),
        "made_at": release.made_at.to_string(),
        "ended_at": release.ended_at.map(|at| at.to_string()),
        "state": state,
        "why": why,
        "stages": progress.map(|progress| progress.plan.percents()),
        "stage": progress.map(|progress| progress.stage + 1),
        "devices": view.summary,
    })
}

fn is_complete(view: &ReleaseView) -> bool {
    view.summary.is_some_and(|sum| sum.devices > 0 && sum.updated == sum.devices)
}

fn member(view: &MemberView) -> Value {
    let mut shown = serde_json::to_value(&view.member).unwrap_or_default();
    shown["id"] = json!(view.device.to_string());
    shown["stage"] = json!(view.stage.map(|stage| stage + 1));
    for key in ["at", "again_at"] {
        if let Some(ms) = shown.get(key).and_then(Value::as_i64) {
            shown[key] = json!(model::Timestamp(ms).to_string());
        }
    }
    shown
}
