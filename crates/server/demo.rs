//! `serve --demo`: an account, a token and three simulated devices, gone with the server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{AccountId, DeviceId, KeyHash, Metric};
use rand::Rng;
use secure::keys::{KeyKind, PrivateKey, PublicKey};
use serde_json::{Value, json};
use sim::device::profile::Generation;
use sim::device::{Device, Publish, Setup, Trust};
use sim::identity::{DeviceKey, Identity};
use sim::live::Live;
use store::NewDevice;
use web::{TokenLife, TokenRequest};

use crate::admin::utc_now;
use crate::assemble::{Addresses, Server};
use crate::server_keys::{self, Role};

/// The demo account's address.
const USERNAME: &str = "demo@example.org";
/// Time between two publishes of a demo device.
const PUBLISH_EVERY: Duration = Duration::from_secs(3);
/// Publishes between two reports of its vital signs.
const VITALS_EVERY: u32 = 5;
/// How long a device is driven before somebody looks whether to stop.
const TURN: Duration = Duration::from_millis(100);
/// One device of each kind: profile, name, first bytes of its id.
const DEVICES: [(Generation, &str, &str, [u8; 4]); 3] = [
    (Generation::Os6, "os6", "greenhouse", [0xe0, 0x0f, 0xce, 0x68]),
    (Generation::Os3, "os3", "delivery-van", [0x35, 0x00, 0x1e, 0x00]),
    (Generation::Tcp, "tcp", "workshop", [0x2a, 0x00, 0x3f, 0x00]),
];

/// What a demo adds to a server.
#[derive(Debug)]
pub struct Demo {
    password: String,
    token: String,
    devices: Vec<(DeviceId, &'static str)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A data folder that goes with the process.
pub fn folder() -> Result<tempfile::TempDir, String> {
    tempfile::Builder::new()
        .prefix("cloudchamber-demo-")
        .tempdir()
        .map_err(|why| format!("no folder for the demo can be made: {why}"))
}

impl Demo {
    /// Creates the account, registers the devices and switches them on.
    pub async fn start(server: &Server) -> Result<Self, String> {
        let text = |why: store::StoreError| why.to_string();
        let password = random_text(8);
        let hash = web::password::hash(&password).ok_or("the password cannot be hashed")?;
        let account =
            server.store().accounts().create(USERNAME, &hash, utc_now()).await.map_err(text)?;
        let request = TokenRequest {
            account: account.id,
            client: "demo".into(),
            scopes: Vec::new(),
            life: TokenLife::Endless,
        };
        let (token, _) = web::issue(server.store(), request, utc_now()).await.map_err(text)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut demo = Self { password, token, devices: Vec::new(), stop, threads: Vec::new() };
        for (generation, profile, name, prefix) in DEVICES {
            let identity = register(server, account.id, generation, name, prefix).await?;
            demo.devices.push((identity.id, profile));
            let live = live(server, generation, identity)?;
            let stop = Arc::clone(&demo.stop);
            let thread = std::thread::Builder::new().name(format!("demo-{profile}"));
            let running =
                thread.spawn(move || drive(live, &stop)).map_err(|why| why.to_string())?;
            demo.threads.push(running);
        }
        Ok(demo)
    }

    /// Switches the devices off.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || {
            self.threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        let _ = joined.await;
    }

    /// The part of the ready line.
    pub fn as_json(&self) -> Value {
        let devices: Vec<Value> = self
            .devices
            .iter()
            .map(|(id, profile)| json!({"id": id.to_string(), "profile": profile}))
            .collect();
        json!({
            "username": USERNAME,
            "password": self.password,
            "token": self.token,
            "devices": devices,
        })
    }

    /// What a person sees.
    pub fn welcome(&self, at: &Addresses) -> String {
        let url = at.url();
        let bearer = format!("-H 'Authorization: Bearer {}'", self.token);
        let first = self.devices.first().map(|(id, _)| id.to_string()).unwrap_or_default();
        let devices: String = self
            .devices
            .iter()
            .zip(DEVICES)
            .map(|((id, profile), (_, _, name, _))| format!("    {id}  {profile}  {name}\n"))
            .collect();
        format!(
            "Cloud Chamber is up, with a throw-away data folder.\n\n\
             \x20 API      {url}\n\
             \x20 devices  udp {}, tcp {}\n\
             \x20 account  {USERNAME}, password {}\n\
             \x20 token    {}\n\n\
             \x20 simulated devices:\n{devices}\n\
             Watch their events:\n\n    curl -N {bearer} {url}/v1/devices/events\n\n\
             Call a function, read a variable:\n\n    curl {bearer} -d arg=hello {url}/v1/devices/{first}/echo\n\
             \x20   curl {bearer} {url}/v1/devices/{first}/v_double\n\n\
             Stop with Ctrl-C.",
            at.udp, at.tcp, self.password, self.token
        )
    }
}

async fn register(
    server: &Server,
    account: AccountId,
    generation: Generation,
    name: &str,
    prefix: [u8; 4],
) -> Result<Identity, String> {
    let kind = if generation == Generation::Tcp { KeyKind::Rsa1024 } else { KeyKind::P256 };
    let key = PrivateKey::generate(kind).map_err(|why| why.to_string())?;
    let mut id = [0; 12];
    rand::rng().fill_bytes(&mut id);
    id[..4].copy_from_slice(&prefix);
    let id = DeviceId(id);
    let public = key.public_key();
    let device = NewDevice {
        id,
        account: Some(account),
        product: None,
        name: Some(name.to_owned()),
        platform: None,
        key: Some(store::DeviceKey { hash: KeyHash(public.hash()), spki: public.spki().to_vec() }),
        first_use: false,
    };
    server.store().devices().insert(&device, utc_now()).await.map_err(|why| why.to_string())?;
    server.handle().device_changed(id).await.map_err(|why| why.to_string())?;
    Ok(Identity { id, key: DeviceKey::Held(Arc::new(key)) })
}

fn live(server: &Server, generation: Generation, identity: Identity) -> Result<Live, String> {
    let at = server.addresses();
    let (role, address) = match generation {
        Generation::Tcp => (Role::Tcp, at.tcp),
        Generation::Os3 | Generation::Os6 => (Role::Udp, at.udp),
    };
    let trust = Trust::new([server_key(server.data(), role)?]).map_err(|why| why.to_string())?;
    let setup = Arc::new(Setup::new(generation, trust));
    let seed = u64::from(identity.id.0[11]);
    Ok(Live::new(Device::new(identity, setup, seed), from_here(address)))
}

fn server_key(data: &Path, role: Role) -> Result<PublicKey, String> {
    let path = server_keys::files(data, role).public_pem;
    let bytes = std::fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    PublicKey::parse(&bytes).map_err(|why| why.to_string())
}

/// Where a device on this machine reaches a listening address.
fn from_here(address: SocketAddr) -> SocketAddr {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], port)),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))
        }
        other => other,
    }
}

