//! Stored locations in SQLite.

use metering::Point;
use model::{DeviceId, Timestamp};
use sqlx::{Row, SqliteConnection};

use super::value::Columns;
use super::{Tables, failed};
use crate::StoreError;
use crate::fold::Tally;

/// Locations kept of each device.
const POINTS_KEPT: i64 = 10_000;

impl Tables {
    /// The newest locations of a device, newest first.
    pub(crate) async fn points(
        &self,
        device: DeviceId,
        limit: u32,
    ) -> Result<Vec<(Timestamp, Point)>, StoreError> {
        let sql = "SELECT told_at, latitude, longitude FROM points WHERE device = $1 \
                   ORDER BY told_at DESC LIMIT $2";
        let query = sqlx::query(sql).bind(device.0.to_vec()).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let point = |row: &sqlx::sqlite::SqliteRow| {
            let latitude = row.try_get(1).map_err(failed)?;
            let longitude = row.try_get(2).map_err(failed)?;
            Ok((Columns(row).time(0)?, Point { latitude, longitude }))
        };
        rows.iter().map(point).collect()
    }
}

/// Writes the locations of a tally.
pub(super) async fn write(to: &mut SqliteConnection, tally: &Tally) -> Result<(), StoreError> {
    for (device, at, point) in &tally.points {
        let sql = "INSERT INTO points (device, told_at, latitude, longitude) \
                   VALUES ($1, $2, $3, $4) ON CONFLICT (device, told_at) DO UPDATE SET \
                   latitude = excluded.latitude, longitude = excluded.longitude";
        let query = sqlx::query(sql).bind(&device.0[..]).bind(at.0);
        let query = query.bind(point.latitude).bind(point.longitude);
        query.execute(&mut *to).await.map_err(failed)?;
        let sql = "DELETE FROM points WHERE device = $1 AND told_at <= (SELECT told_at \
                   FROM points WHERE device = $1 ORDER BY told_at DESC LIMIT 1 OFFSET $2)";
        let query = sqlx::query(sql).bind(&device.0[..]).bind(POINTS_KEPT);
        query.execute(&mut *to).await.map_err(failed)?;
    }
    Ok(())
}
