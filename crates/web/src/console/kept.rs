//! What takes long to read and is asked for often.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many times as long as reading took, it is not read again.
const REST_PER_READ: u32 = 10;
/// Until it is this old it is given away while it is read again.
const GIVEN_UNTIL: Duration = Duration::from_secs(30);

/// What is read in less than this is waited for.
const QUICK: Duration = Duration::from_millis(50);

/// Something read, and kept for a while. If reading takes long, whoever asks when it is a little old gets
/// it as it was, and it is read again meanwhile; when it is very old they wait.
#[derive(Debug)]
pub(super) struct Kept<T> {
    held: Mutex<Option<Held<T>>>,
    /// Who reads is alone.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    changes: u64,
    read: Instant,
    took: Duration,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { held: Mutex::new(None), reading: tokio::sync::Mutex::default() }
    }
}

/// What is to be done with what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    /// Good enough while it is read again.
    Ripe,
    Stale,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// What `read` gives, or what it gave lately. `changes` counts what makes it wrong at once; it is
    /// fresh for `rest` at least.
    pub(super) async fn get<E, F>(
        self: &Arc<Self>,
        changes: u64,
        rest: Duration,
        read: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>> + Send,
        E: Send,
    {
        match self.held(changes, rest) {
            Some((value, Age::Fresh)) => return Ok(value),
            Some((value, Age::Ripe)) => {
                self.read_meanwhile(changes, read);
                return Ok(value);
            }
            Some((_, Age::Stale)) | None => {}
        }
        let _alone = self.reading.lock().await;
        // Somebody else may have read it while this one waited.
        match self.held(changes, rest) {
            Some((value, Age::Fresh | Age::Ripe)) => Ok(value),
            Some((_, Age::Stale)) | None => self.read(changes, read).await,
        }
    }

    fn read_meanwhile<E: Send, F: Future<Output = Result<T, E>> + Send>(
        self: &Arc<Self>,
        changes: u64,
        read: impl FnOnce() -> F + Send + 'static,
    ) {
        let kept = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_alone) = kept.reading.try_lock() else { return };
            // If it fails, what is held gets too old, and whoever asks then is told.
            let _ = kept.read(changes, read).await;
        });
    }

    async fn read<E, F: Future<Output = Result<T, E>>>(
        &self,
        changes: u64,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<T>, E> {
        let begun = Instant::now();
        let value = Arc::new(read().await?);
        let held = Held { value: Arc::clone(&value), changes, read: begun, took: begun.elapsed() };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(value)
    }

    fn held(&self, changes: u64, rest: Duration) -> Option<(Arc<T>, Age)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref()?;
        Some((Arc::clone(&held.value), held.age(changes, rest, held.read.elapsed())))
    }
}

impl<T> Held<T> {
    /// What takes long to read is not read again for each of many changes.
    fn age(&self, changes: u64, rest: Duration, old: Duration) -> Age {
        let is_right = self.changes == changes;
        if is_right && old < rest.max(self.took * REST_PER_READ) {
            return Age::Fresh;
        }
        let given_until = if is_right { GIVEN_UNTIL } else { self.took * 2 };
        if self.took >= QUICK && old < given_until { Age::Ripe } else { Age::Stale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn held(took_ms: u64) -> Held<()> {
        let took = Duration::from_millis(took_ms);
        Held { value: Arc::new(()), changes: 1, read: Instant::now(), took }
    }

    fn ages(took_ms: u64, changes: u64, old_ms: &[u64]) -> Vec<Age> {
        let held = held(took_ms);
        let age = |old: &u64| held.age(changes, REST, Duration::from_millis(*old));
        old_ms.iter().map(age).collect()
    }

    #[test]
    fn it_rests_as_its_reading_took_and_if_that_took_long_it_is_given_away_meanwhile() {
        assert_eq!(ages(1, 1, &[1_999, 2_001, 31_000]), [Age::Fresh, Age::Stale, Age::Stale]);
        assert_eq!(ages(500, 1, &[4_999, 5_001, 31_000]), [Age::Fresh, Age::Ripe, Age::Stale]);
    }

    #[test]
    fn a_change_is_seen_at_once_unless_reading_takes_long() {
        assert_eq!(ages(1, 2, &[0, 3]), [Age::Stale, Age::Stale]);
        assert_eq!(ages(500, 2, &[900, 1_001]), [Age::Ripe, Age::Stale]);
    }

    #[tokio::test]
    async fn what_is_fresh_is_not_read_again_and_a_change_is() {
        let kept = Arc::new(Kept::default());
        let read = |value: u32| move || async move { Ok::<u32, ()>(value) };
        assert_eq!(kept.get(1, REST, read(7)).await, Ok(Arc::new(7)));
        assert_eq!(kept.get(1, REST, read(8)).await, Ok(Arc::new(7)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(kept.get(2, REST, read(9)).await, Ok(Arc::new(9)));
        let fails = || async { Err::<u32, &str>("no") };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(kept.get(3, REST, fails).await, Err("no"));
    }
}
