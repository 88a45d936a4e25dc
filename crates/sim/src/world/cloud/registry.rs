//! What is known of every device, and where each session lives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{AccountId, ApplicationDescription, DeviceId, DeviceRow, KeyHash, LinkId};
use secure::keys::PublicKey;

use crate::world::keys::KnownKey;

/// A device as it was registered.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) device: DeviceId,
    pub(crate) account: Option<AccountId>,
    pub(crate) key: KnownKey,
}

/// The directory of one process.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: BTreeMap<DeviceId, Known>,
    by_key: BTreeMap<KeyHash, Vec<DeviceId>>,
    by_address: BTreeMap<SocketAddr, (usize, LinkId)>,
    shards: usize,
}

#[derive(Debug)]
struct Known {
    row: DeviceRow,
    key: PublicKey,
    shard: Option<usize>,
}

impl Registry {
    pub(crate) fn new(shards: usize, devices: &[Registered]) -> Self {
        let mut registry = Self { shards, ..Self::default() };
        for registered in devices {
            let row = DeviceRow { account: registered.account, ..DeviceRow::default() };
            let known = Known { row, key: registered.key.public.clone(), shard: None };
            registry.devices.insert(registered.device, known);
            registry.by_key.entry(registered.key.hash).or_default().push(registered.device);
        }
        registry
    }

    /// A device has another key.
    pub(crate) fn register(&mut self, registered: Registered) {
        let Registered { device, key, .. } = registered;
        let Some(known) = self.devices.get_mut(&device) else { return };
        let before = KeyHash(known.key.hash());
        known.key = key.public;
        if let Some(ids) = self.by_key.get_mut(&before) {
            ids.retain(|id| *id != device);
        }
        self.by_key.entry(key.hash).or_default().push(device);
    }

    pub(crate) fn ids_by_key(&self, key: KeyHash) -> Vec<DeviceId> {
        self.by_key.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn key(&self, device: DeviceId) -> Option<PublicKey> {
        self.devices.get(&device).map(|known| known.key.clone())
    }

    pub(crate) fn row(&self, device: DeviceId) -> Option<DeviceRow> {
        self.devices.get(&device).map(|known| known.row.clone())
    }

    pub(crate) fn described(&mut self, device: DeviceId, description: Arc<ApplicationDescription>) {
        if let Some(known) = self.devices.get_mut(&device) {
            known.row.description = Some(description);
        }
    }

    pub(crate) fn session_shard(&self, device: DeviceId) -> Option<usize> {
        self.devices.get(&device)?.shard
    }

    /// The shard that holds the device's session, else the one that would.
    pub(crate) fn shard_of(&self, device: DeviceId) -> usize {
        let home = usize::from(device.0[11]) % self.shards;
        self.session_shard(device).unwrap_or(home)
    }

    /// A session begins in `shard`; tells which other one held the device before.
    pub(crate) fn session_began(&mut self, device: DeviceId, shard: usize) -> Option<usize> {
        let before = self.devices.get_mut(&device)?.shard.replace(shard);
        before.filter(|before| *before != shard)
    }

    pub(crate) fn shard_by_address(&self, peer: SocketAddr) -> Option<usize> {
        self.by_address.get(&peer).map(|(shard, _)| *shard)
    }

    /// Tells which session of another shard was heard from there before.
    pub(crate) fn address_is(
        &mut self,
        peer: SocketAddr,
        shard: usize,
        link: LinkId,
    ) -> Option<(usize, LinkId)> {
        self.by_address.insert(peer, (shard, link)).filter(|(before, _)| *before != shard)
    }

    pub(crate) fn is_heard_from(&self, peer: SocketAddr, shard: usize, link: LinkId) -> bool {
        self.by_address.get(&peer) == Some(&(shard, link))
    }

    /// Another shard may have a session at this address meanwhile.
    pub(crate) fn address_left(&mut self, peer: SocketAddr, shard: usize, link: LinkId) {
        if self.by_address.get(&peer) == Some(&(shard, link)) {
            self.by_address.remove(&peer);
        }
    }
}
