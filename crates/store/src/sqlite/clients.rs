//! OAuth clients in SQLite.

use async_trait::async_trait;
use model::AccountId;
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, number};
use super::{Tables, failed, found};
use crate::{Client, Clients, StoreError, TokenHash};

#[async_trait]
impl Clients for Tables {
    async fn insert(&self, client: &Client) -> Result<(), StoreError> {
        let sql = "INSERT INTO clients \
                   (id, account, name, kind, redirect_uri, scope, secret, created_at, product) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(sql).bind(&client.id).bind(number(client.account.0));
        let query = query.bind(&client.name).bind(&client.kind).bind(&client.redirect_uri);
        let query = query.bind(&client.scope).bind(client.secret.0.to_vec());
        let query = query.bind(client.created_at.0);
        let query = query.bind(client.product.map(|product| i64::from(product.0)));
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn get(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let sql = "SELECT id, account, name, kind, redirect_uri, scope, secret, created_at, product \
                   FROM clients WHERE id = $1";
        let row = sqlx::query(sql).bind(id).fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(client).transpose()
    }

    async fn list(&self, account: AccountId) -> Result<Vec<Client>, StoreError> {
        let sql = "SELECT id, account, name, kind, redirect_uri, scope, secret, created_at, product \
                   FROM clients WHERE account = $1 ORDER BY created_at, id";
        let query = sqlx::query(sql).bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(client).collect()
    }

    async fn update(&self, id: &str, name: &str, scope: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE clients SET name = $2, scope = $3 WHERE id = $1");
        let query = query.bind(id).bind(name).bind(scope);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in
            ["DELETE FROM refresh_tokens WHERE client = $1", "DELETE FROM tokens WHERE client = $1"]
        {
            sqlx::query(sql).bind(id).execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM clients WHERE id = $1").bind(id);
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }
}

fn client(row: &SqliteRow) -> Result<Client, StoreError> {
    let row = Columns(row);
    Ok(Client {
        id: row.text(0)?,
        account: row.account(1)?,
        name: row.text(2)?,
        kind: row.text(3)?,
        redirect_uri: row.optional_text(4)?,
        scope: row.optional_text(5)?,
        secret: TokenHash(row.hash(6)?),
        created_at: row.time(7)?,
        product: row.product(8)?,
    })
}
