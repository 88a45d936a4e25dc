//! Threads for public-key arithmetic, away from the packets.
//!
//! In a reconnect storm the queue decides how many handshakes are begun: one that finds it full is
//! not begun, without a word, and its device repeats itself. Handshakes under way come before new
//! ones, since giving them up wastes what was spent on them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::StartError;

/// What a thread of the pool runs.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// How soon a task is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It begins a handshake.
    Begins,
    /// It goes on with one.
    GoesOn,
}

/// The queue was full; the task was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The queue in front of the threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queues: Mutex<Queues>,
    news: Condvar,
    /// Tasks that begin something wait up to this many, tasks that go on up to
    /// [`GOING_ON_FACTOR`] times as many.
    bound: usize,
}

/// Each handshake that was begun wants one more task later.
const GOING_ON_FACTOR: usize = 4;

#[derive(Default)]
struct Queues {
    begin: VecDeque<Task>,
    go_on: VecDeque<Task>,
    closed: bool,
}

impl Pool {
    /// Starts the threads. They end after [`Pool::close`].
    pub(crate) fn start(
        threads: usize,
        bound: usize,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StartError> {
        let queues = Mutex::new(Queues::default());
        let pool = Self { shared: Arc::new(Shared { queues, news: Condvar::new(), bound }) };
        let handles = (0..threads).map(|index| pool.spawn(index)).collect::<Result<_, _>>()?;
        Ok((pool, handles))
    }

    fn spawn(&self, index: usize) -> Result<JoinHandle<()>, StartError> {
        let shared = Arc::clone(&self.shared);
        let name = format!("pool-{index}");
        Builder::new()
            .name(name.clone())
            .spawn(move || {
                while let Some(task) = shared.next() {
                    task();
                }
            })
            .map_err(|source| StartError::Thread { name, source })
    }

    /// Hands a task to the threads.
    pub(crate) fn submit(&self, urgency: Urgency, task: Task) -> Result<(), Full> {
        let mut queues = self.shared.lock();
        let bound = self.shared.bound;
        let (queue, bound) = match urgency {
            Urgency::Begins => (&mut queues.begin, bound),
            Urgency::GoesOn => (&mut queues.go_on, bound * GOING_ON_FACTOR),
        };
        if queue.len() >= bound {
            return Err(Full);
        }
        queue.push_back(task);
        drop(queues);
        self.shared.news.notify_one();
        Ok(())
    }

    /// Whether a task that begins something would be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.lock().begin.len() < self.shared.bound
    }

    /// Tasks that wait.
    pub(crate) fn waiting(&self) -> usize {
        let queues = self.shared.lock();
        queues.begin.len() + queues.go_on.len()
    }

    /// Forgets what waits and ends the threads.
    pub(crate) fn close(&self) {
        let mut queues = self.shared.lock();
        *queues = Queues { closed: true, ..Queues::default() };
        drop(queues);
        self.shared.news.notify_all();
    }
}

impl Shared {
    fn next(&self) -> Option<Task> {
        let mut queues = self.lock();
        loop {
            if let Some(task) = queues.go_on.pop_front().or_else(|| queues.begin.pop_front()) {
                return Some(task);
            }
            if queues.closed {
                return None;
            }
            queues = self.news.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
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
        };
        pool.submit(Urgency::Begins, Box::new(task)).unwrap();
        begins.recv().unwrap();
        (pool, release, threads)
    }

    #[test]
    fn what_goes_on_is_run_before_what_begins() {
        let (pool, release, _threads) = busy(8);
        let (ran, runs) = mpsc::channel();
        for (name, urgency) in [
            ("hello 1", Urgency::Begins),
            ("hello 2", Urgency::Begins),
            ("finish", Urgency::GoesOn),
        ] {
            let ran = ran.clone();
            pool.submit(urgency, Box::new(move || ran.send(name).unwrap())).unwrap();
        }
        drop(release);
        let order: Vec<_> = runs.iter().take(3).collect();
        assert_eq!(order, ["finish", "hello 1", "hello 2"]);
    }

    #[test]
    fn a_full_queue_refuses_new_handshakes_and_still_takes_those_under_way() {
        let (pool, release, threads) = busy(2);
        let nothing = || Box::new(|| {}) as Task;
        assert!(pool.has_room());
        pool.submit(Urgency::Begins, nothing()).unwrap();
        pool.submit(Urgency::Begins, nothing()).unwrap();
        assert!(!pool.has_room());
        assert_eq!(pool.submit(Urgency::Begins, nothing()), Err(Full));
        for _ in 0..2 * GOING_ON_FACTOR {
            pool.submit(Urgency::GoesOn, nothing()).unwrap();
        }
        assert_eq!(pool.submit(Urgency::GoesOn, nothing()), Err(Full));
        assert_eq!(pool.waiting(), 2 + 2 * GOING_ON_FACTOR);
        drop(release);
        pool.close();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_panicking_task_takes_no_thread_with_it() {
        let (pool, release, _threads) = busy(8);
        let (ran, runs) = mpsc::channel();
        pool.submit(Urgency::Begins, Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(Urgency::Begins, Box::new(move || ran.send(()).unwrap())).unwrap();
        drop(release);
        assert_eq!(runs.recv(), Ok(()));
    }
}
