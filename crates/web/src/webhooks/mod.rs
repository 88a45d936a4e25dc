//! Webhooks (`api/webhooks.md`): events become requests, answers become events.
//!
//! [`listen`] finds the webhooks that an event causes, [`outbox`] gives each its turn, [`deliver`]
//! makes the attempts. Begin with [`Webhooks`].

mod answer;
mod client;
pub(crate) mod credentials;
pub(crate) mod definition;
mod deliver;
mod health;
mod listen;
mod occasion;
mod outbox;
mod progress;
mod report;
mod request;
mod target;
pub mod template;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use model::{AccountId, Event, EventId, Timestamp};
use node::Handle;
use serde_json::Value;
use store::{Store, StoreError, Webhook};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use self::client::Clients;
use self::definition::Definition;
use self::deliver::{Hook, Job};
use self::listen::Listener;
use self::outbox::{Bounds, Outbox, Turn};
use self::progress::Progress;
use self::report::{DAYS_KEPT, Reports};
use self::template::Template;
use crate::metrics;
use crate::state::utc_now;

/// How often counts and progress are written down.
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// How soon the store is read again if it could not be.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const DAY_MS: i64 = 86_400_000;

/// What the operator may set, and what tests make shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Whether requests may go into the operator's own network.
    pub allow_private_targets: bool,
    /// Webhooks of one account.
    pub per_account_max: usize,
    /// Requests under way to one host.
    pub requests_per_host_max: usize,
    /// Time for a whole request: connection, TLS and answer.
    pub time_limit: Duration,
    /// Time before the second attempt, and before the third.
    pub retry_after: [Duration; 2],
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            per_account_max: 100,
            requests_per_host_max: 10,
            time_limit: Duration::from_secs(20),
            retry_after: [Duration::from_secs(30), Duration::from_secs(60)],
        }
    }
}

/// The webhooks of all accounts, at work. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhooks {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    handle: Handle,
    config: WebhooksConfig,
    clients: Clients,
    outbox: Mutex<Outbox<Job>>,
    /// Something waits in the outbox, or a place became free.
    news: Notify,
    listeners: Mutex<HashMap<AccountId, Listener>>,
    /// Held while an account's webhooks are read again, so that the newest reading wins.
    reading: tokio::sync::Mutex<()>,
    progress: Progress,
    reports: Reports,
    topics: Topics,
    started: Instant,
    stopped: AtomicBool,
}

/// The names of the events that tell what became of a request, unless a definition has its own.
struct Topics {
    sent: Template,
    response: Template,
    product_response: Template,
    error: Template,
}

