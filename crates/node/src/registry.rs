//! What is known of every registered device without asking the store: its row, its key, and the
//! shard that holds its session.

mod table;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::{
    AccountId, ApplicationDescription, DeviceId, DeviceRow, DeviceState, KeyHash, LinkId, Platform,
    ProductId, Timestamp,
};
use rustc_hash::FxHashMap;
use store::Registered;

use self::table::{Devices, Known};

/// The registry. One for the process; reads are short and never wait for the store.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
    /// By the address their session was last heard from; kept only with several shards, for
    /// datagrams without a connection id that the kernel gives to another one.
    shards_by_address: RwLock<std::collections::HashMap<SocketAddr, (u8, LinkId)>>,
    shards: u8,
    /// How often a row was read again.
    changes: AtomicU64,
}

/// A registered device as lists of an account show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRow {
    /// Which device.
    pub device: DeviceId,
    /// Whether the account itself owns it; else it owns the device's product.
    pub owned: bool,
    /// Its product, if it has one.
    pub product: Option<ProductId>,
    /// The name its owner gave it.
    pub name: Option<Box<str>>,
    /// Its platform, if it ever said Hello.
    pub platform: Option<Platform>,
    /// When it was last heard, as of the server's start.
    pub last_heard: Option<Timestamp>,
}

/// What a changed row means for a live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// As it is from now on; absent: the device is gone.
    pub(crate) row: Option<DeviceRow>,
    /// Its key is another one than before.
    pub(crate) key_replaced: bool,
    /// The shard that holds its session, or would.
    pub(crate) shard: u8,
}

#[derive(Debug, Default)]
struct Tables {
    devices: Devices,
    /// The owners of devices for which another one pays: of few, so none takes room in all rows.
    owners_apart: FxHashMap<DeviceId, Option<AccountId>>,
    /// Devices of one firmware share one.
    descriptions: HashSet<Arc<ApplicationDescription>>,
    /// How TCP devices were when the last process ended, until they come back.
    resting: FxHashMap<DeviceId, DeviceState>,
}

impl Registry {
    /// A registry for this many shards.
    pub(crate) fn new(shards: u8, devices: Vec<Registered>) -> Self {
        let registry = Self { shards, ..Self::default() };
        let mut tables = registry.write();
        tables.devices.reserve(devices.len());
        for device in devices {
            tables.put(device);
        }
        drop(tables);
        registry
    }

    /// The ids a key is registered for.
    pub(crate) fn ids_by_key(&self, key: KeyHash) -> Vec<DeviceId> {
        self.read().devices.with_key(key).collect()
    }

    /// The hash of a device's key, if it has one.
    pub(crate) fn key(&self, device: DeviceId) -> Option<KeyHash> {
        self.read().devices.get(device)?.key
    }

    /// A device's row, if it is registered.
    pub(crate) fn row(&self, device: DeviceId) -> Option<DeviceRow> {
        Some(self.read().devices.get(device)?.row.clone())
    }

    /// Whether its Describe told of a modem.
    pub(crate) fn has_modem(&self, device: DeviceId) -> bool {
        self.read().devices.get(device).is_some_and(|known| known.row.has_modem)
    }

    /// When its last full handshake was, as of the server's start.
    pub(crate) fn last_handshake_at(&self, device: DeviceId) -> Option<Timestamp> {
        ever(self.read().devices.get(device)?.last_handshake_at)
    }

    /// A device that no shard knows, as it was when it was last written down.
    pub(crate) fn resting_state(&self, device: DeviceId) -> DeviceState {
        let tables = self.read();
        let mut state = tables.resting.get(&device).cloned().unwrap_or_else(|| unheard_of(device));
        if let Some(known) = tables.devices.get(device) {
            state.last_heard = state.last_heard.max(ever(known.last_heard));
            state.last_handshake_at = ever(known.last_handshake_at);
            state.platform = state.platform.or(known.row.platform);
            state.description = known.row.description.clone();
        }
        state
    }

    /// The devices that this account owns or pays for, in no order.
    pub(crate) fn fleet(&self, account: AccountId) -> Vec<FleetRow> {
        let tables = self.read();
        let rows = tables.devices.iter().filter_map(|known| {
            let owned = tables.owner(known) == Some(account);
            (owned || known.row.account == Some(account)).then(|| known.fleet_row(owned))
        });
        rows.collect()
    }

