//! Groups and assignments in SQLite.

use async_trait::async_trait;
use model::{DeviceId, ProductId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::devices::unpack;
use super::value::Columns;
use super::{Tables, failed, found, rows};
use crate::{Assignment, AssignmentChange, Assignments, Group, StoreError};

#[async_trait]
impl Assignments for Tables {
    async fn insert_group(&self, group: &Group) -> Result<(), StoreError> {
        let sql = "INSERT INTO device_groups (product, name, description, color, created_at) \
                   VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(sql).bind(i64::from(group.product.0)).bind(&group.name);
        let query = query.bind(&group.description).bind(&group.color).bind(group.created_at.0);
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn groups(&self, product: ProductId) -> Result<Vec<Group>, StoreError> {
        let sql = "SELECT product, name, description, color, created_at FROM device_groups \
                   WHERE product = $1 ORDER BY name";
        let query = sqlx::query(sql).bind(i64::from(product.0));
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(group).collect()
    }

    async fn update_group(&self, name: &str, group: &Group) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let sql = "UPDATE device_groups SET name = $3, description = $4, color = $5 \
                   WHERE product = $1 AND name = $2";
        let query = sqlx::query(sql).bind(i64::from(group.product.0)).bind(name);
        let query = query.bind(&group.name).bind(&group.description).bind(&group.color);
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        if group.name != name {
            move_devices(&mut tx, group.product, name, Some(&group.name)).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn delete_group(&self, product: ProductId, name: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let query = sqlx::query("DELETE FROM device_groups WHERE product = $1 AND name = $2");
        let query = query.bind(i64::from(product.0)).bind(name);
        found(&query.execute(&mut *tx).await.map_err(failed)?)?;
        move_devices(&mut tx, product, name, None).await?;
        tx.commit().await.map_err(failed)
    }

    async fn assignments(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError> {
        let ids: Vec<&[u8]> = devices.iter().map(|device| &device.0[..]).collect();
        let head =
            "SELECT device, groups_in, desired, development FROM assignments WHERE device IN";
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let rows = rows::select_in(&mut connection, head, "", &ids).await?;
        rows.iter().map(assignment).collect()
    }

    async fn of_product(
        &self,
        product: ProductId,
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        devices_of(&mut connection, product).await
    }

    async fn products_with_locks(&self) -> Result<Vec<ProductId>, StoreError> {
        let sql = "SELECT DISTINCT d.product FROM assignments AS a JOIN devices AS d \
                   ON d.id = a.device WHERE a.desired IS NOT NULL AND d.product IS NOT NULL";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.map_err(failed)?;
        let products = rows.iter().map(|row| Columns(row).product(0));
        Ok(products.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    async fn assign(
        &self,
        product: ProductId,
        devices: &[DeviceId],
        change: &AssignmentChange,
    ) -> Result<Vec<(DeviceId, Assignment)>, StoreError> {
        let mut tx = self.write().await?;
        let mut assigned = members(&mut tx, product, devices).await?;
        for (device, assignment) in &mut assigned {
            change.apply(assignment)?;
            write(&mut tx, *device, assignment).await?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(assigned)
    }
}

/// Those of the devices that are in the product, by id.
async fn members(
    from: &mut SqliteConnection,
    product: ProductId,
    devices: &[DeviceId],
) -> Result<Vec<(DeviceId, Assignment)>, StoreError> {
    let ids: Vec<&[u8]> = devices.iter().map(|device| &device.0[..]).collect();
    let head = "SELECT d.id, a.groups_in, a.desired, COALESCE(a.development, 0), d.product \
                FROM devices AS d LEFT JOIN assignments AS a ON a.device = d.id WHERE d.id IN";
    let mut assigned = Vec::new();
    for row in &rows::select_in(from, head, "", &ids).await? {
        if Columns(row).product(4)? == Some(product) {
            assigned.push(assignment(row)?);
        }
    }
    assigned.sort_by_key(|(device, _)| *device);
    assigned.dedup_by_key(|(device, _)| *device);
    Ok(assigned)
}

async fn devices_of(
    from: &mut SqliteConnection,
    product: ProductId,
) -> Result<Vec<(DeviceId, Assignment)>, StoreError> {
    let sql = "SELECT d.id, a.groups_in, a.desired, COALESCE(a.development, 0) FROM devices AS d \
               LEFT JOIN assignments AS a ON a.device = d.id WHERE d.product = $1 ORDER BY d.id";
    let query = sqlx::query(sql).bind(i64::from(product.0));
    let rows = query.fetch_all(from).await.map_err(failed)?;
    rows.iter().map(assignment).collect()
}

/// Gives a group another name in all its devices, or takes them out of it.
async fn move_devices(
    to: &mut SqliteConnection,
    product: ProductId,
    name: &str,
    new: Option<&str>,
) -> Result<(), StoreError> {
    for (device, mut assignment) in devices_of(to, product).await? {
        let Some(at) = assignment.groups.iter().position(|group| group == name) else { continue };
        match new {
            Some(new) => new.clone_into(&mut assignment.groups[at]),
            None => drop(assignment.groups.remove(at)),
        }
        write(to, device, &assignment).await?;
    }
    Ok(())
}

async fn write(
    to: &mut SqliteConnection,
    device: DeviceId,
    assignment: &Assignment,
) -> Result<(), StoreError> {
    if *assignment == Assignment::default() {
        let query = sqlx::query("DELETE FROM assignments WHERE device = $1");
        query.bind(device.0.to_vec()).execute(to).await.map_err(failed)?;
        return Ok(());
    }
    let sql = "INSERT INTO assignments (device, groups_in, desired, development) \
               VALUES ($1, $2, $3, $4) ON CONFLICT (device) DO UPDATE SET \
               groups_in = excluded.groups_in, desired = excluded.desired, \
               development = excluded.development";
    let query = sqlx::query(sql).bind(device.0.to_vec()).bind(packed(&assignment.groups)?);
    let query = query.bind(assignment.desired.map(i64::from));
    let query = query.bind(i64::from(assignment.development));
    query.execute(to).await.map_err(failed)?;
    Ok(())
}

/// Names of groups in one column.
pub(super) fn packed(names: &[String]) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(names).map_err(|_| StoreError::Damaged("groups"))
}

fn group(row: &SqliteRow) -> Result<Group, StoreError> {
    let row = Columns(row);
    Ok(Group {
        product: row.product(0)?.ok_or(StoreError::Damaged("product number"))?,
        name: row.text(1)?,
        description: row.text(2)?,
        color: row.text(3)?,
        created_at: row.time(4)?,
    })
}

fn assignment(row: &SqliteRow) -> Result<(DeviceId, Assignment), StoreError> {
    let row = Columns(row);
    let groups = row.optional_bytes(1)?.map(|bytes| unpack(bytes, "groups")).transpose()?;
    let assignment = Assignment {
        groups: groups.unwrap_or_default(),
        desired: row.optional(2)?.and_then(|version| u16::try_from(version).ok()),
        development: row.number(3)? != 0,
    };
    Ok((row.device(0)?, assignment))
}
