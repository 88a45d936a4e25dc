//! One webhook and one event: attempts, what became of them, and the events that tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::{AccountId, Event, EventData, ProductId, Timestamp};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::answer;
use super::client::{Answer, SendError};
use super::definition::Definition;
use super::occasion::Occasion;
use super::outbox::Waiting;
use super::report::{Counted, shown_body};
use super::request::{Outgoing, request};
use super::{Shared, utc_now};
use crate::metrics::{self, Ended};

/// Tries of publishing an event that the node cannot take at the moment, and the time between them.
const PUBLISH_TRIES: u32 = 5;
const PUBLISH_PAUSE: Duration = Duration::from_millis(200);
/// What is shown of a request's address and headers.
const URL_BYTES_SHOWN: usize = 2048;
const HEADERS_SHOWN: usize = 32;
const HEADER_BYTES_SHOWN: usize = 256;
/// What is said of a request that was not made.
const SLEEPING: &str = "Sleeping, too many errors, please wait and try again";

/// A webhook with its definition parsed.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) id: String,
    pub(crate) account: AccountId,
    pub(crate) product: Option<ProductId>,
    pub(crate) definition: Definition,
    /// Whether a template names `PRODUCT_VERSION`.
    pub(crate) tells_version: bool,
    /// When it was created or last replaced: earlier events cause nothing.
    pub(crate) since: Timestamp,
    /// Whether it is caused by hand, and nobody says when it is removed.
    pub(crate) by_hand: bool,
    /// Set once it is removed, disabled or replaced: what still waits is given up.
    pub(crate) gone: AtomicBool,
}

/// A webhook that an event caused.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) hook: Arc<Hook>,
    pub(crate) event: Arc<Event>,
    /// The firmware version of the device that made the event, if the webhook tells it.
    pub(crate) version: Option<u16>,
    /// Attempts made or skipped before.
    pub(crate) attempts: usize,
}

impl Job {
    fn occasion(&self) -> Occasion {
        Occasion::of(&self.event, self.version)
    }
}

/// How an attempt ended without success.
#[derive(Debug)]
struct Failure {
    text: String,
    /// Whether another attempt may end better.
    again: bool,
}

impl Shared {
    /// Makes an attempt; tells whether the host did well, if that was seen.
    pub(crate) async fn attempt(&self, waiting: Waiting<Job>) -> Option<bool> {
        let job = &waiting.job;
        if job.hook.gone.load(Ordering::Relaxed) {
            self.finished(job);
            return None;
        }
        let occasion = job.occasion();
        let outgoing = match request(&job.hook.definition, &occasion) {
            Ok(outgoing) => outgoing,
            Err(why) => {
                let failure = Failure { text: why.to_string(), again: false };
                self.failed(waiting, failure, json!({})).await;
                return None;
            }
        };
        let (shown, host) = (shown_request(&outgoing), waiting.host.clone());
        let begun = Instant::now();
        let sent = self.clients.send(outgoing, job.hook.definition.verify).await;
        metrics::webhook_request(ended(&sent), begun.elapsed());
        match outcome(sent, &host) {
            Ok(answer) => {
                self.succeeded(job, &answer, shown).await;
                Some(true)
            }
            Err((failure, answer)) => {
                let is_fault = failure.again || answer.as_ref().is_some_and(|it| it.status >= 400);
                let shown =
                    json!({"request": shown, "response": answer.as_ref().map(shown_answer)});
                self.failed(waiting, failure, shown).await;
                is_fault.then_some(false)
            }
        }
    }

    /// The host is spared: nothing was sent.
    pub(crate) async fn skipped(&self, waiting: Waiting<Job>) {
        let job = &waiting.job;
        metrics::webhook_throttled();
        self.report(job, Counted::Skipped, "sleep", json!({"error": SLEEPING})).await;
        self.again_or_never(waiting, SLEEPING).await;
    }

    /// There was no room for it.
    pub(crate) async fn crowded_out(&self, job: Job) {
        metrics::webhook_discarded("no_room");
        self.discarded(job, "Discarded: too many requests wait for this host").await;
    }

    async fn discarded(&self, job: Job, why: &str) {
        self.report(&job, Counted::Discarded, "discarded", json!({"error": why})).await;
        self.tell_failure(&job, why).await;
        self.finished(&job);
    }

    async fn succeeded(&self, job: &Job, answer: &Answer, shown: Value) {
        let shown = json!({"request": shown, "response": shown_answer(answer)});
        self.report(job, Counted::Succeeded, "success", shown).await;
        let hook = &job.hook;
        let variables = job.occasion().variables();
        if let Some(topic) = answer::topic(&self.topics.sent, &variables) {
            self.tell(job, &topic, None, None).await;
        }
        let default = match hook.product {
            Some(_) => &self.topics.product_response,
            None => &self.topics.response,
        };
        let topic = hook.definition.response_topic.as_ref().unwrap_or(default);
        if let Some(topic) = answer::topic(topic, &variables) {
            for (number, part) in answer::parts(&hook.definition, answer).into_iter().enumerate() {
                self.tell(job, &topic, Some(number), Some(part)).await;
            }
        }
        self.finished(job);
    }

