//! Where segments lie: a folder, or memory for tests.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::private;

/// A set of segments, each named by the place of its first entry.
pub(crate) trait Disk: Send + Sync {
    /// The segments, in order.
    fn list(&self) -> io::Result<Vec<u64>>;
    /// Creates a segment, or empties one of this name, and makes its name durable.
    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a segment.
    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>>;
    /// Removes a segment; one that is open stays readable.
    fn remove(&self, first: u64) -> io::Result<()>;
    /// How the operator finds it.
    fn path(&self, first: u64) -> PathBuf;
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
}

impl Folder {
    /// Uses this folder, creating it if need be.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        private::own_folder(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(".journal"));
            found.extend(first.and_then(|digits| digits.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn create(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = private::options().read(true).truncate(true).open(self.path(first))?;
        private::sync_names(&self.path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path(first))?))
    }

    fn remove(&self, first: u64) -> io::Result<()> {
        std::fs::remove_file(self.path(first))
    }

    fn path(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.journal"))
    }
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
