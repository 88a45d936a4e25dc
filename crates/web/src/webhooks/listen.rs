//! The events of an account on their way to its webhooks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use model::event::Origin;
use model::{AccountId, Event, EventId};
use node::{EventStream, StreamBound, StreamFilter, StreamItem};
use serde_json::json;
use store::{Missed, Replay};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::deliver::{Hook, Job};
use super::outbox::Waiting;
use super::report::Counted;
use super::request::address;
use super::template::Renderer;
use super::{AGAIN_AFTER, Shared, occasion::Occasion, utc_now};

/// How often the journal may fail to be read before webhooks go on without what it holds.
const REPLAY_FAILURES_MAX: u32 = 12;

/// The webhooks of an account and the task that feeds them.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) hooks: Arc<Mutex<Arc<[Arc<Hook>]>>>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens from now on, or from where an earlier process ended.
    pub(crate) fn start(shared: &Arc<Shared>, account: AccountId, hooks: Vec<Arc<Hook>>) -> Self {
        let hooks: Arc<Mutex<Arc<[Arc<Hook>]>>> = Arc::new(Mutex::new(hooks.into()));
        let listening =
            Listening { account, hooks: Arc::clone(&hooks), shared: Arc::clone(shared) };
        let task = shared.spawn(listening.run());
        Self { hooks, task }
    }

    /// Replaces the webhooks. Those that are as they were stay; what waits for others is given up.
    pub(crate) fn replace(&self, hooks: Vec<Arc<Hook>>) {
        let mut current = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |new: &Arc<Hook>| current.iter().find(|old| old.is_same(new)).cloned();
        let hooks: Vec<_> = hooks.into_iter().map(|new| same(&new).unwrap_or(new)).collect();
        for old in current.iter().filter(|old| !hooks.iter().any(|kept| Arc::ptr_eq(kept, old))) {
            old.gone.store(true, Ordering::Relaxed);
        }
        *current = hooks.into();
    }
}

struct Listening {
    account: AccountId,
    hooks: Arc<Mutex<Arc<[Arc<Hook>]>>>,
    shared: Arc<Shared>,
}

impl Listening {
    async fn run(self) {
        let (replayed, mut live) = self.catch_up().await;
        loop {
            match live.next().await {
                StreamItem::Events(events) => {
                    for event in events.iter().filter(|event| event.id > replayed) {
                        self.take(event).await;
                    }
                    // Ids rise on a stream: nothing comes any more from before the last one.
                    if let Some(last) = events.last() {
                        self.shared.progress.passed(self.account, last.id);
                    }
                }
                StreamItem::Missed(count) => {
                    warn!(account = %self.account, count, "events came too fast for webhooks");
                    self.report_missed(count);
                }
                StreamItem::Closed => return,
            }
        }
    }

    /// What an earlier process left; gives the last event of it, and the stream of all behind it.
    async fn catch_up(&self) -> (EventId, EventStream) {
        let stored = self.stored_progress().await;
        // Without any, the age of each webhook decides.
        let mut after = stored.unwrap_or(EventId(0));
        let (mut taken, mut failures) = (EventId(0), 0);
        loop {
            // Joined before the journal is read, so that nothing falls between the two.
            let filter = StreamFilter::account(self.account);
            let live = self.shared.handle.streams().subscribe(filter, StreamBound::default());
            match self.shared.store.replay(self.account, after, utc_now(), |_| true).await {
                Ok(replay) => {
                    self.take_replayed(&replay, stored.is_some()).await;
                    (after, taken) = (replay.upto, replay.upto);
                    if replay.is_whole {
                        return (taken, live);
                    }
                }
                Err(why) if failures < REPLAY_FAILURES_MAX => {
                    warn!(account = %self.account, %why, "webhooks do not catch up yet");
                    failures += 1;
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(why) => {
                    warn!(account = %self.account, %why, "events were lost to webhooks");
                    return (taken, live);
                }
            }
        }
    }

    /// Asked until it is told: without it webhooks would be caused again.
    async fn stored_progress(&self) -> Option<EventId> {
        loop {
            match self.shared.stored_progress(self.account).await {
                Ok(stored) => return stored,
                Err(why) => warn!(account = %self.account, %why, "webhooks do not begin yet"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn take_replayed(&self, replay: &Replay, tells_missed: bool) {
        if tells_missed && !matches!(replay.missed, Missed::Nothing) {
            warn!(account = %self.account, missed = ?replay.missed, "events are too old for webhooks");
        }
        debug!(account = %self.account, events = replay.events.len(), "webhooks catch up");
        for event in &replay.events {
            self.take(event).await;
        }
        self.shared.progress.passed(self.account, replay.upto);
    }

    fn report_missed(&self, count: u64) {
        let text = format!("{count} events came too fast to look at");
        let hooks = Arc::clone(&self.hooks.lock().unwrap_or_else(PoisonError::into_inner));
        for hook in hooks.iter() {
            let now = utc_now();
            let shown = json!({"time": now.to_string(), "type": "discarded", "error": text});
            self.shared.reports.add(&hook.id, Counted::Discarded, Some(shown), now);
        }
    }

    async fn take(&self, event: &Arc<Event>) {
        // What webhooks make causes none, whatever its name.
        if event.origin == Origin::Internal {
            return;
        }
        let hooks = Arc::clone(&self.hooks.lock().unwrap_or_else(PoisonError::into_inner));
        for hook in hooks.iter() {
            if hook.matches(event) && self.is_in_scope(hook, event).await {
                self.shared.submit(Arc::clone(hook), Arc::clone(event)).await;
            }
        }
    }

    /// A product's events cause the product's webhooks; those of the account only if the account
    /// claimed the device itself.
    async fn is_in_scope(&self, hook: &Hook, event: &Event) -> bool {
        let (None, Some(_), Some(device)) = (hook.product, event.product, event.device()) else {
            return hook.product.is_none_or(|product| event.product == Some(product));
        };
        let found = self.shared.store.devices().get(device).await;
        found.ok().flatten().is_some_and(|device| device.account == Some(self.account))
    }
}

impl Hook {
    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.since == other.since && self.definition == other.definition
    }

    fn matches(&self, event: &Event) -> bool {
        let definition = &self.definition;
        event.name.as_str().starts_with(&definition.event)
            && !definition.disabled
            && definition.device.is_none_or(|device| event.device() == Some(device))
            && event.published_at >= self.since
    }
}

impl Shared {
    /// Puts a webhook into the outbox.
    pub(crate) async fn submit(&self, hook: Arc<Hook>, event: Arc<Event>) {
        let version = self.version_for(&hook, &event).await;
        let variables = Occasion::of(&event, version).variables();
        let url = address(&hook.definition, &mut Renderer::new(&variables));
        // What has no address fails at its turn, with all others of its kind.
        let host = url.ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let owner = hook.account.0;
        self.progress.began(hook.account, event.id);
        let job = Job { hook, event, version, attempts: 0 };
        let dropped = self.outbox().push(Waiting { host, owner, job });
        self.news.notify_one();
        if let Some(dropped) = dropped {
            self.crowded_out(dropped.job).await;
        }
    }

    /// Asked once and before the first attempt, so that all attempts tell the same. Only the shard of
    /// a device knows its version: it is not asked for webhooks that do not tell it.
    async fn version_for(&self, hook: &Hook, event: &Event) -> Option<u16> {
        let device = event.device().filter(|_| hook.tells_version && event.product.is_some())?;
        let states = self.handle.states(&[device]).await;
        states.first()?.firmware_version
    }
}
