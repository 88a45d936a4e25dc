//! An established session: opens what the peer sends, seals what we send.

use std::fmt;

use zeroize::Zeroizing;

use super::codec::{
    ConnectionId, ContentType, RECORD_NUMBERS, Reader, RecordHeader, TYPE_CID, TYPE_MOVED,
    TYPE_MOVED_CID, VERSION_1_2, epoch_and_number,
};
use super::prf::{self, KeyBlock, MasterSecret};
use super::record::{
    AdditionalData, CID_PADDING_BYTES, CidMode, EXPLICIT_NONCE_BYTES, TAG_BYTES, WriteKey,
    split_trailer,
};
use super::replay::{self, ReplayWindow};

/// Everything protected is in epoch 1: nothing is ever negotiated again.
const EPOCH: u16 = 1;
/// Explicit nonce and tag around the ciphertext.
const OVERHEAD_BYTES: usize = EXPLICIT_NONCE_BYTES + TAG_BYTES;
/// Longest content of a record (RFC 5246 §6.2.1).
pub const CONTENT_BYTES_MAX: usize = 1 << 14;

/// Which end of a session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The cloud: opens records with the connection id, seals records without.
    Server = 0,
    /// A device: the other way round.
    Client = 1,
}

/// One end of an established session. Small and without heap: there is one for each device, asleep
/// most of the time.
///
/// A record number is used for one record only, ever: two texts under one key and nonce give each
/// other away. Therefore a session cannot be cloned, it seals only below the number that was
/// [reserved](Self::set_record_limit) in durable storage, and one that was restored begins where
/// the reservation of its predecessor ended.
pub struct Session {
    keys: Zeroizing<KeyBlock>,
    cid: ConnectionId,
    next_record_number: u64,
    record_limit: u64,
    replay: ReplayWindow,
    role: Role,
    cid_mode: CidMode,
}

/// What is agreed in a handshake.
#[derive(Clone)]
pub struct SessionKeys {
    /// Keys of both directions.
    pub key_block: Zeroizing<KeyBlock>,
    /// How the client's records are marked.
    pub cid_mode: CidMode,
    /// With which connection id; without meaning if the mode is none.
    pub cid: ConnectionId,
}

impl SessionKeys {
    /// Derives the keys from what a handshake is remembered by.
    pub fn derive(
        master: &MasterSecret,
        client_random: &[u8; 32],
        server_random: &[u8; 32],
        cid: Option<(CidMode, ConnectionId)>,
    ) -> Self {
        let (cid_mode, cid) = cid.unwrap_or((CidMode::None, [0; 8]));
        Self { key_block: prf::key_block(master, client_random, server_random), cid_mode, cid }
    }
}

/// Where a resumed session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordNumbers {
    /// The first number not used for sealing.
    pub next: u64,
    /// The first number that may not be used; [`Session::UNLIMITED`] on a device.
    pub limit: u64,
    /// The highest number accepted from the peer; all below count as seen.
    pub seen: u64,
}

/// An authentic record.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The real type, from inside the record if it has a connection id.
    pub content_type: ContentType,
    /// The content.
    pub plaintext: &'a [u8],
    /// Its number.
    pub record_number: u64,
    /// No authentic record had a higher number before: the peer is where this one came from.
    pub newest: bool,
}

/// Why a record was dropped. All are noise, to be counted: no answer, nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its lengths do not add up, or it is of another version.
    Malformed,
    /// Of another epoch than 1.
    WrongEpoch,
    /// Of a type this session does not use, for example without connection id though one was agreed.
    WrongType,
    /// With the connection id of another session.
    WrongConnectionId,
    /// Its number was accepted before, or is too old to know.
    Replayed,
    /// The tag is wrong.
    NotAuthentic,
    /// Authentic, but no known content type inside.
    UnknownContent,
}

/// All reserved record numbers are used: reserve more, durably, and raise the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reserved record numbers are used up")]
pub struct ReservationSpent;

impl Session {
    /// A limit that only ends with the numbers themselves, for peers without durable reservation.
    pub const UNLIMITED: u64 = RECORD_NUMBERS;

