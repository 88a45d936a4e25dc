//! The registered devices in one vector, found by id and by key through tables of four bytes each.

use hashbrown::HashTable;
use model::{DeviceId, DeviceRow, KeyHash, Timestamp};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// What is known of one device.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) device: DeviceId,
    pub(super) row: DeviceRow,
    pub(super) key: Option<KeyHash>,
    /// As of the server's start; 0: never.
    pub(super) last_heard: Timestamp,
    /// As of the server's start; 0: not known.
    pub(super) last_handshake_at: Timestamp,
    /// Which shard has or had a session of it since the server started.
    pub(super) shard: Option<u8>,
}

/// All registered devices. Memory: the size of [`Known`] for each, and about 12 bytes.
#[derive(Debug, Default)]
pub(super) struct Devices {
    places: Vec<Option<Known>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    /// Cloned test devices share a key.
    by_key: HashTable<u32>,
}

impl Devices {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, devices: usize) {
        self.places.reserve_exact(devices);
    }

    pub(super) fn get(&self, device: DeviceId) -> Option<&Known> {
        known(&self.places, self.place(device)?)
    }

    pub(super) fn get_mut(&mut self, device: DeviceId) -> Option<&mut Known> {
        let place = self.place(device)?;
        self.places.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.places.iter().flatten()
    }

    /// The devices with this key, in no order.
    pub(super) fn with_key(&self, key: KeyHash) -> impl Iterator<Item = DeviceId> {
        let places = self.by_key.iter_hash(key_hash(key));
        let all = places.filter_map(|place| known(&self.places, *place));
        all.filter(move |known| known.key == Some(key)).map(|known| known.device)
    }

    /// Puts a device in, which is in the place of the one with its id from now on.
    pub(super) fn insert(&mut self, known: Known) {
        self.remove(known.device);
        let (device, key) = (known.device, known.key);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(free) = self.places.get_mut(place as usize) {
            *free = Some(known);
        }
        let Self { places, by_id, by_key, .. } = self;
        by_id.insert_unique(id_hash(device), place, |place| id_hash_at(places, *place));
        if let Some(key) = key {
            by_key.insert_unique(key_hash(key), place, |place| key_hash_at(places, *place));
        }
    }

    /// Takes a device out.
    pub(super) fn remove(&mut self, device: DeviceId) -> Option<Known> {
        let place = self.place(device)?;
        let known = self.places.get_mut(place as usize)?.take()?;
        self.free.push(place);
        if let Ok(entry) = self.by_id.find_entry(id_hash(device), |other| *other == place) {
            entry.remove();
        }
        if let Some(key) = known.key
            && let Ok(entry) = self.by_key.find_entry(key_hash(key), |other| *other == place)
        {
            entry.remove();
        }
        Some(known)
    }

    fn place(&self, device: DeviceId) -> Option<u32> {
        let is_it =
            |place: &u32| known(&self.places, *place).is_some_and(|known| known.device == device);
        self.by_id.find(id_hash(device), is_it).copied()
    }
}

fn known(places: &[Option<Known>], place: u32) -> Option<&Known> {
    places.get(place as usize)?.as_ref()
}

fn id_hash(device: DeviceId) -> u64 {
    FxBuildHasher.hash_one(device)
}

/// A key's hash is random already.
fn key_hash(key: KeyHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn id_hash_at(places: &[Option<Known>], place: u32) -> u64 {
    known(places, place).map_or(0, |known| id_hash(known.device))
}

fn key_hash_at(places: &[Option<Known>], place: u32) -> u64 {
    known(places, place).and_then(|known| known.key).map_or(0, key_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_device_takes_at_most_144_bytes_and_its_places_in_the_tables() {
        assert!(size_of::<Option<Known>>() <= 144, "{}", size_of::<Option<Known>>());
    }

    #[test]
    fn what_was_put_in_and_not_taken_out_is_found_by_id_and_key() {
        let mut devices = Devices::default();
        let id = |number: u32| {
            let mut id = [0; 12];
            id[8..].copy_from_slice(&number.to_be_bytes());
            DeviceId(id)
        };
        let key = |number: u32| KeyHash([(number % 251) as u8; 32]);
        for number in 0..2000 {
            devices.insert(Known {
                device: id(number % 1500),
                row: DeviceRow::default(),
                key: Some(key(number)),
                last_heard: Timestamp(0),
                last_handshake_at: Timestamp(0),
                shard: None,
            });
        }
        for number in (0..1500).step_by(3) {
            assert!(devices.remove(id(number)).is_some());
        }
        for number in 0..1500 {
            let last = if number < 500 { number + 1500 } else { number };
            let found = devices.get(id(number)).and_then(|known| known.key);
            assert_eq!(found, (number % 3 != 0).then(|| key(last)));
            assert_eq!(
                devices.with_key(key(last)).any(|other| other == id(number)),
                number % 3 != 0
            );
        }
        assert_eq!(devices.iter().count(), 1000);
    }
}
