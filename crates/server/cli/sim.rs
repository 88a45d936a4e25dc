//! `cloudchamber sim`: a fleet of simulated devices.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use secure::keys::PublicKey;
use sim::device::profile::Generation;
use sim::fleet::{self, FleetConfig, PublishPlan};

use crate::admin::{DeviceSpec, Reply, Request};
use crate::cli::runtime;
use crate::output::{note, say};
use crate::server_keys::{self, Role};

/// Devices registered at once.
const BATCH: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or address of the server.
    #[arg(long, default_value = "127.0.0.1")]
    server: String,
    /// Its port for DTLS devices.
    #[arg(long, default_value_t = 5684)]
    udp_port: u16,
    /// Its port for TCP devices.
    #[arg(long, default_value_t = 5683)]
    tcp_port: u16,
    /// The server's public keys (PEM or DER), EC for os6 and os3, RSA for tcp.
    #[arg(long, value_name = "FILE")]
    server_key: Vec<PathBuf>,
    /// Data folder of the server: its keys are read there, and --owner registers through it.
    #[arg(long, env = "CLOUDCHAMBER_DATA__DIR", default_value = "cloudchamber-data")]
    data: PathBuf,
    /// Register the devices first, for this account.
    #[arg(long, value_name = "EMAIL")]
    owner: Option<String>,
    /// Write the lines for `device import` instead of running.
    #[arg(long)]
    registrations: bool,
    /// Which firmware; may be repeated, devices then take turns.
    #[arg(long, value_enum, default_values = ["os6"])]
    profile: Vec<Profile>,
    /// How many devices.
    #[arg(long, default_value_t = 3)]
    devices: u32,
    /// Events of each device in a second.
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
    /// Name of the events.
    #[arg(long, default_value = "sim/value")]
    event: String,
    /// Bytes of data of each event.
    #[arg(long, default_value_t = 16)]
    payload: usize,
    /// Devices switched on in a second.
    #[arg(long, default_value_t = 100)]
    connect_rate: u32,
    /// Beginning of the device ids, up to 16 hex digits.
    #[arg(long, default_value = "e00fce68")]
    prefix: String,
    /// Decides keys and everything random: the same seed is the same fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File that keeps the devices' sessions between runs (it holds keys): devices resume.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Each device gets a new address every so many seconds, without knowing (UDP).
    #[arg(long, value_name = "SECONDS")]
    roam_every: Option<f64>,
    /// Each device restarts every so many seconds and resumes its session (UDP).
    #[arg(long, value_name = "SECONDS")]
    reset_every: Option<f64>,
    /// Percent of datagrams lost in each direction (UDP).
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Seconds to run; without it until Ctrl-C.
    #[arg(long)]
    duration: Option<f64>,
    /// Threads that drive the devices.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Write the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    /// Device OS 6.2 over DTLS with connection id.
    Os6,
    /// Device OS 3.0 over DTLS.
    Os3,
    /// Device OS 3.0 over TCP.
    Tcp,
}

