//! Firmware in SQLite.

use async_trait::async_trait;
use model::{ProductId, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::devices::unpack;
use super::value::{Columns, number};
use super::{Tables, failed, found};
use crate::{FileHash, Firmware, ProductFirmware, StoreError, SystemModule};

/// The files that products, system modules and updates that are not over need.
pub(crate) const FILES_NEEDED: &str = "SELECT file FROM firmware \
    UNION SELECT file FROM system_modules UNION SELECT file FROM updates WHERE is_open = 1";

/// A query for firmware, with what stands behind the table.
macro_rules! select_firmware {
    ($rest:literal) => {
        concat!(
            "SELECT product, version, title, description, name, mandatory, file, bytes, \
             uploaded_by, uploaded_at, updated_at FROM firmware ",
            $rest
        )
    };
}

#[async_trait]
impl Firmware for Tables {
    async fn insert(&self, firmware: &ProductFirmware) -> Result<(), StoreError> {
        let sql = "INSERT INTO firmware (product, version, title, description, name, mandatory, \
                   file, bytes, uploaded_by, uploaded_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let query = sqlx::query(sql).bind(i64::from(firmware.product.0));
        let query = query.bind(i64::from(firmware.version)).bind(&firmware.title);
        let query = query.bind(&firmware.description).bind(&firmware.name);
        let query = query.bind(i64::from(firmware.mandatory)).bind(firmware.file.0.to_vec());
        let query = query.bind(number(firmware.bytes)).bind(number(firmware.uploaded_by.0));
        let query = query.bind(firmware.uploaded_at.0).bind(firmware.updated_at.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn get(
        &self,
        product: ProductId,
        version: u16,
    ) -> Result<Option<ProductFirmware>, StoreError> {
        let query = sqlx::query(select_firmware!("WHERE product = $1 AND version = $2"));
        let query = query.bind(i64::from(product.0)).bind(i64::from(version));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(firmware).transpose()
    }

    async fn list(&self, product: ProductId) -> Result<Vec<ProductFirmware>, StoreError> {
        let query = sqlx::query(select_firmware!("WHERE product = $1 ORDER BY version DESC"));
        let query = query.bind(i64::from(product.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(firmware).collect()
    }

    async fn describe(
        &self,
        product: ProductId,
        version: u16,
        title: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE firmware SET title = $3, description = $4, updated_at = $5 \
                   WHERE product = $1 AND version = $2";
        let query = sqlx::query(sql).bind(i64::from(product.0)).bind(i64::from(version));
        let query = query.bind(title).bind(description).bind(at.0);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn delete(&self, product: ProductId, version: u16) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM firmware WHERE product = $1 AND version = $2");
        let query = query.bind(i64::from(product.0)).bind(i64::from(version));
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn add_module(&self, module: &SystemModule) -> Result<(), StoreError> {
        let sql = "INSERT INTO system_modules (file, platform, function, place, version, \
                   dependencies, name, bytes, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                   ON CONFLICT (file) DO UPDATE SET name = excluded.name";
        let dependencies = postcard::to_allocvec(&module.dependencies);
        let dependencies = dependencies.map_err(|_| StoreError::Damaged("module"))?;
        let query = sqlx::query(sql).bind(module.file.0.to_vec()).bind(i64::from(module.platform));
        let query = query.bind(i64::from(module.function)).bind(i64::from(module.index));
        let query = query.bind(i64::from(module.version)).bind(dependencies);
        let query = query.bind(&module.name).bind(number(module.bytes)).bind(module.added_at.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn modules(&self) -> Result<Vec<SystemModule>, StoreError> {
        let sql = "SELECT file, platform, function, place, version, dependencies, name, bytes, \
                   added_at FROM system_modules ORDER BY platform, function, place, version";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(module).collect()
    }

    async fn delete_module(&self, file: FileHash) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM system_modules WHERE file = $1");
        found(&query.bind(file.0.to_vec()).execute(&self.pool).await.map_err(failed)?)
    }

    async fn is_used(&self, file: FileHash) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM firmware WHERE file = $1) \
                   OR EXISTS (SELECT 1 FROM system_modules WHERE file = $1) \
                   OR EXISTS (SELECT 1 FROM updates WHERE file = $1 AND is_open = 1)";
        let query = sqlx::query(sql).bind(file.0.to_vec());
        let row = query.fetch_one(&self.pool).await.map_err(failed)?;
        Ok(Columns(&row).number(0)? != 0)
    }

    async fn files(&self) -> Result<Vec<FileHash>, StoreError> {
        let rows = sqlx::query(FILES_NEEDED).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Ok(FileHash(Columns(row).hash(0)?))).collect()
    }
}

fn firmware(row: &SqliteRow) -> Result<ProductFirmware, StoreError> {
    let row = Columns(row);
    Ok(ProductFirmware {
        product: row.product(0)?.ok_or(StoreError::Damaged("product number"))?,
        version: row.small(1)?,
        title: row.text(2)?,
        description: row.text(3)?,
        name: row.text(4)?,
        mandatory: row.number(5)? != 0,
        file: FileHash(row.hash(6)?),
        bytes: row.count(7)?,
        uploaded_by: row.account(8)?,
        uploaded_at: row.time(9)?,
        updated_at: row.time(10)?,
    })
}

fn module(row: &SqliteRow) -> Result<SystemModule, StoreError> {
    let row = Columns(row);
    let byte = |at| row.small(at).map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    Ok(SystemModule {
        file: FileHash(row.hash(0)?),
        platform: row.small(1)?,
        function: byte(2)?,
        index: byte(3)?,
        version: row.small(4)?,
        dependencies: unpack(row.bytes(5)?, "module")?,
        name: row.text(6)?,
        bytes: row.count(7)?,
        added_at: row.time(8)?,
    })
}
