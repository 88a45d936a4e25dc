//! Sessions that outlived the last process, brought back before the first datagram is read.

use model::link::Transport;
use model::{DeviceState, Now};
use protocol::endpoint::shard_of;
use router::{Input, Restored};
use store::StoredSession;

use crate::carry::Carrier;
use crate::registry::{Registry, unheard_of};

/// Sorts sessions by the shard that gets them.
pub(crate) fn by_shard(
    sessions: Vec<StoredSession>,
    shards: u8,
    registry: &Registry,
) -> Vec<Vec<StoredSession>> {
    let mut sorted: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    for stored in sessions {
        let session = &stored.session;
        let shard = shard_of(&session.snapshot, shards)
            .unwrap_or_else(|| registry.shard_of(session.device));
        if let Some(list) = sorted.get_mut(usize::from(shard)) {
            list.push(stored);
        }
    }
    sorted
}

impl Carrier {
    /// Brings sessions back; tells how many of them could not be read. Over TCP nothing comes back
    /// but what is shown of the device.
    pub(crate) fn restore(&mut self, now: Now, sessions: Vec<StoredSession>) -> usize {
        let mut unreadable = 0;
        for stored in sessions {
            match stored.transport {
                Transport::Tcp => self.registry().rest(resting(&stored)),
                Transport::Udp => unreadable += usize::from(!self.restore_one(now, stored)),
            }
        }
        unreadable
    }

    fn restore_one(&mut self, now: Now, stored: StoredSession) -> bool {
        let StoredSession { session, hello, subscriptions, last_heard, .. } = stored;
        let (device, peer, online) = (session.device, session.peer, session.online);
        let Some(row) = self.registry().row(device) else { return true };
        let is_found_by_address = self.is_found_by_address(&session.snapshot);
        let Some(link) = self.endpoint.restore(now, session) else { return false };
        let last_handshake_at = self.registry().last_handshake_at(device);
        self.session_is_here(device);
        if is_found_by_address {
            // Of two that were heard from one address nobody knows here which was the later one: both
            // keep it in their own shards.
            self.keep_address(link, peer);
        }
        let restored = Restored {
            link,
            device,
            row,
            subscriptions,
            hello,
            peer,
            online,
            last_heard,
            last_handshake_at,
        };
        self.tell(now, Input::Restored(Box::new(restored)));
        self.carry(now);
        true
    }
}

fn resting(stored: &StoredSession) -> DeviceState {
    let StoredSession { session, hello, transport, last_heard, .. } = stored;
    let named = |number: u16| (number != u16::MAX).then_some(number);
    DeviceState {
        last_heard: Some(*last_heard),
        peer: Some(session.peer),
        transport: Some(*transport),
        platform: Some(hello.platform),
        firmware_product: named(hello.product_id),
        firmware_version: named(hello.product_version),
        system_version: hello.system.map(|system| system.version),
        ..unheard_of(session.device)
    }
}
