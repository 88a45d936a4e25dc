//! Threads for public-key arithmetic, away from the packets.
//!
//! In a reconnect storm the length of the queue decides how many handshakes are begun: while it is
//! over its bound no new one is, without a word, and devices repeat themselves. What goes on with a
//! handshake is always taken, since giving it up would waste what was spent on it. The queue is
//! bounded all the same: each open handshake has one job at most, endpoints bound those of DTLS, and
//! permits those of TCP.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::StartError;

/// What a thread of the pool runs. It gives how its result is told, or nothing if nobody waits.
pub(crate) type Task = Box<dyn FnOnce() -> Option<Tell> + Send>;
/// Hands a result to whoever waits for it.
pub(crate) type Tell = Box<dyn FnOnce() + Send>;

/// Results that are told together while more tasks wait: to wake the thread that takes them costs
/// about as much as a tenth of a task. Together they take about two milliseconds (RSA: ten).
const TOLD_TOGETHER: usize = 16;

/// The queue in front of the threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    news: Condvar,
    /// Length of the queue, to be read without its lock.
    waiting: AtomicUsize,
    /// Handshakes are begun while fewer tasks wait.
    bound: usize,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl Pool {
    /// Starts the threads. They end after [`Pool::close`].
    pub(crate) fn start(
        threads: usize,
        bound: usize,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StartError> {
        let (queue, waiting) = (Mutex::new(Queue::default()), AtomicUsize::new(0));
        let pool =
            Self { shared: Arc::new(Shared { queue, news: Condvar::new(), waiting, bound }) };
        let handles = (0..threads).map(|index| pool.spawn(index)).collect::<Result<_, _>>()?;
        Ok((pool, handles))
    }

    fn spawn(&self, index: usize) -> Result<JoinHandle<()>, StartError> {
        let shared = Arc::clone(&self.shared);
        let name = format!("pool-{index}");
        Builder::new()
            .name(name.clone())
            .spawn(move || {
                let mut results = Vec::with_capacity(TOLD_TOGETHER);
                while let Some(task) = shared.next(&mut results) {
                    // A task that panics answers nobody; the thread is for all.
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
                    results.extend(done.ok().flatten());
                }
            })
            .map_err(|cause| StartError::Thread { name, cause })
    }

    /// Whether a handshake may be begun.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < self.shared.bound
    }

    /// Tasks that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Hands a task to the threads, which run them in this order. A closed pool forgets it.
    pub(crate) fn submit(&self, task: Task) {
        let mut queue = self.shared.lock();
        if queue.closed {
            return;
        }
        queue.tasks.push_back(task);
        self.shared.waiting.store(queue.tasks.len(), Ordering::Relaxed);
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Forgets what waits and ends the threads.
    pub(crate) fn close(&self) {
        *self.shared.lock() = Queue { closed: true, ..Queue::default() };
        self.shared.news.notify_all();
    }
}

impl Shared {
    /// The next task. Results are told before the thread waits, or when there are several.
    fn next(&self, results: &mut Vec<Tell>) -> Option<Task> {
        if results.len() >= TOLD_TOGETHER {
            results.drain(..).for_each(|tell| tell());
        }
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                self.waiting.store(queue.tasks.len(), Ordering::Relaxed);
                return Some(task);
            }
            if !results.is_empty() {
                drop(queue);
                results.drain(..).for_each(|tell| tell());
                queue = self.lock();
                continue;
            }
            if queue.closed {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool of one thread that is busy until the sender is dropped.
    fn busy(bound: usize) -> (Pool, mpsc::Sender<()>, Vec<JoinHandle<()>>) {
        let (pool, threads) = Pool::start(1, bound).unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let task = move || {
            begun.send(()).unwrap();
            let _ = released.recv();
            None
        };
        pool.submit(Box::new(task));
        begins.recv().unwrap();
        (pool, release, threads)
    }

    #[test]
    fn over_the_bound_nothing_is_begun_and_what_goes_on_is_taken() {
        let (pool, release, threads) = busy(2);
        let (ran, runs) = mpsc::channel();
        for taken in 0..5 {
            assert_eq!(pool.has_room(), taken < 2);
            let ran = ran.clone();
            pool.submit(Box::new(move || Some(Box::new(move || ran.send(taken).unwrap()))));
        }
        assert_eq!(pool.waiting(), 5);
        drop(release);
        assert_eq!(runs.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(pool.has_room());
        pool.close();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn results_are_told_together_while_tasks_wait_and_at_once_when_none_does() {
        let (pool, release, _threads) = busy(8);
        let (ran, runs) = mpsc::channel();
        let (go, stops) = mpsc::channel::<()>();
        let (together, all) = (TOLD_TOGETHER, TOLD_TOGETHER + 2);
        for number in 0..all {
            let ran = ran.clone();
            pool.submit(Box::new(move || Some(Box::new(move || ran.send(number).unwrap()))));
        }
        pool.submit(Box::new(move || {
            let _ = stops.recv();
            None
        }));
        drop(release);
        assert!(runs.iter().take(together).eq(0..together));
        assert!(runs.recv_timeout(std::time::Duration::from_millis(50)).is_err());
        drop(go);
        assert!(runs.iter().take(2).eq(together..all));
    }

    #[test]
    fn a_panicking_task_takes_no_thread_with_it() {
        let (pool, release, _threads) = busy(8);
        let (ran, runs) = mpsc::channel();
        pool.submit(Box::new(|| panic!("on purpose")));
        pool.submit(Box::new(move || Some(Box::new(move || ran.send(()).unwrap()))));
        drop(release);
        assert_eq!(runs.recv(), Ok(()));
    }
}
