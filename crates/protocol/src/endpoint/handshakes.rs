//! The handshakes that are open, bounded in number and time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use model::limits::{OTHER_SERVER_KEY, OTHER_SERVER_KEY_ADDRESSES_MAX, RECORD_NUMBERS_RESERVED};
use model::traffic::datagrams_on_the_wire;
use model::{DeviceId, KeyHash, Mono, Now, Traffic};
use rand::Rng;
use secure::dtls::{
    COOKIE_BYTES, ClientHello, Established, HELLO_VERIFY_REQUEST_BYTES, Handshake, HandshakeConfig,
    HandshakeFailure, HandshakeOutput, HelloOutcome, IdentityKey, JobDone,
};
use zeroize::Zeroizing;

use super::Endpoint;
use super::connection::{Connection, Newcomer};
use super::output::{HandshakeId, Need};

/// Open handshakes, and the count of those whose session still lacks its Hello.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    open: BTreeMap<HandshakeId, Open>,
    by_address: BTreeMap<SocketAddr, HandshakeId>,
    due: BTreeSet<(Mono, HandshakeId)>,
    /// Those whose client has not answered yet, oldest first.
    unanswered: BTreeSet<HandshakeId>,
    /// Handshakes and sessions without Hello, by network.
    by_network: BTreeMap<IpAddr, usize>,
    total: usize,
    made: u64,
    /// Addresses that did not know the current key of the server, until when the other one is used.
    other_key_until: BTreeMap<IpAddr, Mono>,
}

#[derive(Debug)]
struct Open {
    handshake: Box<Handshake>,
    peer: SocketAddr,
    slot: u32,
    began_at: Mono,
    wakes_at: Option<Mono>,
    /// Charged to the device once its Hello names it.
    traffic: Traffic,
}

impl Handshakes {
    pub(super) fn by_address(&self, peer: SocketAddr) -> Option<HandshakeId> {
        self.by_address.get(&peer).copied()
    }

    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// A session got its Hello or went: its place is free.
    pub(super) fn release(&mut self, newcomer: &Newcomer) {
        if let Some(network) = newcomer.counted_network {
            self.release_network(network);
        }
    }

    fn release_network(&mut self, network: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    fn insert(&mut self, open: Open) -> HandshakeId {
        self.made += 1;
        let id = HandshakeId(self.made);
        self.total += 1;
        *self.by_network.entry(network_of(open.peer)).or_default() += 1;
        self.by_address.insert(open.peer, id);
        self.open.insert(id, open);
        id
    }

    /// Takes a handshake out; its place stays taken.
    fn take(&mut self, id: HandshakeId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.by_address.remove(&open.peer);
        self.unanswered.remove(&id);
        if let Some(at) = open.wakes_at {
            self.due.remove(&(at, id));
        }
        Some(open)
    }

    /// Notes how far a handshake came.
    fn settle(&mut self, id: HandshakeId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.handshake.awaits_certificate() {
            self.unanswered.insert(id);
        } else {
            self.unanswered.remove(&id);
        }
        let at = open.handshake.next_timeout().map(Mono);
        let before = std::mem::replace(&mut open.wakes_at, at);
        if before != at {
            self.due.extend(at.map(|at| (at, id)));
            if let Some(before) = before {
                self.due.remove(&(before, id));
            }
        }
    }

    fn signing_key(&self, now: Mono, ip: IpAddr) -> IdentityKey {
        match self.other_key_until.get(&ip) {
            Some(until) if *until > now => IdentityKey::Previous,
            Some(_) | None => IdentityKey::Current,
        }
    }

    /// The client did not take the signature: the next handshakes of its address get the other key.
    fn change_key(&mut self, now: Mono, ip: IpAddr) {
        if self.signing_key(now, ip) == IdentityKey::Previous {
            self.other_key_until.remove(&ip);
            return;
        }
        if self.other_key_until.len() >= OTHER_SERVER_KEY_ADDRESSES_MAX {
            self.other_key_until.retain(|_, until| *until > now);
        }
        if self.other_key_until.len() < OTHER_SERVER_KEY_ADDRESSES_MAX {
            self.other_key_until.insert(ip, now.after(OTHER_SERVER_KEY));
        }
    }
}

impl Endpoint {
    /// A ClientHello: costs nothing until its cookie is good, and never touches a live session.
    pub(super) fn handle_client_hello(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        match self.cookies.answer(now.mono.0, from, bytes) {
            HelloOutcome::Noise => self.counters.dropped_noise += 1,
            HelloOutcome::Verify(answer) => {
                self.counters.cookies_sent += 1;
                self.send_datagram(from, &answer);
            }
            HelloOutcome::Refused(alert) => {
                self.counters.handshakes_failed += 1;
                self.send_datagram(from, &alert);
            }
            HelloOutcome::Accepted(hello) => self.handle_proven_hello(now, from, &hello, bytes),
        }
    }

