//! How many connections there may be, in total and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In total.
    pub total: usize,
    /// Of one address.
    pub per_address: usize,
}

/// Who holds how many connections. Cheap to clone. The addresses are a stranger's choice, so the map is a
/// keyed one.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; free when dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Places {
    /// All are free.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared { bounds, taken: Mutex::default() }))
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    /// Which bound is reached: `full` or `address_full`.
    pub fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        self.take_within(address, self.0.bounds.per_address)
    }

    /// The same for an address that is bounded in total alone.
    ///
    /// # Errors
    /// `full`.
    pub fn take_any(&self, address: IpAddr) -> Result<Place, &'static str> {
        self.take_within(address, usize::MAX)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().total
    }

    fn take_within(&self, address: IpAddr, per_address: usize) -> Result<Place, &'static str> {
        let mut taken = self.0.lock();
        if taken.total >= self.0.bounds.total {
            return Err("full");
        }
        if taken.by_address.get(&address).is_some_and(|count| *count >= per_address) {
            return Err("address_full");
        }
        taken.total += 1;
        *taken.by_address.entry(address).or_default() += 1;
        drop(taken);
        Ok(Place { shared: Arc::clone(&self.0), address })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_bounded_in_total_and_for_each_address_and_come_back() {
        let places = Places::new(Bounds { total: 3, per_address: 2 });
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let first = places.take(a).ok();
        let second = places.take(a).ok();
        assert_eq!(places.take(a).err(), Some("address_full"));
        let third = places.take(b).ok();
        assert_eq!((places.take(b).err(), places.taken()), (Some("full"), 3));
        drop((first, second, third));
        assert!(places.0.lock().by_address.is_empty());
        assert!(places.take(a).is_ok());
    }

    #[test]
    fn an_address_without_a_bound_of_its_own_has_all_places_and_no_more() {
        let places = Places::new(Bounds { total: 3, per_address: 1 });
        let taken: Vec<_> = (0..3).map(|_| places.take_any(ip("10.0.0.1"))).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(places.take_any(ip("10.0.0.1")).err(), Some("full"));
    }
}