impl Webhooks {
    /// Starts to work. Must be called inside a runtime.
    pub(crate) fn start(store: Arc<Store>, handle: Handle, config: WebhooksConfig) -> Self {
        metrics::describe();
        let bounds =
            Bounds { running_per_host: config.requests_per_host_max.max(1), ..Bounds::default() };
        let shared = Arc::new(Shared {
            clients: Clients::new(config.allow_private_targets, config.time_limit),
            store,
            handle,
            config,
            outbox: Mutex::new(Outbox::new(bounds)),
            news: Notify::new(),
            listeners: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            progress: Progress::default(),
            reports: Reports::default(),
            topics: Topics::new(),
            started: Instant::now(),
            stopped: AtomicBool::new(false),
        });
        shared.spawn(run(Arc::clone(&shared)));
        let webhooks = Self { shared };
        let starting = webhooks.clone();
        webhooks.shared.spawn(async move {
            while let Err(why) = starting.listen_to_all().await {
                if starting.shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                warn!(%why, "webhooks do not work yet: they could not be read");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
        webhooks
    }

    /// How many webhooks an account may have.
    pub(crate) fn per_account_max(&self) -> usize {
        self.shared.config.per_account_max
    }

    /// To be called after the webhooks of an account were written.
    pub(crate) async fn changed(&self, account: AccountId) -> Result<(), StoreError> {
        let _reading = self.shared.reading.lock().await;
        let stored = self.shared.store.webhooks().list(account).await?;
        let hooks: Vec<Arc<Hook>> = stored.iter().filter_map(hook_of).map(Arc::new).collect();
        let hooks: Vec<_> = hooks.into_iter().filter(|hook| !hook.definition.disabled).collect();
        let mut listeners = self.shared.lock_listeners();
        if hooks.is_empty() {
            if let Some(listener) = listeners.remove(&account) {
                listener.replace(hooks);
            }
            self.shared.progress.remove(account);
        } else if let Some(listener) = listeners.get(&account) {
            listener.replace(hooks);
        } else if !self.shared.stopped.load(Ordering::Relaxed) {
            listeners.insert(account, Listener::start(&self.shared, account, hooks));
        }
        Ok(())
    }

    /// Forgets what was reported of a webhook that is gone.
    pub(crate) fn forget(&self, webhook: &str) {
        self.shared.reports.remove(webhook);
    }

    /// Causes a webhook once, as an event would; false if its definition is damaged.
    pub(crate) async fn test(&self, webhook: &Webhook, event: Event) -> bool {
        let Some(hook) = hook_of(webhook) else { return false };
        let hook = Hook { by_hand: true, ..hook };
        self.shared.submit(Arc::new(hook), Arc::new(event)).await;
        true
    }

    /// `logs`, `errors` and `counters` of a webhook.
    pub(crate) async fn report(
        &self,
        webhook: &str,
    ) -> Result<[(&'static str, Value); 3], StoreError> {
        self.shared.reports.show(&self.shared.store, webhook, utc_now()).await
    }

    /// Makes the delivery history complete up to this moment.
    pub(crate) async fn flush_history(&self) -> Result<(), StoreError> {
        self.shared.reports.flush_history(&self.shared.store).await
    }

    /// Sends nothing more and writes down where the next process goes on.
    pub(crate) async fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.lock_listeners().clear();
        self.shared.news.notify_one();
        self.shared.flush().await;
    }

    async fn listen_to_all(&self) -> Result<(), StoreError> {
        for account in self.shared.store.webhooks().accounts().await? {
            self.changed(account).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

impl Topics {
    fn new() -> Self {
        let parsed = |text| Template::parse(text).expect("a constant template is balanced");
        Self {
            sent: parsed("hook-sent/{{{PARTICLE_EVENT_NAME}}}"),
            response: parsed("hook-response/{{{PARTICLE_EVENT_NAME}}}"),
            product_response: parsed(
                "{{{PARTICLE_DEVICE_ID}}}/hook-response/{{{PARTICLE_EVENT_NAME}}}",
            ),
            error: parsed("hook-error/{{{PARTICLE_EVENT_NAME}}}"),
        }
    }
}

impl Shared {
    fn outbox(&self) -> MutexGuard<'_, Outbox<Job>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_listeners(&self) -> MutexGuard<'_, HashMap<AccountId, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task that is missed if it panics.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn("webhooks", task)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Nothing is left to do about this event for this webhook.
    fn finished(&self, job: &Job) {
        self.progress.ended(job.hook.account, job.event.id);
    }

    /// Where the last process ended, for this account.
    async fn stored_progress(&self, account: AccountId) -> Result<Option<EventId>, StoreError> {
        let stored = self.store.settings().get(&setting_of(account)).await?;
        let number = stored.and_then(|stored| stored.try_into().ok());
        Ok(number.map(|number| EventId(u64::from_be_bytes(number))))
    }

    async fn flush(&self) {
        for (account, done) in self.progress.changed() {
            let (setting, done) = (setting_of(account), done.0.to_be_bytes());
            if let Err(why) = self.store.settings().set(&setting, &done).await {
                warn!(%why, "the progress of webhooks was not written down");
            }
        }
        if let Err(why) = self.reports.flush(&self.store).await {
            warn!(%why, "counts of webhooks were lost");
        }
    }
}

fn setting_of(account: AccountId) -> String {
    format!("webhooks/{account}")
}

fn hook_of(webhook: &Webhook) -> Option<Hook> {
    let fields = serde_json::from_str(&webhook.definition).ok()?;
    let definition = Definition::parse(&fields).ok();
    if definition.is_none() {
        warn!(webhook = %webhook.id, "a stored webhook is damaged");
    }
    Some(Hook {
        id: webhook.id.clone(),
        account: webhook.account,
        product: webhook.product,
        definition: definition?,
        tells_version: webhook.definition.contains("PRODUCT_VERSION"),
        since: webhook.updated_at,
        by_hand: false,
        gone: AtomicBool::new(false),
    })
}

/// Gives jobs their turns until the end.
async fn run(shared: Arc<Shared>) {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    let mut purged_day = 0;
    while !shared.stopped.load(Ordering::Relaxed) {
        start_turns(&shared);
        let due = shared.outbox().next_timeout();
        let wait =
            due.map_or(FLUSH_EVERY.as_millis() as u64, |due| due.saturating_sub(shared.now_ms()));
        tokio::select! {
            () = shared.news.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(wait.max(1))) => {}
            _ = flush.tick() => {
                let waiting = shared.outbox().waiting();
                metrics::webhooks_waiting(waiting);
                shared.flush().await;
                purge(&shared, &mut purged_day).await;
            }
        }
    }
}

fn start_turns(shared: &Arc<Shared>) {
    loop {
        let turn = shared.outbox().poll(shared.now_ms());
        let Some(turn) = turn else { return };
        let its = Arc::clone(shared);
        shared.spawn(async move {
            match turn {
                Turn::Send(waiting) => {
                    let host = waiting.host.clone();
                    // What is delivered is others' words: a panic over it loses this delivery alone.
                    let attempt = AssertUnwindSafe(its.attempt(waiting)).catch_unwind();
                    let is_well = attempt.await.unwrap_or_else(|_| {
                        error!(%host, "a webhook's delivery failed by a mistake of the program");
                        Some(false)
                    });
                    its.outbox().done(its.now_ms(), &host, is_well);
                    its.news.notify_one();
                }
                Turn::Skip(waiting) => its.skipped(waiting).await,
            }
        });
    }
}

async fn purge(shared: &Shared, purged_day: &mut i64) {
    let day = utc_now().0.div_euclid(DAY_MS);
    if *purged_day == day {
        return;
    }
    let oldest = Timestamp((day - DAYS_KEPT) * DAY_MS);
    let purged = shared.store.webhooks().purge_days(day - DAYS_KEPT).await;
    if purged.is_ok() && shared.store.deliveries().purge_deliveries(oldest).await.is_ok() {
        *purged_day = day;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_topics_are_templates() {
        let _ = Topics::new();
    }
}
