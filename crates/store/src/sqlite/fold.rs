//! Writes a tally into the tables, together with the place it reaches.

use std::net::SocketAddr;

use model::message::Subscribe;
use model::{DeviceId, Timestamp};
use sqlx::SqliteConnection;

use super::value::{Columns, number};
use super::{Tables, failed, fold_ledger, points, recovery, rows};
use crate::StoreError;
use crate::fold::{Changes, SessionBody, SessionChange, Tally, keep_subscription, pack};

/// Vitals kept of each device: the newest, and none older than 30 days before the last.
const VITALS_KEPT: i64 = 1_000;
const VITALS_MS_KEPT: i64 = 30 * 86_400_000;

type Device<'t> = (&'t DeviceId, &'t Changes);

impl Tables {
    /// The place behind the last entry that the tables hold.
    pub(crate) async fn folded(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT place FROM folded WHERE one = 1");
        Columns(&query.fetch_one(&self.pool).await.map_err(failed)?).count(0)
    }

    /// Writes all of a tally, or nothing; tells the place that the tables reach then. It is not the
    /// tally's if an earlier commit succeeded though it told an error: then nothing was written.
    pub(crate) async fn fold(&self, tally: &Tally) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let place = advance(&mut tx, tally).await?;
        if place != tally.from {
            return Ok(place);
        }
        write_devices(&mut tx, tally).await?;
        write_vitals(&mut tx, tally).await?;
        points::write(&mut tx, tally).await?;
        fold_ledger::write(&mut tx, tally).await?;
        tx.commit().await.map_err(failed)?;
        Ok(tally.next)
    }

    /// Removes what was folded for devices that are gone, and descriptions that no device has.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM pulse WHERE device NOT IN (SELECT id FROM devices)",
            "DELETE FROM sessions WHERE device NOT IN (SELECT id FROM devices)",
            "DELETE FROM systems WHERE device NOT IN (SELECT id FROM devices)",
            "DELETE FROM vitals WHERE device NOT IN (SELECT id FROM devices)",
            "DELETE FROM points WHERE device NOT IN (SELECT id FROM devices)",
            "DELETE FROM descriptions WHERE id NOT IN \
             (SELECT application FROM pulse WHERE application IS NOT NULL)",
        ] {
            sqlx::query(sql).execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }
}

/// Moves the place on, if it is where the tally begins; tells where it was.
async fn advance(to: &mut SqliteConnection, tally: &Tally) -> Result<u64, StoreError> {
    let query = sqlx::query("SELECT place FROM folded WHERE one = 1");
    let place = Columns(&query.fetch_one(&mut *to).await.map_err(failed)?).count(0)?;
    let query = sqlx::query("UPDATE folded SET place = $2 WHERE one = 1 AND place = $1");
    let query = query.bind(number(tally.from)).bind(number(tally.next));
    query.execute(to).await.map_err(failed)?;
    Ok(place)
}

async fn write_devices(to: &mut SqliteConnection, tally: &Tally) -> Result<(), StoreError> {
    let mut changed: Vec<Device<'_>> = tally.devices.iter().collect();
    changed.sort_unstable_by_key(|(device, _)| **device);
    write_descriptions(to, tally).await?;
    write_pulse(to, &changed).await?;
    write_sessions(to, &changed).await?;
    add_subscriptions(to, &changed).await?;
    write_systems(to, &changed).await
}

async fn write_descriptions(to: &mut SqliteConnection, tally: &Tally) -> Result<(), StoreError> {
    let descriptions: Vec<_> = tally.descriptions.iter().collect();
    let head = "INSERT INTO descriptions (id, body)";
    rows::insert(to, head, "ON CONFLICT (id) DO NOTHING", &descriptions, |row, (id, body)| {
        row.push_bind(&id[..]);
        row.push_bind(&body[..]);
    })
    .await
}

