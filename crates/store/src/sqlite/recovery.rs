//! Reads what the server begins with: three tables in the order of their keys, merged.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use model::link::{RestoredSession, Transport};
use model::{ApplicationDescription, DeviceId, DeviceRow, Platform, Timestamp};
use sqlx::sqlite::SqliteRow;

use super::devices::unpack;
use super::value::Columns;
use super::{Tables, failed};
use crate::fold::{DescriptionId, SessionBody};
use crate::{Recovery, Registered, StoreError, StoredSession};

/// A device's row, with the owner of its product.
macro_rules! select_registered {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.account, d.product, d.name, d.platform, d.key_hash, p.account \
             FROM devices AS d LEFT JOIN products AS p ON p.id = d.product ",
            $rest
        )
    };
}

/// A device's pulse.
macro_rules! select_pulse {
    ($rest:literal) => {
        concat!(
            "SELECT device, record_limit, record_seen, online, last_heard, handshake_at, peer, \
             platform, application FROM pulse ",
            $rest
        )
    };
}

type Descriptions = HashMap<DescriptionId, Arc<ApplicationDescription>>;

/// What the pulse tells of a device.
#[derive(Default)]
struct Pulse {
    record_limit: u64,
    record_seen: u64,
    online: bool,
    last_heard: Option<Timestamp>,
    handshake_at: Option<Timestamp>,
    peer: Option<std::net::SocketAddr>,
    platform: Option<Platform>,
    application: Option<DescriptionId>,
}

impl Tables {
    /// Everything but what only the journal knows (recent sources).
    pub(crate) async fn recover(&self) -> Result<Recovery, StoreError> {
        let (descriptions, pulses, devices, bodies) = tokio::try_join!(
            self.load_descriptions(),
            self.load_pulses(),
            self.load_devices(),
            self.load_sessions(),
        )?;
        Ok(merge(&descriptions, pulses, devices, bodies))
    }

    /// What [`Self::recover`] tells of one device.
    pub(super) async fn load_registered(
        &self,
        id: DeviceId,
    ) -> Result<Option<Registered>, StoreError> {
        let query = sqlx::query(select_registered!("WHERE d.id = $1")).bind(id.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        let Some(mut device) = row.as_ref().map(registered).transpose()? else { return Ok(None) };
        let query = sqlx::query(select_pulse!("WHERE device = $1")).bind(id.0.to_vec());
        if let Some(row) = query.fetch_optional(&self.pool).await.map_err(failed)? {
            let (_, pulse) = pulse(&row)?;
            add_pulse(&mut device, &pulse);
            let application = crate::Devices::application(self, id).await?;
            device.row.description = application.map(Arc::new);
        }
        Ok(Some(device))
    }

    async fn load_descriptions(&self) -> Result<Descriptions, StoreError> {
        self.load("SELECT id, body FROM descriptions", |row| {
            let row = Columns(row);
            let id = row.bytes(0)?.try_into().map_err(|_| StoreError::Damaged("description"))?;
            Ok((id, Arc::new(unpack(row.bytes(1)?, "description")?)))
        })
        .await
    }

    async fn load_pulses(&self) -> Result<Vec<(DeviceId, Pulse)>, StoreError> {
        self.load(select_pulse!("ORDER BY device"), pulse).await
    }

    async fn load_devices(&self) -> Result<Vec<Registered>, StoreError> {
        self.load(select_registered!("ORDER BY d.id"), registered).await
    }

    async fn load_sessions(&self) -> Result<Vec<StoredSession>, StoreError> {
        self.load("SELECT device, body, subscriptions FROM sessions ORDER BY device", session).await
    }

    async fn load<T, C: Default + Extend<T>>(
        &self,
        sql: &'static str,
        read: fn(&SqliteRow) -> Result<T, StoreError>,
    ) -> Result<C, StoreError> {
        let mut rows = sqlx::query(sql).fetch(&self.pool);
        let mut all = C::default();
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            all.extend([read(&row)?]);
        }
        Ok(all)
    }
}

