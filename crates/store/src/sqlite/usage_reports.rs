//! Usage reports in SQLite.

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed, found};
use crate::{NewUsageReport, ReportBounds, StoreError, UsageReport, UsageReports};

#[async_trait]
impl UsageReports for Tables {
    async fn begin_report(
        &self,
        report: &NewUsageReport,
        bounds: ReportBounds,
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.write().await?;
        let query = sqlx::query("DELETE FROM usage_reports WHERE expires_at <= $1");
        query.bind(report.created_at.0).execute(&mut *tx).await.map_err(failed)?;
        let sql = "INSERT INTO usage_reports (account, request, secret, created_at, expires_at) \
                   SELECT $1, $2, $3, $4, $5 WHERE (SELECT COUNT(*) FROM usage_reports \
                   WHERE account = $1 AND available_at IS NULL AND created_at > $6) < $7 \
                   RETURNING id";
        let query = sqlx::query(sql).bind(number(report.account.0)).bind(&report.request);
        let query = query.bind(&report.secret).bind(report.created_at.0).bind(report.expires_at.0);
        let query = query.bind(bounds.waits_since.0).bind(i64::from(bounds.waiting));
        let row = query.fetch_optional(&mut *tx).await.map_err(failed)?;
        let id = row.map(|row| Columns(&row).count(0)).transpose()?;
        let sql = "DELETE FROM usage_reports WHERE account = $1 AND id <= (SELECT id \
                   FROM usage_reports WHERE account = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
        let query = sqlx::query(sql).bind(number(report.account.0)).bind(i64::from(bounds.kept));
        query.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(id)
    }

    async fn report(
        &self,
        account: AccountId,
        id: u64,
        now: Timestamp,
    ) -> Result<Option<UsageReport>, StoreError> {
        let sql = "SELECT id, account, request, secret, created_at, expires_at, available_at \
                   FROM usage_reports WHERE account = $1 AND id = $2 AND expires_at > $3";
        let query = sqlx::query(sql).bind(number(account.0)).bind(number(id)).bind(now.0);
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(report).transpose()
    }

    async fn report_to_fetch(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<UsageReport>, StoreError> {
        let sql = "SELECT id, account, request, secret, created_at, expires_at, available_at \
                   FROM usage_reports \
                   WHERE secret = $1 AND available_at IS NOT NULL AND expires_at > $2";
        let query = sqlx::query(sql).bind(secret).bind(now.0);
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(report).transpose()
    }

    async fn report_available(&self, id: u64, now: Timestamp) -> Result<(), StoreError> {
        let sql =
            "UPDATE usage_reports SET available_at = COALESCE(available_at, $2) WHERE id = $1";
        let query = sqlx::query(sql).bind(number(id)).bind(now.0);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }
}

fn report(row: &SqliteRow) -> Result<UsageReport, StoreError> {
    let row = Columns(row);
    let report = NewUsageReport {
        account: row.account(1)?,
        request: row.text(2)?,
        secret: row.text(3)?,
        created_at: row.time(4)?,
        expires_at: row.time(5)?,
    };
    Ok(UsageReport { id: row.count(0)?, report, available_at: row.optional_time(6)? })
}