async fn write_pulse(to: &mut SqliteConnection, changed: &[Device<'_>]) -> Result<(), StoreError> {
    let head = "INSERT INTO pulse (device, record_limit, record_seen, online, last_heard, \
                handshake_at, peer, platform, has_modem, application)";
    let raise = "ON CONFLICT (device) DO UPDATE SET \
        record_limit = CASE WHEN excluded.record_limit > pulse.record_limit \
            THEN excluded.record_limit ELSE pulse.record_limit END, \
        record_seen = CASE WHEN excluded.record_seen > pulse.record_seen \
            THEN excluded.record_seen ELSE pulse.record_seen END, \
        online = COALESCE(excluded.online, pulse.online), \
        last_heard = COALESCE(excluded.last_heard, pulse.last_heard), \
        handshake_at = COALESCE(excluded.handshake_at, pulse.handshake_at), \
        peer = COALESCE(excluded.peer, pulse.peer), \
        platform = COALESCE(excluded.platform, pulse.platform), \
        has_modem = COALESCE(excluded.has_modem, pulse.has_modem), \
        application = COALESCE(excluded.application, pulse.application)";
    let reset = "ON CONFLICT (device) DO UPDATE SET \
        record_limit = excluded.record_limit, \
        record_seen = excluded.record_seen, \
        online = COALESCE(excluded.online, pulse.online), \
        last_heard = COALESCE(excluded.last_heard, pulse.last_heard), \
        handshake_at = COALESCE(excluded.handshake_at, pulse.handshake_at), \
        peer = COALESCE(excluded.peer, pulse.peer), \
        platform = COALESCE(excluded.platform, pulse.platform), \
        has_modem = COALESCE(excluded.has_modem, pulse.has_modem), \
        application = COALESCE(excluded.application, pulse.application)";
    for (tail, records_reset) in [(raise, false), (reset, true)] {
        let chosen: Vec<Device<'_>> = changed
            .iter()
            .filter(|(_, changes)| changes.records_reset == records_reset)
            .copied()
            .collect();
        rows::insert(to, head, tail, &chosen, |row, (device, changes)| {
            row.push_bind(&device.0[..]);
            row.push_bind(number(changes.record_limit));
            row.push_bind(number(changes.record_seen));
            row.push_bind(changes.online.map(i64::from));
            row.push_bind(changes.last_heard.map(|at| at.0));
            row.push_bind(changes.handshake_at.map(|at| at.0));
            row.push_bind(changes.peer.map(|peer: SocketAddr| peer.to_string()));
            row.push_bind(changes.platform.map(i64::from));
            row.push_bind(changes.has_modem.map(i64::from));
            row.push_bind(changes.application.as_ref().map(|id| &id[..]));
        })
        .await?;
    }
    Ok(())
}

async fn write_sessions(
    to: &mut SqliteConnection,
    changed: &[Device<'_>],
) -> Result<(), StoreError> {
    let mut replaced: Vec<(&DeviceId, &SessionBody, &[Subscribe])> = Vec::new();
    for (device, changes) in changed {
        match &changes.session {
            Some(SessionChange::Forgotten) => {
                let query = sqlx::query("DELETE FROM sessions WHERE device = $1");
                query.bind(&device.0[..]).execute(&mut *to).await.map_err(failed)?;
            }
            Some(SessionChange::Replaced(body)) => {
                replaced.push((device, body, &changes.subscriptions));
            }
            None => {}
        }
    }
    let head = "INSERT INTO sessions (device, body, subscriptions)";
    let tail = "ON CONFLICT (device) DO UPDATE SET body = excluded.body, \
                subscriptions = excluded.subscriptions";
    rows::insert(to, head, tail, &replaced, |row, (device, body, subscriptions)| {
        row.push_bind(&device.0[..]);
        row.push_bind(pack(body));
        row.push_bind(pack(subscriptions));
    })
    .await
}

/// Adds subscriptions to sessions that were stored before.
async fn add_subscriptions(
    to: &mut SqliteConnection,
    changed: &[Device<'_>],
) -> Result<(), StoreError> {
    for (device, changes) in changed {
        if changes.session.is_some() || changes.subscriptions.is_empty() {
            continue;
        }
        let query = sqlx::query("SELECT subscriptions FROM sessions WHERE device = $1");
        let query = query.bind(&device.0[..]);
        let Some(row) = query.fetch_optional(&mut *to).await.map_err(failed)? else { continue };
        let mut all = recovery::subscriptions(Columns(&row).bytes(0)?)?;
        for subscribe in &changes.subscriptions {
            keep_subscription(&mut all, subscribe.clone());
        }
        let query = sqlx::query("UPDATE sessions SET subscriptions = $2 WHERE device = $1");
        let query = query.bind(&device.0[..]).bind(pack(&all));
        query.execute(&mut *to).await.map_err(failed)?;
    }
    Ok(())
}

async fn write_systems(
    to: &mut SqliteConnection,
    changed: &[Device<'_>],
) -> Result<(), StoreError> {
    let told: Vec<(&DeviceId, &[u8], Timestamp)> = changed
        .iter()
        .filter_map(|(device, changes)| {
            changes.system.as_ref().map(|(body, at)| (*device, &body[..], *at))
        })
        .collect();
    let head = "INSERT INTO systems (device, body, told_at)";
    let tail = "ON CONFLICT (device) DO UPDATE SET body = excluded.body, \
                told_at = excluded.told_at";
    rows::insert(to, head, tail, &told, |row, (device, body, at)| {
        row.push_bind(&device.0[..]);
        row.push_bind(*body);
        row.push_bind(at.0);
    })
    .await
}

async fn write_vitals(to: &mut SqliteConnection, tally: &Tally) -> Result<(), StoreError> {
    // Key by key, as a statement may not touch one row twice.
    for (device, at, body) in &tally.vitals {
        let sql = "INSERT INTO vitals (device, told_at, body) VALUES ($1, $2, $3) \
                   ON CONFLICT (device, told_at) DO UPDATE SET body = excluded.body";
        let query = sqlx::query(sql).bind(&device.0[..]).bind(at.0).bind(&body[..]);
        query.execute(&mut *to).await.map_err(failed)?;
        let sql = "DELETE FROM vitals WHERE device = $1 AND (told_at <= $3 OR told_at <= (SELECT \
                   told_at FROM vitals WHERE device = $1 ORDER BY told_at DESC LIMIT 1 OFFSET $2))";
        let query = sqlx::query(sql).bind(&device.0[..]).bind(VITALS_KEPT);
        let query = query.bind(at.0.saturating_sub(VITALS_MS_KEPT));
        query.execute(&mut *to).await.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
impl Tables {
    /// How long the subscriptions of the only session lie in its row.
    pub(crate) async fn subscription_bytes(&self) -> i64 {
        let query = sqlx::query_scalar("SELECT length(subscriptions) FROM sessions");
        query.fetch_one(&self.pool).await.expect("a session")
    }

    /// Puts packed subscriptions into the only session, as an earlier version wrote them.
    pub(crate) async fn set_subscriptions(&self, packed: &[u8]) {
        let query = sqlx::query("UPDATE sessions SET subscriptions = $1").bind(packed);
        query.execute(&self.pool).await.expect("written");
    }
}
