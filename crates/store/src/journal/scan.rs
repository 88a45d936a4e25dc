//! Finds the durable part of the journal after a start, and cuts a torn end.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, SegmentFile};
use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, check_batch};
use super::log::{Log, Segment};
use crate::OpenError;

/// Reads all segments. `folded` is the place behind the last entry that the tables hold: damage
/// before it loses nothing but replays, damage behind it is refused.
///
/// # Errors
/// Damage that is no torn end, a gap, or a folder that cannot be read.
pub(crate) fn scan(disk: Arc<dyn Disk>, folded: u64) -> Result<Log, OpenError> {
    let firsts = disk.list().map_err(|source| io_error(&*disk, 0, source))?;
    let mut segments = Vec::with_capacity(firsts.len());
    let mut next = folded;
    let limits = firsts.iter().skip(1).copied().chain([u64::MAX]);
    for (first, limit) in firsts.iter().copied().zip(limits) {
        refuse_unless(first <= next, &*disk, first, 0)?;
        if let Some(segment) = scan_segment(&*disk, first, limit, folded)? {
            next = next.max(segment.next);
            segments.push(segment);
        }
    }
    Ok(Log::new(disk, segments, next))
}

/// Walks the batches of one segment up to `limit`, the first place of the next segment: what lies
/// there or behind was written by a commit that failed. `None`: it holds nothing.
fn scan_segment(
    disk: &dyn Disk,
    first: u64,
    limit: u64,
    folded: u64,
) -> Result<Option<Segment>, OpenError> {
    let failed = |source| io_error(disk, first, source);
    let file = disk.open(first).map_err(failed)?;
    let bytes = read_all(&*file).map_err(failed)?;
    let Some(header) = SegmentHeader::decode(&bytes).filter(|header| header.first == first) else {
        let needless = bytes.len() <= SEGMENT_HEADER_BYTES || limit <= folded;
        return if needless { Ok(None) } else { Err(unreadable(disk, first, &bytes)) };
    };
    let segment = walk(&bytes, header, limit);
    let complete = segment.next == limit;
    let torn = limit == u64::MAX && !sound_batch_behind(&bytes, &segment);
    refuse_unless(complete || torn || limit <= folded, disk, first, segment.end)?;
    if torn && segment.end < bytes.len() as u64 {
        disk.cut(first, segment.end).map_err(failed)?;
    }
    Ok((segment.next > segment.first).then_some(segment))
}

fn walk(bytes: &[u8], header: SegmentHeader, limit: u64) -> Segment {
    let SegmentHeader { first, salt } = header;
    let end = SEGMENT_HEADER_BYTES as u64;
    let mut segment = Segment::new(first, salt, end);
    while segment.next < limit {
        let rest = &bytes[usize::try_from(segment.end).unwrap_or(usize::MAX)..];
        let Some(batch) = check_batch(rest, salt).filter(|batch| batch.first == segment.next)
        else {
            break;
        };
        segment.add(batch.at, batch.total_bytes() as u64, batch.next());
    }
    segment
}

/// Whether a sound, later batch follows the first bad one: then that one was durable and is damaged.
/// A torn write is the last thing in its file.
fn sound_batch_behind(bytes: &[u8], segment: &Segment) -> bool {
    let bad = usize::try_from(segment.end).unwrap_or(usize::MAX);
    (bad + 1..bytes.len()).any(|at| {
        check_batch(&bytes[at..], segment.salt).is_some_and(|batch| batch.first > segment.next)
    })
}

fn refuse_unless(allowed: bool, disk: &dyn Disk, first: u64, offset: u64) -> Result<(), OpenError> {
    if allowed {
        return Ok(());
    }
    Err(OpenError::Damaged { path: disk.path(first), offset })
}

/// Why a segment whose header is not ours is refused.
fn unreadable(disk: &dyn Disk, first: u64, bytes: &[u8]) -> OpenError {
    let path = disk.path(first);
    match SegmentHeader::version(bytes) {
        Some(found) => OpenError::OtherVersion { path, found, known: VERSION },
        None => OpenError::Damaged { path, offset: 0 },
    }
}

fn read_all(file: &dyn SegmentFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let count = file.read_at(&mut bytes[filled..], filled as u64)?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn io_error(disk: &dyn Disk, first: u64, source: io::Error) -> OpenError {
    OpenError::Io { path: disk.path(first), source }
}
