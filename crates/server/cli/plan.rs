//! `cloudchamber plan`: what accounts may use.

use std::num::NonZeroU64;

use metering::{Allowances, Anchor};

use crate::admin::{PlanOrder, Reply, Request};
use crate::cli::{DataArgs, runtime, usage};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Give an account a plan, at once.
    Set(Box<SetArgs>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// E-mail address of the account.
    owner: String,
    /// unlimited, free, growth or enterprise.
    plan: String,
    /// Plan catalogue: 2021, 2022, 2025 or one of your own; without it the account's stays.
    #[arg(long)]
    catalogue: Option<String>,
    /// Blocks of a growth plan; 1 if none are given.
    #[arg(long, allow_negative_numbers = true)]
    blocks: Option<i64>,
    /// Day of the month on which billing periods begin, 1 to 31; a change takes effect when the open period ends.
    #[arg(long)]
    anchor_day: Option<u8>,
    /// Month in which the year of an enterprise contract begins, 1 to 12.
    #[arg(long, requires = "anchor_day")]
    anchor_month: Option<u8>,
    /// Devices of an enterprise contract.
    #[arg(long, requires_all = ["operations", "cellular_bytes", "tracker_bytes"])]
    devices: Option<NonZeroU64>,
    /// Data Operations that an enterprise contract gives for a year.
    #[arg(long, requires = "devices")]
    operations: Option<NonZeroU64>,
    /// Bytes over the carrier that an enterprise contract gives for a year, Trackers apart.
    #[arg(long, requires = "devices")]
    cellular_bytes: Option<NonZeroU64>,
    /// Bytes over the carrier of Trackers that an enterprise contract gives for a year.
    #[arg(long, requires = "devices")]
    tracker_bytes: Option<NonZeroU64>,
    #[command(flatten)]
    data: DataArgs,
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    let Command::Set(args) = command;
    let order = args.order()?;
    match runtime()?.block_on(crate::admin::run(&args.data.data, Request::SetPlan(order)))? {
        Reply::Usages(lines) => usage::tell(&lines, args.data.json),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}

impl SetArgs {
    fn order(&self) -> Result<PlanOrder, String> {
        let anchor = self.anchor_day.map(|day| Anchor::new(self.anchor_month.unwrap_or(1), day));
        Ok(PlanOrder {
            owner: self.owner.clone(),
            catalogue: self.catalogue.clone(),
            plan: self.plan.clone(),
            blocks: self.blocks,
            contract: self.contract(),
            anchor: anchor.transpose().map_err(|why| why.to_string())?,
        })
    }

    fn contract(&self) -> Option<Allowances> {
        Some(Allowances {
            devices: self.devices?,
            operations: self.operations?,
            cellular_bytes: self.cellular_bytes?,
            tracker_bytes: self.tracker_bytes?,
        })
    }
}
