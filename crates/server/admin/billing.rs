//! Plans and usage at the operator's desk.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Deref;

use metering::{Allowances, Anchor, Limit, Plan, parse_day};
use model::{AccountId, DeviceId, Timestamp};
use node::{Billing, BillingError, DevicesPermit, NewTerms, Standing};
use serde::{Deserialize, Serialize};
use store::{Hour, NewDevice, Span};

use super::{Desk, Reply, utc_now};
use crate::config::{Config, Overrides};

const DAY_MS: i64 = 86_400_000;

/// A plan for an account. What is absent stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanOrder {
    /// The account's address.
    pub owner: String,
    /// Name of a catalogue.
    pub catalogue: Option<String>,
    /// unlimited, free, growth or enterprise.
    pub plan: String,
    /// Blocks of growth.
    pub blocks: Option<i64>,
    /// Figures of an enterprise contract.
    pub contract: Option<Allowances>,
    /// Month and day on which billing periods begin.
    pub anchor: Option<Anchor>,
}

/// How an account stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsageLine {
    /// Its address.
    pub owner: String,
    /// Name of its catalogue.
    pub catalogue: String,
    /// Its plan.
    pub plan: String,
    /// Blocks of growth.
    pub blocks: Option<u32>,
    /// The plan that the account asked for and gets when a period ends.
    pub next_plan: Option<String>,
    /// Blocks of it.
    pub next_blocks: Option<u32>,
    /// First moment of the open billing period, ISO 8601.
    pub period_start: String,
    /// First moment of the next one.
    pub period_end: String,
    /// Data Operations.
    pub operations: Share,
    /// Devices.
    pub devices: Share,
    /// Bytes over the carrier, Trackers apart.
    pub cellular_bytes: Share,
    /// Bytes over the carrier of Trackers.
    pub tracker_bytes: Share,
    /// When data stops unless the plan changes.
    pub grace_until: Option<String>,
    /// Why data is stopped.
    pub paused: Option<String>,
}

/// A part of an allowance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Share {
    /// How much was used.
    pub used: u64,
    /// How much there is; absent: no limit.
    pub limit: Option<u64>,
}

/// What a device used on a day, or in a month that is summed up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceUsageLine {
    /// `YYYY-MM-DD`, UTC: the day, or the first one.
    pub day: String,
    /// `day` or `month`.
    pub span: String,
    /// Its id.
    pub device: String,
    /// Its product.
    pub product: Option<u32>,
    /// Data Operations.
    pub operations: u64,
    /// Counted messages.
    pub messages: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// The billing of the live server, or one of its own on the data folder of a stopped one.
pub(super) enum Held<'a> {
    Live(&'a Billing),
    Own(Box<Billing>),
}

impl Deref for Held<'_> {
    type Target = Billing;

    fn deref(&self) -> &Billing {
        match self {
            Held::Live(billing) => billing,
            Held::Own(billing) => billing,
        }
    }
}

impl Held<'_> {
    /// How an account stands. Only the live server knows the settings by which a period that is over
    /// is closed.
    async fn look_at(&self, account: AccountId) -> Result<Standing, BillingError> {
        match self {
            Held::Live(billing) => billing.standing(account, utc_now()).await,
            Held::Own(billing) => billing.last_standing(account, utc_now()).await,
        }
    }

    /// A new plan closes a period that is over, and only the live server knows by which settings.
    async fn refuse_if_over(&self, account: AccountId, owner: &str) -> Result<(), String> {
        let Held::Own(billing) = self else { return Ok(()) };
        let now = utc_now();
        let standing = billing.last_standing(account, now).await.map_err(told)?;
        if !standing.keeper.is_over(now) {
            return Ok(());
        }
        Err(format!(
            "the billing period of {owner} is over and only the server itself closes it: start the server, then set the plan while it runs"
        ))
    }
}

