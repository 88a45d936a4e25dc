//! Groups of many devices at once, and what a release would reach.

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use model::DeviceId;
use serde_json::{Value, json};
use store::{Assignment, AssignmentChange, GroupChange};

use super::firmware::{in_force, names, version};
use super::groups::known;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::scope::product_of;
use crate::state::State;

/// Devices of one request.
const DEVICES_MAX: usize = 1_000;

/// `ids` and `groups`: these groups become those of each device, or with `action` `add` or `remove` some
/// more or fewer of them.
pub(crate) async fn assign_groups(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    let groups = known(&state, product, &names(&caller, "groups")).await?;
    let groups = group_change(&caller, groups)?;
    let texts = names(&caller, "ids");
    if texts.is_empty() || texts.len() > DEVICES_MAX {
        return Err(ApiError::bad_request("ids must hold 1 to 1000 device ids"));
    }
    let (mut ids, mut invalid) = (Vec::new(), Vec::new());
    for text in texts {
        match text.parse::<DeviceId>() {
            Ok(id) => ids.push(id),
            Err(_) => invalid.push(text),
        }
    }
    let change = AssignmentChange { groups: Some(groups), ..AssignmentChange::default() };
    let changed = state.store.assignments().assign(product, &ids, &change).await?;
    state.updates.product_changed(product).await;
    let is_changed =
        |id: &DeviceId| changed.binary_search_by_key(id, |(device, _)| *device).is_ok();
    let shown = |ids: Vec<DeviceId>| ids.iter().map(DeviceId::to_string).collect::<Vec<_>>();
    let (updated, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_changed);
    Ok(Json(json!({
        "updated": updated.len(),
        "updatedDeviceIds": shown(updated),
        "nonmemberDeviceIds": shown(others),
        "invalidDeviceIds": invalid,
        "protectedDeviceIds": [],
    })))
}

/// What `action` says to do with these groups.
fn group_change(caller: &Caller, groups: Vec<String>) -> Result<GroupChange, ApiError> {
    match caller.fields.text("action").as_deref() {
        Some("add") => Ok(GroupChange::Add(groups)),
        Some("remove") => Ok(GroupChange::Remove(groups)),
        None | Some("replace" | "groups") => Ok(GroupChange::Replace(groups)),
        Some(_) => Err(ApiError::bad_request("action must be add, remove or replace")),
    }
}

/// How many devices a release of `version` for `groups`, or for all, would be for, and how many of them
/// would get it at once.
pub(crate) async fn of_release(
    Shared(state): Shared<State>,
    path: RawPathParams,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let product = product_of(&state, &caller, &path).await?.id;
    let version = version(&caller.query.text("version").unwrap_or_default())?;
    let groups: Vec<String> = caller
        .query
        .text("groups")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let groups = known(&state, product, &groups).await?;
    let members = state.store.assignments().of_product(product).await?;
    let in_force = in_force(&state, product).await?;
    let is_in = |assignment: &Assignment, groups: &[String]| {
        assignment.groups.iter().any(|group| groups.contains(group))
    };
    // A release for all leaves those to the others who have one for their groups.
    let is_meant = |assignment: &Assignment| match &groups[..] {
        [] => !in_force.iter().any(|release| is_in(assignment, &release.groups)),
        groups => is_in(assignment, groups),
    };
    let (mut locked, mut development, mut wanted) = (0_u64, 0_u64, Vec::new());
    for (device, assignment) in members.iter().filter(|(_, assignment)| is_meant(assignment)) {
        match assignment {
            Assignment { development: true, .. } => development += 1,
            Assignment { desired: Some(_), .. } => locked += 1,
            Assignment { .. } => wanted.push(*device),
        }
    }
    let states = state.handle.states(&wanted).await;
    let has_it = |one: &model::DeviceState| {
        let of_product = one.firmware_product.is_some_and(|own| u32::from(own) == product.0);
        of_product && one.firmware_version == Some(version)
    };
    let up_to_date = states.iter().filter(|state| has_it(state)).count();
    let online = states.iter().filter(|state| state.online && !has_it(state)).count();
    Ok(Json(json!({"impact": {
        "version": version,
        "devices": wanted.len(),
        "up_to_date": up_to_date,
        "online": online,
        "locked": locked,
        "development": development,
    }})))
}
