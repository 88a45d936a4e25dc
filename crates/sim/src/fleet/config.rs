//! What a fleet is to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secure::keys::{PrivateKey, PublicKey};

use super::FleetError;
use crate::device::UpdateFault;
use crate::device::profile::Generation;
use crate::identity::{DeviceKey, Identity};

/// A fleet and what it does. [`FleetConfig::new`] gives ten idle devices.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Where the server listens for DTLS.
    pub udp: SocketAddr,
    /// Where the server listens for TCP devices.
    pub tcp: SocketAddr,
    /// The server's public keys: P-256 for DTLS, RSA-2048 for TCP.
    pub server_keys: Vec<PublicKey>,
    /// Which firmware; with several, devices take turns.
    pub profiles: Vec<Generation>,
    /// How many devices, 1 to 1,000,000.
    pub devices: u32,
    /// Up to 16 hex digits that every id begins with.
    pub id_prefix: String,
    /// Decides keys and everything random; the same seed is the same fleet.
    pub seed: u64,
    /// Whose keys they have.
    pub keys: KeyPlan,
    /// What they publish.
    pub publish: PublishPlan,
    /// Devices switched on in a second.
    pub connect_per_s: u32,
    /// Handshakes in progress at once; further devices wait to be switched on.
    pub connecting_max: u32,
    /// Sessions are read from here at the start and written to it at the end. It holds keys.
    pub state_file: Option<PathBuf>,
    /// Each device gets a new address after this span, without knowing (DTLS).
    pub roam_every: Option<Duration>,
    /// Each device restarts after this span and resumes its session (DTLS).
    pub reset_every: Option<Duration>,
    /// Overrides the profile's keep-alive interval.
    pub keep_alive: Option<Duration>,
    /// What goes wrong with every update.
    pub update_fault: UpdateFault,
    /// Acknowledgements before this moment of the run are counted, but say nothing of the latency.
    pub latency_from: Duration,
    /// Share of datagrams lost in each direction, 0 to 1 (DTLS).
    pub loss: f64,
    /// How long it runs; without end if absent.
    pub duration: Option<Duration>,
    /// Threads that drive the devices.
    pub threads: u32,
}

/// Where the keys of a fleet come from. Seeded keys need no file: the same seed gives the same.
#[derive(Debug, Clone)]
pub enum KeyPlan {
    /// Each device has its own, made from the seed.
    PerDevice,
    /// One key for all DTLS devices and one for all TCP devices, made from the seed.
    SharedSeeded,
    /// This one, for all devices; it must fit the profiles.
    Shared(Arc<PrivateKey>),
}

/// What a fleet publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishPlan {
    /// Event name.
    pub name: String,
    /// Bytes of data, up to 864 for Device OS 3.0 and 1,024 for 6.2.
    pub payload_bytes: usize,
    /// Events of the whole fleet in a second; 0 for none.
    pub per_s: f64,
    /// Events without acknowledgement at once; at the bound the fleet waits instead of publishing.
    pub in_flight_max: u64,
}

impl FleetConfig {
    /// Ten idle devices of 6.2 with keys of their own.
    pub fn new(udp: SocketAddr, tcp: SocketAddr, server_keys: Vec<PublicKey>) -> Self {
        Self {
            udp,
            tcp,
            server_keys,
            profiles: vec![Generation::Os6],
            devices: 10,
            id_prefix: "e00fce68".into(),
            seed: 1,
            keys: KeyPlan::PerDevice,
            publish: PublishPlan::none(),
            connect_per_s: 1000,
            connecting_max: 1000,
            state_file: None,
            roam_every: None,
            reset_every: None,
            keep_alive: None,
            update_fault: UpdateFault::None,
            latency_from: Duration::ZERO,
            loss: 0.0,
            duration: None,
            threads: 1,
        }
    }

    /// Which firmware device `index` has.
    pub fn profile(&self, index: u32) -> Generation {
        self.profiles[index as usize % self.profiles.len()]
    }

    /// Who device `index` is.
    pub fn identity(&self, index: u32) -> Identity {
        let rsa = !is_udp(self.profile(index));
        let own = Identity::of_fleet(&self.id_prefix, self.seed, index, rsa);
        let key = match &self.keys {
            KeyPlan::PerDevice => return own,
            KeyPlan::Shared(key) => DeviceKey::Held(Arc::clone(key)),
            KeyPlan::SharedSeeded => {
                Identity::of_fleet(&self.id_prefix, self.seed, SHARED, rsa).key
            }
        };
        Identity { id: own.id, key }
    }

    pub(super) fn check(&self) -> Result<(), FleetError> {
        let complaint = if self.profiles.is_empty() {
            "at least one profile is needed"
        } else if !(1..=DEVICES_MAX).contains(&self.devices) {
            "a fleet has 1 to 1,000,000 devices"
        } else if !(0.0..=1.0).contains(&self.loss) {
            "the loss is a share from 0 to 1"
        } else if self.publish.per_s < 0.0 || !self.publish.per_s.is_finite() {
            "the publish rate must not be negative"
        } else if self.publish.payload_bytes > 1024 {
            "an event has at most 1,024 bytes of data"
        } else if !self.id_prefix.bytes().all(|digit| digit.is_ascii_hexdigit())
            || self.id_prefix.len() > 16
        {
            "the id prefix is up to 16 hex digits"
        } else {
            return Ok(());
        };
        Err(FleetError::Config(complaint.into()))
    }
}

impl PublishPlan {
    /// Nothing.
    pub fn none() -> Self {
        Self { name: "sim/value".into(), payload_bytes: 16, per_s: 0.0, in_flight_max: 10_000 }
    }
}

pub(super) fn is_udp(profile: Generation) -> bool {
    profile != Generation::Tcp
}

/// The index from which shared keys are made; no fleet has so many devices.
const SHARED: u32 = u32::MAX;
const DEVICES_MAX: u32 = 1_000_000;
