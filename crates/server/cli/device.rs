//! `cloudchamber device`: register and list devices.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use secure::keys::PublicKey;
use serde::Deserialize;

use crate::admin::{DeviceLine, DeviceSpec, Reply, Request};
use crate::cli::{DataArgs, runtime};
use crate::output::{note, say, say_json};

/// Devices sent to the server at once; progress is told between.
const BATCH: usize = 10_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register one device with its public key.
    Add {
        /// Device id: 24 hex digits.
        id: String,
        /// E-mail address of its owner.
        #[arg(long)]
        owner: String,
        /// Its public key: PEM or DER (a private key file works too, its public half is taken).
        #[arg(long)]
        public_key: PathBuf,
        /// Platform number: 6 Photon, 12 Argon, 13 Boron, 32 P2, …
        #[arg(long)]
        platform: Option<u16>,
        /// Product id.
        #[arg(long)]
        product: Option<u32>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Register many devices from a file of JSON lines.
    Import {
        /// Lines `{"device_id":"…","public_key_pem":"…"}`, optionally with "platform" and "product".
        file: PathBuf,
        /// E-mail address of their owner.
        #[arg(long)]
        owner: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List devices.
    List {
        /// Only those of this account.
        #[arg(long)]
        owner: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// A line of an import file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportLine {
    device_id: String,
    public_key_pem: String,
    platform: Option<u16>,
    product: Option<u32>,
}

pub(crate) fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add { id, owner, public_key, platform, product, data } => {
            let key = read_key(&public_key)?;
            let spec = DeviceSpec { id, public_key: key, platform, product };
            add(&data, owner, vec![spec])
        }
        Command::Import { file, owner, data } => add(&data, owner, read_lines(&file)?),
        Command::List { owner, data } => list(&data, owner),
    }
}

fn read_key(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    normalise(&bytes).map_err(|why| format!("{}: {why}", path.display()))
}

fn normalise(key: &[u8]) -> Result<String, String> {
    let key = PublicKey::parse(key).map_err(|why| why.to_string())?;
    Ok(hex::encode(key.spki()))
}

fn read_lines(path: &Path) -> Result<Vec<DeviceSpec>, String> {
    let file = File::open(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let mut specs = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let place = |why: String| format!("{}:{}: {why}", path.display(), number + 1);
        let line = line.map_err(|why| place(why.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let parsed: ImportLine =
            serde_json::from_str(&line).map_err(|why| place(why.to_string()))?;
        let public_key = normalise(parsed.public_key_pem.as_bytes()).map_err(place)?;
        let ImportLine { device_id: id, platform, product, .. } = parsed;
        specs.push(DeviceSpec { id, public_key, platform, product });
    }
    Ok(specs)
}

fn add(data: &DataArgs, owner: String, specs: Vec<DeviceSpec>) -> Result<(), String> {
    let runtime = runtime()?;
    let (total, mut sum) = (specs.len(), (0, Vec::new(), Vec::new()));
    for (round, batch) in specs.chunks(BATCH).enumerate() {
        let request = Request::AddDevices { owner: owner.clone(), devices: batch.to_vec() };
        match runtime.block_on(crate::admin::run(&data.data, request))? {
            Reply::Added { added, present, shared_keys } => {
                sum.0 += added;
                sum.1.extend(present);
                sum.2.extend(shared_keys);
            }
            Reply::Refused(why) => return Err(why),
            other => return Err(format!("unexpected answer: {other:?}")),
        }
        if total > BATCH {
            note(&format!("{} of {total} devices", total.min((round + 1) * BATCH)));
        }
    }
    tell_added(data.json, sum.0, &sum.1, &sum.2);
    Ok(())
}

fn tell_added(json: bool, added: u64, present: &[String], shared: &[String]) {
    if json {
        say_json(&serde_json::json!({"added": added, "present": present, "shared_keys": shared}));
        return;
    }
    say(&format!("{added} added, {} known already and left as they were.", present.len()));
    if let Some(first) = shared.first() {
        note(&format!(
            "Warning: {} of them (the first is {first}) have a key that another device has as well: each can pass for the other.",
            shared.len()
        ));
    }
}

fn list(data: &DataArgs, owner: Option<String>) -> Result<(), String> {
    match runtime()?.block_on(crate::admin::run(&data.data, Request::ListDevices { owner }))? {
        Reply::Devices(devices) if data.json => say_json(&devices),
        Reply::Devices(devices) => devices.iter().for_each(|device| say(&as_row(device))),
        Reply::Refused(why) => return Err(why),
        other => return Err(format!("unexpected answer: {other:?}")),
    }
    Ok(())
}

fn as_row(device: &DeviceLine) -> String {
    let online = match device.online {
        Some(true) => "online",
        Some(false) => "offline",
        None => "-",
    };
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    format!(
        "{}  {online:7}  {:12}  {:24}  {:24}  {}",
        device.id,
        or_dash(&device.platform),
        or_dash(&device.last_heard),
        or_dash(&device.name),
        or_dash(&device.owner)
    )
}
