//! Deliveries of webhooks in SQLite.

use async_trait::async_trait;
use model::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{Deliveries, Delivery, DeliverySearch, StoreError};

#[async_trait]
impl Deliveries for Tables {
    async fn keep(&self, deliveries: &[Delivery], max: u32) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for kept in deliveries {
            let sql = "INSERT INTO deliveries (webhook, at, outcome, event, origin, body) \
                       SELECT id, $2, $3, $4, $5, $6 FROM webhooks WHERE id = $1";
            let query = sqlx::query(sql).bind(&kept.webhook).bind(kept.at.0).bind(&kept.outcome);
            let query = query.bind(&kept.event).bind(&kept.origin).bind(&kept.body);
            query.execute(&mut *tx).await.map_err(failed)?;
        }
        let mut webhooks: Vec<&str> = deliveries.iter().map(|kept| &*kept.webhook).collect();
        webhooks.sort_unstable();
        webhooks.dedup();
        for webhook in webhooks {
            let sql = "DELETE FROM deliveries WHERE webhook = $1 AND id <= \
                       (SELECT id FROM deliveries WHERE webhook = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
            let query = sqlx::query(sql).bind(webhook).bind(i64::from(max));
            query.execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn search(
        &self,
        webhook: &str,
        search: &DeliverySearch,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql = "SELECT id, webhook, at, outcome, event, origin, body FROM deliveries \
                   WHERE webhook = $1 AND id < $2 AND ($3 = '' OR outcome = $3) \
                   AND ($4 = '' OR substr(event, 1, length($4)) = $4) \
                   AND ($5 = '' OR origin = $5) ORDER BY id DESC LIMIT $6";
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let query = sqlx::query(sql).bind(webhook).bind(search.before.map_or(i64::MAX, number));
        let query = query.bind(text(&search.outcome)).bind(text(&search.event));
        let query = query.bind(text(&search.origin)).bind(i64::from(search.limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(delivery).collect()
    }

    async fn delivery(&self, webhook: &str, id: u64) -> Result<Option<Delivery>, StoreError> {
        let sql = "SELECT id, webhook, at, outcome, event, origin, body FROM deliveries \
                   WHERE webhook = $1 AND id = $2";
        let query = sqlx::query(sql).bind(webhook).bind(number(id));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(delivery).transpose()
    }

    async fn purge_deliveries(&self, at: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM deliveries WHERE at < $1").bind(at.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }
}

fn delivery(row: &SqliteRow) -> Result<Delivery, StoreError> {
    let row = Columns(row);
    Ok(Delivery {
        id: row.count(0)?,
        webhook: row.text(1)?,
        at: row.time(2)?,
        outcome: row.text(3)?,
        event: row.text(4)?,
        origin: row.text(5)?,
        body: row.text(6)?,
    })
}
