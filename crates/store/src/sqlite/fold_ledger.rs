//! Writes the sums of a tally: what was counted, and the bytes over the carrier.

use std::collections::{BTreeMap, BTreeSet};

use model::{AccountId, ProductId};
use sqlx::SqliteConnection;

use super::value::{number, number_of_bearer, number_of_kind};
use super::{agreements, rows};
use crate::fold::{CarriedKey, LedgerKey, Tally};
use crate::{CarriedSum, Hour, StoreError, Sum};

/// Writes the sums of a tally.
pub(super) async fn write(to: &mut SqliteConnection, tally: &Tally) -> Result<(), StoreError> {
    let opened = first_hours(to, tally).await?;
    write_charges(to, tally, &opened).await?;
    write_carried(to, tally, &opened).await
}

async fn write_charges(
    to: &mut SqliteConnection,
    tally: &Tally,
    opened: &FirstHours,
) -> Result<(), StoreError> {
    let mut sums = BTreeMap::<LedgerKey, Sum>::new();
    for (key, sum) in &tally.ledger {
        let hour = opened.keep_closed(key.account, key.hour);
        sums.entry(LedgerKey { hour, ..*key }).or_default().add(*sum);
    }
    let devices: Vec<(&LedgerKey, &Sum)> = sums.iter().collect();
    let head = "INSERT INTO ledger_devices \
                (account, hour, device, product, kind, messages, operations, bytes)";
    let tail = "ON CONFLICT (account, hour, device, product, kind) DO UPDATE SET \
                messages = ledger_devices.messages + excluded.messages, \
                operations = ledger_devices.operations + excluded.operations, \
                bytes = ledger_devices.bytes + excluded.bytes";
    rows::insert(to, head, tail, &devices, |row, (key, sum)| {
        row.push_bind(number(key.account.0));
        row.push_bind(key.hour.0);
        row.push_bind(&key.device.0[..]);
        row.push_bind(product_number(key.product));
        row.push_bind(number_of_kind(key.kind));
        row.push_bind(number(sum.messages));
        row.push_bind(number(sum.operations));
        row.push_bind(number(sum.bytes));
    })
    .await?;
    write_account_ledger(to, &devices).await
}

/// The first hour of the open billing period of each account.
struct FirstHours(BTreeMap<AccountId, Hour>);

impl FirstHours {
    /// The hour to count in: what a clock put into a closed billing period counts in the first hour of
    /// the open one.
    fn keep_closed(&self, account: AccountId, hour: Hour) -> Hour {
        self.0.get(&account).map_or(hour, |first| hour.max(*first))
    }
}

async fn first_hours(from: &mut SqliteConnection, tally: &Tally) -> Result<FirstHours, StoreError> {
    let charged = tally.ledger.keys().map(|key| key.account);
    let carried = tally.carried.keys().map(|key| key.account);
    let accounts: BTreeSet<AccountId> = charged.chain(carried).collect();
    let mut opened = BTreeMap::new();
    for account in accounts {
        if let Some(hour) = agreements::opened(from, account).await? {
            opened.insert(account, hour);
        }
    }
    Ok(FirstHours(opened))
}

async fn write_account_ledger(
    to: &mut SqliteConnection,
    devices: &[(&LedgerKey, &Sum)],
) -> Result<(), StoreError> {
    let mut accounts = BTreeMap::<AccountKey, Sum>::new();
    for (key, sum) in devices {
        let kind = number_of_kind(key.kind);
        accounts.entry((key.account, key.hour, key.product, kind)).or_default().add(**sum);
    }
    let accounts: Vec<(AccountKey, Sum)> = accounts.into_iter().collect();
    let head = "INSERT INTO ledger_accounts \
                (account, hour, product, kind, messages, operations, bytes)";
    let tail = "ON CONFLICT (account, hour, product, kind) DO UPDATE SET \
                messages = ledger_accounts.messages + excluded.messages, \
                operations = ledger_accounts.operations + excluded.operations, \
                bytes = ledger_accounts.bytes + excluded.bytes";
    rows::insert(to, head, tail, &accounts, |row, ((account, hour, product, kind), sum)| {
        row.push_bind(number(account.0));
        row.push_bind(hour.0);
        row.push_bind(product_number(*product));
        row.push_bind(*kind);
        row.push_bind(number(sum.messages));
        row.push_bind(number(sum.operations));
        row.push_bind(number(sum.bytes));
    })
    .await
}

type AccountKey = (AccountId, Hour, Option<ProductId>, i64);

fn product_number(product: Option<ProductId>) -> i64 {
    product.map_or(0, |product| i64::from(product.0))
}

async fn write_carried(
    to: &mut SqliteConnection,
    tally: &Tally,
    opened: &FirstHours,
) -> Result<(), StoreError> {
    let mut sums = BTreeMap::<CarriedKey, CarriedSum>::new();
    for (key, sum) in &tally.carried {
        let hour = opened.keep_closed(key.account, key.hour);
        sums.entry(CarriedKey { hour, ..*key }).or_default().add(*sum);
    }
    let devices: Vec<(&CarriedKey, &CarriedSum)> = sums.iter().collect();
    let head = "INSERT INTO carried_devices \
                (account, hour, device, product, bearer, received, sent)";
    let tail = "ON CONFLICT (account, hour, device, product, bearer) DO UPDATE SET \
                received = carried_devices.received + excluded.received, \
                sent = carried_devices.sent + excluded.sent";
    rows::insert(to, head, tail, &devices, |row, (key, sum)| {
        row.push_bind(number(key.account.0));
        row.push_bind(key.hour.0);
        row.push_bind(&key.device.0[..]);
        row.push_bind(product_number(key.product));
        row.push_bind(number_of_bearer(key.bearer));
        row.push_bind(number(sum.received));
        row.push_bind(number(sum.sent));
    })
    .await?;
    write_account_carried(to, &devices).await
}

async fn write_account_carried(
    to: &mut SqliteConnection,
    devices: &[(&CarriedKey, &CarriedSum)],
) -> Result<(), StoreError> {
    let mut accounts = BTreeMap::<AccountKey, CarriedSum>::new();
    for (key, sum) in devices {
        let bearer = number_of_bearer(key.bearer);
        accounts.entry((key.account, key.hour, key.product, bearer)).or_default().add(**sum);
    }
    let accounts: Vec<(AccountKey, CarriedSum)> = accounts.into_iter().collect();
    let head = "INSERT INTO carried_accounts (account, hour, product, bearer, received, sent)";
    let tail = "ON CONFLICT (account, hour, product, bearer) DO UPDATE SET \
                received = carried_accounts.received + excluded.received, \
                sent = carried_accounts.sent + excluded.sent";
    rows::insert(to, head, tail, &accounts, |row, ((account, hour, product, bearer), sum)| {
        row.push_bind(number(account.0));
        row.push_bind(hour.0);
        row.push_bind(product_number(*product));
        row.push_bind(*bearer);
        row.push_bind(number(sum.received));
        row.push_bind(number(sum.sent));
    })
    .await
}