    /// Grows with every row that is read again: what [`Self::fleet`] told may have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Keeps how a device was for as long as no shard knows it.
    pub(crate) fn rest(&self, state: DeviceState) {
        self.write().resting.insert(state.device, state);
    }

    /// All devices that have or had a session in this process.
    pub(crate) fn with_session(&self) -> Vec<DeviceId> {
        let tables = self.read();
        let with = tables.devices.iter().filter(|known| known.shard.is_some());
        with.map(|known| known.device).collect()
    }

    /// The shard that holds the device's session, else the one that would.
    pub(crate) fn shard_of(&self, device: DeviceId) -> u8 {
        self.session_shard(device).unwrap_or_else(|| self.home(device))
    }

    /// The shard that holds the device's session.
    pub(crate) fn session_shard(&self, device: DeviceId) -> Option<u8> {
        self.read().devices.get(device)?.shard
    }

    /// The shard of a number that may come from a time with more of them.
    pub(crate) fn shard(&self, number: u8) -> u8 {
        number % self.shards.max(1)
    }

    /// A session of the device began in `shard`; tells which other shard held one before.
    pub(crate) fn session_began(&self, device: DeviceId, shard: u8) -> Option<u8> {
        let mut tables = self.write();
        tables.resting.remove(&device);
        let before = tables.devices.get_mut(device)?.shard.replace(shard);
        before.filter(|before| *before != shard)
    }

    /// This session of `shard` is heard from this address, and no other; tells which session of another
    /// shard was before.
    pub(crate) fn address_is(
        &self,
        address: SocketAddr,
        shard: u8,
        link: LinkId,
    ) -> Option<(u8, LinkId)> {
        let mut shards = self.shards_by_address.write().unwrap_or_else(PoisonError::into_inner);
        shards.insert(address, (shard, link)).filter(|(before, _)| *before != shard)
    }

    /// Whether this session of `shard` is the one that is heard from this address.
    pub(crate) fn is_heard_from(&self, address: SocketAddr, shard: u8, link: LinkId) -> bool {
        let shards = self.shards_by_address.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&address) == Some(&(shard, link))
    }

    /// This session is not heard from this address any more; another one may be.
    pub(crate) fn address_left(&self, address: SocketAddr, shard: u8, link: LinkId) {
        let mut shards = self.shards_by_address.write().unwrap_or_else(PoisonError::into_inner);
        if shards.get(&address) == Some(&(shard, link)) {
            shards.remove(&address);
        }
    }

    /// The shard whose session is heard from this address.
    pub(crate) fn shard_by_address(&self, address: SocketAddr) -> Option<u8> {
        let shards = self.shards_by_address.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&address).map(|(shard, _)| *shard)
    }

    /// Takes a device's row as the store has it; absent: the device was removed.
    pub(crate) fn refresh(&self, device: DeviceId, stored: Option<Registered>) -> Change {
        let mut tables = self.write();
        self.changes.fetch_add(1, Ordering::Release);
        let before = tables.devices.remove(device);
        tables.owners_apart.remove(&device);
        let key_before = before.as_ref().and_then(|known| known.key);
        let session_shard = before.as_ref().and_then(|known| known.shard);
        let shard = session_shard.unwrap_or_else(|| self.home(device));
        let Some(mut stored) = stored else {
            return Change { row: None, key_replaced: key_before.is_some(), shard };
        };
        if let Some(before) = &before {
            // Descriptions reach the tables later than the shards.
            stored.row.description = before.row.description.clone().or(stored.row.description);
            stored.row.platform = before.row.platform.or(stored.row.platform);
            stored.row.has_modem = before.row.has_modem;
        }
        let (row, key) = (stored.row.clone(), stored.key);
        tables.put(stored);
        if let Some(known) = tables.devices.get_mut(device) {
            known.shard = session_shard;
        }
        let key_replaced = key_before.is_some() && key_before != key;
        Change { row: Some(row), key_replaced, shard }
    }

    /// A device told what it can do.
    pub(crate) fn described(&self, device: DeviceId, description: &ApplicationDescription) {
        let mut tables = self.write();
        let shared = tables.intern(description);
        if let Some(known) = tables.devices.get_mut(device) {
            known.row.description = Some(shared);
        }
    }

    /// A device told whether it has a modem.
    pub(crate) fn told_modem(&self, device: DeviceId, has_modem: bool) {
        if let Some(known) = self.write().devices.get_mut(device) {
            known.row.has_modem = has_modem;
        }
    }

    /// A device told its platform in a Hello.
    pub(crate) fn said_hello(&self, device: DeviceId, platform: Platform) {
        if let Some(known) = self.write().devices.get_mut(device) {
            known.row.platform = Some(platform);
        }
    }

    fn home(&self, device: DeviceId) -> u8 {
        // The last bytes differ most between devices.
        let [.., a, b, c, d] = device.0;
        let shard = u32::from_be_bytes([a, b, c, d]) % u32::from(self.shards.max(1));
        u8::try_from(shard).unwrap_or(0)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn fleet_row(&self, owned: bool) -> FleetRow {
        FleetRow {
            device: self.device,
            owned,
            product: self.row.product,
            name: self.row.name.clone(),
            platform: self.row.platform,
            last_heard: ever(self.last_heard),
        }
    }
}

