//! Every connection in its slot, and the three ways a datagram finds it: by connection id, which
//! holds the slot's number, by address and by device.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::SocketAddr;

use hashbrown::HashTable;
use model::{DeviceId, LinkId};
use rustc_hash::FxSeededState;
use secure::dtls::Session;

use super::connection::Connection;
use super::output::HandshakeId;

/// A connection id as we give it out:
///
/// ```text
///  0       1..4 (big-endian)   4..8
///  shard   slot                random
/// ```
pub(crate) type Cid = [u8; 8];

/// Slots are numbered with 24 bits, in connection ids and in link ids.
const SLOT_BITS: u32 = 24;
/// The most slots of one endpoint.
const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// A restored session takes the slot that its connection id names only below this number, so that a
/// strange id cannot make the table large.
const RESTORED_SLOT_MAX: u32 = 1 << 20;

/// What a slot holds.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all slots are live")]
pub(crate) enum Slot {
    Free,
    /// Kept for an open handshake, whose client was promised this connection id.
    Handshaking(HandshakeId, Cid),
    Live(Connection),
}

/// All connections of an endpoint.
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// Slots that were free when they were put here; one that was taken since is passed over.
    free: Vec<u32>,
    by_address: HashTable<u32>,
    by_device: HashTable<u32>,
    /// Restored sessions that could not have the slot their connection id names.
    by_stray_cid: HashMap<Cid, u32, FxSeededState>,
    hasher: FxSeededState,
    links_made: u64,
    shard: u8,
}

