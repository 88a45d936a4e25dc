//! Second factors in SQLite.

use async_trait::async_trait;
use model::AccountId;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{SecondFactors, StoreError};

#[async_trait]
impl SecondFactors for Tables {
    async fn secret(&self, account: AccountId) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query("SELECT secret FROM second_factors WHERE account = $1");
        let query = query.bind(number(account.0));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| Ok(Columns(&row).bytes(0)?.to_vec())).transpose()
    }

    async fn set(&self, account: AccountId, secret: Option<&[u8]>) -> Result<(), StoreError> {
        let query = match secret {
            None => {
                sqlx::query("DELETE FROM second_factors WHERE account = $1").bind(number(account.0))
            }
            Some(secret) => sqlx::query(
                "INSERT INTO second_factors (account, secret, last_step) VALUES ($1, $2, 0) \
                 ON CONFLICT (account) DO UPDATE SET secret = excluded.secret, last_step = 0",
            )
            .bind(number(account.0))
            .bind(secret),
        };
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn use_step(&self, account: AccountId, step: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE second_factors SET last_step = $2 WHERE account = $1 AND last_step < $2";
        let query = sqlx::query(sql).bind(number(account.0)).bind(number(step));
        Ok(query.execute(&self.pool).await.map_err(failed)?.rows_affected() > 0)
    }
}
