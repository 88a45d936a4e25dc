//! What operators do to accounts and devices, on a live server (through a Unix socket in the data
//! folder) and on a stopped one (straight on the store) alike.

mod billing;
mod invitations;
mod modules;
mod why;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{AccountId, DeviceId, KeyHash, Platform, ProductId, Timestamp};
use node::Handle;
use secure::keys::PublicKey;
use serde::{Deserialize, Serialize};
use store::{DeviceKey, FilesConfig, NewDevice, Store, StoreError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use web::{TokenLife, TokenRequest};

pub use billing::{DeviceUsageLine, PlanOrder, Share, UsageLine};
pub use invitations::InvitationLine;
pub use modules::{FirmwareFiles, ModuleLine};
pub use why::{CountedLine, CountedList};

/// Name of the socket in the data folder.
const SOCKET: &str = "admin.sock";
/// Longest request or reply, in bytes: a list of 100,000 devices fits.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// Shortest password taken, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;

/// One act of an operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Create an account.
    AddUser {
        /// E-mail address.
        email: String,
        /// Its password, in clear: the socket is the owner's alone.
        password: String,
    },
    /// Mail somebody a code to create an account with.
    Invite {
        /// To whom.
        email: String,
        /// How long it is good.
        days: u32,
    },
    /// List the open invitations.
    ListInvitations,
    /// Take an invitation back.
    Withdraw {
        /// Whose.
        email: String,
    },
    /// Make a token.
    CreateToken {
        /// Whose.
        email: String,
        /// Seconds of life; 0 for ever.
        expires_in: u64,
    },
    /// Register devices; those that exist stay as they are.
    AddDevices {
        /// Whose they shall be.
        owner: String,
        /// Which.
        devices: Vec<DeviceSpec>,
    },
    /// List devices.
    ListDevices {
        /// Only those of this account.
        owner: Option<String>,
    },
    /// Keep a system module for devices in safe mode.
    AddModule {
        /// Name of the file.
        name: String,
        /// The file, as hex.
        file: String,
    },
    /// List the system modules.
    ListModules,
    /// Look for every firmware file.
    CheckFirmware,
    /// Remove a system module.
    RemoveModule {
        /// SHA-256 of its file, as hex.
        hash: String,
    },
    /// Give an account a plan.
    SetPlan(PlanOrder),
    /// What accounts used in their open billing periods.
    Usage {
        /// Only this account.
        owner: Option<String>,
    },
    /// What the devices of an account used, by day.
    DeviceUsage {
        /// Whose.
        owner: String,
        /// First day, `YYYY-MM-DD`.
        from: String,
        /// Last day.
        to: String,
    },
    /// What was counted lately, one by one.
    Why {
        /// Whose; may be left out with a device.
        owner: Option<String>,
        /// Only this device.
        device: Option<String>,
        /// At most so many, the newest.
        limit: u32,
    },
}

/// A device to register.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// 24 hex digits.
    pub id: String,
    /// SubjectPublicKeyInfo in DER, as hex.
    pub public_key: String,
    /// Platform number.
    pub platform: Option<u16>,
    /// Product id.
    pub product: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// The account's number.
    User {
        /// Its number.
        id: u64,
        /// Its address.
        email: String,
    },
    /// Somebody was invited.
    Invited {
        /// The address.
        email: String,
        /// The code, shown once.
        code: String,
        /// Until when it is good, ISO 8601.
        expires_at: String,
    },
    /// The open invitations.
    Invitations(Vec<InvitationLine>),
    /// An invitation was taken back.
    Withdrawn {
        /// The address.
        email: String,
    },
    /// A token, shown once.
    Token {
        /// The token.
        access_token: String,
        /// Seconds of life; 0 for ever.
        expires_in: u64,
    },
    /// Devices registered.
    Added {
        /// How many were created.
        added: u64,
        /// Ids that were there already.
        present: Vec<String>,
        /// Ids whose key other devices have as well.
        shared_keys: Vec<String>,
    },
    /// Devices.
    Devices(Vec<DeviceLine>),
    /// System modules.
    Modules(Vec<ModuleLine>),
    /// What became of the firmware files.
    Firmware(FirmwareFiles),
    /// How accounts stand.
    Usages(Vec<UsageLine>),
    /// What devices used, by day.
    DeviceUsages(Vec<DeviceUsageLine>),
    /// What was counted lately.
    Counted(CountedList),
    /// It was refused, with what to do.
    Refused(String),
}

