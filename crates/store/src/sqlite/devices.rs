//! Devices in SQLite.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{
    AccountId, ApplicationDescription, DeviceId, KeyHash, ProductId, SystemDescription, Timestamp,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::value::{Columns, folded_case, number};
use super::{Tables, failed, found, rows};
use crate::{
    Device, DeviceKey, Devices, FormerKey, Imported, NewDevice, Registered, StoreError, Vitals,
};

/// A query for devices, with what stands behind `FROM`.
macro_rules! select_devices {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.account, d.product, d.name, d.notes, COALESCE(p.platform, d.platform), \
             d.key_hash, d.first_use, d.created_at, d.claimed_at, p.last_heard, p.handshake_at, \
             p.peer FROM devices AS d LEFT JOIN pulse AS p ON p.device = d.id ",
            $rest
        )
    };
}

#[async_trait]
impl Devices for Tables {
    async fn insert(&self, device: &NewDevice, at: Timestamp) -> Result<(), StoreError> {
        let imported = self.import(std::slice::from_ref(device), at).await?;
        if imported.added == 0 { Err(StoreError::Taken) } else { Ok(()) }
    }

    async fn import(&self, devices: &[NewDevice], at: Timestamp) -> Result<Imported, StoreError> {
        let mut tx = self.write().await?;
        let mut known = present(&mut tx, devices).await?;
        let mut imported = Imported::default();
        let mut added = Vec::with_capacity(devices.len());
        for device in devices {
            if known.insert(device.id) {
                added.push(device);
            } else {
                imported.present.push(device.id);
            }
        }
        imported.added = added.len() as u64;
        insert_devices(&mut tx, &added, at).await?;
        insert_keys(&mut tx, added.iter().filter_map(|device| device.key.as_ref())).await?;
        tx.commit().await.map_err(failed)?;
        Ok(imported)
    }

    async fn get(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let query = sqlx::query(select_devices!("WHERE d.id = $1")).bind(id.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(device).transpose()
    }

    async fn get_many(&self, ids: &[DeviceId]) -> Result<Vec<Device>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let ids: Vec<&[u8]> = ids.iter().map(|id| &id.0[..]).collect();
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let head = select_devices!("WHERE d.id IN");
        let rows = rows::select_in(&mut connection, head, "ORDER BY d.id", &ids).await?;
        rows.iter().map(device).collect()
    }

    async fn list(&self, account: AccountId) -> Result<Vec<Device>, StoreError> {
        let query = sqlx::query(select_devices!("WHERE d.account = $1 ORDER BY d.id"));
        let query = query.bind(number(account.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device).collect()
    }

    async fn page(&self, after: Option<DeviceId>, limit: u32) -> Result<Vec<Device>, StoreError> {
        let query = sqlx::query(select_devices!("WHERE d.id > $1 ORDER BY d.id LIMIT $2"));
        let query = query.bind(bytes_of(after)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device).collect()
    }

    async fn page_of_product(
        &self,
        product: ProductId,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        let sql = select_devices!("WHERE d.product = $1 AND d.id > $2 ORDER BY d.id LIMIT $3");
        let query = sqlx::query(sql).bind(i64::from(product.0)).bind(bytes_of(after));
        let query = query.bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(device).collect()
    }

    async fn count(&self, account: AccountId) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT COUNT(*) FROM devices WHERE account = $1");
        let query = query.bind(number(account.0));
        Columns(&query.fetch_one(&self.pool).await.map_err(failed)?).count(0)
    }

    async fn count_first_use(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM devices WHERE first_use = 1 AND account IS NULL";
        Columns(&sqlx::query(sql).fetch_one(&self.pool).await.map_err(failed)?).count(0)
    }

    async fn by_name(&self, account: AccountId, name: &str) -> Result<Option<Device>, StoreError> {
        let query = sqlx::query(select_devices!("WHERE d.account = $1 AND d.name_key = $2"));
        let query = query.bind(number(account.0)).bind(folded_case(name));
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(device).transpose()
    }

