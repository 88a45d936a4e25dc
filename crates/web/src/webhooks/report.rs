//! What became of a webhook's requests: the last ones in memory, the counts of each day in the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Event, Origin, Timestamp};
use serde_json::{Value, json};
use store::{Delivery, Store, StoreError, WebhookDay};

use super::answer::cut;

/// Requests, and failures, that are shown.
const SHOWN: usize = 10;
/// Deliveries that are kept of one webhook, and those that wait to be written.
const HISTORY_MAX: u32 = 1_000;
const HISTORY_WAITING_MAX: usize = 4_096;
/// How long counts and deliveries are kept.
pub(crate) const DAYS_KEPT: i64 = 30;
/// Bytes of a body that are shown.
const BODY_BYTES_SHOWN: usize = 1024;
const DAY_MS: i64 = 86_400_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Discarded,
    Failed,
    Skipped,
    Succeeded,
}

impl Counted {
    /// As the delivery history names it.
    fn outcome(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::Failed => "error",
            Self::Skipped => "skipped",
            Self::Succeeded => "success",
        }
    }
}

/// The reports of all webhooks.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// For the delivery history, not in the store yet; when full the newest are left out.
    history: Mutex<Vec<Delivery>>,
    by_webhook: Mutex<HashMap<String, Report>>,
}

#[derive(Debug, Default)]
struct Report {
    logs: VecDeque<Value>,
    errors: VecDeque<Value>,
    /// Not in the store yet.
    counted: HashMap<i64, WebhookDay>,
}

impl Reports {
    /// Counts something and keeps what there is to show of it.
    pub(crate) fn add(&self, webhook: &str, what: Counted, shown: Option<Value>, now: Timestamp) {
        let mut reports = self.lock();
        let report = reports.entry(webhook.to_owned()).or_default();
        let day = now.0.div_euclid(DAY_MS);
        let counts = report
            .counted
            .entry(day)
            .or_insert_with(|| WebhookDay { day, ..WebhookDay::default() });
        match what {
            Counted::Discarded => counts.discarded += 1,
            Counted::Failed => counts.failed += 1,
            Counted::Skipped => counts.skipped += 1,
            Counted::Succeeded => counts.succeeded += 1,
        }
        let Some(shown) = shown else { return };
        if what != Counted::Succeeded {
            keep(&mut report.errors, shown.clone());
        }
        keep(&mut report.logs, shown);
    }

    /// Keeps a delivery for the history, with what it takes to send its event again.
    pub(crate) fn keep(
        &self,
        webhook: &str,
        what: Counted,
        event: &Event,
        shown: &Value,
        at: Timestamp,
    ) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= HISTORY_WAITING_MAX {
            return;
        }
        let details = json!({
            "request": shown["request"],
            "response": shown["response"],
            "error": shown["error"],
        });
        let data = event
            .data
            .as_ref()
            .map(|data| json!({"format": data.format, "bytes": BASE64.encode(&data.bytes)}));
        let body = json!({"details": details, "data": data, "published_at": event.published_at.0});
        history.push(Delivery {
            id: 0,
            webhook: webhook.to_owned(),
            at,
            outcome: what.outcome().to_owned(),
            event: event.name.as_str().to_owned(),
            origin: match event.origin {
                Origin::Api | Origin::Internal => "api".to_owned(),
                Origin::Device(id) => id.to_string(),
            },
            body: body.to_string(),
        });
    }

    /// Writes the history that was kept since the last time.
    pub(crate) async fn flush_history(&self, store: &Store) -> Result<(), StoreError> {
        let waiting = {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *history)
        };
        if waiting.is_empty() {
            Ok(())
        } else {
            store.deliveries().keep(&waiting, HISTORY_MAX).await
        }
    }

    /// Forgets a webhook.
    pub(crate) fn remove(&self, webhook: &str) {
        self.lock().remove(webhook);
    }

    /// `logs`, `errors` and `counters` of a webhook, newest request first.
    pub(crate) async fn show(
        &self,
        store: &Store,
        webhook: &str,
        now: Timestamp,
    ) -> Result<[(&'static str, Value); 3], StoreError> {
        self.flush_one(store, webhook).await?;
        let first = now.0.div_euclid(DAY_MS) - DAYS_KEPT;
        let days = store.webhooks().days(webhook, first).await?;
        let counters: Vec<Value> = days.iter().map(counter).collect();
        let reports = self.lock();
        let of = |list: fn(&Report) -> &VecDeque<Value>| {
            let report = reports.get(webhook);
            report
                .map(|report| list(report).iter().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        Ok([
            ("logs", Value::Array(of(|report| &report.logs))),
            ("errors", Value::Array(of(|report| &report.errors))),
            ("counters", Value::Array(counters)),
        ])
    }

    /// Writes what was counted since the last time.
    pub(crate) async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        self.flush_history(store).await?;
        let webhooks: Vec<String> = {
            let reports = self.lock();
            let with = reports.iter().filter(|(_, report)| !report.counted.is_empty());
            with.map(|(webhook, _)| webhook.clone()).collect()
        };
        for webhook in webhooks {
            self.flush_one(store, &webhook).await?;
        }
        Ok(())
    }

    async fn flush_one(&self, store: &Store, webhook: &str) -> Result<(), StoreError> {
        let counted =
            self.lock().get_mut(webhook).map(|report| std::mem::take(&mut report.counted));
        for day in counted.into_iter().flat_map(HashMap::into_values) {
            store.webhooks().count(webhook, day).await?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Report>> {
        self.by_webhook.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body as it is shown.
pub(crate) fn shown_body(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(BODY_BYTES_SHOWN)];
    cut(&String::from_utf8_lossy(head), BODY_BYTES_SHOWN).to_owned()
}

fn keep(list: &mut VecDeque<Value>, shown: Value) {
    list.push_front(shown);
    list.truncate(SHOWN);
}

fn counter(day: &WebhookDay) -> Value {
    let date = Timestamp(day.day * DAY_MS).to_string();
    json!({
        "date": date.get(..10),
        "success": day.succeeded,
        "error": day.failed,
        "sleep": day.skipped,
        "discarded": day.discarded,
    })
}
