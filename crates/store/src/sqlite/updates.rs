//! Updates in SQLite.

use async_trait::async_trait;
use model::DeviceId;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{FileHash, StoreError, StoredUpdate, Updates};

#[async_trait]
impl Updates for Tables {
    async fn put(&self, updates: &[StoredUpdate]) -> Result<(), StoreError> {
        let sql = "INSERT INTO updates (device, id, file, is_open, asked_at, body) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (device) DO UPDATE SET \
                   id = excluded.id, file = excluded.file, is_open = excluded.is_open, \
                   asked_at = excluded.asked_at, body = excluded.body";
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        for update in updates {
            let query = sqlx::query(sql).bind(update.device.0.to_vec()).bind(number(update.id));
            let query = query.bind(update.file.0.to_vec()).bind(i64::from(update.is_open));
            let query = query.bind(update.asked_at.0).bind(&update.body);
            query.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn get(&self, device: DeviceId) -> Result<Option<StoredUpdate>, StoreError> {
        let sql = "SELECT device, id, file, is_open, asked_at, body FROM updates WHERE device = $1";
        let query = sqlx::query(sql).bind(device.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(update).transpose()
    }

    async fn open(&self) -> Result<Vec<StoredUpdate>, StoreError> {
        let sql = "SELECT device, id, file, is_open, asked_at, body FROM updates \
                   WHERE is_open = 1 ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(update).collect()
    }

    async fn last_id(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT COALESCE(MAX(id), 0) FROM updates");
        Columns(&query.fetch_one(&self.pool).await.map_err(failed)?).count(0)
    }
}

fn update(row: &SqliteRow) -> Result<StoredUpdate, StoreError> {
    let row = Columns(row);
    Ok(StoredUpdate {
        device: row.device(0)?,
        id: row.count(1)?,
        file: FileHash(row.hash(2)?),
        is_open: row.number(3)? != 0,
        asked_at: row.time(4)?,
        body: row.text(5)?,
    })
}
