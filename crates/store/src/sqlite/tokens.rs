//! Tokens in SQLite.

use async_trait::async_trait;
use model::{AccountId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::value::{Columns, number};
use super::{Tables, failed};
use crate::{RefreshToken, StoreError, Token, TokenHash, Tokens};

#[async_trait]
impl Tokens for Tables {
    async fn insert(
        &self,
        token: &Token,
        refresh: Option<&RefreshToken>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        insert_token(&mut tx, token).await?;
        if let Some(refresh) = refresh {
            insert_refresh(&mut tx, refresh).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn find(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        let sql = "SELECT hash, prefix, account, client, scopes, created_at, expires_at \
                   FROM tokens WHERE hash = $1";
        let query = sqlx::query(sql).bind(hash.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(token).transpose()
    }

    async fn list(&self, account: AccountId) -> Result<Vec<Token>, StoreError> {
        let sql = "SELECT hash, prefix, account, client, scopes, created_at, expires_at \
                   FROM tokens WHERE account = $1 ORDER BY created_at, hash";
        let query = sqlx::query(sql).bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(token).collect()
    }

    async fn delete(&self, hash: TokenHash) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let deleted = delete_token(&mut tx, hash).await?;
        tx.commit().await.map_err(failed)?;
        Ok(deleted)
    }

    async fn delete_all(
        &self,
        account: AccountId,
        kept: Option<TokenHash>,
    ) -> Result<u64, StoreError> {
        let kept = kept.map_or_else(Vec::new, |hash| hash.0.to_vec());
        let mut tx = self.write().await?;
        let query = sqlx::query("DELETE FROM refresh_tokens WHERE account = $1 AND access <> $2");
        let query = query.bind(number(account.0)).bind(kept.clone());
        query.execute(&mut *tx).await.map_err(failed)?;
        let query = sqlx::query("DELETE FROM tokens WHERE account = $1 AND hash <> $2");
        let query = query.bind(number(account.0)).bind(kept);
        let deleted = query.execute(&mut *tx).await.map_err(failed)?.rows_affected();
        tx.commit().await.map_err(failed)?;
        Ok(deleted)
    }

    async fn refresh(
        &self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<RefreshToken>, StoreError> {
        let sql = "SELECT hash, access, account, client, expires_at, scopes FROM refresh_tokens \
                   WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)";
        let query = sqlx::query(sql).bind(hash.0.to_vec()).bind(now.0);
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(refresh_token).transpose()
    }

    async fn exchange(
        &self,
        used: TokenHash,
        now: Timestamp,
        token: &Token,
        refresh: &RefreshToken,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let sql = "DELETE FROM refresh_tokens \
                   WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2) RETURNING access";
        let query = sqlx::query(sql).bind(used.0.to_vec()).bind(now.0);
        let row = query.fetch_optional(&mut *tx).await.map_err(failed)?;
        let Some(row) = row else { return Ok(false) };
        delete_token(&mut tx, TokenHash(Columns(&row).hash(0)?)).await?;
        insert_token(&mut tx, token).await?;
        insert_refresh(&mut tx, refresh).await?;
        tx.commit().await.map_err(failed)?;
        Ok(true)
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM refresh_tokens WHERE expires_at < $1",
            "DELETE FROM claims WHERE expires_at < $1",
        ] {
            sqlx::query(sql).bind(before.0).execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM tokens WHERE expires_at < $1").bind(before.0);
        let purged = query.execute(&mut *tx).await.map_err(failed)?.rows_affected();
        tx.commit().await.map_err(failed)?;
        Ok(purged)
    }
}

async fn insert_token(
    tx: &mut Transaction<'static, Sqlite>,
    token: &Token,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO tokens (hash, prefix, account, client, scopes, created_at, expires_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let query = sqlx::query(sql).bind(token.hash.0.to_vec()).bind(&token.prefix);
    let query = query.bind(number(token.account.0)).bind(&token.client);
    let query = query.bind(token.scopes.join(" ")).bind(token.created_at.0);
    let query = query.bind(token.expires_at.map(|at| at.0));
    query.execute(&mut **tx).await.map_err(failed)?;
    Ok(())
}

async fn insert_refresh(
    tx: &mut Transaction<'static, Sqlite>,
    refresh: &RefreshToken,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO refresh_tokens (hash, access, account, client, expires_at, scopes) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let query = sqlx::query(sql).bind(refresh.hash.0.to_vec()).bind(refresh.access.0.to_vec());
    let query = query.bind(number(refresh.account.0)).bind(&refresh.client);
    let query = query.bind(refresh.expires_at.map(|at| at.0)).bind(refresh.scopes.join(" "));
    query.execute(&mut **tx).await.map_err(failed)?;
    Ok(())
}

async fn delete_token(
    tx: &mut Transaction<'static, Sqlite>,
    hash: TokenHash,
) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM refresh_tokens WHERE access = $1").bind(hash.0.to_vec());
    query.execute(&mut **tx).await.map_err(failed)?;
    let query = sqlx::query("DELETE FROM tokens WHERE hash = $1").bind(hash.0.to_vec());
    Ok(query.execute(&mut **tx).await.map_err(failed)?.rows_affected() > 0)
}

fn token(row: &SqliteRow) -> Result<Token, StoreError> {
    let row = Columns(row);
    Ok(Token {
        hash: TokenHash(row.hash(0)?),
        prefix: row.text(1)?,
        account: row.account(2)?,
        client: row.text(3)?,
        scopes: row.text(4)?.split_ascii_whitespace().map(str::to_owned).collect(),
        created_at: row.time(5)?,
        expires_at: row.optional_time(6)?,
    })
}

fn refresh_token(row: &SqliteRow) -> Result<RefreshToken, StoreError> {
    let row = Columns(row);
    Ok(RefreshToken {
        hash: TokenHash(row.hash(0)?),
        access: TokenHash(row.hash(1)?),
        account: row.account(2)?,
        client: row.text(3)?,
        expires_at: row.optional_time(4)?,
        scopes: row.text(5)?.split_ascii_whitespace().map(str::to_owned).collect(),
    })
}
