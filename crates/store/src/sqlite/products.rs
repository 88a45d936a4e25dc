//! Products in SQLite.

use async_trait::async_trait;
use model::{AccountId, DeviceId, ProductId};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, folded_case, number};
use super::{Tables, failed, found};
use crate::{Product, Products, StoreError};

/// The first number given to a product.
const FIRST_ID: i64 = 10_000;

#[async_trait]
impl Products for Tables {
    async fn insert(&self, product: &Product) -> Result<(), StoreError> {
        let sql = "INSERT INTO products \
                   (id, account, name, slug, description, platform, location_opt_in, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        bind(sql, product).bind(product.created_at.0).execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn free_id(&self) -> Result<ProductId, StoreError> {
        let sql = "SELECT MIN(id) FROM (SELECT CAST($1 AS BIGINT) AS id \
                   UNION SELECT id + 1 FROM products WHERE id >= $1) AS ids \
                   WHERE id NOT IN (SELECT id FROM products)";
        let query = sqlx::query(sql).bind(FIRST_ID);
        let row = query.fetch_one(&self.pool).await.map_err(failed)?;
        Columns(&row).product(0)?.ok_or(StoreError::Damaged("product number"))
    }

    async fn get(&self, id: ProductId) -> Result<Option<Product>, StoreError> {
        let sql = "SELECT id, account, name, slug, description, platform, location_opt_in, \
                   created_at FROM products WHERE id = $1";
        let query = sqlx::query(sql).bind(i64::from(id.0));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(product).transpose()
    }

    async fn by_slug(&self, slug: &str) -> Result<Option<Product>, StoreError> {
        let sql = "SELECT id, account, name, slug, description, platform, location_opt_in, \
                   created_at FROM products WHERE slug = $1";
        let query = sqlx::query(sql).bind(folded_case(slug));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(product).transpose()
    }

    async fn devices(&self, id: ProductId) -> Result<Vec<DeviceId>, StoreError> {
        let query = sqlx::query("SELECT id FROM devices WHERE product = $1 ORDER BY id");
        let query = query.bind(i64::from(id.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Columns(row).device(0)).collect()
    }

    async fn list(&self, account: AccountId) -> Result<Vec<Product>, StoreError> {
        let sql = "SELECT id, account, name, slug, description, platform, location_opt_in, \
                   created_at FROM products WHERE account = $1 ORDER BY id";
        let query = sqlx::query(sql).bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(product).collect()
    }

    async fn update(&self, product: &Product) -> Result<(), StoreError> {
        let sql = "UPDATE products SET account = $2, name = $3, slug = $4, description = $5, \
                   platform = $6, location_opt_in = $7 WHERE id = $1";
        found(&bind(sql, product).execute(&self.pool).await.map_err(failed)?)
    }

    async fn delete(&self, id: ProductId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM assignments WHERE device IN (SELECT id FROM devices WHERE product = $1)",
            "UPDATE devices SET product = NULL WHERE product = $1",
            "DELETE FROM device_groups WHERE product = $1",
            "DELETE FROM firmware WHERE product = $1",
            "DELETE FROM release_devices \
             WHERE release_id IN (SELECT id FROM releases WHERE product = $1)",
            "DELETE FROM releases WHERE product = $1",
            "DELETE FROM members WHERE product = $1",
            "DELETE FROM refresh_tokens \
             WHERE client IN (SELECT id FROM clients WHERE product = $1)",
            "DELETE FROM tokens WHERE client IN (SELECT id FROM clients WHERE product = $1)",
            "DELETE FROM clients WHERE product = $1",
            "DELETE FROM denied_devices WHERE product = $1",
            "DELETE FROM deliveries \
             WHERE webhook IN (SELECT id FROM webhooks WHERE product = $1)",
            "DELETE FROM webhook_days \
             WHERE webhook IN (SELECT id FROM webhooks WHERE product = $1)",
            "DELETE FROM webhooks WHERE product = $1",
        ] {
            let query = sqlx::query(sql).bind(i64::from(id.0));
            query.execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM products WHERE id = $1").bind(i64::from(id.0));
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds the columns that may change, and the number before them.
fn bind<'q>(sql: &'static str, product: &'q Product) -> Query<'q> {
    let query = sqlx::query(sql).bind(i64::from(product.id.0)).bind(number(product.account.0));
    let query = query.bind(&product.name).bind(folded_case(&product.slug));
    let query = query.bind(&product.description).bind(i64::from(product.platform));
    query.bind(i64::from(product.location_opt_in))
}

fn product(row: &SqliteRow) -> Result<Product, StoreError> {
    let row = Columns(row);
    Ok(Product {
        id: row.product(0)?.ok_or(StoreError::Damaged("product number"))?,
        account: row.account(1)?,
        name: row.text(2)?,
        slug: row.text(3)?,
        description: row.text(4)?,
        platform: u16::try_from(row.number(5)?).unwrap_or(0),
        location_opt_in: row.number(6)? != 0,
        created_at: row.time(7)?,
    })
}