    async fn by_key(&self, hash: KeyHash) -> Result<Vec<DeviceId>, StoreError> {
        let query = sqlx::query("SELECT id FROM devices WHERE key_hash = $1 ORDER BY id");
        let rows = query.bind(hash.0.to_vec()).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| Columns(row).device(0)).collect()
    }

    async fn rename(&self, id: DeviceId, name: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE devices SET name = $2, name_key = $3 WHERE id = $1");
        let query = query.bind(id.0.to_vec()).bind(name).bind(name.map(folded_case));
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn set_notes(&self, id: DeviceId, notes: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE devices SET notes = $2 WHERE id = $1");
        let query = query.bind(id.0.to_vec()).bind(notes);
        found(&query.execute(&self.pool).await.map_err(failed)?)
    }

    async fn set_owner(
        &self,
        id: DeviceId,
        account: Option<AccountId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        match account {
            Some(account) => give(&mut tx, id, account, at).await?,
            None => release(&mut tx, id).await?,
        }
        tx.commit().await.map_err(failed)
    }

    async fn set_product(
        &self,
        id: DeviceId,
        product: Option<ProductId>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let number = product.map(|product| i64::from(product.0));
        // Groups and locks are the product's.
        let sql = "DELETE FROM assignments WHERE device = $1 AND NOT EXISTS \
                   (SELECT 1 FROM devices WHERE id = $1 AND product = $2)";
        let query = sqlx::query(sql).bind(id.0.to_vec()).bind(number);
        query.execute(&mut *tx).await.map_err(failed)?;
        let query = sqlx::query("UPDATE devices SET product = $2 WHERE id = $1");
        found(&query.bind(id.0.to_vec()).bind(number).execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }

    async fn set_key(
        &self,
        id: DeviceId,
        key: &DeviceKey,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let query = sqlx::query("SELECT key_hash FROM devices WHERE id = $1").bind(id.0.to_vec());
        let row = query.fetch_one(&mut *tx).await.map_err(failed)?;
        let former = Columns(&row).key_hash(0)?;
        if former == Some(key.hash) {
            return Ok(false);
        }
        if let Some(former) = former {
            remember_key(&mut tx, id, former, at).await?;
        }
        insert_keys(&mut tx, [key].into_iter()).await?;
        let query = sqlx::query("UPDATE devices SET key_hash = $2, first_use = 0 WHERE id = $1");
        let query = query.bind(id.0.to_vec()).bind(key.hash.0.to_vec());
        query.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(true)
    }

    async fn key(&self, id: DeviceId) -> Result<Option<DeviceKey>, StoreError> {
        let sql = "SELECT k.hash, k.spki FROM devices AS d \
                   JOIN device_keys AS k ON k.hash = d.key_hash WHERE d.id = $1";
        let query = sqlx::query(sql).bind(id.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.as_ref().map(device_key).transpose()
    }

    async fn former_keys(&self, id: DeviceId) -> Result<Vec<FormerKey>, StoreError> {
        let sql = "SELECT k.hash, k.spki, f.replaced_at FROM former_keys AS f \
                   JOIN device_keys AS k ON k.hash = f.hash \
                   WHERE f.device = $1 ORDER BY f.replaced_at DESC";
        let query = sqlx::query(sql).bind(id.0.to_vec());
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let former =
            |row| Ok(FormerKey { key: device_key(row)?, replaced_at: Columns(row).time(2)? });
        rows.iter().map(former).collect()
    }

    async fn delete(&self, id: DeviceId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM assignments WHERE device = $1",
            "DELETE FROM former_keys WHERE device = $1",
            "DELETE FROM pulse WHERE device = $1",
            "DELETE FROM sessions WHERE device = $1",
            "DELETE FROM release_devices WHERE device = $1",
            "DELETE FROM systems WHERE device = $1",
            "DELETE FROM updates WHERE device = $1",
            "DELETE FROM vitals WHERE device = $1",
            "DELETE FROM serial_numbers WHERE device = $1",
            "DELETE FROM denied_devices WHERE device = $1",
        ] {
            sqlx::query(sql).bind(id.0.to_vec()).execute(&mut *tx).await.map_err(failed)?;
        }
        let query = sqlx::query("DELETE FROM devices WHERE id = $1").bind(id.0.to_vec());
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        tx.commit().await.map_err(failed)
    }

    async fn registered(&self, id: DeviceId) -> Result<Option<Registered>, StoreError> {
        self.load_registered(id).await
    }

    async fn application(
        &self,
        id: DeviceId,
    ) -> Result<Option<ApplicationDescription>, StoreError> {
        let sql = "SELECT a.body FROM pulse AS p \
                   JOIN descriptions AS a ON a.id = p.application WHERE p.device = $1";
        let query = sqlx::query(sql).bind(id.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| unpack(Columns(&row).bytes(0)?, "description")).transpose()
    }

    async fn system(
        &self,
        id: DeviceId,
    ) -> Result<Option<(SystemDescription, Timestamp)>, StoreError> {
        let query = sqlx::query("SELECT body, told_at FROM systems WHERE device = $1");
        let query = query.bind(id.0.to_vec());
        let Some(row) = query.fetch_optional(&self.pool).await.map_err(failed)? else {
            return Ok(None);
        };
        let row = Columns(&row);
        Ok(Some((unpack(row.bytes(0)?, "system description")?, row.time(1)?)))
    }

    async fn vitals(&self, id: DeviceId, limit: u32) -> Result<Vec<Vitals>, StoreError> {
        let sql = "SELECT told_at, body FROM vitals \
                   WHERE device = $1 ORDER BY told_at DESC LIMIT $2";
        let query = sqlx::query(sql).bind(id.0.to_vec()).bind(i64::from(limit));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let vitals = |row: &SqliteRow| {
            let row = Columns(row);
            Ok(Vitals { at: row.time(0)?, metrics: unpack(row.bytes(1)?, "vitals")? })
        };
        rows.iter().map(vitals).collect()
    }
}

/// Gives a device an owner, with its name unless the owner uses that already.
pub(super) async fn give(
    to: &mut SqliteConnection,
    id: DeviceId,
    account: AccountId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE devices SET name = NULL, name_key = NULL WHERE id = $1 AND EXISTS \
               (SELECT 1 FROM devices AS other WHERE other.account = $2 AND other.id <> $1 \
               AND other.name_key = devices.name_key)";
    let query = sqlx::query(sql).bind(id.0.to_vec()).bind(number(account.0));
    query.execute(&mut *to).await.map_err(failed)?;
    // Who has nothing to do with the products that deny it takes the device out of their hands.
    let sql = "DELETE FROM denied_devices WHERE device = $1 AND product NOT IN \
               (SELECT id FROM products WHERE account = $2 \
               UNION SELECT product FROM customers WHERE account = $2)";
    let query = sqlx::query(sql).bind(id.0.to_vec()).bind(number(account.0));
    query.execute(&mut *to).await.map_err(failed)?;
    let query = sqlx::query("UPDATE devices SET account = $2, claimed_at = $3 WHERE id = $1");
    let query = query.bind(id.0.to_vec()).bind(number(account.0)).bind(at.0);
    found(&query.execute(&mut *to).await.map_err(failed)?)
}

/// Takes a device's owner, and what that owner wrote on it.
async fn release(to: &mut SqliteConnection, id: DeviceId) -> Result<(), StoreError> {
    let sql = "UPDATE devices SET account = NULL, claimed_at = NULL, name = NULL, \
               name_key = NULL, notes = NULL WHERE id = $1";
    found(&sqlx::query(sql).bind(id.0.to_vec()).execute(to).await.map_err(failed)?)
}

async fn remember_key(
    to: &mut SqliteConnection,
    id: DeviceId,
    hash: KeyHash,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO former_keys (device, replaced_at, hash) VALUES ($1, $2, $3) \
               ON CONFLICT (device, replaced_at, hash) DO NOTHING";
    let query = sqlx::query(sql).bind(id.0.to_vec()).bind(at.0).bind(hash.0.to_vec());
    query.execute(to).await.map_err(failed)?;
    Ok(())
}

/// Those of these devices that are there already.
async fn present(
    from: &mut SqliteConnection,
    devices: &[NewDevice],
) -> Result<HashSet<DeviceId>, StoreError> {
    let ids: Vec<&[u8]> = devices.iter().map(|device| &device.id.0[..]).collect();
    let rows = rows::select_in(from, "SELECT id FROM devices WHERE id IN", "", &ids).await?;
    rows.iter().map(|row| Columns(row).device(0)).collect()
}

async fn insert_devices(
    to: &mut SqliteConnection,
    devices: &[&NewDevice],
    at: Timestamp,
) -> Result<(), StoreError> {
    let head = "INSERT INTO devices (id, account, product, name, name_key, platform, key_hash, \
                first_use, created_at, claimed_at)";
    rows::insert(to, head, "", devices, |row, device| {
        row.push_bind(device.id.0.to_vec());
        row.push_bind(device.account.map(|account| number(account.0)));
        row.push_bind(device.product.map(|product| i64::from(product.0)));
        row.push_bind(device.name.as_deref());
        row.push_bind(device.name.as_deref().map(folded_case));
        row.push_bind(device.platform.map(i64::from));
        row.push_bind(device.key.as_ref().map(|key| key.hash.0.to_vec()));
        row.push_bind(i64::from(device.first_use));
        row.push_bind(at.0);
        row.push_bind(device.account.map(|_| at.0));
    })
    .await
}

async fn insert_keys(
    to: &mut SqliteConnection,
    keys: impl Iterator<Item = &DeviceKey>,
) -> Result<(), StoreError> {
    let keys: Vec<&DeviceKey> = keys.collect();
    let head = "INSERT INTO device_keys (hash, spki)";
    rows::insert(to, head, "ON CONFLICT (hash) DO NOTHING", &keys, |row, key| {
        row.push_bind(key.hash.0.to_vec());
        row.push_bind(&key.spki[..]);
    })
    .await
}

fn bytes_of(after: Option<DeviceId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |id| id.0.to_vec())
}

fn device(row: &SqliteRow) -> Result<Device, StoreError> {
    let row = Columns(row);
    Ok(Device {
        id: row.device(0)?,
        account: row.optional_account(1)?,
        product: row.product(2)?,
        name: row.optional_text(3)?,
        notes: row.optional_text(4)?,
        platform: row.optional(5)?.and_then(|number| u16::try_from(number).ok()),
        key: row.key_hash(6)?,
        first_use: row.number(7)? != 0,
        created_at: row.time(8)?,
        claimed_at: row.optional_time(9)?,
        last_heard: row.optional_time(10)?,
        last_handshake_at: row.optional_time(11)?,
        peer: row.optional_text(12)?.and_then(|peer| peer.parse().ok()),
    })
}

fn device_key(row: &SqliteRow) -> Result<DeviceKey, StoreError> {
    let spki = row.try_get(1).map_err(failed)?;
    Ok(DeviceKey { hash: KeyHash(Columns(row).hash(0)?), spki })
}

/// Reads a value that the fold packed.
pub(super) fn unpack<'a, T: serde::Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Damaged(what))
}
