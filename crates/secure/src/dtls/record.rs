//! Protected records: how they are told apart, and AES_128_CCM_8 over one of them
//! (RFC 6655, `session-resume.md` §2).

use aes::Aes128Enc;
use ccm::aead::inout::InOutBuf;
use ccm::consts::{U8, U12};
use ccm::{AeadInOut, Ccm, KeyInit, Nonce, Tag};

use super::codec::{
    CID_BYTES, ConnectionId, HANDSHAKE_HEADER_BYTES, RECORD_HEADER_BYTES, TYPE_CID, TYPE_MOVED,
    TYPE_MOVED_CID, VERSION_1_2, handshake_type,
};

/// Length of a device's id behind a type-254 record.
pub const DEVICE_ID_BYTES: usize = 12;
/// The id and its length byte.
pub const TRAILER_BYTES: usize = DEVICE_ID_BYTES + 1;
/// In front of the ciphertext.
pub const EXPLICIT_NONCE_BYTES: usize = 8;
/// Behind the ciphertext.
pub const TAG_BYTES: usize = 8;
/// A device pads the inner plaintext of a CID record to a multiple of this.
pub const CID_PADDING_BYTES: usize = 16;

/// How the records a device sends are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CidMode {
    /// Without connection id (Device OS up to 3.0).
    None = 0,
    /// Extension 254 with the additional data of draft 05 (Device OS from 3.1 on).
    Draft05 = 1,
    /// Extension 54 (RFC 9146).
    Rfc9146 = 2,
}

/// What a datagram from the network is, by its first bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing of ours: too short, of another protocol, a keep-alive byte. To be ignored.
    Noise,
    /// Begins with an unprotected ClientHello: for [`super::Cookies`], or for the handshake of this
    /// address that began with the same one.
    ClientHello,
    /// Begins with an ordinary record: belongs to the handshake or session of this address.
    Plain,
    /// A record with this connection id, of type 25 or 253.
    Cid(ConnectionId),
    /// An application record of type 254: the session of this device, whatever the address.
    Moved([u8; DEVICE_ID_BYTES]),
}

/// Tells what a datagram is (`session-resume.md` §1). Nothing is authentic at this point.
pub fn classify(datagram: &[u8]) -> Class {
    let [first_byte, 0xfe, 0xfd | 0xff, ..] = *datagram else { return Class::Noise };
    if datagram.len() < RECORD_HEADER_BYTES {
        return Class::Noise;
    }
    match first_byte {
        22 if is_client_hello(datagram) => Class::ClientHello,
        20..=23 => Class::Plain,
        TYPE_CID | TYPE_MOVED_CID => connection_id(datagram),
        TYPE_MOVED => device_id(datagram),
        _ => Class::Noise,
    }
}

fn is_client_hello(datagram: &[u8]) -> bool {
    let epoch_is_0 = datagram[3..5] == [0, 0];
    let long_enough = datagram.len() >= RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES;
    epoch_is_0 && long_enough && datagram[RECORD_HEADER_BYTES] == handshake_type::CLIENT_HELLO
}

fn connection_id(datagram: &[u8]) -> Class {
    let cid = datagram.get(11..11 + CID_BYTES).and_then(|cid| cid.try_into().ok());
    cid.map_or(Class::Noise, Class::Cid)
}

fn device_id(datagram: &[u8]) -> Class {
    split_trailer(datagram.len(), datagram.last())
        .and_then(|record_len| datagram.get(record_len..record_len + DEVICE_ID_BYTES))
        .and_then(|id| id.try_into().ok())
        .map_or(Class::Noise, Class::Moved)
}

/// Length of the record in front of the trailer.
pub(crate) fn split_trailer(datagram_len: usize, last: Option<&u8>) -> Option<usize> {
    let record_len = datagram_len.checked_sub(TRAILER_BYTES)?;
    let is_id = last.is_some_and(|last| usize::from(*last) == DEVICE_ID_BYTES);
    (is_id && record_len >= RECORD_HEADER_BYTES).then_some(record_len)
}

/// Marks a sealed CID record as the device does after a resume (Device OS ≥ 4.0): type 253.
pub fn mark_moved_cid(datagram: &mut [u8]) {
    debug_assert_eq!(datagram.first(), Some(&TYPE_CID));
    if let Some(first_byte) = datagram.first_mut() {
        *first_byte = TYPE_MOVED_CID;
    }
}

/// Marks a sealed application record as the device does after a resume (Device OS 0.5 – 3.0):
/// type 254 and the id behind it. `datagram` is that one record.
pub fn mark_moved(datagram: &mut Vec<u8>, device_id: &[u8; DEVICE_ID_BYTES]) {
    debug_assert_eq!(datagram.first(), Some(&23));
    if let Some(first_byte) = datagram.first_mut() {
        *first_byte = TYPE_MOVED;
    }
    datagram.extend_from_slice(device_id);
    datagram.push(DEVICE_ID_BYTES as u8);
}

