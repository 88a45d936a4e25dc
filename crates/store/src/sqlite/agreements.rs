//! Agreements and notices in SQLite.

use async_trait::async_trait;
use model::{AccountId, Bearer, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number, number_of_bearer};
use super::{Tables, failed, found};
use crate::{
    Agreements, ClosedPeriod, Decided, Hour, NewNotice, OpenUsage, StoreError, StoredAgreement,
    StoredNotice,
};

#[async_trait]
impl Agreements for Tables {
    async fn all(&self) -> Result<Vec<StoredAgreement>, StoreError> {
        let sql = "SELECT g.account, g.agreement, g.keeper, g.opened, g.closes FROM agreements AS g \
                   JOIN accounts AS a ON a.id = g.account ORDER BY g.account";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(agreement).collect()
    }

    async fn without(&self) -> Result<Vec<(AccountId, Timestamp)>, StoreError> {
        let sql = "SELECT id, created_at FROM accounts \
                   WHERE id NOT IN (SELECT account FROM agreements) ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        let account = |row: &SqliteRow| Ok((Columns(row).account(0)?, Columns(row).time(1)?));
        rows.iter().map(account).collect()
    }

    async fn decide(&self, decided: &Decided) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let account = decided.agreement.account;
        put_agreement(&mut tx, &decided.agreement).await?;
        if let Some(period) = &decided.closed {
            put_closed(&mut tx, account, period).await?;
        }
        for notice in &decided.notices {
            put_notice(&mut tx, account, notice).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn open_usages(&self) -> Result<Vec<OpenUsage>, StoreError> {
        let sql = "SELECT g.account, \
                   (SELECT COALESCE(SUM(operations), 0) FROM ledger_accounts AS l \
                    WHERE l.account = g.account AND l.hour >= g.opened AND l.hour < g.closes), \
                   (SELECT COALESCE(SUM(received + sent), 0) FROM carried_accounts AS c \
                    WHERE c.account = g.account AND c.hour >= g.opened AND c.hour < g.closes \
                    AND c.bearer = $1), \
                   (SELECT COALESCE(SUM(received + sent), 0) FROM carried_accounts AS t \
                    WHERE t.account = g.account AND t.hour >= g.opened AND t.hour < g.closes \
                    AND t.bearer = $2) \
                   FROM agreements AS g ORDER BY g.account";
        let query = sqlx::query(sql).bind(number_of_bearer(Bearer::Cellular));
        let query = query.bind(number_of_bearer(Bearer::Tracker));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let usage = |row: &SqliteRow| {
            let row = Columns(row);
            Ok(OpenUsage {
                account: row.account(0)?,
                operations: row.count(1)?,
                cellular_bytes: row.count(2)?,
                tracker_bytes: row.count(3)?,
            })
        };
        rows.iter().map(usage).collect()
    }

    async fn paid_devices(&self) -> Result<Vec<(AccountId, u64)>, StoreError> {
        let sql = "SELECT COALESCE(p.account, d.account) AS payer, \
                   COUNT(*) FROM devices AS d LEFT JOIN products AS p ON p.id = d.product \
                   GROUP BY payer HAVING payer IS NOT NULL";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        let count = |row: &SqliteRow| Ok((Columns(row).account(0)?, Columns(row).count(1)?));
        rows.iter().map(count).collect()
    }

    async fn paid_devices_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let sql = "SELECT (SELECT COUNT(*) FROM devices AS d WHERE d.account = $1 AND NOT EXISTS \
                   (SELECT 1 FROM products AS p WHERE p.id = d.product)) + \
                   (SELECT COUNT(*) FROM devices WHERE product IN \
                   (SELECT id FROM products WHERE account = $1))";
        let query = sqlx::query(sql).bind(number(account.0));
        Columns(&query.fetch_one(&self.pool).await.map_err(failed)?).count(0)
    }