/// Sessions and pulses of devices that are gone are left out.
fn merge(
    descriptions: &Descriptions,
    pulses: Vec<(DeviceId, Pulse)>,
    mut devices: Vec<Registered>,
    bodies: Vec<StoredSession>,
) -> Recovery {
    let mut sessions = Vec::with_capacity(bodies.len());
    let mut pulses = pulses.into_iter().peekable();
    let mut bodies = bodies.into_iter().peekable();
    for device in &mut devices {
        let id = device.device;
        while pulses.next_if(|(pulse, _)| *pulse < id).is_some() {}
        while bodies.next_if(|body| body.session.device < id).is_some() {}
        let Some((_, pulse)) = pulses.next_if(|(pulse, _)| *pulse == id) else { continue };
        add_pulse(device, &pulse);
        let application = pulse.application.and_then(|id| descriptions.get(&id));
        device.row.description = application.cloned();
        let body = bodies.next_if(|body| body.session.device == id);
        sessions.extend(body.and_then(|body| complete(body, &pulse)));
    }
    Recovery { devices, sessions }
}

fn add_pulse(device: &mut Registered, pulse: &Pulse) {
    device.last_heard = pulse.last_heard;
    device.last_handshake_at = pulse.handshake_at;
    device.row.platform = pulse.platform.or(device.row.platform);
}

/// Adds what the pulse knows; `None` if there is no address to send to.
fn complete(mut body: StoredSession, pulse: &Pulse) -> Option<StoredSession> {
    let session = &mut body.session;
    session.peer = pulse.peer?;
    session.record_limit = pulse.record_limit;
    session.record_seen = pulse.record_seen;
    session.online = pulse.online && body.transport == Transport::Udp;
    body.last_heard = pulse.last_heard.unwrap_or(body.opened_at);
    Some(body)
}

fn registered(row: &SqliteRow) -> Result<Registered, StoreError> {
    let row = Columns(row);
    let owner = row.optional_account(1)?;
    Ok(Registered {
        device: row.device(0)?,
        key: row.key_hash(5)?,
        owner,
        row: DeviceRow {
            account: row.optional_account(6)?.or(owner),
            product: row.product(2)?,
            name: row.optional_text(3)?.map(Into::into),
            description: None,
            platform: platform(row.optional(4)?),
        },
        last_heard: None,
        last_handshake_at: None,
    })
}

fn pulse(row: &SqliteRow) -> Result<(DeviceId, Pulse), StoreError> {
    let row = Columns(row);
    let pulse = Pulse {
        record_limit: row.count(1)?,
        record_seen: row.count(2)?,
        online: row.optional(3)?.unwrap_or(0) != 0,
        last_heard: row.optional_time(4)?,
        handshake_at: row.optional_time(5)?,
        peer: row.optional_text(6)?.and_then(|peer| peer.parse().ok()),
        platform: platform(row.optional(7)?),
        application: row.optional_bytes(8)?.and_then(|id| id.try_into().ok()),
    };
    Ok((row.device(0)?, pulse))
}

/// A session without what the pulse knows.
fn session(row: &SqliteRow) -> Result<StoredSession, StoreError> {
    let row = Columns(row);
    let body: SessionBody = unpack(row.bytes(1)?, "session")?;
    Ok(StoredSession {
        session: RestoredSession {
            device: row.device(0)?,
            snapshot: body.snapshot,
            peer: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            record_limit: 0,
            record_seen: 0,
            recent: Vec::new(),
            online: false,
        },
        transport: body.transport,
        hello: body.hello,
        subscriptions: unpack(row.bytes(2)?, "subscriptions")?,
        opened_at: body.opened_at,
        last_heard: body.opened_at,
    })
}

fn platform(number: Option<i64>) -> Option<Platform> {
    number.and_then(|number| u16::try_from(number).ok()).map(Platform)
}
