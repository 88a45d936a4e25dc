//! Where segments lie: a folder, or memory for tests.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::kept::KeptFolder;
use crate::private;

/// A set of segments, each named by the place of its first entry.
pub(crate) trait Disk: Send + Sync {
    /// The segments, in order.
    fn list(&self) -> io::Result<Vec<u64>>;
    /// Creates a segment, or empties one of this name, and makes its name durable.
    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a segment to read it.
    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>>;
    /// Cuts everything of a segment behind `bytes`, durably.
    fn cut(&self, first: u64, bytes: u64) -> io::Result<()>;
    /// Leave to take segments out; `None` while somebody holds them ([`hold`]).
    fn leave_to_remove(&self) -> Option<Leave> {
        Some(Leave(None))
    }
    /// Takes a segment out: it is kept aside if that is wanted, else removed. One that is open stays
    /// readable.
    fn remove(&self, first: u64) -> io::Result<()>;
    /// Keeps segments that are taken out from now on, within these bounds. Without a folder none is.
    fn keep(&self, _bounds: KeptBounds) -> io::Result<()> {
        Ok(())
    }
    /// The segments that are kept aside, in order.
    fn kept(&self) -> io::Result<Vec<u64>> {
        Ok(Vec::new())
    }
    /// Opens one of them.
    fn open_kept(&self, _first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Err(io::ErrorKind::NotFound.into())
    }
    /// How the operator finds it.
    fn path(&self, first: u64) -> PathBuf;
}

/// While this exists nobody can begin to hold the segments.
pub(crate) struct Leave(
    #[expect(dead_code, reason = "its lock ends when it is dropped")] Option<File>,
);

/// Sees to it that no process takes segments out of this folder until what it gives is dropped, or until
/// this process ends. `None`: the file system has no such locks.
pub(crate) fn hold(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    folder.lock_shared().ok()?;
    Some(folder)
}

/// How many segments are kept aside: until one of the two is reached. Zero: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptBounds {
    /// The longest time.
    pub age: Duration,
    /// The most bytes.
    pub bytes: u64,
}

/// One segment.
pub(crate) trait SegmentFile: Send + Sync {
    /// Its length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads what is there from `offset` on, at most the buffer's length; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts everything behind `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// The journal's folder.
pub(crate) struct Folder {
    path: PathBuf,
    kept: KeptFolder,
}

impl Folder {
    /// Uses this folder, creating it if need be.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        private::own_folder(path)?;
        Ok(Self::at(path))
    }

    /// The same of a folder that is left as it is.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), kept: KeptFolder::beside(path) }
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<u64>> {
        firsts_in(&self.path)
    }

    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = private::options().read(true).truncate(true).open(self.path(first))?;
        private::sync_names(&self.path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(File::open(self.path(first))?))
    }

    fn cut(&self, first: u64, bytes: u64) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(first))?;
        file.set_len(bytes)?;
        file.sync_data()
    }

    fn leave_to_remove(&self) -> Option<Leave> {
        let folder = File::open(&self.path).ok()?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Ok(()) | Err(TryLockError::Error(_)) => Some(Leave(Some(folder))),
        }
    }

    fn remove(&self, first: u64) -> io::Result<()> {
        self.kept.take(&self.path(first), first)
    }

    fn keep(&self, bounds: KeptBounds) -> io::Result<()> {
        self.kept.keep(bounds)
    }

    fn kept(&self) -> io::Result<Vec<u64>> {
        self.kept.list()
    }

    fn open_kept(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.kept.open(first)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.path.join(file_name(first))
    }
}

/// The file of the segment that begins at this place.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:020}.journal")
}

/// The segments in a folder, in order.
pub(super) fn firsts_in(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        found.extend(first.and_then(|digits| digits.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

impl SegmentFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Segments in memory.
#[derive(Default)]
pub(crate) struct Memory {
    segments: Mutex<BTreeMap<u64, Arc<MemorySegment>>>,
}

/// A segment in memory.
#[derive(Default)]
pub(crate) struct MemorySegment {
    bytes: Mutex<Vec<u8>>,
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(held(&self.segments).keys().copied().collect())
    }

    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let segment = Arc::new(MemorySegment::default());
        held(&self.segments).insert(first, Arc::clone(&segment));
        Ok(segment)
    }

    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let segment = held(&self.segments).get(&first).cloned();
        Ok(segment.ok_or(io::ErrorKind::NotFound)?)
    }

    fn cut(&self, first: u64, bytes: u64) -> io::Result<()> {
        self.open(first)?.truncate(bytes)
    }

    fn remove(&self, first: u64) -> io::Result<()> {
        held(&self.segments).remove(&first);
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        format!("memory/{first}").into()
    }
}

impl SegmentFile for MemorySegment {
    fn bytes(&self) -> io::Result<u64> {
        Ok(held(&self.bytes).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = held(&self.bytes);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = held(&self.bytes);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(new);
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        held(&self.bytes).resize(bytes, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A lock whose holder cannot panic half-way through a change.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
