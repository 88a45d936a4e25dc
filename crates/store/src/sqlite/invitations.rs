//! Invitations in SQLite.

use async_trait::async_trait;
use model::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, folded_case};
use super::{Tables, accounts, failed, found};
use crate::{Account, Invitation, Invitations, StoreError, TokenHash};

#[async_trait]
impl Invitations for Tables {
    async fn invite(&self, invitation: &Invitation, code: TokenHash) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let key = folded_case(&invitation.email);
        let query = sqlx::query("SELECT 1 FROM accounts WHERE email_key = $1").bind(&key);
        if query.fetch_optional(&mut *tx).await.map_err(failed)?.is_some() {
            return Err(StoreError::Taken);
        }
        let query = sqlx::query("DELETE FROM invitations WHERE expires_at <= $1 OR email_key = $2");
        let query = query.bind(invitation.made_at.0).bind(&key);
        query.execute(&mut *tx).await.map_err(failed)?;
        let sql = "INSERT INTO invitations (email_key, email, code, made_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(sql).bind(&key).bind(&invitation.email).bind(code.0.to_vec());
        let query = query.bind(invitation.made_at.0).bind(invitation.expires_at.0);
        query.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn invitations(&self, now: Timestamp) -> Result<Vec<Invitation>, StoreError> {
        let sql = "SELECT email, made_at, expires_at FROM invitations WHERE expires_at > $1 \
                   ORDER BY made_at, email_key";
        let query = sqlx::query(sql).bind(now.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(invitation).collect()
    }

    async fn withdraw(&self, email: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM invitations WHERE email_key = $1");
        found(&query.bind(folded_case(email)).execute(&self.pool).await.map_err(failed)?)
    }

    async fn is_invited(
        &self,
        email: &str,
        code: TokenHash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM invitations \
                   WHERE email_key = $1 AND code = $2 AND expires_at > $3";
        let query = sqlx::query(sql).bind(folded_case(email)).bind(code.0.to_vec()).bind(now.0);
        Ok(query.fetch_optional(&self.pool).await.map_err(failed)?.is_some())
    }

    async fn accept(
        &self,
        email: &str,
        code: TokenHash,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        let mut tx = self.write().await?;
        let sql = "DELETE FROM invitations \
                   WHERE email_key = $1 AND code = $2 AND expires_at > $3";
        let query = sqlx::query(sql).bind(folded_case(email)).bind(code.0.to_vec()).bind(now.0);
        let used = query.execute(&mut *tx).await.map_err(failed)?;
        if used.rows_affected() == 0 {
            return Ok(None);
        }
        let account = accounts::insert(&mut tx, email, password_hash, now).await?;
        tx.commit().await.map_err(failed)?;
        Ok(Some(account))
    }
}

fn invitation(row: &SqliteRow) -> Result<Invitation, StoreError> {
    let row = Columns(row);
    Ok(Invitation { email: row.text(0)?, made_at: row.time(1)?, expires_at: row.time(2)? })
}
