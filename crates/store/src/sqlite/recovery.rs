//! Reads what the server begins with: three tables, merged by device.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use model::link::{RestoredSession, Transport};
use model::message::Subscribe;
use model::{
    AccountId, ApplicationDescription, DeviceId, DeviceRow, KeyHash, Platform, ProductId, Timestamp,
};

use super::devices::unpack;
use super::line::Line;
use super::value::Columns;
use super::{Tables, failed};
use crate::fold::{DescriptionId, SessionBody, keep_subscription};
use crate::{Recovery, Registered, StoreError, StoredSession};

/// A device's row with the owner of its product, as a line. The key of a device that a product denies
/// is no key: it cannot connect.
macro_rules! registered_line {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, hex(d.id) || ',' || ifnull(d.account, '') || ',' || \
             ifnull(d.product, '') || ',' || ifnull(hex(d.name), '') || ',' || \
             ifnull(d.platform, '') || ',' || CASE WHEN d.id IN \
             (SELECT device FROM denied_devices) THEN '' ELSE ifnull(hex(d.key_hash), '') END \
             || ',' || \
             ifnull(p.account, '') || ',' || ifnull(p.location_opt_in, '') AS line \
             FROM devices AS d LEFT JOIN products AS p ON p.id = d.product ",
            $rest
        )
    };
}

/// A device's pulse as a line.
macro_rules! pulse_line {
    ($rest:literal) => {
        concat!(
            "SELECT device AS id, hex(device) || ',' || record_limit || ',' || record_seen || ',' \
             || ifnull(online, '') || ',' || ifnull(last_heard, '') || ',' || \
             ifnull(handshake_at, '') || ',' || ifnull(hex(peer), '') || ',' || \
             ifnull(platform, '') || ',' || ifnull(has_modem, '') || ',' || \
             ifnull(hex(application), '') AS line FROM pulse ",
            $rest
        )
    };
}

const REGISTERED: &str = concat!(
    "SELECT group_concat(line, char(10)), MAX(id) FROM (",
    registered_line!("WHERE d.id > $1 ORDER BY d.id LIMIT $2"),
    ")"
);

const PULSES: &str = concat!(
    "SELECT group_concat(line, char(10)), MAX(id) FROM (",
    pulse_line!("WHERE device > $1 ORDER BY device LIMIT $2"),
    ")"
);

/// Not those of devices that may not connect, or whose key was replaced since the handshake: the journal may
/// not have been told before the server stopped.
const SESSIONS: &str = "SELECT group_concat(line, char(10)), MAX(device) FROM (\
    SELECT device, hex(device) || ',' || hex(body) || ',' || hex(subscriptions) AS line \
    FROM sessions WHERE device > $1 AND device NOT IN (SELECT device FROM denied_devices) \
    AND device NOT IN (SELECT k.device FROM former_keys AS k JOIN pulse AS p \
    ON p.device = k.device WHERE k.replaced_at >= ifnull(p.handshake_at, 0)) \
    ORDER BY device LIMIT $2)";

type Descriptions = HashMap<DescriptionId, Arc<ApplicationDescription>>;

/// What the pulse tells of a device.
#[derive(Default)]
struct Pulse {
    record_limit: u64,
    record_seen: u64,
    online: bool,
    last_heard: Option<Timestamp>,
    handshake_at: Option<Timestamp>,
    peer: Option<SocketAddr>,
    platform: Option<Platform>,
    has_modem: bool,
    application: Option<DescriptionId>,
}

impl Tables {
    /// Everything but what only the journal knows (recent sources).
    pub(crate) async fn recover(&self) -> Result<Recovery, StoreError> {
        let (descriptions, mut pulses, mut devices, mut bodies) = tokio::try_join!(
            self.load_descriptions(),
            self.lines(PULSES, pulse),
            self.lines(REGISTERED, registered),
            self.lines(SESSIONS, session),
        )?;
        // In the order of their keys already, but no database promises it of lines.
        pulses.sort_unstable_by_key(|(device, _)| *device);
        devices.sort_unstable_by_key(|device| device.device);
        bodies.sort_unstable_by_key(|body| body.session.device);
        Ok(merge(&descriptions, pulses, devices, bodies))
    }