pub(crate) fn run(args: Args) -> Result<(), String> {
    let config = fleet_config(&args)?;
    if args.registrations {
        return print_registrations(&config);
    }
    if let Some(owner) = &args.owner {
        register(&args, &config, owner)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(Arc::clone(&stop));
    let mut progress = |at: &fleet::Progress| note(&at.to_string());
    let summary = fleet::run(&config, &stop, &mut progress).map_err(|why| why.to_string())?;
    if args.json {
        say(&summary.to_json());
        return Ok(());
    }
    let (counts, latency) = (summary.counts, summary.latency_ms);
    say(&format!(
        "{} devices, {:.0} s: {} handshakes, {} resumes, {} publishes, {} acknowledged (p50 {:.1} ms, p99 {:.1} ms), {} refused, {} lost",
        summary.devices,
        summary.seconds,
        counts.handshakes,
        counts.resumes,
        counts.published,
        counts.acknowledged,
        latency.p50,
        latency.p99,
        counts.refused,
        counts.lost
    ));
    Ok(())
}

fn fleet_config(args: &Args) -> Result<FleetConfig, String> {
    let keys = if args.registrations { Vec::new() } else { server_public_keys(args)? };
    let (udp, tcp) = (resolve(&args.server, args.udp_port)?, resolve(&args.server, args.tcp_port)?);
    let mut config = FleetConfig::new(udp, tcp, keys);
    config.profiles = args.profile.iter().map(|profile| generation(*profile)).collect();
    config.devices = args.devices;
    config.id_prefix.clone_from(&args.prefix);
    config.seed = args.seed;
    config.publish = PublishPlan {
        name: args.event.clone(),
        payload_bytes: args.payload,
        per_s: args.rate * f64::from(args.devices),
        ..PublishPlan::none()
    };
    config.connect_per_s = args.connect_rate;
    config.state_file.clone_from(&args.state);
    config.roam_every = span("--roam-every", args.roam_every)?;
    config.reset_every = span("--reset-every", args.reset_every)?;
    config.duration = span("--duration", args.duration)?;
    config.loss = args.loss / 100.0;
    config.threads = args.threads;
    Ok(config)
}

fn generation(profile: Profile) -> Generation {
    match profile {
        Profile::Os3 => Generation::Os3,
        Profile::Os6 => Generation::Os6,
        Profile::Tcp => Generation::Tcp,
    }
}

fn span(option: &str, seconds: Option<f64>) -> Result<Option<Duration>, String> {
    let Some(seconds) = seconds else { return Ok(None) };
    let span = Duration::try_from_secs_f64(seconds).ok().filter(|span| !span.is_zero());
    span.map(Some).ok_or_else(|| format!("{option} must be a positive number of seconds"))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().map_err(|why| format!("--server {host}: {why}"))?;
    found.into_iter().next().ok_or_else(|| format!("--server {host} has no address"))
}

fn server_public_keys(args: &Args) -> Result<Vec<PublicKey>, String> {
    let mut files = args.server_key.clone();
    if files.is_empty() {
        files = Role::ALL.map(|role| server_keys::files(&args.data, role).public_der).to_vec();
    }
    let keys = files.iter().map(|path| {
        let bytes = std::fs::read(path).map_err(|why| {
            format!("{}: {why}. Name the server's public keys with --server-key, or its data folder with --data", path.display())
        })?;
        PublicKey::parse(&bytes).map_err(|why| format!("{}: {why}", path.display()))
    });
    keys.collect()
}

fn print_registrations(config: &FleetConfig) -> Result<(), String> {
    for line in fleet::registrations(config) {
        say(&line.map_err(|why| why.to_string())?);
    }
    Ok(())
}

fn register(args: &Args, config: &FleetConfig, owner: &str) -> Result<(), String> {
    let specs: Vec<DeviceSpec> = fleet::identities(config)
        .map(|identity| {
            let key = identity.key.public_key().map_err(|why| why.to_string())?;
            Ok(DeviceSpec {
                id: identity.id.to_string(),
                public_key: hex::encode(key.spki()),
                platform: None,
                product: None,
            })
        })
        .collect::<Result<_, String>>()?;
    let runtime = runtime()?;
    for batch in specs.chunks(BATCH) {
        let request = Request::AddDevices { owner: owner.to_owned(), devices: batch.to_vec() };
        match runtime.block_on(crate::admin::run(&args.data, request))? {
            Reply::Added { added, .. } => note(&format!("{added} devices registered for {owner}")),
            Reply::Refused(why) => return Err(why),
            other => return Err(format!("unexpected answer: {other:?}")),
        }
    }
    Ok(())
}

/// The first Ctrl-C ends the run with its summary.
fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        let _ = runtime.block_on(tokio::signal::ctrl_c());
        stop.store(true, Ordering::Relaxed);
    });
}
