//! What became of a webhook's requests: the last ones in memory, the counts of each day in the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Timestamp;
use serde_json::{Value, json};
use store::{Store, StoreError, WebhookDay};

use super::answer::cut;

/// Requests, and failures, that are shown.
const SHOWN: usize = 10;
/// How long counts are kept.
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

/// The reports of all webhooks.
#[derive(Debug, Default)]
pub(crate) struct Reports {
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
