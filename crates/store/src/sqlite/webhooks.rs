//! Webhooks in SQLite.

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed, found};
use crate::{StoreError, Webhook, WebhookDay, Webhooks};

#[async_trait]
impl Webhooks for Tables {
    async fn insert(&self, webhook: &Webhook) -> Result<(), StoreError> {
        let sql = "INSERT INTO webhooks (id, account, product, definition, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql).bind(&webhook.id).bind(number(webhook.account.0));
        let query = query.bind(webhook.product.map(|product| i64::from(product.0)));
        let query = query.bind(&webhook.definition).bind(webhook.created_at.0);
        query.bind(webhook.updated_at.0).execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn get(&self, id: &str) -> Result<Option<Webhook>, StoreError> {
        let sql = "SELECT id, account, product, definition, created_at, updated_at \
                   FROM webhooks WHERE id = $1";
        let row = sqlx::query(sql).bind(id).fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(webhook).transpose()
    }

    async fn list(&self, account: AccountId) -> Result<Vec<Webhook>, StoreError> {
        let sql = "SELECT id, account, product, definition, created_at, updated_at \
                   FROM webhooks WHERE account = $1 ORDER BY created_at, id";
        let query = sqlx::query(sql).bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(webhook).collect()
    }

    async fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let query = sqlx::query("SELECT DISTINCT account FROM webhooks ORDER BY account");
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Columns(row).account(0)).collect()
    }

    async fn replace(&self, id: &str, definition: &str, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE webhooks SET definition = $2, updated_at = $3 WHERE id = $1";
        let query = sqlx::query(sql).bind(id).bind(definition).bind(at.0);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM webhook_days WHERE webhook = $1",
            "DELETE FROM deliveries WHERE webhook = $1",
        ] {
            sqlx::query(sql).bind(id).execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id);
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }

    async fn count(&self, id: &str, added: WebhookDay) -> Result<(), StoreError> {
        let sql = "INSERT INTO webhook_days (webhook, day, succeeded, failed, skipped, discarded) \
                   SELECT id, $2, $3, $4, $5, $6 FROM webhooks WHERE id = $1 \
                   ON CONFLICT (webhook, day) DO UPDATE SET \
                   succeeded = webhook_days.succeeded + excluded.succeeded, \
                   failed = webhook_days.failed + excluded.failed, \
                   skipped = webhook_days.skipped + excluded.skipped, \
                   discarded = webhook_days.discarded + excluded.discarded";
        let query = sqlx::query(sql).bind(id).bind(added.day).bind(number(added.succeeded));
        let query = query.bind(number(added.failed)).bind(number(added.skipped));
        query.bind(number(added.discarded)).execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn days(&self, id: &str, first_day: i64) -> Result<Vec<WebhookDay>, StoreError> {
        let sql = "SELECT day, succeeded, failed, skipped, discarded FROM webhook_days \
                   WHERE webhook = $1 AND day >= $2 ORDER BY day";
        let query = sqlx::query(sql).bind(id).bind(first_day);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(day).collect()
    }

    async fn purge_days(&self, day: i64) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM webhook_days WHERE day < $1").bind(day);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }
}

fn webhook(row: &SqliteRow) -> Result<Webhook, StoreError> {
    let row = Columns(row);
    Ok(Webhook {
        id: row.text(0)?,
        account: row.account(1)?,
        product: row.product(2)?,
        definition: row.text(3)?,
        created_at: row.time(4)?,
        updated_at: row.time(5)?,
    })
}

fn day(row: &SqliteRow) -> Result<WebhookDay, StoreError> {
    let row = Columns(row);
    Ok(WebhookDay {
        day: row.number(0)?,
        succeeded: row.count(1)?,
        failed: row.count(2)?,
        skipped: row.count(3)?,
        discarded: row.count(4)?,
    })
}
