//! Many devices over real sockets, from few threads: for load, for idle sessions, for storms.
//!
//! Each thread drives its share of the devices from one loop with batched reads. Against a server on
//! this machine (127.0.0.0/8) all DTLS devices of a thread share one socket: each has a source
//! address of its own out of 127.1.0.0 – 127.255.255.255, chosen for every datagram with
//! `IP_PKTINFO`, and the destination of an answer tells whose it is. A fleet of any size then needs
//! one file descriptor for each thread, and roaming is another address. Against a server elsewhere,
//! and for TCP, each device has a socket.

mod config;
mod links;
mod schedule;
mod state;
mod stats;
mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use secure::keys::KeyError;

use crate::device::{Device, Setup, Trust, UpdateFault};
use crate::identity::Identity;
use stats::Shared;
use worker::Worker;

pub use config::{FleetConfig, KeyPlan, PublishPlan};
pub use stats::{Percentiles, Progress, Summary};

/// Why a fleet could not run. All are for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A setting makes no sense; says which.
    #[error("{0}")]
    Config(String),
    /// A socket, the state file or a thread.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A key cannot be used.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Runs a fleet until its time is over or `stop` is set, telling `progress` each second. Blocks.
pub fn run(
    config: &FleetConfig,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, FleetError> {
    config.check()?;
    let started = Instant::now();
    let workers = workers(config, started)?;
    let shared: Vec<Arc<Shared>> = workers.iter().map(Worker::shared).collect();
    let over = &AtomicBool::new(false);
    let finished: Vec<Worker> = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .enumerate()
            .filter_map(|(number, worker)| {
                let named = thread::Builder::new().name(format!("fleet-{number}"));
                named.spawn_scoped(scope, move || worker.run(over)).ok()
            })
            .collect();
        watch(config, started, stop, &shared, progress);
        over.store(true, Ordering::Relaxed);
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    if let Some(path) = &config.state_file {
        state::save(path, finished.iter().flat_map(Worker::devices))?;
    }
    Ok(Summary::new(started.elapsed(), config.devices, finished.iter().map(Worker::tally)))
}

/// Who the devices of a fleet are, in order: for their registration with the server.
pub fn identities(config: &FleetConfig) -> impl Iterator<Item = Identity> + use<'_> {
    (0..config.devices).map(|index| config.identity(index))
}

/// The registration of a fleet as JSON lines, `{"device_id":…,"public_key_pem":…}` each.
pub fn registrations(
    config: &FleetConfig,
) -> impl Iterator<Item = Result<String, KeyError>> + use<'_> {
    identities(config).map(|identity| identity.registration())
}

fn watch(
    config: &FleetConfig,
    started: Instant,
    stop: &AtomicBool,
    shared: &[Arc<Shared>],
    progress: &mut dyn FnMut(&Progress),
) {
    let mut last = Progress::default();
    let mut next = started + Duration::from_secs(1);
    while !stop.load(Ordering::Relaxed) {
        if config.duration.is_some_and(|duration| started.elapsed() >= duration) {
            return;
        }
        if Instant::now() >= next {
            last = Progress::after(&last, started.elapsed(), config.devices, shared);
            progress(&last);
            next += Duration::from_secs(1);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn workers(config: &FleetConfig, started: Instant) -> Result<Vec<Worker>, FleetError> {
    let setups = setups(config)?;
    let mut stored = match &config.state_file {
        Some(path) => state::load(path)?,
        None => state::Stored::default(),
    };
    let threads = config.threads.clamp(1, config.devices);
    (0..threads)
        .map(|thread| {
            let devices: Vec<Device> = (thread..config.devices)
                .step_by(threads as usize)
                .map(|index| {
                    let setup = &setups[index as usize % setups.len()];
                    let seed = config.seed.wrapping_add(u64::from(index));
                    let mut device = Device::new(config.identity(index), Arc::clone(setup), seed);
                    stored.restore(&mut device);
                    if config.update_fault != UpdateFault::None {
                        device.set_update_fault(config.update_fault);
                    }
                    device
                })
                .collect();
            Worker::new(config, devices, thread, started)
                .map_err(|error| FleetError::Io { what: "a socket".into(), error })
        })
        .collect()
}

/// One setup for each profile; devices take turns.
fn setups(config: &FleetConfig) -> Result<Vec<Arc<Setup>>, FleetError> {
    let trust = Trust::new(config.server_keys.iter().cloned())?;
    let needs_rsa = config.profiles.iter().any(|profile| !config::is_udp(*profile));
    let needs_p256 = config.profiles.iter().any(|profile| config::is_udp(*profile));
    if needs_rsa && trust.rsa.is_none() || needs_p256 && trust.p256.is_none() {
        return Err(FleetError::Config("a profile lacks its server key".into()));
    }
    let setup = |generation| {
        let mut setup = Setup::new(generation, trust.clone());
        setup.limits_publishes = false;
        if let Some(keep_alive) = config.keep_alive {
            setup.profile.keep_alive = keep_alive;
        }
        Arc::new(setup)
    };
    Ok(config.profiles.iter().copied().map(setup).collect())
}

/// Whether source addresses can be made up towards this server.
fn is_loopback(server: IpAddr) -> bool {
    matches!(server, IpAddr::V4(address) if address.is_loopback())
}
