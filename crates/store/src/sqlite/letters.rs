//! Mails and password resets in SQLite.

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{Letter, Letters, StoreError, TokenHash};

#[async_trait]
impl Letters for Tables {
    async fn write_letter(
        &self,
        address: &str,
        subject: &str,
        body: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO letters (address, subject, body, at) VALUES ($1, $2, $3, $4) \
                   RETURNING id";
        let query = sqlx::query(sql).bind(address).bind(subject).bind(body).bind(at.0);
        let row = query.fetch_one(&self.pool).await.map_err(failed)?;
        Columns(&row).count(0)
    }

    async fn letters(&self, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let sql = "SELECT id, address, subject, body, at FROM letters ORDER BY id LIMIT $1";
        let query = sqlx::query(sql).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(letter).collect()
    }

    async fn letter_done(&self, id: u64) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM letters WHERE id = $1").bind(number(id));
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn begin_reset(
        &self,
        hash: TokenHash,
        account: AccountId,
        now: Timestamp,
        expires_at: Timestamp,
        max: u32,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let query = sqlx::query("DELETE FROM password_resets WHERE expires_at <= $1").bind(now.0);
        query.execute(&mut *tx).await.map_err(failed)?;
        let sql = "INSERT INTO password_resets (hash, account, expires_at) SELECT $1, $2, $3 \
                   WHERE (SELECT COUNT(*) FROM password_resets WHERE account = $2) < $4";
        let query = sqlx::query(sql).bind(hash.0.to_vec()).bind(number(account.0));
        let query = query.bind(expires_at.0).bind(i64::from(max));
        let done = query.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn redeem_reset(
        &self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError> {
        let mut tx = self.write().await?;
        let sql = "SELECT account FROM password_resets WHERE hash = $1 AND expires_at > $2";
        let query = sqlx::query(sql).bind(hash.0.to_vec()).bind(now.0);
        let row = query.fetch_optional(&mut *tx).await.map_err(failed)?;
        let account = row.map(|row| Columns(&row).account(0)).transpose()?;
        if let Some(account) = account {
            let query = sqlx::query("DELETE FROM password_resets WHERE account = $1");
            let query = query.bind(number(account.0));
            query.execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(account)
    }
}

fn letter(row: &SqliteRow) -> Result<Letter, StoreError> {
    let row = Columns(row);
    Ok(Letter {
        id: row.count(0)?,
        address: row.text(1)?,
        subject: row.text(2)?,
        body: row.text(3)?,
        at: row.time(4)?,
    })
}