/// The part of a key block that protects one direction.
#[derive(Clone, Copy)]
pub(crate) struct WriteKey<'a> {
    pub(crate) key: &'a [u8; 16],
    pub(crate) iv: &'a [u8; 4],
}

/// Only encryption of blocks is needed, in both directions, so only that key schedule is made: it
/// is made for each record, because keeping it would triple a session.
type Aes128Ccm8 = Ccm<Aes128Enc, U8, U12>;

impl WriteKey<'_> {
    /// Encrypts `text` in place and gives its tag.
    pub(crate) fn seal(
        &self,
        explicit_nonce: &[u8; EXPLICIT_NONCE_BYTES],
        additional: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        self.cipher()
            .encrypt_inout_detached(&self.nonce(explicit_nonce), additional, InOutBuf::from(text))
            .expect("a nonce of 12 bytes leaves room for texts of 2^24 bytes, a record has 2^14")
            .into()
    }

    /// Decrypts `text` in place. If the tag is wrong the text is lost and the answer `false`.
    pub(crate) fn open(
        &self,
        explicit_nonce: &[u8; EXPLICIT_NONCE_BYTES],
        additional: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        let nonce = self.nonce(explicit_nonce);
        let tag = Tag::from(*tag);
        let text = InOutBuf::from(text);
        self.cipher().decrypt_inout_detached(&nonce, additional, text, &tag).is_ok()
    }

    fn cipher(&self) -> Aes128Ccm8 {
        Aes128Ccm8::new(self.key.into())
    }

    fn nonce(&self, explicit: &[u8; EXPLICIT_NONCE_BYTES]) -> Nonce<U12> {
        let mut nonce = Nonce::<U12>::default();
        nonce[..4].copy_from_slice(self.iv);
        nonce[4..].copy_from_slice(explicit);
        nonce
    }
}

/// What the tag covers beside the text.
pub(crate) struct AdditionalData {
    bytes: [u8; 31],
    len: usize,
}

impl AdditionalData {
    /// For a record without connection id (RFC 5246 §6.2.3.3).
    pub(crate) fn plain(epoch_and_number: [u8; 8], content_type: u8, text_len: usize) -> Self {
        Self::new()
            .with(&epoch_and_number)
            .with(&[content_type])
            .with(&VERSION_1_2)
            .with(&length(text_len))
    }

    /// Draft 05: the wire's first byte and the connection id put into the classic layout.
    pub(crate) fn draft_05(epoch_and_number: [u8; 8], cid: &ConnectionId, text_len: usize) -> Self {
        Self::new()
            .with(&epoch_and_number)
            .with(&[TYPE_CID])
            .with(&VERSION_1_2)
            .with(cid)
            .with(&[CID_BYTES as u8])
            .with(&length(text_len))
    }

    /// RFC 9146 §5.3.
    pub(crate) fn rfc_9146(epoch_and_number: [u8; 8], cid: &ConnectionId, text_len: usize) -> Self {
        Self::new()
            .with(&[0xff; 8])
            .with(&[TYPE_CID, CID_BYTES as u8, TYPE_CID])
            .with(&VERSION_1_2)
            .with(&epoch_and_number)
            .with(cid)
            .with(&length(text_len))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn new() -> Self {
        Self { bytes: [0; 31], len: 0 }
    }

    fn with(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }
}

fn length(text_len: usize) -> [u8; 2] {
    (text_len as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_told_apart_by_their_first_bytes() {
        let mut hello = [0; 40];
        hello[..3].copy_from_slice(&[22, 0xfe, 0xff]);
        hello[13] = 1;
        assert_eq!(classify(&hello), Class::ClientHello);
        hello[13] = 11;
        assert_eq!(classify(&hello), Class::Plain);
        hello[13] = 1;
        hello[4] = 1;
        assert_eq!(classify(&hello), Class::Plain, "an encrypted record may begin with any byte");
        assert_eq!(classify(&[0]), Class::Noise);
        assert_eq!(classify(&[]), Class::Noise);
        assert_eq!(classify(&[25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 7, 7, 7]), Class::Noise);
    }

    #[test]
    fn a_moved_record_is_noise_unless_its_trailer_says_twelve() {
        let mut datagram = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0];
        mark_moved(&mut datagram, b"twelve bytes");
        assert_eq!(classify(&datagram), Class::Moved(*b"twelve bytes"));
        datagram[25] = 13;
        assert_eq!(classify(&datagram), Class::Noise);
        assert_eq!(classify(&datagram[..25]), Class::Noise);
    }
}