/// A device in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its owner's address.
    pub owner: Option<String>,
    /// Its platform.
    pub platform: Option<String>,
    /// Its product.
    pub product: Option<u32>,
    /// Whether it is believed online; absent when the server is stopped.
    pub online: Option<bool>,
    /// When it was last heard, ISO 8601.
    pub last_heard: Option<String>,
}

/// Carries out a request, on the live server if there is one.
pub async fn run(data: &Path, request: Request) -> Result<Reply, String> {
    run_with(data, &FilesConfig::Folder, request).await
}

/// The same for a request about firmware files, which lie there when the server is stopped.
pub async fn run_with(data: &Path, files: &FilesConfig, request: Request) -> Result<Reply, String> {
    if let Ok(stream) = UnixStream::connect(data.join(SOCKET)).await {
        return ask(stream, &request)
            .await
            .map_err(|why| format!("the server did not answer: {why}"));
    }
    let store = Store::open_with(data, files).await.map_err(|why| why.to_string())?;
    let reply = Desk { store: Arc::new(store), handle: None };
    let answered = reply.answer(request).await;
    reply.store.close().await.map_err(|why| why.to_string())?;
    Ok(answered)
}

async fn ask(stream: UnixStream, request: &Request) -> std::io::Result<Reply> {
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}

/// Answers on the socket until dropped; the socket's file goes with it.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl AdminSocket {
    /// Listens in the data folder. The folder's lock is held, so an old file is a dead server's.
    pub fn open(data: &Path, store: Arc<Store>, handle: Handle) -> std::io::Result<Self> {
        let path = data.join(SOCKET);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        restrict(&path)?;
        let desk = Desk { store, handle: Some(handle.clone()) };
        let task = handle.spawn("admin socket", listen(listener, desk));
        Ok(Self { path, task })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn restrict(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// One at a time: operators are few.
async fn listen(listener: UnixListener, desk: Desk) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if let Err(why) = serve_one(stream, &desk).await {
            tracing::debug!(%why, "an operator's request broke off");
        }
    }
}

async fn serve_one(stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => desk.answer(request).await,
        Err(why) => Reply::Refused(format!("the request cannot be read: {why}")),
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    stream.write_all(&answer).await
}

/// Carries out requests.
struct Desk {
    store: Arc<Store>,
    /// Present on a live server.
    handle: Option<Handle>,
}

impl Desk {
    async fn answer(&self, request: Request) -> Reply {
        let done = match request {
            Request::AddUser { email, password } => self.add_user(&email, &password).await,
            Request::Invite { email, days } => self.invite(&email, days).await,
            Request::ListInvitations => self.list_invitations().await,
            Request::Withdraw { email } => self.withdraw(&email).await,
            Request::CreateToken { email, expires_in } => {
                self.create_token(&email, expires_in).await
            }
            Request::AddDevices { owner, devices } => self.add_devices(&owner, &devices).await,
            Request::ListDevices { owner } => self.list_devices(owner.as_deref()).await,
            Request::AddModule { name, file } => self.add_module(name, &file).await,
            Request::ListModules => self.list_modules().await,
            Request::CheckFirmware => self.check_firmware().await,
            Request::RemoveModule { hash } => self.remove_module(&hash).await,
            Request::SetPlan(order) => self.set_plan(&order).await,
            Request::Usage { owner } => self.usage(owner.as_deref()).await,
            Request::DeviceUsage { owner, from, to } => self.device_usage(&owner, &from, &to).await,
            Request::Why { owner, device, limit } => {
                self.why(owner.as_deref(), device.as_deref(), limit).await
            }
        };
        done.unwrap_or_else(Reply::Refused)
    }

    async fn add_user(&self, email: &str, password: &str) -> Result<Reply, String> {
        // The slash is for the accounts that stand for customers and API users.
        let is_odd = |c: char| c == '/' || c.is_whitespace();
        if !email.contains('@') || email.len() > 254 || email.chars().any(is_odd) {
            return Err(format!("{email:?} is no e-mail address"));
        }
        if password.len() < PASSWORD_BYTES_MIN {
            return Err(format!("a password has at least {PASSWORD_BYTES_MIN} characters"));
        }
        let hash = web::password::hash(password).ok_or("the password cannot be hashed")?;
        match self.store.accounts().create(email, &hash, utc_now()).await {
            Ok(account) => Ok(Reply::User { id: account.id.0, email: account.email }),
            Err(StoreError::Taken) => Err(format!("{email} has an account already")),
            Err(why) => Err(why.to_string()),
        }
    }

