//! `cloudchamber usage`: what accounts and their devices used.

use metering::grouped;

use crate::admin::{CountedLine, CountedList, DeviceUsageLine, Reply, Request, Share, UsageLine};
use crate::cli::{DataArgs, runtime};
use crate::output::{say, say_json};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    why: Option<Command>,
    /// Only the account with this e-mail address.
    #[arg(long)]
    owner: Option<String>,
    /// By device and day, from this day on: 2026-01-31 (UTC).
    #[arg(long, requires_all = ["owner", "to"])]
    from: Option<String>,
    /// The last of these days.
    #[arg(long, requires = "from")]
    to: Option<String>,
    /// Write comma-separated values.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what was counted lately, one by one, newest first.
    Why(WhyArgs),
}

#[derive(Debug, clap::Args)]
struct WhyArgs {
    /// Only this device, by its id.
    #[arg(long)]
    device: Option<String>,
    /// The account with this e-mail address; with a device, by default whoever pays for it.
    #[arg(long, required_unless_present = "device")]
    owner: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    data: DataArgs,
}

fn why(args: WhyArgs) -> Result<(), String> {
    let WhyArgs { device, owner, limit, data } = args;
    let request = Request::Why { owner, device, limit };
    match runtime()?.block_on(crate::admin::run(&data.data, request))? {
        Reply::Counted(list) if data.json => say_json(&list),
        Reply::Counted(list) => tell_counted(&list),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}

fn tell_counted(list: &CountedList) {
    for line in &list.operations {
        let CountedLine { at, device, rule, kind, name, operations, .. } = line;
        let attempt = line.attempt.map(|n| format!(", attempt {n}")).unwrap_or_default();
        say(&format!("{at}  {device}  {operations}  rule {rule}, {kind} {name}{attempt}"));
    }
    if list.left_out > 0 {
        say(&format!("{} older ones are not listed: --limit lists more.", list.left_out));
    }
    match &list.window_start {
        Some(start) => say(&format!("Of the time before {start} only sums are kept.")),
        None => say("Nothing was counted yet."),
    }
}

pub(crate) fn run(args: Args) -> Result<(), String> {
    if let Some(Command::Why(args)) = args.why {
        return why(args);
    }
    let request = match (args.owner, args.from, args.to) {
        (Some(owner), Some(from), Some(to)) => Request::DeviceUsage { owner, from, to },
        (owner, _, _) => Request::Usage { owner },
    };
    match runtime()?.block_on(crate::admin::run(&args.data.data, request))? {
        Reply::Usages(lines) if args.csv => accounts_csv(&lines),
        Reply::Usages(lines) => tell(&lines, args.data.json),
        Reply::DeviceUsages(lines) if args.data.json => say_json(&lines),
        Reply::DeviceUsages(lines) => devices_csv(&lines),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}

/// Writes how accounts stand.
pub(crate) fn tell(lines: &[UsageLine], json: bool) {
    if json {
        return say_json(&lines);
    }
    for line in lines {
        let held = plan(&line.plan, line.blocks);
        say(&format!("{}  {held}, catalogue {}", line.owner, line.catalogue));
        say(&format!("  billing period   {} to {}", line.period_start, line.period_end));
        if let Some(next) = &line.next_plan {
            let next = plan(next, line.next_blocks);
            say(&format!(
                "  from then on     {next}, if the period needs no more blocks than it has"
            ));
        }
        say(&format!("  Data Operations  {}", share(&line.operations)));
        say(&format!("  devices          {}", share(&line.devices)));
        say(&format!("  cellular bytes   {}", share(&line.cellular_bytes)));
        say(&format!("  Tracker bytes    {}", share(&line.tracker_bytes)));
        if let Some(until) = &line.grace_until {
            say(&format!("  used up: data stops at {until} unless the plan is changed"));
        }
        if let Some(why) = &line.paused {
            say(&format!("  paused: {why}"));
        }
    }
}

fn plan(name: &str, blocks: Option<u32>) -> String {
    format!("{name}{}", blocks.map(|blocks| format!(" × {blocks}")).unwrap_or_default())
}

fn share(share: &Share) -> String {
    match share.limit {
        Some(limit) => format!("{} of {}", grouped(share.used), grouped(limit)),
        None => grouped(share.used),
    }
}

fn accounts_csv(lines: &[UsageLine]) {
    say(
        "Account,Catalogue,Plan,Blocks,Period Start,Period End,Data Operations,Data Operations Limit,Devices,Devices Limit,Paused",
    );
    for line in lines {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let fields = [
            quoted(&line.owner),
            quoted(&line.catalogue),
            line.plan.clone(),
            number(line.blocks.map(u64::from)),
            line.period_start.clone(),
            line.period_end.clone(),
            line.operations.used.to_string(),
            number(line.operations.limit),
            line.devices.used.to_string(),
            number(line.devices.limit),
            quoted(line.paused.as_deref().unwrap_or_default()),
        ];
        say(&fields.join(","));
    }
}

fn devices_csv(lines: &[DeviceUsageLine]) {
    say("Date,Span,Device ID,Product ID,Data Operations,Messages,Payload Bytes");
    for line in lines {
        let product = line.product.map(|id| id.to_string()).unwrap_or_default();
        let DeviceUsageLine { day, span, device, operations, messages, bytes, .. } = line;
        say(&format!("{day},{span},{device},{product},{operations},{messages},{bytes}"));
    }
}

/// A field of CSV, in quotes if it needs them. What a spreadsheet would take for a formula is no
/// formula behind a quote.
fn quoted(text: &str) -> String {
    let guarded =
        if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", guarded.replace('"', "\"\""));
    }
    guarded
}