impl Slots {
    pub(crate) fn new(shard: u8, seed: usize) -> Self {
        let hasher = FxSeededState::with_seed(seed);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_address: HashTable::new(),
            by_device: HashTable::new(),
            by_stray_cid: HashMap::with_hasher(hasher.clone()),
            hasher,
            links_made: 0,
            shard,
        }
    }

    /// Finds a free slot; none if there are [`SLOTS_MAX`].
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        while let Some(slot) = self.free.pop() {
            if matches!(self.slots[slot as usize], Slot::Free) {
                return Some(slot);
            }
        }
        if self.slots.len() == SLOTS_MAX {
            return None;
        }
        self.slots.push(Slot::Free);
        u32::try_from(self.slots.len() - 1).ok()
    }

    /// All slots have numbers below this one.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// The connection id of a slot, with four random bytes.
    pub(crate) fn cid(&self, slot: u32, random: [u8; 4]) -> Cid {
        let [_, high, middle, low] = slot.to_be_bytes();
        let [a, b, c, d] = random;
        [self.shard, high, middle, low, a, b, c, d]
    }

    /// The slot for a restored session with this connection id.
    pub(crate) fn reserve_restored(&mut self, cid: Option<Cid>) -> Option<u32> {
        let Some(cid) = cid else { return self.reserve() };
        let wanted = slot_of(cid);
        if cid[0] == self.shard && wanted < RESTORED_SLOT_MAX && self.make_room(wanted) {
            return Some(wanted);
        }
        let slot = self.reserve()?;
        self.by_stray_cid.insert(cid, slot);
        Some(slot)
    }

    /// Makes the table reach to `slot`; whether that slot is free.
    fn make_room(&mut self, slot: u32) -> bool {
        for new in self.slots.len()..=slot as usize {
            self.slots.push(Slot::Free);
            self.free.extend(u32::try_from(new));
        }
        matches!(self.slots[slot as usize], Slot::Free)
    }

    pub(crate) fn hold(&mut self, slot: u32, handshake: HandshakeId, cid: Cid) {
        self.slots[slot as usize] = Slot::Handshaking(handshake, cid);
    }

    /// A link id that was never used before, for a connection in `slot`.
    pub(crate) fn next_link(&mut self, slot: u32) -> LinkId {
        self.links_made += 1;
        LinkId(self.links_made << SLOT_BITS | u64::from(slot))
    }

    /// Puts a connection into a reserved slot. It takes its address from whoever had it, if it is found
    /// by that.
    pub(crate) fn insert(&mut self, slot: u32, connection: Connection) {
        let peer = is_found_by_address(&connection).then_some(connection.peer);
        self.slots[slot as usize] = Slot::Live(connection);
        if let Some(peer) = peer {
            self.index_address(slot, peer);
        }
    }

    /// Frees a slot and forgets its ways. Its keys are overwritten where they were.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Connection> {
        let place = self.slots.get_mut(slot as usize)?;
        if let Slot::Live(connection) = place {
            // What is moved out needs no keys any more.
            connection.session_mut().map(Session::take);
        }
        let before = std::mem::replace(place, Slot::Free);
        self.free.push(slot);
        let Slot::Live(connection) = before else { return None };
        self.forget_address(slot, connection.peer);
        if let Some(device) = connection.device {
            self.forget_device(slot, device);
        }
        if let Some(cid) = connection.cid() {
            self.by_stray_cid.remove(&cid);
        }
        Some(connection)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        match self.slots.get_mut(slot as usize)? {
            Slot::Live(connection) => Some(connection),
            Slot::Free | Slot::Handshaking(..) => None,
        }
    }

    /// The slot of a connection that is still there.
    pub(crate) fn by_link(&self, link: LinkId) -> Option<u32> {
        let slot = u32::try_from(link.0 & (SLOTS_MAX as u64 - 1)).ok()?;
        match self.slots.get(slot as usize)? {
            Slot::Live(connection) if connection.link == link => Some(slot),
            Slot::Free | Slot::Handshaking(..) | Slot::Live(_) => None,
        }
    }

    /// The slot whose session or open handshake has this connection id.
    pub(crate) fn by_cid(&self, cid: Cid) -> Option<(u32, Option<HandshakeId>)> {
        let slot = slot_of(cid);
        match self.slots.get(slot as usize) {
            Some(Slot::Live(connection)) if connection.cid() == Some(cid) => Some((slot, None)),
            Some(Slot::Handshaking(handshake, held)) if *held == cid => {
                Some((slot, Some(*handshake)))
            }
            _ => self.by_stray_cid.get(&cid).map(|slot| (*slot, None)),
        }
    }

    pub(crate) fn by_address(&self, peer: SocketAddr) -> Option<u32> {
        let has_it = |slot: &u32| self.live(*slot).is_some_and(|c| c.peer == peer);
        self.by_address.find(self.hash(&peer), has_it).copied()
    }

    /// The session of this connection is not found by this address any more.
    pub(crate) fn give_address_up(&mut self, link: LinkId, peer: SocketAddr) {
        if let Some(slot) = self.by_link(link)
            && self.by_address(peer) == Some(slot)
        {
            self.forget_address(slot, peer);
        }
    }

    pub(crate) fn by_device(&self, device: DeviceId) -> Option<u32> {
        let has_it = |slot: &u32| self.live(*slot).is_some_and(|c| c.device == Some(device));
        self.by_device.find(self.hash(&device), has_it).copied()
    }

    /// A connection was heard from this address, which it takes from whoever had it. Whether that is
    /// news.
    pub(crate) fn set_peer(&mut self, slot: u32, peer: SocketAddr) -> bool {
        // Asked while its entry and its address agree: later the entry could pass for one of the new
        // address, whose hash may look the same.
        let has_it = self.by_address(peer) == Some(slot);
        let Some(connection) = self.get_mut(slot) else { return false };
        let before = std::mem::replace(&mut connection.peer, peer);
        let is_lost = is_found_by_address(connection) && !has_it;
        if before != peer || is_lost {
            self.forget_address(slot, before);
        }
        if is_lost {
            self.index_address(slot, peer);
        }
        before != peer || is_lost
    }

    /// Tells whose connection it is; any other connection of that device must be gone.
    pub(crate) fn set_device(&mut self, slot: u32, device: DeviceId) {
        let Some(connection) = self.get_mut(slot) else { return };
        connection.device = Some(device);
        let (peer, is_found) = (connection.peer, is_found_by_address(connection));
        if !is_found {
            self.forget_address(slot, peer);
        }
        let Self { slots, by_device, hasher, .. } = self;
        by_device.insert_unique(hasher.hash_one(device), slot, |slot| {
            hasher.hash_one(live(slots, *slot).and_then(|c| c.device).unwrap_or(DeviceId([0; 12])))
        });
    }

    fn index_address(&mut self, slot: u32, peer: SocketAddr) {
        if let Some(before) = self.by_address(peer) {
            self.forget_address(before, peer);
        }
        let Self { slots, by_address, hasher, .. } = self;
        by_address.insert_unique(hasher.hash_one(peer), slot, |slot| {
            live(slots, *slot).map_or(0, |c| hasher.hash_one(c.peer))
        });
    }

    fn forget_address(&mut self, slot: u32, peer: SocketAddr) {
        let hash = self.hash(&peer);
        if let Ok(entry) = self.by_address.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    fn forget_device(&mut self, slot: u32, device: DeviceId) {
        let hash = self.hash(&device);
        if let Ok(entry) = self.by_device.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }

    fn live(&self, slot: u32) -> Option<&Connection> {
        live(&self.slots, slot)
    }

    fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Whether records from its address are taken for its own. Those of a session with connection id are
/// found by that, but for the end of its handshake.
fn is_found_by_address(connection: &Connection) -> bool {
    connection.is_datagram() && (connection.cid().is_none() || connection.device.is_none())
}

fn live(slots: &[Slot], slot: u32) -> Option<&Connection> {
    match slots.get(slot as usize)? {
        Slot::Live(connection) => Some(connection),
        Slot::Free | Slot::Handshaking(..) => None,
    }
}

fn slot_of(cid: Cid) -> u32 {
    u32::from_be_bytes([0, cid[1], cid[2], cid[3]])
}