    async fn notices(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<StoredNotice>, StoreError> {
        let sql = "SELECT id, account, at, body, mailed_at FROM notices WHERE account = $1 \
                   ORDER BY id DESC LIMIT $2";
        let query = sqlx::query(sql).bind(number(account.0)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(notice).collect()
    }

    async fn notices_to_mail(&self, limit: u32) -> Result<Vec<StoredNotice>, StoreError> {
        let sql = "SELECT id, account, at, body, mailed_at FROM notices WHERE mailed_at IS NULL \
                   ORDER BY id LIMIT $1";
        let query = sqlx::query(sql).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(notice).collect()
    }

    async fn notice_mailed(&self, id: u64, at: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE notices SET mailed_at = $2 WHERE id = $1");
        let query = query.bind(number(id)).bind(at.0);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn closed_periods(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<ClosedPeriod>, StoreError> {
        let sql = "SELECT opened, closed, body FROM closed_periods WHERE account = $1 \
                   ORDER BY opened DESC LIMIT $2";
        let query = sqlx::query(sql).bind(number(account.0)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let period = |row: &SqliteRow| {
            let row = Columns(row);
            Ok(ClosedPeriod {
                opened: Hour(row.number(0)?),
                closed: Hour(row.number(1)?),
                body: row.text(2)?,
            })
        };
        rows.iter().map(period).collect()
    }
}

/// The first hour of an account's open period, if it has an agreement.
pub(super) async fn opened(
    from: &mut SqliteConnection,
    account: AccountId,
) -> Result<Option<Hour>, StoreError> {
    let query = sqlx::query("SELECT opened FROM agreements WHERE account = $1");
    let row = query.bind(number(account.0)).fetch_optional(from).await.map_err(failed)?;
    row.map(|row| Ok(Hour(Columns(&row).number(0)?))).transpose()
}

async fn put_agreement(
    to: &mut SqliteConnection,
    agreement: &StoredAgreement,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO agreements (account, agreement, keeper, opened, closes) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET \
               agreement = excluded.agreement, keeper = excluded.keeper, \
               opened = excluded.opened, closes = excluded.closes";
    let query = sqlx::query(sql).bind(number(agreement.account.0)).bind(&agreement.agreement);
    let query = query.bind(&agreement.keeper).bind(agreement.opened.0).bind(agreement.closes.0);
    query.execute(to).await.map_err(failed)?;
    Ok(())
}

async fn put_closed(
    to: &mut SqliteConnection,
    account: AccountId,
    period: &ClosedPeriod,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO closed_periods (account, opened, closed, body) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (account, opened) DO UPDATE SET closed = excluded.closed, \
               body = excluded.body";
    let query = sqlx::query(sql).bind(number(account.0)).bind(period.opened.0);
    query.bind(period.closed.0).bind(&period.body).execute(to).await.map_err(failed)?;
    Ok(())
}

async fn put_notice(
    to: &mut SqliteConnection,
    account: AccountId,
    notice: &NewNotice,
) -> Result<(), StoreError> {
    let query = sqlx::query("INSERT INTO notices (account, at, body) VALUES ($1, $2, $3)");
    let query = query.bind(number(account.0)).bind(notice.at.0).bind(&notice.body);
    query.execute(to).await.map_err(failed)?;
    Ok(())
}

fn agreement(row: &SqliteRow) -> Result<StoredAgreement, StoreError> {
    let row = Columns(row);
    Ok(StoredAgreement {
        account: row.account(0)?,
        agreement: row.text(1)?,
        keeper: row.text(2)?,
        opened: Hour(row.number(3)?),
        closes: Hour(row.number(4)?),
    })
}

fn notice(row: &SqliteRow) -> Result<StoredNotice, StoreError> {
    let row = Columns(row);
    Ok(StoredNotice {
        id: row.count(0)?,
        account: row.account(1)?,
        at: row.time(2)?,
        body: row.text(3)?,
        mailed_at: row.optional_time(4)?,
    })
}
