//! The devices of a world, and where they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use model::Mono;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::cloud::Registered;
use super::judge::Watched;
use super::keys::{self, Secrets};
use super::plan::{self, DevicePlan, Plan};
use crate::device::profile::{Generation, Profile};
use crate::device::{Device, Setup, Trust};
use crate::harness::StreamId;
use crate::identity::Identity;

/// A device at its place.
pub(super) struct Placed {
    pub(super) device: Device,
    pub(super) plan: DevicePlan,
    /// Its socket; each is another port.
    pub(super) inner: Option<SocketAddr>,
    pub(super) stream: Option<StreamId>,
    pub(super) opened: u16,
    /// Handshakes begun: each makes other keys.
    pub(super) session: u32,
    /// Keys after the first.
    pub(super) keys: u32,
    /// Nothing comes through to it or from it until then.
    pub(super) isolated_until: Mono,
    /// When its connection began.
    pub(super) connected_at: Mono,
}

/// The set-ups of devices, made once for those that are alike.
pub(super) struct Setups {
    trust: Trust,
    made: BTreeMap<(u8, u64, usize), Arc<Setup>>,
}

impl Setups {
    pub(super) fn new(trust: &Trust) -> Self {
        Self { trust: trust.clone(), made: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, plan: &DevicePlan) -> Arc<Setup> {
        let profile = profile(plan);
        let key = (plan.generation as u8, profile.keep_alive.as_secs(), plan.program);
        let trust = &self.trust;
        let make = || {
            Arc::new(Setup {
                profile,
                program: Arc::new(plan::program(plan.program)),
                trust: trust.clone(),
                modules: 1,
                limits_publishes: true,
                takes_chunks_slowly: false,
            })
        };
        Arc::clone(self.made.entry(key).or_insert_with(make))
    }
}

/// All devices, switched off, and what the server knows of them.
pub(super) fn make(
    plan: &Plan,
    random: &mut SmallRng,
    secrets: &Secrets,
) -> (Vec<Placed>, Vec<Registered>) {
    let mut setups = Setups::new(&secrets.trust);
    let place = |(index, plan): (u32, &DevicePlan)| {
        let identity = keys::identity(index, plan.generation == Generation::Tcp);
        let (device, key) = keys::known_key(&identity);
        let registered = Registered { device, account: plan.account, key };
        let device = Device::new(identity, setups.of(plan), random.random());
        (Placed::new(device, plan.clone()), registered)
    };
    (0..).zip(&plan.devices).map(place).unzip()
}

/// The device with another key, and what the server is told of it.
pub(super) fn rekeyed(
    placed: &mut Placed,
    index: usize,
    setup: Arc<Setup>,
    seed: u64,
) -> (Device, Registered) {
    placed.keys += 1;
    let is_rsa = placed.plan.generation == Generation::Tcp;
    let other = u32::try_from(index).unwrap_or(0) + placed.keys * OTHER_KEYS;
    let identity = Identity { id: placed.device.id(), ..keys::identity(other, is_rsa) };
    let (device, key) = keys::known_key(&identity);
    let registered = Registered { device, account: placed.plan.account, key };
    (Device::new(identity, setup, seed), registered)
}

/// More than there are devices in a world, and no multiple of the number of RSA keys.
const OTHER_KEYS: u32 = 1000;

impl Placed {
    fn new(device: Device, plan: DevicePlan) -> Self {
        Self {
            device,
            plan,
            inner: None,
            stream: None,
            opened: 0,
            session: 0,
            keys: 0,
            isolated_until: Mono(0),
            connected_at: Mono(0),
        }
    }

    pub(super) fn watched(&self) -> Watched {
        Watched::new(self.device.id(), self.plan.account, &profile(&self.plan))
    }

    pub(super) fn is_udp(&self) -> bool {
        self.plan.generation != Generation::Tcp
    }

    /// Another local address.
    pub(super) fn open(&mut self, index: usize) -> SocketAddr {
        let [_, _, high, low] = u32::try_from(index + 1).unwrap_or(0).to_be_bytes();
        let inner = SocketAddr::from(([10, 0, high, low], 20_000 + self.opened));
        self.opened = (self.opened + 1) % 40_000;
        self.inner = Some(inner);
        inner
    }
}

fn profile(plan: &DevicePlan) -> Profile {
    let profile = Profile::new(plan.generation);
    let keep_alive = plan.keep_alive.unwrap_or(profile.keep_alive);
    Profile { keep_alive, ..profile }
}
