//! `/v1/user/service_agreements`: plan, usage and notices of the caller's account, as JSON:API.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use metering::{Consequence, Limit, Matter, Notice, Plan, PlanError};
use model::AccountId;
use node::Standing;
use serde_json::{Value, json};
use store::StoredNotice;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::{State, utc_now};
use crate::telling::to_the_end;

/// An account has one agreement.
const AGREEMENT: &str = "1";
/// Notices that are listed, the newest ones.
const NOTICES_MAX: u32 = 100;
/// Percentage of an allowance above which the summary raises its flag.
const WARNED_PERCENT: u64 = 70;

pub(crate) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"data": [agreement(&standing(&state, caller.actor.account).await?)]})))
}

/// How an account stands. To look may close a period that is over, which is done to its end.
pub(crate) async fn standing(state: &State, account: AccountId) -> Result<Standing, ApiError> {
    let state = state.clone();
    to_the_end(async move { Ok(state.handle.billing().standing(account, utc_now()).await?) }).await
}

/// `plan`, `blocks` or `add_blocks`. What the operator arranged, the operator changes. What is absent
/// stays as it is in force; who asks for less gets it when a period ends.
pub(crate) async fn change(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    refuse_other(&id)?;
    // What is written comes into force, even if the client goes away between the two.
    let standing = to_the_end(async move {
        let (account, billing) = (caller.actor.account, state.handle.billing());
        let standing = billing.standing(account, utc_now()).await?;
        let plan = wanted_plan(standing.keeper.terms().plan, &caller.fields)?;
        Ok(billing.ask(account, plan, utc_now()).await?)
    });
    Ok(Json(json!({"data": agreement(&standing.await?)})))
}

fn wanted_plan(before: Plan, fields: &Fields) -> Result<Plan, ApiError> {
    let name = fields.text("plan").unwrap_or_else(|| before.name().to_owned());
    let is_own = matches!(before, Plan::Free | Plan::Growth { .. });
    if !is_own || !matches!(name.as_str(), "free" | "growth") {
        if Plan::parse(&name, None, None) == Err(PlanError::Unknown(name.clone())) {
            return Err(ApiError::bad_request(&PlanError::Unknown(name).to_string()));
        }
        let text = "This plan is the operator's to give and to take: an account changes between free and growth";
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    let held = before.blocks().map_or(0, |blocks| i64::from(blocks.get()));
    let blocks = match (whole(fields, "blocks")?, whole(fields, "add_blocks")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request("give blocks or add_blocks, not both"));
        }
        (Some(blocks), None) => Some(blocks),
        (None, Some(0)) => return Err(ApiError::bad_request("add_blocks must not be 0")),
        (None, Some(more)) => Some(held.saturating_add(more)),
        (None, None) => (name == "growth").then_some(held.max(1)),
    };
    Plan::parse(&name, blocks, None).map_err(|why| ApiError::bad_request(&why.to_string()))
}

fn whole(fields: &Fields, key: &str) -> Result<Option<i64>, ApiError> {
    let Some(value) = fields.value(key) else { return Ok(None) };
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    let told = format!("{key} must be a whole number");
    number.map(Some).ok_or_else(|| ApiError::bad_request(&told))
}

pub(super) fn refuse_other(id: &str) -> Result<(), ApiError> {
    if id == AGREEMENT {
        return Ok(());
    }
    let text = "Not found: an account has one service agreement, number 1";
    Err(ApiError::new(StatusCode::NOT_FOUND, text))
}

pub(crate) async fn notifications(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    refuse_other(&id)?;
    let stored = state.store.agreements().notices(caller.actor.account, NOTICES_MAX).await?;
    let notices: Vec<Value> = stored.iter().filter_map(notification).collect();
    Ok(Json(json!({"data": notices})))
}