impl Tables {
    fn owner(&self, known: &Known) -> Option<AccountId> {
        self.owners_apart.get(&known.device).copied().unwrap_or(known.row.account)
    }

    fn put(&mut self, registered: Registered) {
        let Registered { device, key, owner, row, last_heard, last_handshake_at } = registered;
        if owner != row.account {
            self.owners_apart.insert(device, owner);
        }
        self.devices.insert(Known {
            device,
            row,
            key,
            last_heard: last_heard.unwrap_or_default(),
            last_handshake_at: last_handshake_at.unwrap_or_default(),
            shard: None,
        });
    }

    fn intern(&mut self, description: &ApplicationDescription) -> Arc<ApplicationDescription> {
        if let Some(shared) = self.descriptions.get(description) {
            return Arc::clone(shared);
        }
        if self.descriptions.len() >= DESCRIPTIONS_SHARED_MAX {
            self.descriptions.retain(|shared| Arc::strong_count(shared) > 1);
        }
        let shared = Arc::new(description.clone());
        if self.descriptions.len() < DESCRIPTIONS_SHARED_MAX {
            self.descriptions.insert(Arc::clone(&shared));
        }
        shared
    }
}

/// 0 stands for never.
fn ever(at: Timestamp) -> Option<Timestamp> {
    (at != Timestamp::default()).then_some(at)
}

/// A device of which nothing is known.
pub(crate) fn unheard_of(device: DeviceId) -> DeviceState {
    DeviceState {
        device,
        online: false,
        last_heard: None,
        last_handshake_at: None,
        peer: None,
        transport: None,
        platform: None,
        firmware_product: None,
        firmware_version: None,
        system_version: None,
        binary_bytes_max: None,
        description: None,
        safe_mode: false,
        updates_enabled: None,
        updates_forced: None,
        events_dropped: 0,
        handshakes: 0,
        resumes: 0,
    }
}