    /// A session fresh from its handshake: the next record, the Finished message, is number 0.
    pub fn new(role: Role, keys: &SessionKeys, record_limit: u64) -> Self {
        Self {
            keys: keys.key_block.clone(),
            cid: keys.cid,
            next_record_number: 0,
            record_limit,
            replay: ReplayWindow::default(),
            role,
            cid_mode: keys.cid_mode,
        }
    }

    /// A session that goes on from where it was left.
    pub fn resume(role: Role, keys: &SessionKeys, numbers: RecordNumbers) -> Self {
        Self {
            next_record_number: numbers.next,
            replay: ReplayWindow::all_seen_to(numbers.seen),
            ..Self::new(role, keys, numbers.limit)
        }
    }

    /// Moves the session out and overwrites its keys where it was, which a move alone does not. What is
    /// left opens nothing and seals nothing.
    pub fn take(&mut self) -> Self {
        let keys =
            SessionKeys { key_block: [0; 40].into(), cid_mode: self.cid_mode, cid: self.cid };
        let numbers = RecordNumbers { next: 0, limit: 0, seen: RECORD_NUMBERS };
        std::mem::replace(self, Self::resume(self.role, &keys, numbers))
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The connection id in the client's records, if one was agreed.
    pub fn cid(&self) -> Option<ConnectionId> {
        (self.cid_mode != CidMode::None).then_some(self.cid)
    }

    /// How the client's records are marked.
    pub fn cid_mode(&self) -> CidMode {
        self.cid_mode
    }

    /// What was agreed in the handshake.
    pub fn keys(&self) -> SessionKeys {
        SessionKeys { key_block: self.keys.clone(), cid_mode: self.cid_mode, cid: self.cid }
    }

    /// The number of the next record sealed.
    pub fn next_record_number(&self) -> u64 {
        self.next_record_number
    }

    /// The first number that may not be used for sealing.
    pub fn record_limit(&self) -> u64 {
        self.record_limit
    }

    /// Allows numbers below `limit`, once that is durable. Never lowers the limit.
    pub fn set_record_limit(&mut self, limit: u64) {
        self.record_limit = self.record_limit.max(limit);
    }

    /// Leaves out so many numbers that a peer that has opened any record sealed from here on takes none
    /// sealed before, however late it comes: it is older than its replay window (64 records, `dtls-session.md` §8).
    pub fn outdate_sent(&mut self) {
        self.next_record_number = (self.next_record_number + replay::WINDOW).min(RECORD_NUMBERS);
    }

    /// The highest number accepted from the peer.
    pub fn record_seen(&self) -> u64 {
        self.replay.top()
    }

    /// Opens one record in place: with its header, and of type 254 with its trailer. Types 253 and
    /// 254 are understood as 25 and 23 (`session-resume.md` §2.3 and §2.4).
    ///
    /// # Errors
    /// See [`Dropped`]. The session is unchanged then (but for [`Dropped::UnknownContent`], whose
    /// number is used up); the bytes of `record` may be lost.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<Opened<'a>, Dropped> {
        let sealed = self.parse(record)?;
        if !self.replay.is_fresh(sealed.number) {
            return Err(Dropped::Replayed);
        }
        let number = sealed.number;
        let (wire_type, text) = self.decrypt(sealed)?;
        let newest = self.replay.mark(number);
        let (content_type, plaintext) = match wire_type {
            TYPE_CID => strip_padding(text).ok_or(Dropped::UnknownContent)?,
            plain => (ContentType::from_byte(plain).ok_or(Dropped::UnknownContent)?, &*text),
        };
        Ok(Opened { content_type, plaintext, record_number: number, newest })
    }

