//! A file system that refuses or waits, for one server.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::root;

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// What is to happen to files whose paths begin with a text.
pub(crate) struct Fault<'a> {
    pub(crate) kind: &'static str,
    pub(crate) error: i32,
    pub(crate) pause: Duration,
    pub(crate) prefix: &'a Path,
}

impl<'a> Fault<'a> {
    /// Bytes are not taken.
    pub(crate) fn of_writes(error: i32, prefix: &'a Path) -> Self {
        Self { kind: "write", error, pause: Duration::ZERO, prefix }
    }

    /// What was taken is not made durable.
    pub(crate) fn of_syncs(error: i32, prefix: &'a Path) -> Self {
        Self { kind: "sync", error, pause: Duration::ZERO, prefix }
    }

    /// It is made durable after this time.
    pub(crate) fn slow(pause: Duration, prefix: &'a Path) -> Self {
        Self { kind: "sync", error: 0, pause, prefix }
    }

    /// Nothing can be written, made, renamed or removed.
    pub(crate) fn read_only(prefix: &'a Path) -> [Self; 2] {
        ["write", "name"].map(|kind| Self { kind, error: EROFS, pause: Duration::ZERO, prefix })
    }
}

/// See the module; nothing happens at first.
pub(crate) struct Faults {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), library: library() }
    }

    /// To be given to the server.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        [("LD_PRELOAD", text(&self.library)), ("DISK_FAULTS", text(&self.rules()))]
    }

    /// From now on these happen, and no others.
    pub(crate) fn set<'a>(&self, faults: impl IntoIterator<Item = Fault<'a>>) {
        let mut text = String::new();
        for Fault { kind, error, pause, prefix } in faults {
            writeln!(text, "{kind} {error} {} {}", pause.as_millis(), prefix.display())
                .expect("memory");
        }
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.rules()).expect("renamed");
    }

    fn rules(&self) -> PathBuf {
        self.dir.path().join("rules")
    }
}

/// Built once by the compiler that links Rust's programs, too.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        let new = library.with_extension("new");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&new)
            .arg(root().join("tests/disk/faults.c"))
            .status();
        assert!(built.expect("cc is installed").success());
        std::fs::rename(new, &library).expect("renamed");
        library
    };
    BUILT.get_or_init(build).clone()
}