    /// What [`Self::recover`] tells of one device.
    pub(super) async fn load_registered(
        &self,
        id: DeviceId,
    ) -> Result<Option<Registered>, StoreError> {
        let query = sqlx::query(registered_line!("WHERE d.id = $1")).bind(id.0.to_vec());
        let row = query.fetch_optional(&self.pool).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let mut device = registered(Line::new(&Columns(&row).text(1)?))?;
        let query = sqlx::query(pulse_line!("WHERE device = $1")).bind(id.0.to_vec());
        if let Some(row) = query.fetch_optional(&self.pool).await.map_err(failed)? {
            let (_, pulse) = pulse(Line::new(&Columns(&row).text(1)?))?;
            add_pulse(&mut device, &pulse);
            let application = crate::Devices::application(self, id).await?;
            device.row.description = application.map(Arc::new);
        }
        Ok(Some(device))
    }

    async fn load_descriptions(&self) -> Result<Descriptions, StoreError> {
        let query = sqlx::query("SELECT id, body FROM descriptions");
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        let description = |row| {
            let row = Columns(row);
            let id = row.bytes(0)?.try_into().map_err(|_| StoreError::Damaged("description"))?;
            Ok((id, Arc::new(unpack(row.bytes(1)?, "description")?)))
        };
        rows.iter().map(description).collect()
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
    device.row.has_modem = pulse.has_modem;
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

fn registered(mut line: Line<'_>) -> Result<Registered, StoreError> {
    let device = device(&mut line)?;
    let owner = line.number()?.map(AccountId);
    let product = line.number()?.map(ProductId);
    let name = line.text()?.map(Into::into);
    let platform = line.number()?.map(Platform);
    let key = line.array()?.map(KeyHash);
    let payer = line.number()?.map(AccountId);
    let stores_points = line.number()?.unwrap_or(0) != 0;
    let account = payer.or(owner);
    let row = DeviceRow { account, product, name, platform, stores_points, ..DeviceRow::default() };
    Ok(Registered { device, key, owner, row, last_heard: None, last_handshake_at: None })
}

fn pulse(mut line: Line<'_>) -> Result<(DeviceId, Pulse), StoreError> {
    let device = device(&mut line)?;
    let pulse = Pulse {
        record_limit: line.number()?.unwrap_or(0),
        record_seen: line.number()?.unwrap_or(0),
        online: line.number()?.unwrap_or(0) != 0,
        last_heard: line.number()?.map(Timestamp),
        handshake_at: line.number()?.map(Timestamp),
        peer: line.text()?.and_then(|peer| peer.parse().ok()),
        platform: line.number()?.map(Platform),
        has_modem: line.number()?.unwrap_or(0) != 0,
        application: line.array()?,
    };
    Ok((device, pulse))
}

/// A session without what the pulse knows.
fn session(mut line: Line<'_>) -> Result<StoredSession, StoreError> {
    let device = device(&mut line)?;
    let body: SessionBody = unpack(&line.bytes()?, "session")?;
    let subscriptions = subscriptions(&line.bytes()?)?;
    let session = RestoredSession {
        device,
        snapshot: body.snapshot,
        peer: SocketAddr::from(([0, 0, 0, 0], 0)),
        record_limit: 0,
        record_seen: 0,
        recent: Vec::new(),
        online: false,
    };
    Ok(StoredSession {
        session,
        transport: body.transport,
        hello: body.hello,
        subscriptions,
        opened_at: body.opened_at,
        last_heard: body.opened_at,
    })
}

/// The subscriptions of a session, each once: earlier versions stored repeated ones again and again.
pub(super) fn subscriptions(packed: &[u8]) -> Result<Vec<Subscribe>, StoreError> {
    let mut kept = Vec::new();
    for subscribe in unpack::<Vec<Subscribe>>(packed, "subscriptions")? {
        keep_subscription(&mut kept, subscribe);
    }
    Ok(kept)
}

fn device(line: &mut Line<'_>) -> Result<DeviceId, StoreError> {
    line.array()?.map(DeviceId).ok_or(StoreError::Damaged("device id"))
}
