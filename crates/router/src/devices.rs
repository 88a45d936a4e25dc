//! The devices of a shard, found by id and by connection.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use model::{DeviceId, LinkId};
use rustc_hash::FxBuildHasher;

use crate::device::{Device, Slot};

/// The devices of a shard. The tables hold numbers only: what is looked for is in the device, which is
/// needed anyway.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    slots: Vec<Option<Device>>,
    free: Vec<Slot>,
    by_id: HashTable<Slot>,
    by_link: HashTable<Slot>,
}

impl Devices {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Device> {
        at(&self.slots, slot)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Device> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(crate) fn slot_of(&self, device: DeviceId) -> Option<Slot> {
        let is_it = |slot: &Slot| self.get(*slot).is_some_and(|other| other.id == device);
        self.by_id.find(id_hash(device), is_it).copied()
    }

    pub(crate) fn slot_of_link(&self, link: LinkId) -> Option<Slot> {
        let is_it = |slot: &Slot| self.get(*slot).is_some_and(|other| other.link == Some(link));
        self.by_link.find(link_hash(link), is_it).copied()
    }

    /// Puts in a device that has no connection yet.
    pub(crate) fn insert(&mut self, device: Device) -> Slot {
        debug_assert!(device.link.is_none() && self.slot_of(device.id).is_none());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let hash = id_hash(device.id);
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = Some(device);
        }
        let Self { slots, by_id, .. } = self;
        by_id.insert_unique(hash, slot, |slot| at(slots, *slot).map_or(0, |it| id_hash(it.id)));
        slot
    }

    /// Takes a device out; its connection is not known any more.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Device> {
        self.unlink(slot);
        let device = self.slots.get_mut(slot.0 as usize)?.take()?;
        take_out(&mut self.by_id, id_hash(device.id), slot);
        self.free.push(slot);
        Some(device)
    }

    /// Makes `link` the connection of the device; gives back the one before, if it was another.
    pub(crate) fn link(&mut self, slot: Slot, link: LinkId) -> Option<LinkId> {
        if self.get(slot)?.link == Some(link) {
            return None;
        }
        let old = self.unlink(slot);
        self.get_mut(slot)?.link = Some(link);
        let Self { slots, by_link, .. } = self;
        by_link.insert_unique(link_hash(link), slot, |slot| {
            at(slots, *slot).and_then(|it| it.link).map_or(0, link_hash)
        });
        old
    }

    /// The device has no connection any more; gives back the one it had.
    pub(crate) fn unlink(&mut self, slot: Slot) -> Option<LinkId> {
        let link = self.get_mut(slot)?.link.take()?;
        take_out(&mut self.by_link, link_hash(link), slot);
        Some(link)
    }
}

fn at(slots: &[Option<Device>], slot: Slot) -> Option<&Device> {
    slots.get(slot.0 as usize)?.as_ref()
}

fn take_out(table: &mut HashTable<Slot>, hash: u64, slot: Slot) {
    if let Ok(entry) = table.find_entry(hash, |other| *other == slot) {
        entry.remove();
    }
}

fn id_hash(device: DeviceId) -> u64 {
    FxBuildHasher.hash_one(device)
}

fn link_hash(link: LinkId) -> u64 {
    FxBuildHasher.hash_one(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_device_takes_at_most_232_bytes_with_its_places_in_the_tables() {
        let tables = 2 * (size_of::<Slot>() + 1) * 8 / 7;
        let bytes = size_of::<Option<Device>>() + tables;
        assert!(bytes <= 232, "{bytes}");
    }
}
