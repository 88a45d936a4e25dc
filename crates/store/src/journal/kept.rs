//! Segments that nothing needs but the question why something was counted. They lie in a folder of
//! their own, so that a start does not read them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::disk::{KeptBounds, SegmentFile, file_name, firsts_in, held};
use crate::private;

/// The folder.
pub(crate) struct KeptFolder {
    path: PathBuf,
    bounds: Mutex<KeptBounds>,
}

impl KeptFolder {
    /// `counted`, beside the journal's folder; nothing is kept yet.
    pub(crate) fn beside(journal: &Path) -> Self {
        Self { path: journal.with_file_name("counted"), bounds: Mutex::default() }
    }

    /// Keeps what is taken from now on within these bounds.
    pub(crate) fn keep(&self, bounds: KeptBounds) -> io::Result<()> {
        *held(&self.bounds) = bounds;
        if bounds.bytes > 0 {
            private::own_folder(&self.path)?;
        }
        self.prune(SystemTime::now())
    }

    /// Takes a segment's file, or removes it.
    pub(crate) fn take(&self, file: &Path, first: u64) -> io::Result<()> {
        let bounds = *held(&self.bounds);
        if bounds.bytes == 0 || bounds.age.is_zero() {
            return std::fs::remove_file(file);
        }
        std::fs::rename(file, self.path.join(file_name(first)))?;
        self.prune(SystemTime::now())
    }

    /// The segments, in order.
    pub(crate) fn list(&self) -> io::Result<Vec<u64>> {
        match firsts_in(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            firsts => firsts,
        }
    }

    /// Opens one of them.
    pub(crate) fn open(&self, first: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(File::open(self.path.join(file_name(first)))?))
    }

    /// Removes what is out of bounds. A file was written last when its last batch was committed; one
    /// that lies in the future is of a clock that was set back, and as old as it is far.
    fn prune(&self, now: SystemTime) -> io::Result<()> {
        let bounds = *held(&self.bounds);
        let mut bytes = 0;
        for first in self.list()?.into_iter().rev() {
            let path = self.path.join(file_name(first));
            let metadata = path.metadata()?;
            bytes += metadata.len();
            let written = metadata.modified()?;
            let age = now.duration_since(written).unwrap_or_else(|ahead| ahead.duration());
            if bytes > bounds.bytes || age > bounds.age {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn kept(bytes: u64) -> (tempfile::TempDir, KeptFolder) {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = KeptFolder::beside(&folder.path().join("journal"));
        kept.keep(KeptBounds { age: DAY, bytes }).expect("kept");
        for first in 1..=4 {
            let file = folder.path().join("file");
            std::fs::write(&file, [0; 100]).expect("written");
            kept.take(&file, first).expect("taken");
            assert!(!file.exists());
        }
        (folder, kept)
    }

    #[test]
    fn the_newest_segments_are_kept_as_far_as_their_bytes_go() {
        assert_eq!(kept(1000).1.list().expect("read"), [1, 2, 3, 4]);
        assert_eq!(kept(250).1.list().expect("read"), [3, 4]);
        assert_eq!(kept(0).1.list().expect("read"), [0_u64; 0]);
    }

    #[test]
    fn segments_older_than_the_window_go_and_those_of_a_clock_far_ahead() {
        for far in [SystemTime::now() + 2 * DAY, SystemTime::now() - 2 * DAY] {
            let (_folder, kept) = kept(1000);
            kept.prune(SystemTime::now() + DAY / 2).expect("pruned");
            assert_eq!(kept.list().expect("read").len(), 4);
            kept.prune(far).expect("pruned");
            assert_eq!(kept.list().expect("read"), [0_u64; 0]);
        }
    }
}
