//! `cloudchamber firmware`: binaries for devices.

use std::path::{Path, PathBuf};

use model::Platform;
use protocol::firmware::{FIRST_PRODUCT, Firmware, Function, name};
use serde_json::{Value, json};
use sim::firmware::Binary;

use crate::admin::{Reply, Request};
use crate::cli::{StoreArgs, runtime};
use crate::output::{say, say_json};

/// Largest file read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Platforms by name go up to this number.
const PLATFORM_MAX: u16 = 255;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Keep a system module, for devices in safe mode that lack it.
    Add(AddArgs),
    /// List the system modules that are kept.
    List(StoreArgs),
    /// Remove a system module.
    Remove(RemoveArgs),
    /// Tell what a firmware binary is, and whether it is whole.
    Check(CheckArgs),
    /// Make a binary that is well formed and does nothing, to try updates with simulated devices.
    Make(MakeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Binaries of bootloaders, system parts, radio stacks or network coprocessors.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// SHA-256 of the file, as `list` shows it.
    hash: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The binary.
    file: PathBuf,
    /// Refuse it unless it is for this platform: a name (argon) or a number.
    #[arg(long)]
    platform: Option<String>,
    /// Write the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MakeArgs {
    /// Where to write it.
    file: PathBuf,
    /// Platform: a name (argon) or a number. Simulated devices tell theirs in GET /v1/devices.
    #[arg(long)]
    platform: String,
    /// Size in KiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    kib: u32,
    /// Product that the application is for.
    #[arg(long, requires = "product_version", value_parser = clap::value_parser!(u16).range(i64::from(FIRST_PRODUCT)..=65_534))]
    product: Option<u16>,
    /// Its product version.
    #[arg(long, requires = "product")]
    product_version: Option<u16>,
    /// user (an application), system or bootloader.
    #[arg(long, value_enum, default_value_t = Kind::User)]
    function: Kind,
    /// Place among the modules of its function.
    #[arg(long, default_value_t = 1)]
    index: u8,
    /// Module version: 6200 of a system part is Device OS 6.2.0.
    #[arg(long, default_value_t = 6)]
    module_version: u16,
    /// System part 1 of this version must be there.
    #[arg(long)]
    needs_system: Option<u16>,
    /// Decides what stands in for code.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    User,
    System,
    Bootloader,
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add(args) => add(&args),
        Command::List(store) => ask(&store, Request::ListModules),
        Command::Remove(args) => ask(&args.store, Request::RemoveModule { hash: args.hash }),
        Command::Check(args) => check(&args),
        Command::Make(args) => make(&args),
    }
}

fn add(args: &AddArgs) -> Result<(), String> {
    for path in &args.files {
        let file = read(path)?;
        Firmware::read(&file).map_err(|why| format!("{}: {why}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ask(&args.store, Request::AddModule { name, file: hex::encode(file) })?;
    }
    Ok(())
}

/// Has the server's desk do it, and shows the modules it answers with.
fn ask(store: &StoreArgs, request: Request) -> Result<(), String> {
    let (data, files) = (&store.data, store.files()?);
    let asked = crate::admin::run_with(&data.data, &files, request);
    let lines = match runtime()?.block_on(asked)? {
        Reply::Modules(lines) => lines,
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    };
    if data.json {
        say_json(&json!(lines));
        return Ok(());
    }
    for line in lines {
        let (hash, platform, version) = (&line.hash, &line.platform, line.version);
        say(&format!("{hash}  {platform}  {} {version}  {}", line.module, line.name));
    }
    Ok(())
}

fn check(args: &CheckArgs) -> Result<(), String> {
    let refused = |why: &dyn std::fmt::Display| format!("{}: {why}", args.file.display());
    let firmware = Firmware::read(&read(&args.file)?).map_err(|why| refused(&why))?;
    if let Some(text) = &args.platform {
        firmware.suits(platform(text)?).map_err(|why| refused(&why))?;
    }
    if args.json {
        say_json(&shown(&firmware));
        return Ok(());
    }
    let product = match (firmware.product, firmware.product_version) {
        (Some(product), Some(version)) => format!(", version {version} of product {product}"),
        (Some(product), None) => format!(", of product {product}"),
        _ => String::new(),
    };
    let needs: String = firmware
        .dependencies
        .iter()
        .map(|needed| format!(", needs {} {}", name(needed.function, needed.index), needed.version))
        .collect();
    say(&format!(
        "{} {} for {}, module version {}{product}{needs}, {} bytes: whole",
        firmware.function,
        firmware.index,
        firmware.platform.name(),
        firmware.version,
        firmware.bytes
    ));
    Ok(())
}

fn shown(firmware: &Firmware) -> Value {
    let needs = firmware.dependencies.iter().map(|needed| {
        let (function, index) = (needed.function, needed.index);
        json!({"function": function, "index": index, "version": needed.version})
    });
    json!({
        "platform_id": firmware.platform.0,
        "function": firmware.function.number(),
        "index": firmware.index,
        "version": firmware.version,
        "product_id": firmware.product.map(|product| product.0),
        "product_version": firmware.product_version,
        "dependencies": needs.collect::<Vec<_>>(),
        "hash": hex::encode(firmware.module_hash),
        "compressed": firmware.compressed,
        "combined": firmware.combined,
        "size": firmware.bytes,
    })
}

fn make(args: &MakeArgs) -> Result<(), String> {
    let function = match args.function {
        Kind::User => Function::UserPart,
        Kind::System => Function::SystemPart,
        Kind::Bootloader => Function::Bootloader,
    };
    let system = Function::SystemPart.number();
    let bytes = usize::try_from(args.kib).unwrap_or(usize::MAX).saturating_mul(1024);
    let binary = Binary {
        platform: platform(&args.platform)?.0,
        function: function.number(),
        index: args.index,
        version: args.module_version,
        product: args.product.zip(args.product_version),
        dependencies: args.needs_system.map(|version| (system, 1, version)).into_iter().collect(),
        bytes,
        seed: args.seed,
    };
    let file = binary.build();
    Firmware::read(&file).map_err(|why| format!("this binary would be refused: {why}"))?;
    std::fs::write(&args.file, file).map_err(|why| format!("{}: {why}", args.file.display()))
}

/// A platform by its name or number.
pub(crate) fn platform(text: &str) -> Result<Platform, String> {
    let text = text.to_ascii_lowercase();
    let named =
        (0..=PLATFORM_MAX).map(Platform).find(|known| known.is_known() && known.name() == text);
    let numbered = || text.parse().ok().map(Platform).filter(|platform| platform.is_known());
    named
        .or_else(numbered)
        .ok_or_else(|| format!("{text:?} is no platform: use a name such as argon, or its number"))
}

/// A file of bounded size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |why: std::io::Error| format!("{}: {why}", path.display());
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("{}: {bytes} bytes are no firmware binary", path.display()));
    }
    std::fs::read(path).map_err(told)
}