/// Devices whose descriptions are all different gain nothing by sharing.
const DESCRIPTIONS_SHARED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8, key: u8) -> Registered {
        Registered {
            device: DeviceId([number; 12]),
            key: Some(KeyHash([key; 32])),
            owner: None,
            row: DeviceRow::default(),
            last_heard: Some(Timestamp(5)),
            last_handshake_at: None,
        }
    }

    #[test]
    fn a_key_that_several_devices_share_is_known_for_each_of_them() {
        let registry = Registry::new(1, vec![device(1, 9), device(2, 9), device(3, 8)]);
        let ids = |key: u8| registry.ids_by_key(KeyHash([key; 32]));
        let mut both = ids(9);
        both.sort_unstable();
        assert_eq!(both, [DeviceId([1; 12]), DeviceId([2; 12])]);
        assert_eq!(ids(8), [DeviceId([3; 12])]);
        assert_eq!(ids(7), []);
        registry.refresh(DeviceId([1; 12]), None);
        assert_eq!(ids(9), [DeviceId([2; 12])]);
        registry.refresh(DeviceId([2; 12]), None);
        assert_eq!(ids(9), []);
    }

    #[test]
    fn a_fleet_is_what_an_account_owns_or_pays_for() {
        let (payer, customer) = (AccountId(1), AccountId(2));
        let mut claimed = device(1, 9);
        claimed.owner = Some(customer);
        claimed.row.account = Some(payer);
        let registry = Registry::new(1, vec![claimed, device(2, 8)]);
        let told = |account| {
            let rows = registry.fleet(account);
            rows.iter().map(|row| (row.device, row.owned)).collect::<Vec<_>>()
        };
        assert_eq!(told(payer), [(DeviceId([1; 12]), false)]);
        assert_eq!(told(customer), [(DeviceId([1; 12]), true)]);
        let before = registry.changes();
        registry.refresh(DeviceId([1; 12]), Some(device(1, 9)));
        assert_eq!((told(payer), told(customer)), (vec![], vec![]));
        assert!(registry.changes() > before);
    }

    #[test]
    fn keys_whose_hashes_begin_alike_are_told_apart() {
        let mut other = device(2, 9);
        let mut hash = [9; 32];
        hash[31] = 8;
        other.key = Some(KeyHash(hash));
        let registry = Registry::new(1, vec![device(1, 9), other]);
        assert_eq!(registry.ids_by_key(KeyHash([9; 32])), [DeviceId([1; 12])]);
        assert_eq!(registry.ids_by_key(KeyHash(hash)), [DeviceId([2; 12])]);
        registry.refresh(DeviceId([1; 12]), None);
        assert_eq!(registry.ids_by_key(KeyHash([9; 32])), []);
        assert_eq!(registry.ids_by_key(KeyHash(hash)), [DeviceId([2; 12])]);
    }

    #[test]
    fn a_replaced_key_is_told_and_the_old_one_is_unknown() {
        let registry = Registry::new(1, vec![device(1, 9)]);
        let id = DeviceId([1; 12]);
        assert!(!registry.refresh(id, Some(device(1, 9))).key_replaced);
        assert!(registry.refresh(id, Some(device(1, 4))).key_replaced);
        assert_eq!(registry.ids_by_key(KeyHash([9; 32])), []);
        assert_eq!(registry.key(id), Some(KeyHash([4; 32])));
        let gone = registry.refresh(id, None);
        assert_eq!(gone, Change { row: None, key_replaced: true, shard: 0 });
    }

    #[test]
    fn what_a_device_told_survives_a_change_of_its_row() {
        let registry = Registry::new(2, vec![device(1, 9)]);
        let id = DeviceId([1; 12]);
        let description =
            ApplicationDescription { functions: vec!["led".into()], variables: vec![] };
        registry.described(id, &description);
        registry.session_began(id, 1);
        let change = registry.refresh(id, Some(device(1, 9)));
        assert_eq!(change.row.and_then(|row| row.description).as_deref(), Some(&description));
        assert_eq!(registry.shard_of(id), 1);
    }

    #[test]
    fn a_session_that_begins_elsewhere_names_the_shard_that_held_the_one_before() {
        let registry = Registry::new(4, vec![device(1, 9)]);
        let id = DeviceId([1; 12]);
        assert_eq!(registry.session_began(id, 2), None);
        assert_eq!(registry.session_began(id, 2), None);
        assert_eq!(registry.session_began(id, 3), Some(2));
        assert_eq!(registry.session_shard(id), Some(3));
    }

    #[test]
    fn an_address_stays_with_the_session_that_was_heard_from_it_last() {
        let registry = Registry::new(3, vec![]);
        let address = "192.0.2.1:5".parse().unwrap();
        assert_eq!(registry.address_is(address, 1, LinkId(7)), None);
        let steps = [(2, 7, Some((1, 7))), (2, 8, None), (1, 9, Some((2, 8)))];
        for (shard, link, before) in steps {
            let before = before.map(|(shard, link)| (shard, LinkId(link)));
            assert_eq!(registry.address_is(address, shard, LinkId(link)), before);
            registry.address_left(address, 1, LinkId(7));
            assert_eq!(registry.shard_by_address(address), Some(shard));
            assert!(registry.is_heard_from(address, shard, LinkId(link)));
        }
        registry.address_left(address, 1, LinkId(9));
        assert_eq!(registry.shard_by_address(address), None);
    }

    #[test]
    fn devices_that_told_the_same_share_one_description() {
        let registry = Registry::new(1, vec![device(1, 9), device(2, 8)]);
        let description = ApplicationDescription::default();
        registry.described(DeviceId([1; 12]), &description);
        registry.described(DeviceId([2; 12]), &description);
        let of = |id: u8| registry.row(DeviceId([id; 12])).unwrap().description.unwrap();
        assert!(Arc::ptr_eq(&of(1), &of(2)));
    }
}
