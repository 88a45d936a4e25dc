//! Sessions that outlive the process.
//!
//! ```text
//!  0          1..8                                                  8..
//!  version    traits: sizes of messages, data, arguments; typed     DTLS session snapshot
//! ```

use model::link::{RestoredSession, Snapshot};
use model::{LinkId, Now};
use secure::dtls::{SNAPSHOT_BYTES, Session};

use super::Endpoint;
use super::connection::{Connection, TRAITS_BYTES};

/// The layout above.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + TRAITS_BYTES;

impl Connection {
    /// Everything that is needed to go on after a restart; empty over TCP, where nothing goes on.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let Some(session) = self.session() else { return Snapshot::default() };
        let mut bytes = vec![0; HEAD_BYTES + SNAPSHOT_BYTES].into_boxed_slice();
        bytes[0] = VERSION;
        bytes[1..HEAD_BYTES].copy_from_slice(&self.traits_bytes());
        bytes[HEAD_BYTES..].copy_from_slice(&*session.to_snapshot());
        bytes.into()
    }
}

impl Endpoint {
    /// Brings a session back: usable at once, without a handshake. Nothing if the snapshot is empty
    /// (TCP) or cannot be read: the device will find out and make a new one. A session of another
    /// shard (see [`shard_of`]) is taken as well, but its datagrams come to the other one.
    pub fn restore(&mut self, now: Now, restored: RestoredSession) -> Option<LinkId> {
        let RestoredSession { device, snapshot, peer, record_limit, record_seen, recent, online } =
            restored;
        let record_seen = if model::planted!("window-not-restored") { 0 } else { record_seen };
        let record_limit = if model::planted!("reservation-skipped") {
            record_limit.saturating_sub(model::limits::RECORD_NUMBERS_RESERVED)
        } else {
            record_limit
        };
        let (traits, session) = split(&snapshot)?;
        let session = Session::from_snapshot(session, record_limit, record_seen).ok()?;
        if self.slots.by_device(device).is_some() {
            return None;
        }
        let slot = self.slots.reserve_restored(session.cid())?;
        let link = self.slots.next_link(slot);
        let mut connection = Connection::restored(link, peer, session, online, now.mono);
        connection.set_traits(traits);
        // Known before it is put in, so that one with connection id takes no address from another.
        connection.device = Some(device);
        if !model::planted!("recent-forgotten") {
            connection.remember(now.mono, &recent);
        }
        self.slots.insert(slot, connection);
        self.slots.set_device(slot, device);
        self.set_timer(now, slot);
        Some(link)
    }
}

/// The shard that the datagrams of a stored session come to, out of `shards`; nothing if it has no
/// connection id, then any shard may have it.
pub fn shard_of(snapshot: &[u8], shards: u8) -> Option<u8> {
    let (_, session) = split(snapshot)?;
    let cid = Session::from_snapshot(session, 0, 0).ok()?.cid()?;
    Some(super::demux::shard_of_cid(cid, shards))
}

fn split(snapshot: &[u8]) -> Option<([u8; TRAITS_BYTES], &[u8])> {
    let (&head, session) = snapshot.split_first_chunk::<HEAD_BYTES>()?;
    let [VERSION, traits @ ..] = head else { return None };
    Some((traits, session))
}