impl Desk {
    pub(super) async fn billing(&self) -> Result<Held<'_>, String> {
        if let Some(handle) = &self.handle {
            return Ok(Held::Live(handle.billing()));
        }
        let config = Config::load(None, &Overrides::default()).map_err(|why| why.to_string())?;
        let catalogues = crate::plans::read(config.metering.plans_file())?;
        let billing = Billing::open(self.store.clone(), catalogues, &config.metering.catalogue);
        Ok(Held::Own(Box::new(billing.await.map_err(told)?)))
    }

    pub(super) async fn set_plan(&self, order: &PlanOrder) -> Result<Reply, String> {
        let plan = Plan::parse(&order.plan, order.blocks, order.contract);
        let plan = plan.map_err(|why| why.to_string())?;
        let account = self.account(&order.owner).await?;
        let terms = NewTerms { catalogue: order.catalogue.clone(), plan, anchor: order.anchor };
        let billing = self.billing().await?;
        billing.refuse_if_over(account, &order.owner).await?;
        let standing = billing.agree(account, &terms, utc_now()).await;
        Ok(Reply::Usages(vec![line(&order.owner, &standing.map_err(told)?)]))
    }

    pub(super) async fn usage(&self, owner: Option<&str>) -> Result<Reply, String> {
        self.store.settle().await.map_err(|why| why.to_string())?;
        let billing = self.billing().await?;
        let wanted = match owner {
            Some(email) => Some(self.account(email).await?),
            None => None,
        };
        let mut lines = Vec::new();
        for account in self.store.accounts().list().await.map_err(|why| why.to_string())? {
            if wanted.is_none_or(|wanted| wanted == account.id) {
                let standing = billing.look_at(account.id).await.map_err(told)?;
                lines.push(line(&account.email, &standing));
            }
        }
        Ok(Reply::Usages(lines))
    }

    pub(super) async fn device_usage(
        &self,
        owner: &str,
        from: &str,
        to: &str,
    ) -> Result<Reply, String> {
        let day = |text: &str| {
            parse_day(text).ok_or_else(|| format!("{text:?} is no day: write it as 2026-01-31"))
        };
        let (from, to) = (day(from)?, day(to)?);
        if from > to {
            return Err("the first day lies behind the last one".to_owned());
        }
        let account = self.account(owner).await?;
        self.store.settle().await.map_err(|why| why.to_string())?;
        let end = Timestamp(to.0 + DAY_MS);
        let hours = self.store.ledger().device_hours(account, Hour::of(from), Hour::of(end)).await;
        let hours = hours.map_err(|why| why.to_string())?;
        let mut days = BTreeMap::<DayOfDevice, store::Sum>::new();
        for line in hours {
            let day = line.hour.start().0.div_euclid(DAY_MS);
            let product = line.product.map(|product| product.0);
            let key = (day, line.device, product, line.span == Span::Month);
            days.entry(key).or_default().add(line.sum);
        }
        Ok(Reply::DeviceUsages(days.into_iter().map(device_line).collect()))
    }

    /// Leave of the owner's plan for those of `devices` that are new.
    pub(super) async fn import_permit<'a>(
        &self,
        billing: &'a Billing,
        account: AccountId,
        devices: &[NewDevice],
    ) -> Result<DevicesPermit<'a>, String> {
        let standing = billing.last_standing(account, utc_now()).await.map_err(told)?;
        let is_limited = standing.keeper.terms().devices_max().is_some();
        let mut new = 0;
        for device in devices.iter().filter(|_| is_limited) {
            let known = self.store.devices().get(device.id).await;
            new += u64::from(known.map_err(|why| why.to_string())?.is_none());
        }
        billing.devices_permit(account, new, utc_now()).await.map_err(told)
    }
}

fn told(why: BillingError) -> String {
    why.to_string()
}

fn line(owner: &str, standing: &Standing) -> UsageLine {
    let Standing { keeper, usage } = standing;
    let (terms, period) = (keeper.terms(), keeper.period());
    let allowances = terms.allowances();
    let share = |limit: Limit| Share {
        used: limit.used(usage),
        limit: allowances.as_ref().map(|allowances| limit.allowed(allowances).get()),
    };
    UsageLine {
        owner: owner.to_owned(),
        catalogue: terms.catalogue.name.clone(),
        plan: terms.plan.name().to_owned(),
        blocks: terms.plan.blocks().map(NonZeroU32::get),
        next_plan: keeper.next_plan().map(|plan| plan.name().to_owned()),
        next_blocks: keeper.next_plan().and_then(|plan| plan.blocks()).map(NonZeroU32::get),
        period_start: period.start.to_string(),
        period_end: period.end.to_string(),
        operations: share(Limit::Operations),
        devices: share(Limit::Devices),
        cellular_bytes: share(Limit::CellularBytes),
        tracker_bytes: share(Limit::TrackerBytes),
        grace_until: keeper.grace_until().map(|at| at.to_string()),
        paused: keeper.pause().map(|pause| pause.why()),
    }
}

/// A day since 1970, a device, its product, and whether the whole month is meant.
type DayOfDevice = (i64, DeviceId, Option<u32>, bool);

fn device_line(
    ((day, device, product, is_month), sum): (DayOfDevice, store::Sum),
) -> DeviceUsageLine {
    let span = if is_month { "month" } else { "day" }.to_owned();
    let mut day = Timestamp(day * DAY_MS).to_string();
    day.truncate("2026-01-31".len());
    let store::Sum { messages, operations, bytes } = sum;
    DeviceUsageLine { day, span, device: device.to_string(), product, operations, messages, bytes }
}
