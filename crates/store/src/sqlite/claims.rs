//! Claim codes in SQLite: only the SHA-256 of each.

use async_trait::async_trait;
use model::{AccountId, DeviceId, Timestamp};
use rand::RngExt;
use sqlx::{Sqlite, Transaction};

use super::devices::give;
use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{CLAIM_CODE_CHARS, CLAIM_CODE_LIFE_MS, Claims, Redeemed, StoreError, TokenHash};

/// The letters of codes: those of base64, which devices and setup tools carry unharmed.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[async_trait]
impl Claims for Tables {
    async fn create(&self, account: AccountId, at: Timestamp) -> Result<String, StoreError> {
        let code = random_code();
        let query =
            sqlx::query("INSERT INTO claims (hash, account, expires_at) VALUES ($1, $2, $3)");
        let query = query.bind(TokenHash::of(&code).0.to_vec()).bind(number(account.0));
        let query = query.bind(at.0.saturating_add(CLAIM_CODE_LIFE_MS));
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(code)
    }

    async fn maker(&self, code: &str, at: Timestamp) -> Result<Option<AccountId>, StoreError> {
        let query = sqlx::query("SELECT account FROM claims WHERE hash = $1 AND expires_at > $2");
        let query = query.bind(TokenHash::of(code).0.to_vec()).bind(at.0);
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| Columns(&row).account(0)).transpose()
    }

    async fn redeem(
        &self,
        code: &str,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let mut tx = self.write().await?;
        let Some(account) = take(&mut tx, code, at).await? else { return Ok(Redeemed::Unknown) };
        let redeemed = match owner(&mut tx, device).await? {
            Some(owner) if owner != account => Redeemed::OwnedByOther { owner, wanted_by: account },
            Some(_) => Redeemed::Claimed(account),
            None => {
                give(&mut tx, device, account, at).await?;
                Redeemed::Claimed(account)
            }
        };
        tx.commit().await.map_err(failed)?;
        Ok(redeemed)
    }
}

fn random_code() -> String {
    let mut random = rand::rng();
    let letters = (0..CLAIM_CODE_CHARS).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())]);
    letters.map(char::from).collect()
}

/// Uses a code up; the account it was made for, if it is valid.
async fn take(
    tx: &mut Transaction<'static, Sqlite>,
    code: &str,
    at: Timestamp,
) -> Result<Option<AccountId>, StoreError> {
    let sql = "DELETE FROM claims WHERE hash = $1 AND expires_at > $2 RETURNING account";
    let query = sqlx::query(sql).bind(TokenHash::of(code).0.to_vec()).bind(at.0);
    let row = query.fetch_optional(&mut **tx).await.map_err(failed)?;
    row.map(|row| Columns(&row).account(0)).transpose()
}

async fn owner(
    tx: &mut Transaction<'static, Sqlite>,
    device: DeviceId,
) -> Result<Option<AccountId>, StoreError> {
    let query = sqlx::query("SELECT account FROM devices WHERE id = $1").bind(device.0.to_vec());
    let row = query.fetch_one(&mut **tx).await.map_err(failed)?;
    Columns(&row).optional_account(0)
}
