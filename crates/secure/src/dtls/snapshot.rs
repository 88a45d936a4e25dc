//! A session as bytes, to outlive the process.
//!
//! ```text
//! version(1) role(1) cid_mode(1) cid(8) key_block(40) record_limit(8) record_seen(8)
//! ```

use zeroize::Zeroizing;

use super::codec::{RECORD_NUMBERS, Reader};
use super::record::CidMode;
use super::session::{RecordNumbers, Role, Session, SessionKeys};

const VERSION: u8 = 1;
/// Length of a snapshot of this version.
pub const SNAPSHOT_BYTES: usize = 67;

/// The bytes are no snapshot of a version this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session snapshot of a known version")]
pub struct BadSnapshot;

impl Session {
    /// Everything needed to go on after a restart. Secret: it holds the keys.
    pub fn to_snapshot(&self) -> Zeroizing<[u8; SNAPSHOT_BYTES]> {
        let keys = self.keys();
        let mut bytes = Zeroizing::new([0; SNAPSHOT_BYTES]);
        bytes[0] = VERSION;
        bytes[1] = self.role() as u8;
        bytes[2] = self.cid_mode() as u8;
        bytes[3..11].copy_from_slice(&keys.cid);
        bytes[11..51].copy_from_slice(&*keys.key_block);
        bytes[51..59].copy_from_slice(&self.record_limit().to_be_bytes());
        bytes[59..67].copy_from_slice(&self.record_seen().to_be_bytes());
        bytes
    }

    /// Brings a session back. `record_limit` is the newest reservation made durable and
    /// `record_seen` the newest record acknowledged; what the snapshot holds counts if it is higher.
    ///
    /// Nothing can be sealed until a new reservation is [set](Self::set_record_limit): all numbers
    /// below the old one may have been used.
    ///
    /// # Errors
    /// [`BadSnapshot`] if the bytes are damaged or of a newer version.
    pub fn from_snapshot(
        bytes: &[u8],
        record_limit: u64,
        record_seen: u64,
    ) -> Result<Self, BadSnapshot> {
        let mut reader = Reader::new(bytes);
        let (role, keys, limit, seen) = read(&mut reader).ok_or(BadSnapshot)?;
        let limit = limit.max(record_limit);
        let seen = seen.max(record_seen);
        let is_sound = reader.is_empty() && limit <= RECORD_NUMBERS && seen < RECORD_NUMBERS;
        let numbers = RecordNumbers { next: limit, limit, seen };
        is_sound.then(|| Self::resume(role, &keys, numbers)).ok_or(BadSnapshot)
    }
}

fn read(reader: &mut Reader<'_>) -> Option<(Role, SessionKeys, u64, u64)> {
    if reader.u8()? != VERSION {
        return None;
    }
    let role = match reader.u8()? {
        0 => Role::Server,
        1 => Role::Client,
        _ => return None,
    };
    let cid_mode = match reader.u8()? {
        0 => CidMode::None,
        1 => CidMode::Draft05,
        2 => CidMode::Rfc9146,
        _ => return None,
    };
    let keys = SessionKeys { cid_mode, cid: reader.array()?, key_block: reader.array()?.into() };
    let limit = u64::from_be_bytes(reader.array()?);
    let seen = u64::from_be_bytes(reader.array()?);
    Some((role, keys, limit, seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::codec::ContentType;
    use crate::dtls::session::ReservationSpent;

    fn session() -> Session {
        let keys = SessionKeys {
            key_block: [9; 40].into(),
            cid_mode: CidMode::Draft05,
            cid: *b"eight by",
        };
        Session::new(Role::Server, &keys, 1024)
    }

    #[test]
    fn a_restored_session_seals_nothing_below_the_old_reservation() {
        let snapshot = session().to_snapshot();
        let mut restored = Session::from_snapshot(&*snapshot, 0, 0).unwrap();
        let sealed = restored.seal(ContentType::Alert, &[1, 0], &mut Vec::new());
        assert_eq!(sealed, Err(ReservationSpent));
        restored.set_record_limit(2048);
        let sealed = restored.seal(ContentType::Alert, &[1, 0], &mut Vec::new());
        assert_eq!(sealed, Ok(1024));
    }

    #[test]
    fn the_newer_of_snapshot_and_journal_counts() {
        let snapshot = session().to_snapshot();
        let restored = Session::from_snapshot(&*snapshot, 3072, 17).unwrap();
        assert_eq!(restored.next_record_number(), 3072);
        assert_eq!(restored.record_seen(), 17);
        assert_eq!(restored.cid(), Some(*b"eight by"));
    }

    #[test]
    fn damaged_snapshots_are_refused() {
        let snapshot = session().to_snapshot();
        for len in 0..SNAPSHOT_BYTES {
            assert!(Session::from_snapshot(&snapshot[..len], 0, 0).is_err());
        }
        for (at, bad) in [(0, 2), (1, 2), (2, 3), (51, 1), (59, 1)] {
            let mut bytes = snapshot.clone();
            bytes[at] = bad;
            assert!(Session::from_snapshot(&*bytes, 0, 0).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_session_stays_small() {
        assert!(size_of::<Session>() <= 96, "{}", size_of::<Session>());
    }
}