    fn handle_proven_hello(
        &mut self,
        now: Now,
        from: SocketAddr,
        hello: &ClientHello,
        bytes: &mut [u8],
    ) {
        let open = self.handshakes.by_address(from);
        if let Some(id) = open
            && self.handshakes.open[&id].handshake.client_random() == &hello.random
        {
            return self.handle_handshake_datagram(now, id, from, bytes);
        }
        let slot = self.slots.by_address(from);
        let newcomer = slot.and_then(|slot| self.slots.get_mut(slot)?.newcomer_mut());
        if newcomer.is_some_and(|newcomer| newcomer.client_random == hello.random) {
            self.counters.dropped_replayed += 1;
        } else if !self.admits {
            self.counters.dropped_not_admitted += 1;
        } else {
            if let Some(id) = open {
                self.drop_handshake(id);
            }
            self.begin_handshake(now, from, hello);
        }
    }

    fn begin_handshake(&mut self, now: Now, peer: SocketAddr, hello: &ClientHello) {
        let network = network_of(peer);
        let of_network = self.handshakes.by_network.get(&network).copied().unwrap_or(0);
        let has_room =
            of_network < self.config.handshakes_per_address_max && self.make_room_for_one();
        let slot = if has_room { self.slots.reserve() } else { None };
        let Some(slot) = slot else {
            self.counters.dropped_handshakes_full += 1;
            return;
        };
        let random = self.random();
        let cid = self.slots.cid(slot, random);
        let config = HandshakeConfig {
            server_random: self.random(),
            ephemeral_secret: Zeroizing::new(self.random()),
            cid,
            identity: self.handshakes.signing_key(now.mono, peer.ip()),
            record_limit: RECORD_NUMBERS_RESERVED,
            recorded_flight: None,
        };
        let handshake = Box::new(Handshake::new(now.mono.0, hello, config));
        let traffic = self.first_exchange(peer);
        let open = Open { handshake, peer, slot, began_at: now.mono, wakes_at: None, traffic };
        let id = self.handshakes.insert(open);
        self.slots.hold(slot, id, cid);
        self.carry_out(now, id);
    }

    /// The ClientHello that is being handled, the one without a cookie that came before it, and the
    /// answer to that: nothing was remembered of them, but without them there is no cookie.
    fn first_exchange(&mut self, peer: SocketAddr) -> Traffic {
        let hello = std::mem::take(&mut self.arriving);
        let without_cookie = hello.saturating_sub(COOKIE_BYTES as u32);
        let sent = datagrams_on_the_wire(peer, 1, HELLO_VERIFY_REQUEST_BYTES);
        Traffic { received: hello.saturating_add(without_cookie), sent }
    }

