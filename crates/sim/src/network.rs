//! A bad network in virtual time: it loses, doubles, delays, reorders and damages datagrams, and
//! puts devices behind NATs that rebind. The same seed does the same again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use model::Mono;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How bad the network is. The chances are from 0 to 1, for each datagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Chance to vanish.
    pub loss: f64,
    /// Chance to arrive twice, each copy with a delay of its own.
    pub duplication: f64,
    /// Chance that one of its bits is another.
    pub corruption: f64,
    /// The shortest delay.
    pub delay_min: Duration,
    /// The longest delay; datagrams overtake each other when it is larger than the shortest.
    pub delay_max: Duration,
}

/// A datagram on its way or arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The address its receiver sees.
    pub from: SocketAddr,
    /// Where it is going.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The network between one server and its devices.
pub struct Network {
    conditions: Conditions,
    random: SmallRng,
    flying: BTreeMap<(Mono, u64), Datagram>,
    sent: u64,
    flown: u64,
    outer_by_inner: BTreeMap<SocketAddr, SocketAddr>,
    next_outer: u32,
    filter: Option<Filter>,
}

/// Takes away datagrams by choice: `true` keeps one.
pub type Filter = Box<dyn FnMut(&Datagram) -> bool>;

impl Conditions {
    /// Nothing is lost and everything takes a millisecond.
    pub fn perfect() -> Self {
        let delay = Duration::from_millis(1);
        Self { loss: 0.0, duplication: 0.0, corruption: 0.0, delay_min: delay, delay_max: delay }
    }

    /// One in ten is lost, one in twenty doubled, one in a hundred damaged; 10 to 400 ms.
    pub fn poor() -> Self {
        Self {
            loss: 0.1,
            duplication: 0.05,
            corruption: 0.01,
            delay_min: Duration::from_millis(10),
            delay_max: Duration::from_millis(400),
        }
    }
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            random: SmallRng::seed_from_u64(seed),
            flying: BTreeMap::new(),
            sent: 0,
            flown: 0,
            outer_by_inner: BTreeMap::new(),
            next_outer: 1,
            filter: None,
        }
    }

    /// Changes the conditions for what is sent from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Asks `filter` about every datagram before anything else happens to it; `None` for no filter.
    pub fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
    }

    /// Datagrams sent so far, the lost ones included.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives the device at `inner` another address as the server sees it. What is under way to the
    /// old one is lost.
    pub fn rebind(&mut self, inner: SocketAddr) {
        let outer = Ipv4Addr::from(u32::from(OUTER) + self.next_outer);
        self.next_outer += 1;
        self.outer_by_inner.insert(inner, SocketAddr::new(IpAddr::V4(outer), inner.port()));
    }

    /// A device sends to the server through its NAT, if it has one.
    pub fn send_up(&mut self, now: Mono, inner: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let from = self.outer(inner);
        self.send(now, Datagram { from, to, bytes });
    }

    /// The server sends to an address where it saw a device.
    pub fn send_down(&mut self, now: Mono, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.send(now, Datagram { from, to, bytes });
    }

    /// Whether what was sent to `to` reaches the device at `inner` today.
    pub fn reaches(&self, to: SocketAddr, inner: SocketAddr) -> bool {
        self.outer(inner) == to
    }

    /// The address that the server sees of the device at `inner` today.
    pub fn outer(&self, inner: SocketAddr) -> SocketAddr {
        self.outer_by_inner.get(&inner).copied().unwrap_or(inner)
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Mono> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that has arrived.
    pub fn arrive(&mut self, now: Mono) -> Option<Datagram> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.flying.pop_first().map(|(_, datagram)| datagram)
    }

    fn send(&mut self, now: Mono, datagram: Datagram) {
        self.sent += 1;
        if self.filter.as_mut().is_some_and(|keeps| !keeps(&datagram)) {
            return;
        }
        if self.chance(self.conditions.duplication) {
            self.fly(now, datagram.clone());
        }
        self.fly(now, datagram);
    }

    fn fly(&mut self, now: Mono, mut datagram: Datagram) {
        if self.chance(self.conditions.loss) {
            return;
        }
        if self.chance(self.conditions.corruption) && !datagram.bytes.is_empty() {
            let bit = self.random.random_range(0..datagram.bytes.len() * 8);
            datagram.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let Conditions { delay_min, delay_max, .. } = self.conditions;
        let delay = self.random.random_range(delay_min.as_micros()..=delay_max.as_micros());
        let at = now.after(Duration::from_micros(u64::try_from(delay).unwrap_or(u64::MAX)));
        self.flying.insert((at, self.flown), datagram);
        self.flown += 1;
    }

    fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.random.random_bool(chance.min(1.0))
    }
}

/// Addresses of NATs come from here.
const OUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 5000))
    }

    fn arrivals(seed: u64, conditions: Conditions) -> Vec<(Mono, Vec<u8>)> {
        let mut network = Network::new(seed, conditions);
        for number in 0..1000u16 {
            network.send_up(Mono(0), address(1), address(9), number.to_be_bytes().to_vec());
        }
        let mut arrived = Vec::new();
        while let Some(at) = network.next_arrival() {
            arrived.push((at, network.arrive(at).expect("it arrived").bytes));
        }
        arrived
    }

    #[test]
    fn the_same_seed_is_the_same_network() {
        assert_eq!(arrivals(7, Conditions::poor()), arrivals(7, Conditions::poor()));
        assert_ne!(arrivals(7, Conditions::poor()), arrivals(8, Conditions::poor()));
    }

    #[test]
    fn a_perfect_network_keeps_order_and_a_poor_one_loses_and_doubles() {
        let perfect = arrivals(1, Conditions::perfect());
        let expected: Vec<_> = (0..1000u16).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(perfect.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), expected);

        let mut poor: Vec<_> =
            arrivals(1, Conditions::poor()).into_iter().map(|(_, bytes)| bytes).collect();
        assert!((850..1000).contains(&poor.len()), "{}", poor.len());
        assert!(!poor.is_sorted());
        let all = poor.len();
        poor.sort();
        poor.dedup();
        assert!(poor.len() < all, "some came twice");
    }

    #[test]
    fn a_rebound_nat_changes_the_address_seen_and_cuts_off_the_old_one() {
        let mut network = Network::new(1, Conditions::perfect());
        network.rebind(address(1));
        network.send_up(Mono(0), address(1), address(9), vec![1]);
        let seen = network.arrive(Mono(1000)).expect("it arrived").from;
        assert!(seen != address(1) && network.reaches(seen, address(1)));
        network.rebind(address(1));
        assert!(!network.reaches(seen, address(1)));
    }
}