/// A day in the life of a demo device: something to see every few seconds.
fn drive(mut live: Live, stop: &AtomicBool) {
    live.power_on();
    let (mut next, mut reading) = (Instant::now() + PUBLISH_EVERY, 20.0_f64);
    let mut publishes = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        live.run(TURN);
        live.forget_observations();
        if Instant::now() < next || !live.device().is_online() {
            continue;
        }
        next = Instant::now() + PUBLISH_EVERY;
        reading += (rand::rng().next_u32() % 11) as f64 / 10.0 - 0.5;
        let (text, now) = (format!("{reading:.1}"), live.now());
        // A device that is over its own rate publishes the next time.
        let _ = live.device().publish(now, &Publish::text("temperature", &text));
        if publishes.is_multiple_of(VITALS_EVERY) {
            live.device().set_vitals(vitals(publishes));
            live.device().publish_vitals(now);
        }
        publishes = publishes.wrapping_add(1);
    }
}

/// Numbers of vital signs (`messages.md` §6.7) with values that wander; percents come in 256ths.
fn vitals(publishes: u32) -> Vec<Metric> {
    let wander = |around: u32, by: u32| {
        i32::try_from(around + rand::rng().next_u32() % by).unwrap_or(i32::MAX)
    };
    let uptime_s = i32::try_from(u64::from(publishes) * PUBLISH_EVERY.as_secs());
    let told = [
        (2, wander(80_000, 4_000)),
        (3, wander(93 * 256, 512)),
        (6, uptime_s.unwrap_or(i32::MAX)),
        (31, wander(20, 60)),
        (33, wander(60 * 256, 20 * 256)),
        (34, wander(50 * 256, 30 * 256)),
    ];
    told.map(|(id, value)| Metric { id, value }).into()
}

fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rand::rng().fill_bytes(&mut random);
    hex::encode(random)
}
