//! Groups of many devices at once, and what a release would reach.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawPathParams, State as Shared};
use model::DeviceId;
use serde_json::{Value, json};
use store::Assignment;

use super::firmware::{names, version};
use super::groups::{GROUPS_OF_DEVICE_MAX, known};
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
    let change = Change::of(&caller)?;
    let ids = names(&caller, "ids");
    if ids.is_empty() || ids.len() > DEVICES_MAX {
        return Err(ApiError::bad_request("ids must hold 1 to 1000 device ids"));
    }
    let members = state.store.assignments().of_product(product).await?;
    let mut members: BTreeMap<DeviceId, Assignment> = members.into_iter().collect();
    let (mut updated, mut others, mut invalid) = (Vec::new(), Vec::new(), Vec::new());
    for text in ids {
        let Ok(id) = text.parse::<DeviceId>() else {
            invalid.push(text);
            continue;
        };
        let Some(assignment) = members.get_mut(&id) else {
            others.push(text);
            continue;
        };
        change.apply(&mut assignment.groups, &groups)?;
        state.store.assignments().assign(id, assignment).await?;
        updated.push(text);
    }
    state.updates.product_changed(product).await;
    Ok(Json(json!({
        "updated": updated.len(),
        "updatedDeviceIds": updated,
        "nonmemberDeviceIds": others,
        "invalidDeviceIds": invalid,
        "protectedDeviceIds": [],
    })))
}

/// What is done with groups.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Remove,
    Replace,
}

impl Change {
    fn of(caller: &Caller) -> Result<Self, ApiError> {
        match caller.fields.text("action").as_deref() {
            Some("add") => Ok(Self::Add),
            Some("remove") => Ok(Self::Remove),
            None | Some("replace" | "groups") => Ok(Self::Replace),
            Some(_) => Err(ApiError::bad_request("action must be add, remove or replace")),
        }
    }

    fn apply(self, has: &mut Vec<String>, groups: &[String]) -> Result<(), ApiError> {
        match self {
            Self::Add => has.extend_from_slice(groups),
            Self::Remove => has.retain(|group| !groups.contains(group)),
            Self::Replace => *has = groups.to_vec(),
        }
        has.sort();
        has.dedup();
        if has.len() > GROUPS_OF_DEVICE_MAX {
            return Err(ApiError::bad_request("A device is in at most 20 groups"));
        }
        Ok(())
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
    let is_meant = |assignment: &Assignment| {
        groups.is_empty() || assignment.groups.iter().any(|group| groups.contains(group))
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