    /// Appends a record to `out` and gives its number. At most [`CONTENT_BYTES_MAX`] bytes fit.
    ///
    /// # Errors
    /// [`ReservationSpent`] when the limit is reached; nothing was appended.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, ReservationSpent> {
        assert!(plaintext.len() <= CONTENT_BYTES_MAX, "callers keep to the peer's message size");
        let number = self.take_record_number()?;
        let mode = self.write_mode();
        let has_cid = mode != CidMode::None;
        let inner_type = has_cid.then_some(content_type as u8);
        let wire_type = if has_cid { TYPE_CID } else { content_type as u8 };
        let text_len = match inner_type {
            Some(_) => (plaintext.len() + 1).next_multiple_of(CID_PADDING_BYTES),
            None => plaintext.len(),
        };
        let header = RecordHeader {
            first_byte: wire_type,
            epoch: EPOCH,
            number,
            cid: has_cid.then_some(self.cid),
            length: text_len + OVERHEAD_BYTES,
        };
        let explicit_nonce = epoch_and_number(EPOCH, number);
        out.reserve(header.header_bytes() + header.length);
        header.write(out);
        out.extend_from_slice(&explicit_nonce);
        let text_start = out.len();
        out.extend_from_slice(plaintext);
        out.extend(inner_type);
        out.resize(text_start + text_len, 0);
        let additional = self.additional_data(mode, explicit_nonce, wire_type, text_len);
        let text = &mut out[text_start..];
        let tag = self.write_key().seal(&explicit_nonce, additional.as_slice(), text);
        out.extend_from_slice(&tag);
        Ok(number)
    }

    fn take_record_number(&mut self) -> Result<u64, ReservationSpent> {
        let number = self.next_record_number;
        if number >= self.record_limit.min(RECORD_NUMBERS) {
            return Err(ReservationSpent);
        }
        self.next_record_number += 1;
        Ok(number)
    }

    fn parse<'a>(&self, mut record: &'a mut [u8]) -> Result<Sealed<'a>, Dropped> {
        if record.first() == Some(&TYPE_MOVED) {
            let len = split_trailer(record.len(), record.last()).ok_or(Dropped::Malformed)?;
            record = &mut record[..len];
        }
        let header = RecordHeader::read(&mut Reader::new(record)).ok_or(Dropped::Malformed)?;
        if header.epoch != EPOCH {
            return Err(Dropped::WrongEpoch);
        }
        let is_whole = record.len() == header.header_bytes() + header.length;
        if !is_whole || record[1..3] != VERSION_1_2 || header.length < OVERHEAD_BYTES {
            return Err(Dropped::Malformed);
        }
        let wire_type = self.wire_type(&header)?;
        let (_, fragment) = record.split_at_mut(header.header_bytes());
        Ok(Sealed { wire_type, number: header.number, fragment })
    }

    /// The type as it was when the tag was made.
    fn wire_type(&self, header: &RecordHeader) -> Result<u8, Dropped> {
        match (self.read_mode(), header.first_byte) {
            (CidMode::None, TYPE_MOVED) => Ok(ContentType::ApplicationData as u8),
            (CidMode::None, plain @ 20..=23) => Ok(plain),
            (CidMode::Draft05 | CidMode::Rfc9146, TYPE_CID | TYPE_MOVED_CID) => {
                let is_ours = header.cid == Some(self.cid);
                is_ours.then_some(TYPE_CID).ok_or(Dropped::WrongConnectionId)
            }
            _ => Err(Dropped::WrongType),
        }
    }

    fn decrypt<'a>(&self, sealed: Sealed<'a>) -> Result<(u8, &'a mut [u8]), Dropped> {
        let Sealed { wire_type, number, fragment } = sealed;
        let (explicit_nonce, rest) =
            fragment.split_first_chunk_mut::<EXPLICIT_NONCE_BYTES>().ok_or(Dropped::Malformed)?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Dropped::Malformed)?;
        let es = epoch_and_number(EPOCH, number);
        let additional = self.additional_data(self.read_mode(), es, wire_type, text.len());
        if !self.read_key().open(explicit_nonce, additional.as_slice(), text, tag) {
            return Err(Dropped::NotAuthentic);
        }
        Ok((wire_type, text))
    }

    fn additional_data(
        &self,
        mode: CidMode,
        epoch_and_number: [u8; 8],
        wire_type: u8,
        text_len: usize,
    ) -> AdditionalData {
        match mode {
            CidMode::None => AdditionalData::plain(epoch_and_number, wire_type, text_len),
            CidMode::Draft05 => AdditionalData::draft_05(epoch_and_number, &self.cid, text_len),
            CidMode::Rfc9146 => AdditionalData::rfc_9146(epoch_and_number, &self.cid, text_len),
        }
    }

    /// Only the client's records carry the connection id: it offered an empty one for ours.
    fn read_mode(&self) -> CidMode {
        if self.role == Role::Server { self.cid_mode } else { CidMode::None }
    }

    fn write_mode(&self) -> CidMode {
        if self.role == Role::Client { self.cid_mode } else { CidMode::None }
    }

    fn read_key(&self) -> WriteKey<'_> {
        self.key_of(if self.role == Role::Server { Role::Client } else { Role::Server })
    }

    fn write_key(&self) -> WriteKey<'_> {
        self.key_of(self.role)
    }

    fn key_of(&self, writer: Role) -> WriteKey<'_> {
        let (key_at, iv_at) = if writer == Role::Client { (0, 32) } else { (16, 36) };
        WriteKey {
            key: self.keys[key_at..].first_chunk().expect("40 bytes hold 16 from 0 and from 16"),
            iv: self.keys[iv_at..].first_chunk().expect("40 bytes hold 4 from 32 and from 36"),
        }
    }
}

