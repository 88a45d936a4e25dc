//! Moves old sums of the ledger to the hours under which their days and months lie.
//!
//! How far it is rolled up is written first, and every reader takes sums by [`Spans`]: what was not moved yet is read
//! as if it had been. A move takes rows from one hour and adds them to another in one transaction, so that a crash
//! leaves each sum in exactly one place.

use model::{AccountId, DeviceId, Timestamp};
use sqlx::SqliteConnection;

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::spans::Spans;
use crate::{Hour, Kept, StoreError};

/// Devices whose rows are moved in one transaction: others that write wait for it.
const DEVICES_PER_STEP: i64 = 2000;
/// Hours of an account that are moved in one transaction.
const PILES_PER_STEP: usize = 32;

/// A pass over the ledger that moves what is old. Dropped half-way it loses nothing; the next pass goes on.
#[derive(Debug)]
pub struct RollUp {
    tables: Tables,
    /// The account whose piles these are.
    account: AccountId,
    piles: Vec<Pile>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is left to move.
    Done,
    /// It looked for something to move.
    Looked,
    /// It moved some rows.
    Moved,
}

/// Sums of an account under an hour that has none of its own any more.
#[derive(Debug, Clone, Copy)]
struct Pile {
    sums: &'static Sums,
    hour: Hour,
}

/// A table of small sums and one of detail. The row of an hour in the first goes when all of the second are moved, so
/// that it tells where something is left.
#[derive(Debug)]
struct Sums {
    next_account: &'static str,
    hours: &'static str,
    /// The last of so many devices of an hour.
    last_device: &'static str,
    detail: Move,
    small: Move,
}

/// Moves rows of account $1 from hour $2 to hour $3; of the detail, those of devices up to $4.
#[derive(Debug)]
struct Move {
    add: &'static str,
    remove: &'static str,
}

static CHARGES: Sums = Sums {
    next_account: "SELECT MIN(account) FROM ledger_accounts WHERE account > $1",
    hours: "SELECT DISTINCT hour FROM ledger_accounts WHERE account = $1 AND hour < $2",
    last_device: "SELECT MAX(device), COUNT(*) FROM (SELECT DISTINCT device FROM ledger_devices \
                  WHERE account = $1 AND hour = $2 ORDER BY device LIMIT $3) AS first",
    detail: Move {
        add: "INSERT INTO ledger_devices \
              (account, hour, device, product, kind, messages, operations, bytes) \
              SELECT account, $3, device, product, kind, messages, operations, bytes \
              FROM ledger_devices WHERE account = $1 AND hour = $2 AND device <= $4 \
              ON CONFLICT (account, hour, device, product, kind) DO UPDATE SET \
              messages = ledger_devices.messages + excluded.messages, \
              operations = ledger_devices.operations + excluded.operations, \
              bytes = ledger_devices.bytes + excluded.bytes",
        remove: "DELETE FROM ledger_devices WHERE account = $1 AND hour = $2 AND device <= $3",
    },
    small: Move {
        add: "INSERT INTO ledger_accounts \
              (account, hour, product, kind, messages, operations, bytes) \
              SELECT account, $3, product, kind, messages, operations, bytes \
              FROM ledger_accounts WHERE account = $1 AND hour = $2 \
              ON CONFLICT (account, hour, product, kind) DO UPDATE SET \
              messages = ledger_accounts.messages + excluded.messages, \
              operations = ledger_accounts.operations + excluded.operations, \
              bytes = ledger_accounts.bytes + excluded.bytes",
        remove: "DELETE FROM ledger_accounts WHERE account = $1 AND hour = $2",
    },
};

static TRAFFIC: Sums = Sums {
    next_account: "SELECT MIN(account) FROM carried_accounts WHERE account > $1",
    hours: "SELECT DISTINCT hour FROM carried_accounts WHERE account = $1 AND hour < $2",
    last_device: "SELECT MAX(device), COUNT(*) FROM (SELECT DISTINCT device FROM carried_devices \
                  WHERE account = $1 AND hour = $2 ORDER BY device LIMIT $3) AS first",
    detail: Move {
        add: "INSERT INTO carried_devices \
              (account, hour, device, product, bearer, received, sent) \
              SELECT account, $3, device, product, bearer, received, sent \
              FROM carried_devices WHERE account = $1 AND hour = $2 AND device <= $4 \
              ON CONFLICT (account, hour, device, product, bearer) DO UPDATE SET \
              received = carried_devices.received + excluded.received, \
              sent = carried_devices.sent + excluded.sent",
        remove: "DELETE FROM carried_devices WHERE account = $1 AND hour = $2 AND device <= $3",
    },
    small: Move {
        add: "INSERT INTO carried_accounts (account, hour, product, bearer, received, sent) \
              SELECT account, $3, product, bearer, received, sent \
              FROM carried_accounts WHERE account = $1 AND hour = $2 \
              ON CONFLICT (account, hour, product, bearer) DO UPDATE SET \
              received = carried_accounts.received + excluded.received, \
              sent = carried_accounts.sent + excluded.sent",
        remove: "DELETE FROM carried_accounts WHERE account = $1 AND hour = $2",
    },
};

