//! Settings in SQLite.

use async_trait::async_trait;
use sqlx::Row;

use super::{Tables, failed};
use crate::{Settings, StoreError};

#[async_trait]
impl Settings for Tables {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(key);
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| row.try_get(0).map_err(failed)).transpose()
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let query = sqlx::query(sql).bind(key).bind(value);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn get_or_set(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) \
                   ON CONFLICT (name) DO UPDATE SET value = settings.value RETURNING value";
        let query = sqlx::query(sql).bind(key).bind(value);
        let row = query.fetch_one(&self.pool).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }
}
