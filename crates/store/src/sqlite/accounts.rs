//! Accounts in SQLite.

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, folded_case, number};
use super::{Tables, failed, found};
use crate::{Account, Accounts, StoreError};

#[async_trait]
impl Accounts for Tables {
    async fn create(
        &self,
        email: &str,
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Account, StoreError> {
        let mut tx = self.write().await?;
        let account = insert(&mut tx, email, password_hash, at).await?;
        tx.commit().await.map_err(failed)?;
        Ok(account)
    }

    async fn by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT id, email, password_hash, info, created_at FROM accounts \
                   WHERE email_key = $1";
        let query = sqlx::query(sql).bind(folded_case(email));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(account).transpose()
    }

    async fn by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT id, email, password_hash, info, created_at FROM accounts WHERE id = $1";
        let query = sqlx::query(sql).bind(number(id.0));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(account).transpose()
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let sql = "SELECT id, email, password_hash, info, created_at FROM accounts ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(account).collect()
    }

    async fn set_password(&self, id: AccountId, password_hash: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE accounts SET password_hash = $2 WHERE id = $1");
        let query = query.bind(number(id.0)).bind(password_hash);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn set_email(&self, id: AccountId, email: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE accounts SET email = $2, email_key = $3 WHERE id = $1");
        let query = query.bind(number(id.0)).bind(email).bind(folded_case(email));
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn set_info(&self, id: AccountId, info: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE accounts SET info = $2 WHERE id = $1");
        let query = query.bind(number(id.0)).bind(info);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn delete(&self, id: AccountId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM tokens WHERE account = $1",
            "DELETE FROM refresh_tokens WHERE account = $1",
            "DELETE FROM claims WHERE account = $1",
            "DELETE FROM clients WHERE account = $1",
            "DELETE FROM second_factors WHERE account = $1",
            "DELETE FROM password_resets WHERE account = $1",
            "DELETE FROM customers WHERE account = $1",
            "DELETE FROM members WHERE account = $1 \
             OR product IN (SELECT id FROM products WHERE account = $1)",
            "DELETE FROM denied_devices \
             WHERE product IN (SELECT id FROM products WHERE account = $1)",
            "DELETE FROM deliveries \
             WHERE webhook IN (SELECT id FROM webhooks WHERE account = $1)",
            "DELETE FROM webhook_days \
             WHERE webhook IN (SELECT id FROM webhooks WHERE account = $1)",
            "DELETE FROM webhooks WHERE account = $1",
            "UPDATE devices SET account = NULL, claimed_at = NULL, name = NULL, name_key = NULL, \
             notes = NULL WHERE account = $1",
            "DELETE FROM assignments WHERE device IN (SELECT d.id FROM devices AS d \
             JOIN products AS p ON p.id = d.product WHERE p.account = $1)",
            "DELETE FROM release_devices WHERE release_id IN (SELECT r.id FROM releases AS r \
             JOIN products AS p ON p.id = r.product WHERE p.account = $1)",
            "DELETE FROM releases WHERE product IN (SELECT id FROM products WHERE account = $1)",
            "DELETE FROM firmware WHERE product IN (SELECT id FROM products WHERE account = $1)",
            "DELETE FROM device_groups \
             WHERE product IN (SELECT id FROM products WHERE account = $1)",
            "UPDATE devices SET product = NULL \
             WHERE product IN (SELECT id FROM products WHERE account = $1)",
            "DELETE FROM products WHERE account = $1",
        ] {
            sqlx::query(sql).bind(number(id.0)).execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM accounts WHERE id = $1").bind(number(id.0));
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }
}

/// Creates an account; [`StoreError::Taken`] if the address has one.
pub(super) async fn insert(
    to: &mut SqliteConnection,
    email: &str,
    password_hash: &str,
    at: Timestamp,
) -> Result<Account, StoreError> {
    let sql = "INSERT INTO accounts (email, email_key, password_hash, created_at) \
               VALUES ($1, $2, $3, $4) RETURNING id, email, password_hash, info, created_at";
    let query = sqlx::query(sql).bind(email).bind(folded_case(email));
    let query = query.bind(password_hash).bind(at.0);
    account(&query.fetch_one(to).await.map_err(failed)?)
}

fn account(row: &SqliteRow) -> Result<Account, StoreError> {
    let row = Columns(row);
    Ok(Account {
        id: row.account(0)?,
        email: row.text(1)?,
        password_hash: row.text(2)?,
        info: row.optional_text(3)?,
        created_at: row.time(4)?,
    })
}
