//! Releases in SQLite.

use async_trait::async_trait;
use model::{DeviceId, ProductId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::assignments::packed;
use super::devices::unpack;
use super::value::{Columns, number};
use super::{Tables, failed, found, rows};
use crate::{Release, Releases, StoreError};

/// A query for releases, with what stands behind the table.
macro_rules! select_releases {
    ($rest:literal) => {
        concat!(
            "SELECT id, product, version, groups_for, made_by, made_at, ended_at, state \
             FROM releases ",
            $rest
        )
    };
}

#[async_trait]
impl Releases for Tables {
    async fn insert(&self, release: &Release, ended: &[u64]) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        end(&mut tx, ended, release.made_at).await?;
        let sql = "INSERT INTO releases (product, version, groups_for, made_by, made_at, ended_at, \
                   state) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
        let query = sqlx::query(sql).bind(i64::from(release.product.0));
        let query = query.bind(i64::from(release.version)).bind(packed(&release.groups)?);
        let query = query.bind(number(release.made_by.0)).bind(release.made_at.0);
        let query = query.bind(release.ended_at.map(|at| at.0)).bind(&release.state);
        let row = query.fetch_one(&mut *tx).await.map_err(failed)?;
        let id = Columns(&row).count(0)?;
        tx.commit().await.map_err(failed)?;
        Ok(id)
    }

    async fn list(&self, product: ProductId, limit: u32) -> Result<Vec<Release>, StoreError> {
        let query = sqlx::query(select_releases!("WHERE product = $1 ORDER BY id DESC LIMIT $2"));
        let query = query.bind(i64::from(product.0)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(release).collect()
    }

    async fn get(&self, id: u64) -> Result<Option<Release>, StoreError> {
        let query = sqlx::query(select_releases!("WHERE id = $1")).bind(number(id));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(release).transpose()
    }

    async fn in_force(&self) -> Result<Vec<Release>, StoreError> {
        let query = sqlx::query(select_releases!("WHERE ended_at IS NULL ORDER BY id"));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(release).collect()
    }

    async fn end(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        end(&mut tx, ids, at).await?;
        tx.commit().await.map_err(failed)
    }

    async fn save(
        &self,
        id: u64,
        state: Option<&str>,
        devices: &[(DeviceId, String)],
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        if let Some(state) = state {
            let query = sqlx::query("UPDATE releases SET state = $2 WHERE id = $1");
            let query = query.bind(number(id)).bind(state);
            found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        }
        let head = "INSERT INTO release_devices (release_id, device, state)";
        let tail = "ON CONFLICT (release_id, device) DO UPDATE SET state = excluded.state";
        rows::insert(&mut tx, head, tail, devices, |row, (device, state)| {
            row.push_bind(number(id));
            row.push_bind(device.0.to_vec());
            row.push_bind(state.clone());
        })
        .await?;
        tx.commit().await.map_err(failed)
    }

    async fn devices(&self, id: u64) -> Result<Vec<(DeviceId, String)>, StoreError> {
        let sql = "SELECT device, state FROM release_devices WHERE release_id = $1 ORDER BY device";
        let query = sqlx::query(sql).bind(number(id));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter()
            .map(|row| Ok((Columns(row).device(0)?, row.try_get(1).map_err(failed)?)))
            .collect()
    }
}

async fn end(to: &mut SqliteConnection, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
    for id in ids {
        let sql = "UPDATE releases SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
        let query = sqlx::query(sql).bind(number(*id)).bind(at.0);
        query.execute(&mut *to).await.map_err(failed)?;
    }
    Ok(())
}

fn release(row: &SqliteRow) -> Result<Release, StoreError> {
    let row = Columns(row);
    Ok(Release {
        id: row.count(0)?,
        product: row.product(1)?.ok_or(StoreError::Damaged("product number"))?,
        version: row.small(2)?,
        groups: unpack(row.bytes(3)?, "groups")?,
        made_by: row.account(4)?,
        made_at: row.time(5)?,
        ended_at: row.optional_time(6)?,
        state: row.text(7)?,
    })
}
