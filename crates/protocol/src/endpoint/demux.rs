//! Whose datagram is this (`session-resume.md` §1, §6).

use std::net::SocketAddr;

use model::traffic::datagrams_on_the_wire;
use model::{Now, Traffic};
use secure::dtls::codec::split_record;
use secure::dtls::{Class, ConnectionId, Dropped, classify};

use super::Endpoint;
use super::output::{Disposition, Where};

/// Offset of the epoch in a record.
const EPOCH_AT: usize = 3;
const TYPE_HANDSHAKE: u8 = 22;

impl Endpoint {
    /// Takes a datagram. Its bytes are decrypted in place, so they are lost unless it is
    /// [`Disposition::Forward`].
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) -> Disposition {
        let len = bytes.len() as u64;
        self.arriving = datagrams_on_the_wire(from, 1, bytes.len());
        let disposition = self.dispatch(now, from, bytes);
        match disposition {
            Disposition::Taken => {
                self.counters.datagrams_received += 1;
                self.counters.bytes_received += len;
            }
            Disposition::Forward(_) => self.counters.forwarded += 1,
        }
        disposition
    }

    fn dispatch(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) -> Disposition {
        match classify(bytes) {
            Class::Noise => self.counters.dropped_noise += 1,
            Class::ClientHello => self.handle_client_hello(now, from, bytes),
            Class::Plain => return self.handle_plain(now, from, bytes),
            Class::Cid(cid) => return self.handle_with_cid(now, from, cid, bytes),
            Class::Moved(device) => match self.slots.by_device(model::DeviceId(device)) {
                Some(slot) => self.handle_marked(now, slot, from, bytes),
                None => return self.unknown(Where::Device(model::DeviceId(device))),
            },
        }
        Disposition::Taken
    }

    fn handle_with_cid(
        &mut self,
        now: Now,
        from: SocketAddr,
        cid: ConnectionId,
        bytes: &mut [u8],
    ) -> Disposition {
        let shard = shard_of_cid(cid, self.config.shards);
        if shard != self.config.shard {
            return Disposition::Forward(Where::Shard(shard));
        }
        match self.slots.by_cid(cid) {
            Some((slot, None)) => self.handle_record(now, slot, from, bytes),
            Some((_, Some(handshake))) => {
                self.handle_handshake_datagram(now, handshake, from, bytes);
            }
            None => self.counters.dropped_unknown_session += 1,
        }
        Disposition::Taken
    }

    /// A record without connection id belongs to the handshake or session of its address. What is
    /// not protected can end a handshake, never a session.
    fn handle_plain(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) -> Disposition {
        let is_protected = bytes[EPOCH_AT..EPOCH_AT + 2] != [0, 0];
        let is_of_handshake = !is_protected || bytes[0] == TYPE_HANDSHAKE;
        let handshake = self.handshakes.by_address(from).filter(|_| is_of_handshake);
        match (handshake, self.slots.by_address(from)) {
            (Some(handshake), _) => self.handle_handshake_datagram(now, handshake, from, bytes),
            (None, Some(slot)) if is_protected => self.handle_record(now, slot, from, bytes),
            (None, Some(slot)) => self.handle_flight(now, slot, from, bytes),
            (None, None) => return self.unknown(Where::Address),
        }
        Disposition::Taken
    }

    /// A datagram that begins with unprotected records: a client that missed the end of the handshake
    /// repeats its flight so. What is protected in it is taken like any other record; without that it is
    /// anybody's.
    fn handle_flight(&mut self, now: Now, slot: u32, from: SocketAddr, mut datagram: &mut [u8]) {
        let mut is_protected = false;
        while let Some((header, record, rest)) = split_record(datagram) {
            if header.epoch != 0 {
                is_protected = true;
                self.handle_record(now, slot, from, record);
            }
            datagram = rest;
        }
        self.counters.dropped_malformed_record += u64::from(!is_protected);
    }

    fn unknown(&mut self, place: Where) -> Disposition {
        if self.config.shards > 1 {
            return Disposition::Forward(place);
        }
        self.counters.dropped_unknown_session += 1;
        Disposition::Taken
    }

    /// A record of a session that is resumed. To other shards its address may be another session's by
    /// now, so that it is told even if it is the old one.
    fn handle_marked(&mut self, now: Now, slot: u32, from: SocketAddr, bytes: &mut [u8]) {
        let is_shared = self.config.shards > 1;
        self.open_record(now, slot, from, bytes, is_shared);
    }

    fn handle_record(&mut self, now: Now, slot: u32, from: SocketAddr, bytes: &mut [u8]) {
        self.open_record(now, slot, from, bytes, false);
    }

    /// A record for a session. Only an authentic one that is newer than all before moves the address,
    /// or takes it back.
    fn open_record(
        &mut self,
        now: Now,
        slot: u32,
        from: SocketAddr,
        bytes: &mut [u8],
        tells_address: bool,
    ) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let Some(session) = connection.session_mut() else { return };
        let opened = match session.open(bytes) {
            Ok(opened) => opened,
            Err(dropped) => return self.count_dropped(dropped),
        };
        let arrived = std::mem::take(&mut self.arriving);
        let moves = opened.newest && (self.slots.set_peer(slot, from) || tells_address);
        self.with_connection(now, slot, |connection, cx| {
            connection.traffic += Traffic { received: arrived, sent: 0 };
            connection.handle_record(cx, &opened, moves)
        });
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        let counters = &mut self.counters;
        match dropped {
            Dropped::NotAuthentic => counters.dropped_not_authentic += 1,
            Dropped::Replayed => counters.dropped_replayed += 1,
            Dropped::Malformed
            | Dropped::WrongEpoch
            | Dropped::WrongType
            | Dropped::WrongConnectionId
            | Dropped::UnknownContent => counters.dropped_malformed_record += 1,
        }
    }
}

/// The shard that records with this connection id come to. One that was given out when there were
/// more shards still has its place.
pub(super) fn shard_of_cid(cid: ConnectionId, shards: u8) -> u8 {
    cid[0] % shards.max(1)
}