    async fn failed(&self, waiting: Waiting<Job>, failure: Failure, mut shown: Value) {
        shown["error"] = json!(failure.text);
        self.report(&waiting.job, Counted::Failed, "error", shown).await;
        if failure.again {
            return self.again_or_never(waiting, &failure.text).await;
        }
        self.tell_failure(&waiting.job, &failure.text).await;
        self.finished(&waiting.job);
    }

    /// Tries again later, or gives up after the last attempt. The first failure and giving up are told.
    async fn again_or_never(&self, waiting: Waiting<Job>, why: &str) {
        let is_first = waiting.job.attempts == 0;
        let Some(pause) = self.config.retry_after.get(waiting.job.attempts) else {
            let attempts = waiting.job.attempts + 1;
            metrics::webhook_discarded("attempts");
            return self
                .discarded(waiting.job, &format!("Discarded after {attempts} attempts: {why}"))
                .await;
        };
        let job = waiting.job.clone();
        let later = Job { attempts: job.attempts + 1, ..waiting.job };
        let due = self.now_ms() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let refused = self.outbox().delay(due, Waiting { job: later, ..waiting });
        self.news.notify_one();
        if is_first {
            self.tell_failure(&job, why).await;
        }
        match refused {
            None => metrics::webhook_retry(),
            Some(_) => self.crowded_out(job).await,
        }
    }

    async fn report(&self, job: &Job, what: Counted, kind: &str, mut shown: Value) {
        if !self.is_there(&job.hook).await {
            return;
        }
        let now = utc_now();
        shown["time"] = json!(now.to_string());
        shown["type"] = json!(kind);
        shown["event"] = json!({"name": job.event.name.as_str(), "id": job.event.id.to_string()});
        self.reports.keep(&job.hook.id, what, &job.event, &shown, now);
        self.reports.add(&job.hook.id, what, Some(shown), now);
    }

    /// Whether the webhook was not removed meanwhile: what is told of one that was would stay for ever.
    async fn is_there(&self, hook: &Hook) -> bool {
        let may_be_gone = hook.by_hand || hook.gone.load(Ordering::Relaxed);
        !may_be_gone || !matches!(self.store.webhooks().get(&hook.id).await, Ok(None))
    }

    async fn tell_failure(&self, job: &Job, why: &str) {
        let variables = job.occasion().variables();
        let topic = job.hook.definition.error_topic.as_ref().unwrap_or(&self.topics.error);
        let data = EventData { format: 0, bytes: answer::cut(why, 512).as_bytes().into() };
        if let Some(topic) = answer::topic(topic, &variables) {
            self.tell(job, &topic, Some(0), Some(data)).await;
        }
    }

    /// Publishes an event of the cloud. A paused account gets none.
    async fn tell(&self, job: &Job, topic: &str, number: Option<usize>, data: Option<EventData>) {
        let Some(name) = answer::name(topic, number) else { return };
        let hook = &job.hook;
        for _ in 0..PUBLISH_TRIES {
            let published = self.handle.publish_internal(
                hook.account,
                hook.product,
                name.clone(),
                data.clone(),
            );
            match published.await {
                Err(model::Refusal::Unavailable) => tokio::time::sleep(PUBLISH_PAUSE).await,
                Ok(()) | Err(_) => return,
            }
        }
        tracing::warn!(webhook = %hook.id, "a webhook's event could not be published");
    }
}

/// What the metrics tell of a request.
fn ended(sent: &Result<Answer, SendError>) -> Ended {
    match sent {
        Ok(answer) if (200..300).contains(&answer.status) => Ended::Success,
        Ok(answer) => Ended::Status(answer.status),
        Err(SendError::Late(..)) => Ended::TimedOut,
        Err(SendError::Private(_)) => Ended::Private,
        Err(SendError::Unreachable(_)) => Ended::Unreachable,
    }
}

/// Sorts what came back: 2xx is well, anything else is a failure with its answer, if there is one.
fn outcome(
    sent: Result<Answer, SendError>,
    host: &str,
) -> Result<Answer, (Failure, Option<Answer>)> {
    match sent {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
        Ok(answer) => {
            let again = matches!(answer.status, 408 | 429 | 500..);
            let text = format!("error status {} from {host}", answer.status);
            Err((Failure { text, again }, Some(answer)))
        }
        Err(why) => {
            let again = !matches!(why, SendError::Private(_));
            Err((Failure { text: why.to_string(), again }, None))
        }
    }
}

/// Credentials are left out: whoever may look at a webhook's log need not know them.
fn shown_request(outgoing: &Outgoing) -> Value {
    let headers = outgoing.headers.iter().take(HEADERS_SHOWN).map(|(name, value)| {
        let value = if *name == AUTHORIZATION { "…" } else { value.to_str().unwrap_or_default() };
        (name.as_str().to_owned(), json!(answer::cut(value, HEADER_BYTES_SHOWN)))
    });
    let mut url = outgoing.url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("…"));
    }
    json!({
        "method": outgoing.method.as_str(),
        "url": answer::cut(url.as_str(), URL_BYTES_SHOWN),
        "headers": Value::Object(headers.collect()),
        "body": outgoing.body.as_ref().map(|body| shown_body(body.as_bytes())),
    })
}

fn shown_answer(answer: &Answer) -> Value {
    json!({"status": answer.status, "body": shown_body(&answer.body)})
}
