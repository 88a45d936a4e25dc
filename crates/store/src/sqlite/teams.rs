//! Teams, customers and serial numbers in SQLite.

use async_trait::async_trait;
use model::{AccountId, DeviceId, ProductId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::value::{Columns, folded_case, number};
use super::{Tables, failed, found};
use crate::teams::customer_name;
use crate::{Customer, Member, StoreError, Teams};

#[async_trait]
impl Teams for Tables {
    async fn put_member(&self, member: &Member) -> Result<(), StoreError> {
        let sql = "INSERT INTO members (product, account, role, programmatic, added_at) \
                   VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (product, account) DO UPDATE SET role = excluded.role";
        let query = sqlx::query(sql).bind(i64::from(member.product.0));
        let query = query.bind(number(member.account.0)).bind(&member.role);
        let query = query.bind(i64::from(member.programmatic)).bind(member.added_at.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn member(
        &self,
        product: ProductId,
        account: AccountId,
    ) -> Result<Option<Member>, StoreError> {
        let sql = "SELECT product, account, role, programmatic, added_at FROM members \
                   WHERE product = $1 AND account = $2";
        let query = sqlx::query(sql).bind(i64::from(product.0)).bind(number(account.0));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(member).transpose()
    }

    async fn members(&self, product: ProductId) -> Result<Vec<Member>, StoreError> {
        let sql = "SELECT product, account, role, programmatic, added_at FROM members \
                   WHERE product = $1 ORDER BY account";
        let query = sqlx::query(sql).bind(i64::from(product.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(member).collect()
    }

    async fn memberships(&self, account: AccountId) -> Result<Vec<Member>, StoreError> {
        let sql = "SELECT product, account, role, programmatic, added_at FROM members \
                   WHERE account = $1 ORDER BY product";
        let query = sqlx::query(sql).bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(member).collect()
    }

    async fn remove_member(
        &self,
        product: ProductId,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM members WHERE product = $1 AND account = $2");
        let query = query.bind(i64::from(product.0)).bind(number(account.0));
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn create_customer(
        &self,
        product: ProductId,
        email: &str,
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Customer, StoreError> {
        let name = customer_name(product, email);
        let mut tx = self.write().await?;
        let sql = "INSERT INTO accounts (email, email_key, password_hash, created_at) \
                   VALUES ($1, $2, $3, $4) RETURNING id";
        let query = sqlx::query(sql).bind(&name).bind(folded_case(&name));
        let query = query.bind(password_hash).bind(at.0);
        let row = query.fetch_one(&mut *tx).await.map_err(failed)?;
        let account = Columns(&row).account(0)?;
        let sql = "INSERT INTO customers (account, product, email, created_at) \
                   VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(sql).bind(number(account.0)).bind(i64::from(product.0));
        query.bind(email).bind(at.0).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(Customer { account, product, email: email.to_owned(), created_at: at })
    }

    async fn customer(
        &self,
        product: ProductId,
        email: &str,
    ) -> Result<Option<Customer>, StoreError> {
        let sql = "SELECT c.account, c.product, c.email, c.created_at FROM customers AS c \
                   JOIN accounts AS a ON a.id = c.account \
                   WHERE a.email_key = $1 AND c.product = $2";
        let name = folded_case(&customer_name(product, email));
        let query = sqlx::query(sql).bind(name).bind(i64::from(product.0));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(customer).transpose()
    }

    async fn customers(&self, product: ProductId) -> Result<Vec<Customer>, StoreError> {
        let sql = "SELECT account, product, email, created_at FROM customers \
                   WHERE product = $1 ORDER BY account";
        let query = sqlx::query(sql).bind(i64::from(product.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(customer).collect()
    }

    async fn deny(
        &self,
        product: ProductId,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO denied_devices (product, device, denied_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (product, device) DO NOTHING";
        let query = sqlx::query(sql).bind(i64::from(product.0)).bind(device.0.to_vec());
        query.bind(at.0).execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn allow(&self, product: ProductId, device: DeviceId) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM denied_devices WHERE product = $1 AND device = $2");
        let query = query.bind(i64::from(product.0)).bind(device.0.to_vec());
        let done = query.execute(&self.pool).await.map_err(failed)?;
        Ok(done.rows_affected() > 0)
    }

    async fn is_denied(&self, device: DeviceId) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM denied_devices WHERE device = $1 LIMIT 1");
        let row = query.bind(device.0.to_vec()).fetch_optional(&self.pool).await;
        Ok(row.map_err(failed)?.is_some())
    }

    async fn denied(&self, product: ProductId) -> Result<Vec<DeviceId>, StoreError> {
        let sql = "SELECT device FROM denied_devices WHERE product = $1 ORDER BY device";
        let query = sqlx::query(sql).bind(i64::from(product.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Columns(row).device(0)).collect()
    }

    async fn set_serial(&self, device: DeviceId, serial: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let query = sqlx::query("DELETE FROM serial_numbers WHERE device = $1");
        query.bind(device.0.to_vec()).execute(&mut *tx).await.map_err(failed)?;
        let sql = "INSERT INTO serial_numbers (serial_key, serial, device) VALUES ($1, $2, $3)";
        let query = sqlx::query(sql).bind(folded_case(serial)).bind(serial);
        query.bind(device.0.to_vec()).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn by_serial(&self, serial: &str) -> Result<Option<(DeviceId, String)>, StoreError> {
        let query = sqlx::query("SELECT device, serial FROM serial_numbers WHERE serial_key = $1");
        let query = query.bind(folded_case(serial));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| Ok((Columns(&row).device(0)?, Columns(&row).text(1)?))).transpose()
    }

    async fn serial_of(&self, device: DeviceId) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT serial FROM serial_numbers WHERE device = $1");
        let row = query.bind(device.0.to_vec()).fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| Columns(&row).text(0)).transpose()
    }
}

fn member(row: &SqliteRow) -> Result<Member, StoreError> {
    let row = Columns(row);
    Ok(Member {
        product: row.product(0)?.ok_or(StoreError::Damaged("product number"))?,
        account: row.account(1)?,
        role: row.text(2)?,
        programmatic: row.number(3)? != 0,
        added_at: row.time(4)?,
    })
}

fn customer(row: &SqliteRow) -> Result<Customer, StoreError> {
    let row = Columns(row);
    Ok(Customer {
        account: row.account(0)?,
        product: row.product(1)?.ok_or(StoreError::Damaged("product number"))?,
        email: row.text(2)?,
        created_at: row.time(3)?,
    })
}
