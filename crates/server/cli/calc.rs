//! `cloudchamber calc`: Data Operations, plan and blocks for a fleet that is only planned.

use std::num::NonZeroU64;
use std::path::PathBuf;

use metering::{Catalogues, Connectivity, Estimate, Interval, Mix, Question, Traffic, grouped};

use crate::output::{say, say_json};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// How many devices.
    #[arg(long)]
    devices: NonZeroU64,
    /// Each device publishes once in this interval: 30s, 10m, 1h30m, 1d.
    #[arg(long, conflicts_with_all = ["publishes", "deliveries", "functions", "variables", "points"])]
    every: Option<Interval>,
    /// Events a device publishes in a day.
    #[arg(long, default_value_t = 0)]
    publishes: u32,
    /// Events a device gets by its subscriptions in a day.
    #[arg(long, default_value_t = 0)]
    deliveries: u32,
    /// Function calls a device gets in a day.
    #[arg(long, default_value_t = 0)]
    functions: u32,
    /// Variable requests a device gets in a day.
    #[arg(long, default_value_t = 0)]
    variables: u32,
    /// Location points of a device that are stored in a day.
    #[arg(long, default_value_t = 0)]
    points: u32,
    /// Bytes of data of an event.
    #[arg(long, default_value_t = 100)]
    payload: u32,
    /// How the devices are connected; it decides which bytes are limited.
    #[arg(long, value_enum, default_value_t = Connected::Wifi)]
    connected: Connected,
    /// Plan catalogue: 2021, 2022, 2025 or one of your own.
    #[arg(long, default_value = "2022")]
    catalogue: String,
    /// File of your own catalogues, in the form of config/plans.toml.
    #[arg(long)]
    plans: Option<PathBuf>,
    /// Write the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Connected {
    Cellular,
    Tracker,
    Wifi,
}

pub(crate) fn run(args: Args) -> Result<(), String> {
    let catalogues = crate::plans::read(args.plans.as_deref())?;
    let catalogue = catalogues.get(&args.catalogue).map_err(|why| why.to_string())?;
    let estimate = metering::estimate(&args.question()?, &catalogue);
    if args.json {
        say_json(&estimate);
    } else {
        tell(&args, &estimate, &catalogues)?;
    }
    Ok(())
}

impl Args {
    fn question(&self) -> Result<Question, String> {
        let Self { publishes, deliveries, functions, variables, points, .. } = *self;
        let mix = Mix { publishes, deliveries, functions, variables, points };
        let traffic = match self.every {
            Some(interval) => Traffic::Every(interval),
            None if mix == Mix::default() => return Err(NOTHING_HAPPENS.to_owned()),
            None => Traffic::PerDay(mix),
        };
        let connectivity = match self.connected {
            Connected::Cellular => Connectivity::Cellular,
            Connected::Tracker => Connectivity::Tracker,
            Connected::Wifi => Connectivity::Wifi,
        };
        Ok(Question { devices: self.devices, traffic, payload_bytes: self.payload, connectivity })
    }
}

const NOTHING_HAPPENS: &str = "what do the devices do? Give --every with an interval (such as 10m), or messages a day of each device: --publishes, --deliveries, --functions, --variables, --points";

fn tell(args: &Args, estimate: &Estimate, catalogues: &Catalogues) -> Result<(), String> {
    let catalogue = catalogues.get(&estimate.catalogue).map_err(|why| why.to_string())?;
    say(&format!("Data Operations a month   {}", grouped(estimate.operations_per_month)));
    if estimate.cellular_bytes_per_month > 0 {
        let megabytes = estimate.cellular_bytes_per_month.div_ceil(1_000_000);
        say(&format!("Cellular data a month     about {} MB", grouped(megabytes)));
    }
    let plan = match (estimate.free_exceeded_by, estimate.growth_blocks.get()) {
        (None, _) => "free".to_owned(),
        (Some(_), 1) => "growth, 1 block".to_owned(),
        (Some(_), blocks) => format!("growth, {} blocks", grouped(blocks.into())),
    };
    say(&format!("Plan (catalogue {:6})    {plan}", estimate.catalogue));
    if let Some(limit) = estimate.free_exceeded_by {
        let free = limit.allowed(&catalogue.free).get();
        say(&format!("The free plan gives only {}.", limit.amount(free)));
    }
    if let Some(limit) = estimate.blocks_forced_by {
        let block = limit.allowed(&catalogue.growth).get();
        say(&format!(
            "A block gives {}: that makes it {}.",
            limit.amount(block),
            estimate.growth_blocks
        ));
    }
    let devices = args.devices.get();
    say(&format!(
        "For {} {} and a month of 30.4375 days.",
        grouped(devices),
        if devices == 1 { "device" } else { "devices" }
    ));
    Ok(())
}
