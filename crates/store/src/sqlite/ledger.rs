//! The ledger in SQLite.

use async_trait::async_trait;
use model::{AccountId, Bearer, DeviceId};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{AccountHour, CarriedSum, DeviceHour, DeviceTraffic, Hour, Ledger, StoreError, Sum};

#[async_trait]
impl Ledger for Tables {
    async fn total(&self, account: AccountId, from: Hour, to: Hour) -> Result<Sum, StoreError> {
        let sql = "SELECT COALESCE(SUM(messages), 0), COALESCE(SUM(operations), 0), \
                   COALESCE(SUM(bytes), 0) FROM ledger_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        sum(&Columns(&query.fetch_one(&self.pool).await.map_err(failed)?), 0)
    }

    async fn totals(&self, from: Hour, to: Hour) -> Result<Vec<(AccountId, Sum)>, StoreError> {
        let sql = "SELECT account, SUM(messages), SUM(operations), SUM(bytes) \
                   FROM ledger_accounts WHERE hour >= $1 AND hour < $2 \
                   GROUP BY account ORDER BY account";
        let query = sqlx::query(sql).bind(from.0).bind(to.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let total = |row| Ok((Columns(row).account(0)?, sum(&Columns(row), 1)?));
        rows.iter().map(total).collect()
    }

    async fn account_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<AccountHour>, StoreError> {
        let sql = "SELECT hour, product, kind, messages, operations, bytes FROM ledger_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 ORDER BY hour, product, kind";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(account_hour).collect()
    }

    async fn device_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError> {
        let sql = "SELECT device, hour, product, kind, messages, operations, bytes \
                   FROM ledger_devices WHERE account = $1 AND hour >= $2 AND hour < $3 \
                   ORDER BY hour, device, product, kind";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device_hour).collect()
    }

    async fn carried(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<(Bearer, CarriedSum)>, StoreError> {
        let sql = "SELECT bearer, SUM(received), SUM(sent) FROM carried_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 GROUP BY bearer ORDER BY bearer";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let sums = rows.iter().map(|row| Ok((Columns(row).bearer(0)?, carried(&Columns(row), 1)?)));
        sums.collect()
    }

    async fn device_traffic(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceTraffic>, StoreError> {
        let sql = "SELECT device, hour, product, bearer, received, sent \
                   FROM carried_devices WHERE account = $1 AND hour >= $2 AND hour < $3 \
                   ORDER BY hour, device, product, bearer";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device_traffic).collect()
    }

    async fn hours_of_device(
        &self,
        account: AccountId,
        device: DeviceId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError> {
        let sql = "SELECT device, hour, product, kind, messages, operations, bytes \
                   FROM ledger_devices \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 AND device = $4 \
                   ORDER BY hour, product, kind";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let query = query.bind(device.0.to_vec());
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device_hour).collect()
    }

    async fn busiest_devices(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
        limit: u32,
    ) -> Result<Vec<(DeviceId, Sum)>, StoreError> {
        let sql = "SELECT device, SUM(messages), SUM(operations), SUM(bytes) FROM ledger_devices \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 \
                   GROUP BY device ORDER BY SUM(operations) DESC, device LIMIT $4";
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.bind(i64::from(limit)).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Ok((Columns(row).device(0)?, sum(&Columns(row), 1)?))).collect()
    }
}

fn account_hour(row: &SqliteRow) -> Result<AccountHour, StoreError> {
    let row = Columns(row);
    Ok(AccountHour {
        hour: Hour(row.number(0)?),
        product: row.product(1)?,
        kind: row.kind(2)?,
        sum: sum(&row, 3)?,
    })
}

fn device_hour(row: &SqliteRow) -> Result<DeviceHour, StoreError> {
    let row = Columns(row);
    Ok(DeviceHour {
        device: row.device(0)?,
        hour: Hour(row.number(1)?),
        product: row.product(2)?,
        kind: row.kind(3)?,
        sum: sum(&row, 4)?,
    })
}

fn device_traffic(row: &SqliteRow) -> Result<DeviceTraffic, StoreError> {
    let row = Columns(row);
    Ok(DeviceTraffic {
        device: row.device(0)?,
        hour: Hour(row.number(1)?),
        product: row.product(2)?,
        bearer: row.bearer(3)?,
        sum: carried(&row, 4)?,
    })
}

fn carried(row: &Columns<'_>, at: usize) -> Result<CarriedSum, StoreError> {
    Ok(CarriedSum { received: row.count(at)?, sent: row.count(at + 1)? })
}

fn sum(row: &Columns<'_>, at: usize) -> Result<Sum, StoreError> {
    Ok(Sum { messages: row.count(at)?, operations: row.count(at + 1)?, bytes: row.count(at + 2)? })
}
