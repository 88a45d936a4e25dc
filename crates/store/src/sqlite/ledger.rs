//! The ledger in SQLite. Each question is asked in one transaction, so that it sees the rows as far as they are rolled
//! up at its beginning.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{AccountId, Bearer, DeviceId, ProductId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::roll_up::spans;
use super::value::{Columns, number};
use super::{Tables, failed};
use crate::spans::Spans;
use crate::{
    AccountHour, CarriedSum, DeviceHour, DeviceTraffic, Hour, Ledger, Span, StoreError, Sum,
};

/// Reads sums of an account in a range of whole stretches.
struct Reading {
    tx: Transaction<'static, Sqlite>,
    spans: Spans,
    account: AccountId,
    from: Hour,
    to: Hour,
}

/// What comes first in the order of lines: a stretch and what it is about.
type Start = (Hour, Span);

#[async_trait]
impl Ledger for Tables {
    async fn total(&self, account: AccountId, from: Hour, to: Hour) -> Result<Sum, StoreError> {
        let sql = "SELECT COALESCE(SUM(messages), 0), COALESCE(SUM(operations), 0), \
                   COALESCE(SUM(bytes), 0) FROM ledger_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3";
        let rows = self.read(account, from, to).await?.rows(sql).await?;
        let Some(row) = rows.first() else { return Ok(Sum::default()) };
        sum(&Columns(row), 0)
    }

    async fn account_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<AccountHour>, StoreError> {
        let sql = "SELECT hour, product, kind, messages, operations, bytes FROM ledger_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 ORDER BY hour, product, kind";
        let mut reading = self.read(account, from, to).await?;
        let mut lines = BTreeMap::<(Start, Option<ProductId>, i64), AccountHour>::new();
        for row in reading.rows(sql).await? {
            let row = Columns(&row);
            let (hour, span) = reading.start(&row, 0)?;
            let (product, kind) = (row.product(1)?, row.kind(2)?);
            let key = ((hour, span), product, row.number(2)?);
            let sum = sum(&row, 3)?;
            let line = AccountHour { hour, span, product, kind, sum };
            lines.entry(key).and_modify(|line| line.sum.add(sum)).or_insert(line);
        }
        Ok(lines.into_values().collect())
    }

    async fn device_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError> {
        let sql = "SELECT hour, device, product, kind, messages, operations, bytes \
                   FROM ledger_devices WHERE account = $1 AND hour >= $2 AND hour < $3";
        self.read(account, from, to).await?.device_lines(sql, None).await
    }