    async fn account(&self, email: &str) -> Result<AccountId, String> {
        let found = self.store.accounts().by_email(email).await.map_err(|why| why.to_string())?;
        found.map(|account| account.id).ok_or_else(|| {
            format!("{email} has no account: make one with `cloudchamber user add {email} --password-stdin`")
        })
    }

    async fn create_token(&self, email: &str, expires_in: u64) -> Result<Reply, String> {
        let account = self.account(email).await?;
        let life =
            if expires_in == 0 { TokenLife::Endless } else { TokenLife::Seconds(expires_in) };
        let request =
            TokenRequest { account, client: "cloudchamber".into(), scopes: Vec::new(), life };
        let issued = web::issue(&self.store, request, utc_now()).await;
        let (access_token, _) = issued.map_err(|why| why.to_string())?;
        Ok(Reply::Token { access_token, expires_in })
    }

    async fn add_devices(&self, owner: &str, specs: &[DeviceSpec]) -> Result<Reply, String> {
        let account = self.account(owner).await?;
        let devices: Vec<NewDevice> =
            specs.iter().map(|spec| spec.parse(account)).collect::<Result<_, _>>()?;
        let shared_keys = self.shared_keys(&devices).await?;
        let billing = self.billing().await?;
        let _permit = self.import_permit(&billing, account, &devices).await?;
        let imported = self.store.devices().import(&devices, utc_now()).await;
        let imported = imported.map_err(|why| why.to_string())?;
        if let Some(handle) = &self.handle {
            for device in &devices {
                handle.device_changed(device.id).await.map_err(|why| why.to_string())?;
            }
        }
        let present = imported.present.iter().map(ToString::to_string).collect();
        Ok(Reply::Added { added: imported.added, present, shared_keys })
    }

    /// Ids whose key is registered already, or given twice, for another id.
    async fn shared_keys(&self, devices: &[NewDevice]) -> Result<Vec<String>, String> {
        let mut first = std::collections::BTreeMap::new();
        let mut shared = Vec::new();
        for device in devices {
            let Some(key) = &device.key else { continue };
            let known = match first.get(&key.hash) {
                Some(_) => true,
                None => {
                    first.insert(key.hash, device.id);
                    let others = self.store.devices().by_key(key.hash).await;
                    others.map_err(|why| why.to_string())?.iter().any(|other| *other != device.id)
                }
            };
            if known {
                shared.push(device.id.to_string());
            }
        }
        Ok(shared)
    }

    async fn list_devices(&self, owner: Option<&str>) -> Result<Reply, String> {
        let wanted = match owner {
            Some(email) => Some(self.account(email).await?),
            None => None,
        };
        let accounts = self.store.accounts().list().await.map_err(|why| why.to_string())?;
        let mut lines = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.store.devices().page(after, 1000).await.map_err(|why| why.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let ids: Vec<DeviceId> = page.iter().map(|device| device.id).collect();
            let live = match &self.handle {
                Some(handle) => handle.states(&ids).await,
                None => Vec::new(),
            };
            for device in page.iter().filter(|device| wanted.is_none() || device.account == wanted)
            {
                let owner = accounts.iter().find(|account| Some(account.id) == device.account);
                let live = live.iter().find(|live| live.device == device.id);
                let heard = live.and_then(|live| live.last_heard).or(device.last_heard);
                lines.push(DeviceLine {
                    id: device.id.to_string(),
                    name: device.name.clone(),
                    owner: owner.map(|account| account.email.clone()),
                    platform: device.platform.map(|number| Platform(number).name()),
                    product: device.product.map(|product| product.0),
                    online: self.handle.is_some().then(|| live.is_some_and(|live| live.online)),
                    last_heard: heard.map(|at| at.to_string()),
                });
            }
        }
        Ok(Reply::Devices(lines))
    }
}

impl DeviceSpec {
    fn parse(&self, account: AccountId) -> Result<NewDevice, String> {
        let id: DeviceId = self.id.parse().map_err(|why| format!("{:?}: {why}", self.id))?;
        let der = hex::decode(&self.public_key).map_err(|why| format!("{id}: {why}"))?;
        let key = PublicKey::parse(&der).map_err(|why| format!("{id}: {why}"))?;
        Ok(NewDevice {
            id,
            account: Some(account),
            product: self.product.map(ProductId),
            name: None,
            platform: self.platform,
            key: Some(DeviceKey { hash: KeyHash(key.hash()), spki: key.spki().to_vec() }),
            first_use: false,
        })
    }
}

pub(crate) fn utc_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX))
}