/// The agreement of an account that stands so.
pub(crate) fn agreement(standing: &Standing) -> Value {
    let Standing { keeper, usage } = standing;
    let (terms, period) = (keeper.terms(), keeper.period());
    let percents = Limit::ALL.map(|limit| percent(standing, limit));
    let max_devices = terms.allowances().map(|allowances| allowances.devices);
    json!({
        "id": AGREEMENT,
        "type": "service_agreement",
        "attributes": {
            "agreement_type": "developer",
            "name": terms.plan.name(),
            "state": if keeper.pause().is_some() { "paused" } else { "active" },
            "current_billing_period_start": period.start.to_string(),
            "current_billing_period_end": period.end.to_string(),
            "current_usage_summary": {
                "device_limit_reached":
                    max_devices.is_some_and(|max| usage.devices >= max.get()),
                "usage_threshold_exceeded":
                    percents.iter().flatten().any(|percent| *percent >= WARNED_PERCENT),
                "data_operations": share(standing, Limit::Operations),
                "devices": share(standing, Limit::Devices),
                "cellular_bytes": share(standing, Limit::CellularBytes),
                "tracker_bytes": share(standing, Limit::TrackerBytes),
                "grace_ends_at": keeper.grace_until().map(|at| at.to_string()),
                "paused": keeper.pause().map(|pause| json!({
                    "limit": pause.limit.name(),
                    "cellular_only": pause.is_cellular_only(),
                    "until": pause.until.to_string(),
                    "reason": pause.why(),
                })),
            },
            "pricing_terms": {
                "catalogue": terms.catalogue.name,
                "plan": terms.plan.name(),
                "blocks": terms.plan.blocks(),
                "next": keeper.next_plan().map(|plan| json!({
                    "plan": plan.name(),
                    "blocks": plan.blocks(),
                    "from": keeper.next_plan_from().map(|from| from.to_string()),
                })),
                "device": {"max_devices": max_devices},
            },
        },
    })
}

fn share(standing: &Standing, limit: Limit) -> Value {
    let allowed = standing.keeper.terms().allowances();
    json!({
        "used": limit.used(&standing.usage),
        "limit": allowed.map(|allowances| limit.allowed(&allowances)),
        "percent": percent(standing, limit),
    })
}

/// Whole percents of an allowance, rounded down; absent without a limit.
fn percent(standing: &Standing, limit: Limit) -> Option<u64> {
    let allowed = limit.allowed(&standing.keeper.terms().allowances()?).get();
    let percent = u128::from(limit.used(&standing.usage)) * 100 / u128::from(allowed);
    Some(u64::try_from(percent).unwrap_or(u64::MAX))
}

/// A notice of another version of this server is left out.
fn notification(stored: &StoredNotice) -> Option<Value> {
    let notice: Notice = serde_json::from_str(&stored.body).ok()?;
    let mut attributes = json!({
        "created_at": stored.at.to_string(),
        "subject": notice.subject(),
        "message": notice.text(),
        "billing_period_start": notice.period.start.to_string(),
        "billing_period_end": notice.period.end.to_string(),
        "mailed_at": stored.mailed_at.map(|at| at.to_string()),
    });
    for (key, value) in details(&notice.matter) {
        attributes[key] = value;
    }
    Some(json!({
        "id": stored.id.to_string(),
        "type": "notification",
        "attributes": attributes,
    }))
}

fn details(matter: &Matter) -> Vec<(&'static str, Value)> {
    match matter {
        Matter::BlocksAdded { from, to, limit } => vec![
            ("event", json!("blocks_added")),
            ("limit", json!(limit.name())),
            ("blocks_before", json!(from)),
            ("blocks", json!(to)),
        ],
        Matter::Paused(pausing) => vec![
            ("event", json!("service_paused")),
            ("limit", json!(pausing.limit.name())),
            ("until", json!(pausing.until.to_string())),
            ("cellular_only", json!(pausing.is_cellular_only())),
        ],
        Matter::Resumed => vec![("event", json!("service_unpaused"))],
        Matter::Threshold { limit, percent, used, allowed, then } => vec![
            ("event", json!("usage_threshold_reached")),
            ("limit", json!(limit.name())),
            ("threshold_percent", json!(percent)),
            ("used", json!(used)),
            ("allowed", json!(allowed)),
            ("pauses_at", json!(pauses_at(*then))),
        ],
    }
}

fn pauses_at(then: Consequence) -> Option<String> {
    match then {
        Consequence::PausesAt(at) => Some(at.to_string()),
        Consequence::MoreBlocks | Consequence::NoMoreDevices | Consequence::Nothing => None,
    }
}