impl Tables {
    /// Writes down how far the ledger is rolled up at `now`, which never goes back, and begins to move.
    pub(crate) async fn roll_up(&self, kept: Kept, now: Timestamp) -> Result<RollUp, StoreError> {
        let (days, months) = kept.bounds(now);
        let sql = "UPDATE rolled_up SET days = CASE WHEN days < $1 THEN $1 ELSE days END, \
                   months = CASE WHEN months < $2 THEN $2 ELSE months END WHERE one = 1";
        let query = sqlx::query(sql).bind(days.0).bind(months.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(RollUp { tables: self.clone(), account: AccountId(0), piles: Vec::new() })
    }
}

impl RollUp {
    /// Moves some rows, or looks for them.
    ///
    /// # Errors
    /// The tables cannot be written; nothing is lost.
    pub async fn step(&mut self) -> Result<Step, StoreError> {
        if self.piles.is_empty() {
            return self.next_account().await;
        }
        let mut tx = self.tables.write().await?;
        let spans = spans(&mut tx, self.account).await?;
        let (mut gone, mut devices) = (0, 0);
        for pile in self.piles.iter().rev().take(PILES_PER_STEP) {
            let moved = shrink(&mut tx, &spans, self.account, *pile).await?;
            if moved == DEVICES_PER_STEP {
                break;
            }
            (gone, devices) = (gone + 1, devices + moved);
            if devices >= DEVICES_PER_STEP {
                break;
            }
        }
        tx.commit().await.map_err(failed)?;
        self.piles.truncate(self.piles.len() - gone);
        Ok(Step::Moved)
    }

    /// Looks for piles of the next account.
    async fn next_account(&mut self) -> Result<Step, StoreError> {
        let mut tx = self.tables.pool.begin().await.map_err(failed)?;
        let mut next = None;
        for sums in [&CHARGES, &TRAFFIC] {
            let query = sqlx::query(sums.next_account).bind(number(self.account.0));
            let row = query.fetch_one(&mut *tx).await.map_err(failed)?;
            let account = Columns(&row).optional_account(0)?;
            next = [next, account].into_iter().flatten().min();
        }
        let Some(account) = next else { return Ok(Step::Done) };
        let spans = spans(&mut tx, account).await?;
        for sums in [&CHARGES, &TRAFFIC] {
            let query = sqlx::query(sums.hours).bind(number(account.0)).bind(spans.days.0);
            for row in query.fetch_all(&mut *tx).await.map_err(failed)? {
                let hour = Hour(Columns(&row).number(0)?);
                if spans.of(hour).start != hour {
                    self.piles.push(Pile { sums, hour });
                }
            }
        }
        self.account = account;
        Ok(Step::Looked)
    }
}

/// Moves a pile, or the rows of so many of its devices as a step may; tells of how many.
async fn shrink(
    tx: &mut SqliteConnection,
    spans: &Spans,
    account: AccountId,
    pile: Pile,
) -> Result<i64, StoreError> {
    let Pile { sums, hour } = pile;
    let to = spans.of(hour).start;
    if to == hour {
        return Ok(0);
    }
    let query = sqlx::query(sums.last_device).bind(number(account.0)).bind(hour.0);
    let row = query.bind(DEVICES_PER_STEP).fetch_one(&mut *tx).await.map_err(failed)?;
    let (row, mut same) = (Columns(&row), true);
    let devices = row.number(1)?;
    if devices > 0 {
        let last = Some(row.device(0)?);
        same &= sums.detail.rows(tx, account, hour, to, last).await?;
    }
    if devices < DEVICES_PER_STEP {
        same &= sums.small.rows(tx, account, hour, to, None).await?;
    }
    if same { Ok(devices) } else { Err(StoreError::Damaged("ledger")) }
}

impl Move {
    /// Adds rows to those of another hour and removes them; tells whether they were the same ones.
    async fn rows(
        &self,
        tx: &mut SqliteConnection,
        account: AccountId,
        from: Hour,
        to: Hour,
        last: Option<DeviceId>,
    ) -> Result<bool, StoreError> {
        let mut add = sqlx::query(self.add).bind(number(account.0)).bind(from.0).bind(to.0);
        let mut remove = sqlx::query(self.remove).bind(number(account.0)).bind(from.0);
        if let Some(device) = last {
            add = add.bind(device.0.to_vec());
            remove = remove.bind(device.0.to_vec());
        }
        let added = add.execute(&mut *tx).await.map_err(failed)?.rows_affected();
        let removed = remove.execute(&mut *tx).await.map_err(failed)?.rows_affected();
        Ok(added == removed)
    }
}

/// The stretches that an account's sums are told by.
pub(super) async fn spans(
    from: &mut SqliteConnection,
    account: AccountId,
) -> Result<Spans, StoreError> {
    let sql = "SELECT r.days, r.months, (SELECT opened FROM agreements WHERE account = $1) \
               FROM rolled_up AS r WHERE r.one = 1";
    let query = sqlx::query(sql).bind(number(account.0));
    let row = query.fetch_one(&mut *from).await.map_err(failed)?;
    let row = Columns(&row);
    let (days, months) = (Hour(row.number(0)?), Hour(row.number(1)?));
    let opened = row.optional(2)?.map(Hour);
    let sql = "SELECT opened FROM closed_periods WHERE account = $1 \
               UNION SELECT closed FROM closed_periods WHERE account = $1";
    let query = sqlx::query(sql).bind(number(account.0));
    let rows = query.fetch_all(from).await.map_err(failed)?;
    let border = |row| Ok(Hour(Columns(row).number(0)?));
    let mut borders: Vec<Hour> = rows.iter().map(border).collect::<Result<_, StoreError>>()?;
    borders.extend(opened);
    borders.sort_unstable();
    borders.dedup();
    Ok(Spans { days, months, opened, borders })
}