/// A record whose header was read.
struct Sealed<'a> {
    wire_type: u8,
    number: u64,
    fragment: &'a mut [u8],
}

/// Inner plaintext: content, real type, zeros (RFC 9146 §4).
fn strip_padding(inner: &[u8]) -> Option<(ContentType, &[u8])> {
    let type_at = inner.iter().rposition(|byte| *byte != 0)?;
    Some((ContentType::from_byte(inner[type_at])?, &inner[..type_at]))
}

impl fmt::Debug for Session {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("cid", &self.cid())
            .field("next_record_number", &self.next_record_number)
            .field("record_limit", &self.record_limit)
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("cid_mode", &self.cid_mode)
            .field("cid", &self.cid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_before_it_was_outdated_is_not_taken_behind_what_was_sealed_after() {
        let keys = SessionKeys { key_block: [9; 40].into(), cid_mode: CidMode::None, cid: [0; 8] };
        let mut server = Session::new(Role::Server, &keys, 1000);
        let mut device = Session::new(Role::Client, &keys, Session::UNLIMITED);
        let sealed = |server: &mut Session| {
            let mut record = Vec::new();
            server.seal(ContentType::ApplicationData, &[1], &mut record).unwrap();
            record
        };
        let (mut early, mut late) = (sealed(&mut server), sealed(&mut server));
        device.open(&mut early).unwrap();
        server.outdate_sent();
        let mut first = sealed(&mut server);
        assert_eq!(device.open(&mut first).unwrap().record_number, 66);
        assert_eq!(device.open(&mut late), Err(Dropped::Replayed));
    }

    #[test]
    fn numbers_that_are_not_reserved_are_not_used_when_some_were_left_out() {
        let keys = SessionKeys { key_block: [9; 40].into(), cid_mode: CidMode::None, cid: [0; 8] };
        let mut session = Session::new(Role::Server, &keys, 60);
        session.outdate_sent();
        let mut record = Vec::new();
        assert_eq!(session.seal(ContentType::Alert, &[1, 0], &mut record), Err(ReservationSpent));
        session.set_record_limit(65);
        assert_eq!(session.seal(ContentType::Alert, &[1, 0], &mut record), Ok(64));
    }

    #[test]
    fn where_a_session_was_taken_from_no_keys_are_left() {
        let keys = SessionKeys { key_block: [9; 40].into(), cid_mode: CidMode::None, cid: [0; 8] };
        let mut place = Session::new(Role::Server, &keys, 100);
        let mut taken = place.take();
        assert_eq!((*taken.keys, *place.keys), ([9; 40], [0; 40]));
        let mut record = Vec::new();
        assert_eq!(place.seal(ContentType::Alert, &[1, 0], &mut record), Err(ReservationSpent));
        assert_eq!(taken.seal(ContentType::Alert, &[1, 0], &mut record), Ok(0));
        let mut peer =
            Session::new(Role::Client, &SessionKeys { key_block: [0; 40].into(), ..keys }, 9);
        let mut forged = Vec::new();
        peer.seal(ContentType::Alert, &[1, 0], &mut forged).unwrap();
        assert_eq!(place.open(&mut forged), Err(Dropped::Replayed), "zeros are no key");
    }
}
