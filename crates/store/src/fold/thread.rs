//! The thread that folds while the server runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use tokio::sync::oneshot;

use super::Folder;
use super::folder::unreadable;
use crate::StoreError;
use crate::journal::disk::held;
use crate::journal::log::Log;

/// A tally is written this long after its first entry, so that many entries share a row.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest that a tally waits. What is not written is read again at the next start.
const DELAY_MAX: Duration = Duration::from_secs(20);
/// Writing takes at most this part of the time: the delay is so many times the last write. With
/// 100,000 devices that publish, a write touches two rows of each.
const DELAY_PER_WRITE: u32 = 20;
/// Leavings of devices that are gone are removed so often, behind a write.
const SWEEP_EACH: Duration = Duration::from_secs(3600);
/// Entries are read at most so often while a tally waits.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// What is told meanwhile; the log says why.
const REFUSED: &str = "the database refuses what the journal holds: see the log";

/// The fold's thread, as the store holds it.
pub(crate) struct FoldThread {
    shared: Arc<Shared>,
    log: Arc<Log>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    stop: bool,
    /// Nobody answers any more.
    ended: bool,
    /// What is wrong, for the operator.
    complaint: Option<&'static str>,
    settle: Vec<(u64, oneshot::Sender<Result<(), StoreError>>)>,
}

impl FoldThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(folder: Folder, log: Arc<Log>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(folder, Arc::clone(&log), Arc::clone(&shared))?;
        let its = Arc::clone(&shared);
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                tracing::error!("the thread that folds the journal failed; restart the server");
                held(&its.asked).complaint = Some("the thread fold has failed: restart the server");
            }
            its.end();
        };
        let thread = std::thread::Builder::new().name("fold".into()).spawn(work)?;
        Ok(Self { shared, log, thread: Mutex::new(Some(thread)) })
    }

    /// What is wrong, for the operator; absent when what the journal holds gets into the tables.
    pub(crate) fn complaint(&self) -> Option<&'static str> {
        held(&self.shared.asked).complaint
    }

    /// Waits until every entry before this call is in the tables.
    ///
    /// # Errors
    /// The tables cannot be written, or the thread has ended.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut asked = held(&self.shared.asked);
            if asked.ended {
                return Err(closed());
            }
            asked.settle.push((self.log.next(), sender));
        }
        self.log.wake();
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends it after the write under way; what is not written is read again at the next start.
    pub(crate) fn stop(&self) {
        held(&self.shared.asked).stop = true;
        self.log.wake();
        if let Some(thread) = held(&self.thread).take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for FoldThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Answers whoever waits: nothing is folded any more.
    fn end(&self) {
        let mut asked = held(&self.asked);
        asked.ended = true;
        for (_, sender) in asked.settle.drain(..) {
            // Whoever asked may have gone.
            let _ = sender.send(Err(closed()));
        }
    }
}

struct Worker {
    folder: Folder,
    log: Arc<Log>,
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    delay: Duration,
    /// When the tally is to be written, if there is one.
    due: Option<Instant>,
    swept: Instant,
}

impl Worker {
    fn new(folder: Folder, log: Arc<Log>, shared: Arc<Shared>) -> std::io::Result<Self> {
        // A worker of its own: the pool takes connections back in tasks, also between two writes.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("fold-pool").enable_time().build()?;
        Ok(Self {
            folder,
            log,
            shared,
            runtime,
            delay: DELAY_MIN,
            due: None,
            swept: Instant::now(),
        })
    }

    fn run(mut self) {
        while !held(&self.shared.asked).stop {
            let turn = self.turn();
            self.report(&turn);
            if let Err(error) = turn {
                self.answer(&Err(error));
                // The next turn writes: only that shows whether it is well again.
                self.due = Some(Instant::now());
                self.log.wait(u64::MAX, Some(Instant::now() + FAILURE_PAUSE));
                continue;
            }
            self.wait();
        }
    }

    /// One line when it breaks and one when it is well again, however long that takes.
    fn report(&self, turn: &Result<(), StoreError>) {
        let complaint = turn.is_err().then_some(REFUSED);
        let before = std::mem::replace(&mut held(&self.shared.asked).complaint, complaint);
        match turn {
            Err(error) if before.is_none() => {
                tracing::error!(%error, "the journal is not folded into the database; it is tried again each second");
            }
            Ok(()) if before.is_some() => tracing::info!("the journal is folded again"),
            Ok(()) | Err(_) => {}
        }
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        self.folder.read().map_err(unreadable)?;
        if self.folder.is_dirty() && self.due.is_none() {
            self.due = Some(Instant::now() + self.delay);
        }
        let due = self.due.is_some_and(|due| due <= Instant::now());
        if due || self.folder.is_full() || self.is_asked() {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        self.runtime.block_on(self.folder.write())?;
        self.due = None;
        self.delay = (begun.elapsed() * DELAY_PER_WRITE).clamp(DELAY_MIN, DELAY_MAX);
        self.log.prune(self.folder.folded(), utc());
        self.answer(&Ok(()));
        if self.swept.elapsed() >= SWEEP_EACH {
            self.swept = Instant::now();
            self.runtime.block_on(self.folder.sweep())?;
        }
        Ok(())
    }

    /// Answers those whose entries are written, or all of them with a failure.
    fn answer(&self, result: &Result<(), StoreError>) {
        let folded = self.folder.folded();
        let asked = std::mem::take(&mut held(&self.shared.asked).settle);
        let (answered, waiting): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(place, _)| result.is_err() || *place <= folded);
        held(&self.shared.asked).settle.extend(waiting);
        for (_, sender) in answered {
            // Whoever asked may have gone.
            let _ = sender.send(result.clone());
        }
    }

    fn is_asked(&self) -> bool {
        !held(&self.shared.asked).settle.is_empty()
    }

    fn wait(&self) {
        if self.is_asked() {
            return;
        }
        match self.due {
            None => self.log.wait(self.folder.position(), None),
            Some(due) => {
                let pause = Instant::now() + READ_PAUSE;
                self.log.wait(u64::MAX, Some(due.min(pause)));
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("closed".into())
}

fn utc() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
