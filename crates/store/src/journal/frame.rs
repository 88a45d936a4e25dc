//! Bytes of a segment: a header, then batches.
//!
//! ```text
//! segment  magic(8) first(8) salt(4) crc(4)
//! batch    crc(4) mark(4) body_bytes(4) count(4) first(8) at(8) body
//! ```
//!
//! Numbers are little-endian. A batch's CRC-32 covers everything behind it. Its mark is the
//! segment's salt, which no peer knows: bytes that a device publishes cannot pass for a batch.

use model::Timestamp;

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 24;
/// Bytes of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Largest batch, header and all.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Of the entries' encoding; the last byte of a segment's magic.
pub(crate) const VERSION: u8 = 3;
const NAME: [u8; 7] = *b"CLDCHMB";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The place of the first entry.
    pub(crate) first: u64,
    /// The mark of its batches.
    pub(crate) salt: u32,
}

impl SegmentHeader {
    /// Spells it.
    pub(crate) fn encode(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..7].copy_from_slice(&NAME);
        bytes[7] = VERSION;
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it; `None` if it is no header, or one of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        (Self::version(bytes)? == VERSION)
            .then(|| Self { first: u64_at(bytes, 8), salt: u32_at(bytes, 16) })
    }

    /// The version of the encoding that a sound header tells.
    pub(crate) fn version(bytes: &[u8]) -> Option<u8> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk()?;
        let sound = bytes[..7] == NAME && crc32fast::hash(&bytes[..20]) == u32_at(bytes, 20);
        sound.then_some(bytes[7])
    }
}

/// What a batch's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    crc: u32,
    mark: u32,
    /// Bytes behind the header.
    pub(crate) body_bytes: usize,
    /// The place of its first entry.
    pub(crate) first: u64,
    /// When it was committed.
    pub(crate) at: Timestamp,
    /// Its entries.
    pub(crate) count: u32,
}

impl BatchHeader {
    /// Reads it without judging it; `None` if bytes are missing or the size is impossible.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        let body_bytes = usize::try_from(u32_at(bytes, 8)).ok()?;
        let header = Self {
            crc: u32_at(bytes, 0),
            mark: u32_at(bytes, 4),
            body_bytes,
            count: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            at: Timestamp(u64_at(bytes, 24).cast_signed()),
        };
        (body_bytes <= BATCH_BYTES_MAX - BATCH_HEADER_BYTES && header.count > 0).then_some(header)
    }

    /// Header and body together.
    pub(crate) fn total_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.body_bytes
    }

    /// The place behind its last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// Fills in the header of a batch whose body begins at [`BATCH_HEADER_BYTES`].
pub(crate) fn seal_batch(batch: &mut [u8], salt: u32, first: u64, at: Timestamp, count: u32) {
    let body_bytes = u32::try_from(batch.len() - BATCH_HEADER_BYTES).unwrap_or(u32::MAX);
    batch[4..8].copy_from_slice(&salt.to_le_bytes());
    batch[8..12].copy_from_slice(&body_bytes.to_le_bytes());
    batch[12..16].copy_from_slice(&count.to_le_bytes());
    batch[16..24].copy_from_slice(&first.to_le_bytes());
    batch[24..32].copy_from_slice(&at.0.to_le_bytes());
    let crc = crc32fast::hash(&batch[4..]);
    batch[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The header of the batch that begins here, if it is whole and sound.
pub(crate) fn check_batch(bytes: &[u8], salt: u32) -> Option<BatchHeader> {
    let header = BatchHeader::decode(bytes).filter(|header| header.mark == salt)?;
    let checked = bytes.get(4..header.total_bytes())?;
    (crc32fast::hash(checked) == header.crc).then_some(header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_sound_only_under_its_segments_salt_and_without_a_flipped_bit() {
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        batch.extend_from_slice(b"some entries");
        seal_batch(&mut batch, 7, 42, Timestamp(1000), 3);
        let header = check_batch(&batch, 7).expect("sound");
        assert_eq!((header.first, header.next(), header.at), (42, 45, Timestamp(1000)));
        assert_eq!(check_batch(&batch, 8), None);
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_batch(&flipped, 7), None, "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_of_another_version_is_none_of_ours() {
        let header = SegmentHeader { first: 9, salt: 1 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        bytes[7] = 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }
}