    /// Whether another handshake may be open: if there are too many, the oldest whose client has not
    /// answered goes. One that is there does so within its round trip.
    fn make_room_for_one(&mut self) -> bool {
        if self.handshakes.total < self.config.handshakes_max {
            return true;
        }
        let Some(oldest) = self.handshakes.unanswered.first().copied() else { return false };
        self.counters.handshakes_failed += 1;
        self.drop_handshake(oldest);
        true
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A datagram from the address of an open handshake. From any other it is dropped.
    pub(super) fn handle_handshake_datagram(
        &mut self,
        now: Now,
        id: HandshakeId,
        from: SocketAddr,
        bytes: &mut [u8],
    ) {
        match self.handshakes.open.get_mut(&id) {
            Some(open) if open.peer == from => {
                let received = std::mem::take(&mut self.arriving);
                open.traffic += Traffic { received, sent: 0 };
                open.handshake.handle_datagram(now.mono.0, bytes);
            }
            Some(_) | None => self.counters.dropped_unknown_session += 1,
        }
        self.carry_out(now, id);
    }

    /// The registry's answer.
    pub(super) fn handle_key(&mut self, now: Now, id: HandshakeId, ids: &[DeviceId]) {
        let trusts = self.config.trust_on_first_use;
        let Some(open) = self.handshakes.open.get_mut(&id) else { return };
        open.handshake.key_known(!ids.is_empty() || trusts);
        self.carry_out(now, id);
    }

    /// The pool's answer.
    pub(super) fn handle_job(&mut self, now: Now, id: HandshakeId, done: JobDone) {
        let Some(open) = self.handshakes.open.get_mut(&id) else { return };
        open.handshake.job_done(now.mono.0, done);
        self.carry_out(now, id);
    }

    pub(super) fn handle_handshake_timeouts(&mut self, now: Now) {
        while let Some((at, id)) = self.handshakes.due.first().copied()
            && at <= now.mono
        {
            self.handshakes.due.pop_first();
            let Some(open) = self.handshakes.open.get_mut(&id) else { continue };
            open.wakes_at = None;
            if open.began_at.after(self.config.handshake_life) <= now.mono {
                self.counters.handshakes_failed += 1;
                self.drop_handshake(id);
                continue;
            }
            open.handshake.handle_timeout(now.mono.0);
            self.carry_out(now, id);
        }
    }

    /// Does what a handshake wants done.
    fn carry_out(&mut self, now: Now, id: HandshakeId) {
        while let Some(open) = self.handshakes.open.get_mut(&id)
            && let Some(output) = open.handshake.poll()
        {
            let peer = open.peer;
            match output {
                HandshakeOutput::Send(datagram) => {
                    let sent = datagrams_on_the_wire(peer, 1, datagram.len());
                    open.traffic += Traffic { received: 0, sent };
                    self.send_datagram(peer, &datagram);
                }
                HandshakeOutput::NeedKey { hash, spki: _ } => {
                    self.out.need(Need::Key { handshake: id, hash: KeyHash(hash) });
                }
                HandshakeOutput::Job(job) => self.out.need(Need::Job { handshake: id, job }),
                HandshakeOutput::Established(established) => {
                    self.establish(now, id, *established);
                }
                HandshakeOutput::Failed(failure) => self.fail(now, id, peer, failure),
            }
        }
        self.handshakes.settle(id);
    }

    /// The session takes the address now; the device only with its Hello.
    fn establish(&mut self, now: Now, id: HandshakeId, established: Established) {
        let Some(open) = self.handshakes.take(id) else { return };
        let newcomer = Newcomer {
            told: None,
            key: KeyHash(established.key_hash),
            expires_at: open.began_at.after(self.config.handshake_life),
            counted_network: Some(network_of(open.peer)),
            client_random: *open.handshake.client_random(),
            public_key: established.spki.into(),
            final_flight: Some(established.final_flight),
            greeting: None,
            unread: Vec::new(),
        };
        self.counters.handshakes_completed += 1;
        let link = self.slots.next_link(open.slot);
        let session = established.session;
        let mut connection = Connection::established(link, open.peer, session, newcomer, now.mono);
        connection.traffic = open.traffic;
        self.slots.insert(open.slot, connection);
        self.set_timer(now, open.slot);
    }

    fn fail(&mut self, now: Now, id: HandshakeId, peer: SocketAddr, failure: HandshakeFailure) {
        match failure {
            HandshakeFailure::UnknownKey(_) => self.counters.handshakes_unknown_key += 1,
            HandshakeFailure::Alert(DECRYPT_ERROR) => {
                self.counters.handshakes_failed += 1;
                self.handshakes.change_key(now.mono, peer.ip());
            }
            _ => self.counters.handshakes_failed += 1,
        }
        self.drop_handshake(id);
    }

    fn drop_handshake(&mut self, id: HandshakeId) {
        if let Some(open) = self.handshakes.take(id) {
            self.handshakes.release_network(network_of(open.peer));
            self.slots.remove(open.slot);
        }
    }

    pub(super) fn send_datagram(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.counters.datagrams_sent += 1;
        self.counters.bytes_sent += datagram.len() as u64;
        self.out.transmits.push(to, datagram);
    }
}

/// Whose share a handshake takes: whoever has one IPv6 address has all of its network.
fn network_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// What a client says to a signature by a key it does not hold (RFC 5246 §7.2.2).
const DECRYPT_ERROR: u8 = secure::dtls::codec::alert::DECRYPT_ERROR;
