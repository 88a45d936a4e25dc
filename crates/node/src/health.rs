//! Whether the device side works as it should.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An answer for `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// What is wrong, for the operator; absent when all is well. The server still answers.
    pub degraded: Option<String>,
}

/// A commit slower than this is a complaint.
const SLOW: Duration = Duration::from_secs(1);
/// How long a slow commit is told after it ended, so that a poll of `/health` sees it.
const TOLD: Duration = Duration::from_secs(30);
/// How long a refusal of the journal keeps new handshakes out; then one more try is allowed.
const KEPT_OUT: Duration = Duration::from_secs(5);

/// How the journal fares. The commit thread writes it, everybody may read it.
#[derive(Debug, Default)]
pub(crate) struct CommitHealth {
    state: Mutex<State>,
    /// Whether the last append failed, to be read for each datagram.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    failed: Option<Instant>,
    slow: Option<(Instant, Duration)>,
}

impl CommitHealth {
    /// An append was handed to the disk.
    pub(crate) fn append_begins(&self) {
        self.lock().begun = Some(Instant::now());
    }

    /// It came back; tells whether that is another result than the last one.
    pub(crate) fn append_ends(&self, ok: bool) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let took = state.begun.take().map_or(Duration::ZERO, |begun| now - begun);
        if took > SLOW {
            state.slow = Some((now, took));
        }
        let failed_before = state.failed.is_some();
        state.failed = (!ok).then_some(now);
        self.failed.store(!ok, Ordering::Relaxed);
        failed_before == ok
    }

    /// Whether devices may begin something that will have to be written.
    pub(crate) fn accepts(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
            || self.lock().failed.is_none_or(|failed| failed.elapsed() > KEPT_OUT)
    }

    /// What is wrong at `now`.
    pub(crate) fn complaint(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        if state.failed.is_some() {
            return Some("the journal refuses writes".to_owned());
        }
        let running = state.begun.map(|begun| now.saturating_duration_since(begun));
        let told = |at: Instant| now.saturating_duration_since(at) < TOLD;
        let ended = state.slow.filter(|(at, _)| told(*at)).map(|(_, took)| took);
        let slowest = running.filter(|span| *span > SLOW).or(ended)?;
        Some(format!("the journal is slow: a commit took {} ms", slowest.as_millis()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