    async fn carried(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<(Bearer, CarriedSum)>, StoreError> {
        let sql = "SELECT bearer, SUM(received), SUM(sent) FROM carried_accounts \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 GROUP BY bearer ORDER BY bearer";
        let rows = self.read(account, from, to).await?.rows(sql).await?;
        let sums = rows.iter().map(|row| Ok((Columns(row).bearer(0)?, carried(&Columns(row), 1)?)));
        sums.collect()
    }

    async fn device_traffic(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceTraffic>, StoreError> {
        let sql = "SELECT hour, device, product, bearer, received, sent \
                   FROM carried_devices WHERE account = $1 AND hour >= $2 AND hour < $3";
        self.read(account, from, to).await?.traffic_lines(sql, None).await
    }

    async fn traffic_of_device(
        &self,
        account: AccountId,
        device: DeviceId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceTraffic>, StoreError> {
        let sql = "SELECT hour, device, product, bearer, received, sent \
                   FROM carried_devices \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 AND device = $4";
        self.read(account, from, to).await?.traffic_lines(sql, Some(device)).await
    }

    async fn hours_of_device(
        &self,
        account: AccountId,
        device: DeviceId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError> {
        let sql = "SELECT hour, device, product, kind, messages, operations, bytes \
                   FROM ledger_devices \
                   WHERE account = $1 AND hour >= $2 AND hour < $3 AND device = $4";
        self.read(account, from, to).await?.device_lines(sql, Some(device)).await
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
        let Reading { mut tx, account, from, to, .. } = self.read(account, from, to).await?;
        let query = sqlx::query(sql).bind(number(account.0)).bind(from.0).bind(to.0);
        let rows = query.bind(i64::from(limit)).fetch_all(&mut *tx).await.map_err(failed)?;
        rows.iter().map(|row| Ok((Columns(row).device(0)?, sum(&Columns(row), 1)?))).collect()
    }
}

impl Tables {
    async fn read(&self, account: AccountId, from: Hour, to: Hour) -> Result<Reading, StoreError> {
        let mut tx = self.pool.begin().await.map_err(failed)?;
        let spans = spans(&mut tx, account).await?;
        let (from, to) = spans.whole(from, to);
        Ok(Reading { tx, spans, account, from, to })
    }
}

impl Reading {
    async fn rows(&mut self, sql: &'static str) -> Result<Vec<SqliteRow>, StoreError> {
        let query = sqlx::query(sql).bind(number(self.account.0)).bind(self.from.0);
        query.bind(self.to.0).fetch_all(&mut *self.tx).await.map_err(failed)
    }

    /// The stretch of the hour in a column.
    fn start(&self, row: &Columns<'_>, at: usize) -> Result<Start, StoreError> {
        let bucket = self.spans.of(Hour(row.number(at)?));
        Ok((bucket.start, bucket.span))
    }

    /// Lines by hour, device, product and kind, of all devices or of one ($4).
    async fn device_lines(
        mut self,
        sql: &'static str,
        device: Option<DeviceId>,
    ) -> Result<Vec<DeviceHour>, StoreError> {
        let mut lines = BTreeMap::<(Start, DeviceId, Option<ProductId>, i64), DeviceHour>::new();
        for row in self.rows_of(sql, device).await? {
            let row = Columns(&row);
            let (hour, span) = self.start(&row, 0)?;
            let (device, product, kind) = (row.device(1)?, row.product(2)?, row.kind(3)?);
            let key = ((hour, span), device, product, row.number(3)?);
            let sum = sum(&row, 4)?;
            let line = DeviceHour { device, hour, span, product, kind, sum };
            lines.entry(key).and_modify(|line| line.sum.add(sum)).or_insert(line);
        }
        Ok(lines.into_values().collect())
    }

    /// Lines by hour, device, product and bearer, of all devices or of one ($4).
    async fn traffic_lines(
        mut self,
        sql: &'static str,
        device: Option<DeviceId>,
    ) -> Result<Vec<DeviceTraffic>, StoreError> {
        let mut lines = BTreeMap::<(Start, DeviceId, Option<ProductId>, i64), DeviceTraffic>::new();
        for row in self.rows_of(sql, device).await? {
            let row = Columns(&row);
            let (hour, span) = self.start(&row, 0)?;
            let (device, product, bearer) = (row.device(1)?, row.product(2)?, row.bearer(3)?);
            let key = ((hour, span), device, product, row.number(3)?);
            let sum = carried(&row, 4)?;
            let line = DeviceTraffic { device, hour, span, product, bearer, sum };
            lines.entry(key).and_modify(|line| line.sum.add(sum)).or_insert(line);
        }
        Ok(lines.into_values().collect())
    }

    async fn rows_of(
        &mut self,
        sql: &'static str,
        device: Option<DeviceId>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let Some(device) = device else { return self.rows(sql).await };
        let query = sqlx::query(sql).bind(number(self.account.0)).bind(self.from.0);
        let query = query.bind(self.to.0).bind(device.0.to_vec());
        query.fetch_all(&mut *self.tx).await.map_err(failed)
    }
}

fn carried(row: &Columns<'_>, at: usize) -> Result<CarriedSum, StoreError> {
    Ok(CarriedSum { received: row.count(at)?, sent: row.count(at + 1)? })
}

fn sum(row: &Columns<'_>, at: usize) -> Result<Sum, StoreError> {
    Ok(Sum { messages: row.count(at)?, operations: row.count(at + 1)?, bytes: row.count(at + 2)? })
}
