//! What the HTTP side and the command line ask of live devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use model::limits::EVENT_TTL_S_DEFAULT;
use model::update::Module;
use model::{
    AccountId, DeviceId, DeviceRow, DeviceState, Event, EventData, EventId, EventName, Origin,
    Platform, ProductId, Refusal, RequestId, Update, UpdateId, VariableValue,
};
use router::{Input, Reply, Request};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::mail::{Mail, Mailbox, Notice};
use crate::registry::FleetRow;
use crate::reports::UpdateReports;
use crate::safe_modes::SafeModes;
use crate::shared::Shared;
use crate::{Billing, EventHub, Health};

/// Devices that the shards are asked about at once, so that none is kept from its work for long.
const STATES_AT_ONCE: usize = 1_000;

/// The way to the shards. Cheap to clone; every request goes through a bounded inbox and is answered
/// with [`Refusal::Unavailable`] when that is full. Dropping a returned future gives up the answer:
/// a call that was not sent to its device yet is taken out, any other finishes.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Calls a function of a device and waits for what it returns, at most
    /// [`model::limits::CALL_DEADLINE`].
    ///
    /// # Errors
    /// `UnknownDevice`, `Paused`, `Offline`, `UnknownFunction`, `ArgumentTooLong`, `QueueFull`,
    /// `TimedOut`, `DeviceFailed` or `Unavailable`, in this order.
    pub async fn call(
        &self,
        device: DeviceId,
        name: String,
        argument: String,
    ) -> Result<i32, Refusal> {
        let request = Request::Call { device, name: name.into(), argument: argument.into() };
        match self.ask_device(device, request).await? {
            Reply::Returned(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a variable of a device, in at most [`model::limits::CALL_DEADLINE`].
    ///
    /// # Errors
    /// Like [`Handle::call`], with `UnknownVariable`.
    pub async fn read(&self, device: DeviceId, name: String) -> Result<VariableValue, Refusal> {
        let request = Request::Read { device, name: name.into() };
        match self.ask_device(device, request).await? {
            Reply::Value(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks a device for a sign of life; after [`model::limits::PING_DEADLINE`] what is known
    /// answers. True means online.
    ///
    /// # Errors
    /// `UnknownDevice`, `Paused` or `Unavailable`.
    pub async fn ping(&self, device: DeviceId) -> Result<bool, Refusal> {
        match self.ask_device(device, Request::Ping { device }).await {
            Ok(Reply::Online(online)) => Ok(online),
            Err(Refusal::Offline) => Ok(false),
            Ok(other) => Err(unexpected(&other)),
            Err(refusal) => Err(refusal),
        }
    }

    /// Starts (true) or stops the device's signal.
    ///
    /// # Errors
    /// `UnknownDevice`, `Offline`, `QueueFull`, `TimedOut`, `DeviceFailed` or `Unavailable`.
    pub async fn signal(&self, device: DeviceId, on: bool) -> Result<(), Refusal> {
        self.ask_device(device, Request::Signal { device, on }).await.map(drop)
    }

    /// Brings an update to a device; returns when its shard has taken it. How it goes is told by
    /// [`Handle::update_reports`]. The shard carries it to its end, over reconnects of the device, but
    /// not over a restart of the server: ask again then.
    ///
    /// # Errors
    /// `UnknownDevice`, `Offline`, `UpdateRunning` or `Unavailable`.
    pub async fn update(&self, device: DeviceId, update: Update) -> Result<(), Refusal> {
        self.ask_device(device, Request::Update { device, update }).await.map(drop)
    }

    /// Calls an update off. [`model::UpdateState::Cancelled`] follows if it was under way.
    ///
    /// # Errors
    /// `UnknownDevice`, `Offline` (no update is under way) or `Unavailable`.
    pub async fn cancel_update(&self, device: DeviceId, id: UpdateId) -> Result<(), Refusal> {
        self.ask_device(device, Request::CancelUpdate { device, update: id }).await.map(drop)
    }

    /// How updates go. There is one board; each report is given to one reader.
    pub fn update_reports(&self) -> UpdateReports {
        UpdateReports::new(Arc::clone(&self.shared))
    }

    /// Devices that say they are in safe mode. There is one board; each is given to one reader.
    pub fn safe_modes(&self) -> SafeModes {
        SafeModes::new(Arc::clone(&self.shared))
    }

    /// What the registry holds of a device.
    pub(crate) fn row(&self, device: DeviceId) -> Option<DeviceRow> {
        self.shared.registry.row(device)
    }

    /// What a device consists of, as it told last; none if it never described itself.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn modules(&self, device: DeviceId) -> Result<Vec<Module>, Refusal> {
        let told = self.shared.store.devices().system(device).await.map_err(|error| {
            warn!(%device, %error, "a system description was not read");
            Refusal::Unavailable
        })?;
        let Some((description, _)) = told else { return Ok(Vec::new()) };
        Ok(protocol::message::describe::system::modules(&description).unwrap_or_default())
    }

    /// Asks a device for its vital signs; they are kept and shown when they come.
    ///
    /// # Errors
    /// `UnknownDevice`, `Offline` or `Unavailable`.
    pub async fn ask_vitals(&self, device: DeviceId) -> Result<(), Refusal> {
        self.ask_device(device, Request::AskVitals { device }).await.map(drop)
    }

    /// Ends the session of a device, which has to prove itself anew; the stored one is void.
    pub fn end_session(&self, device: DeviceId) {
        let session = self.shared.registry.session_shard(device);
        if let Some(shard) = session.and_then(|shard| self.shared.shard(shard)) {
            let (id, request) = (self.shared.request_id(), Request::KeyReplaced { device });
            shard.notify(Notice::Input(Input::Request { id, request }));
        }
    }

    /// Publishes an event of the API; returns when it is durable.
    ///
    /// # Errors
    /// `Paused` or `Unavailable`.
    pub async fn publish(
        &self,
        account: AccountId,
        name: EventName,
        data: Option<EventData>,
        ttl_s: u32,
    ) -> Result<(), Refusal> {
        let event = self.event(account, Origin::Api, name, data);
        self.publish_event(Event { ttl_s, ..event }).await
    }

    /// Publishes an event of the API for the devices of a product; `account` is the product's owner.
    /// Returns when it is durable.
    ///
    /// # Errors
    /// `Paused` or `Unavailable`.
    pub async fn publish_to_product(
        &self,
        account: AccountId,
        product: ProductId,
        name: EventName,
        data: Option<EventData>,
        ttl_s: u32,
    ) -> Result<(), Refusal> {
        let event = self.event(account, Origin::Api, name, data);
        self.publish_event(Event { ttl_s, product: Some(product), ..event }).await
    }

    /// Publishes an event of the cloud itself, such as a webhook's result, of an account or of a
    /// product of it. It reaches streams and subscribed devices; what is sent to those is charged.
    /// Returns when it is durable.
    ///
    /// # Errors
    /// `Paused` or `Unavailable`.
    pub async fn publish_internal(
        &self,
        account: AccountId,
        product: Option<ProductId>,
        name: EventName,
        data: Option<EventData>,
    ) -> Result<(), Refusal> {
        let event = self.event(account, Origin::Internal, name, data);
        self.publish_event(Event { product, ..event }).await
    }

    fn event(
        &self,
        account: AccountId,
        origin: Origin,
        name: EventName,
        data: Option<EventData>,
    ) -> Event {
        Event {
            id: EventId(0),
            account,
            origin,
            product: None,
            name,
            data,
            ttl_s: EVENT_TTL_S_DEFAULT,
            published_at: self.shared.utc(),
        }
    }

    async fn publish_event(&self, event: Event) -> Result<(), Refusal> {
        // One shard for each account, so that its events keep their order.
        let shards = self.shared.shards.len() as u64;
        let shard = u8::try_from(event.account.0 % shards).unwrap_or(0);
        self.ask(shard, None, Request::Publish { event }).await.map(drop)
    }

    /// How these devices are, in the order asked. One that is unknown is offline and nothing else.
    pub async fn states(&self, devices: &[DeviceId]) -> Vec<DeviceState> {
        let mut known = self.live_states(devices).await;
        let resting = |device| self.shared.registry.resting_state(device);
        let state = |device: &DeviceId| known.remove(device).unwrap_or_else(|| resting(*device));
        devices.iter().map(state).collect()
    }

    /// The devices that an account owns or pays for, in no order, from memory.
    pub fn fleet(&self, account: AccountId) -> Vec<FleetRow> {
        self.shared.registry.fleet(account)
    }

    /// Grows whenever what [`Handle::fleet`] tells of any account may have changed.
    pub fn fleet_changes(&self) -> u64 {
        self.shared.registry.changes()
    }

    /// What the shards know of these devices. One whose shard does not answer is left out, like one
    /// that no shard knows.
    pub(crate) async fn live_states(
        &self,
        devices: &[DeviceId],
    ) -> BTreeMap<DeviceId, DeviceState> {
        let mut known = BTreeMap::new();
        for some in devices.chunks(STATES_AT_ONCE) {
            self.add_live_states(some, &mut known).await;
        }
        known
    }

    async fn add_live_states(
        &self,
        devices: &[DeviceId],
        known: &mut BTreeMap<DeviceId, DeviceState>,
    ) {
        let mut by_shard = BTreeMap::<u8, Vec<DeviceId>>::new();
        for device in devices {
            if let Some(shard) = self.shared.registry.session_shard(*device) {
                by_shard.entry(shard).or_default().push(*device);
            }
        }
        let asked = by_shard.into_iter().map(|(shard, devices)| async move {
            self.ask(shard, None, Request::States { devices }).await
        });
        for reply in join_all(asked).await {
            if let Ok(Reply::States(states)) = reply {
                known.extend(states.into_iter().map(|state| (state.device, state)));
            }
        }
    }

    /// To be called after the store's row of a device was written (owner, product, name, key) or
    /// removed: the row is read again and the device's session is told. A replaced key ends the
    /// session: the device is told to make a new handshake and the stored one is void. A removed
    /// device is closed.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read; the session goes on as before.
    pub async fn device_changed(&self, device: DeviceId) -> Result<(), Refusal> {
        let _turn = self.shared.changing.lock().await;
        let stored = self.shared.store.devices().registered(device).await.map_err(|error| {
            warn!(%device, %error, "a changed device was not read again");
            Refusal::Unavailable
        })?;
        let change = self.shared.registry.refresh(device, stored);
        let Some(shard) = self.shared.shard(change.shard) else { return Err(Refusal::Unavailable) };
        if change.key_replaced && change.row.is_some() {
            let (id, request) = (self.shared.request_id(), Request::KeyReplaced { device });
            shard.notify(Notice::Input(Input::Request { id, request }));
        }
        shard.notify(Notice::Input(Input::Changed { device, row: change.row }));
        Ok(())
    }

    /// The limits of accounts.
    pub fn billing(&self) -> &Billing {
        &self.shared.billing
    }

    /// Whether a device of this platform is on a carrier; some are only if they told of a modem.
    pub fn is_cellular(&self, device: DeviceId, platform: Option<Platform>) -> bool {
        let platforms = self.shared.billing.catalogues().platforms();
        let has_modem = || self.shared.registry.has_modem(device);
        platform.is_some_and(|platform| platforms.is_cellular(platform, has_modem()))
    }

    /// The streams of committed events.
    pub fn streams(&self) -> &EventHub {
        &self.shared.hub
    }

    /// How the server fares.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Starts a task of the background. A panic ends it, is an `ERROR` in the log, and
    /// [`Handle::health`] tells its name until the server is restarted. Call it in a tokio runtime.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shared.failures.watch_task(name, task).await })
    }

    /// A device that is registered and that no shard ever saw is offline.
    async fn ask_device(&self, device: DeviceId, request: Request) -> Result<Reply, Refusal> {
        if self.shared.registry.row(device).is_none() {
            return Err(Refusal::UnknownDevice);
        }
        let Some(shard) = self.shared.registry.session_shard(device) else {
            return Err(Refusal::Offline);
        };
        let reply = self.ask(shard, Some(device), request).await;
        reply.map_err(|refusal| match refusal {
            Refusal::UnknownDevice => Refusal::Offline,
            other => other,
        })
    }

    /// Asks a shard; whose future is dropped takes back what it asked of `device`.
    async fn ask(
        &self,
        shard: u8,
        device: Option<DeviceId>,
        request: Request,
    ) -> Result<Reply, Refusal> {
        let shard = self.shared.shard(shard).ok_or(Refusal::Unavailable)?;
        let (id, (reply, answer)) = (self.shared.request_id(), oneshot::channel());
        let mail = Mail::Request { id, request, reply };
        shard.try_send("request", mail).map_err(|_| Refusal::Unavailable)?;
        let mut waiting = Waiting { shard, id, device };
        let answer = answer.await.unwrap_or(Err(Refusal::Unavailable));
        waiting.device = None;
        answer
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A caller that waits. Dropped before its answer came, it tells the shard.
struct Waiting<'a> {
    shard: &'a Mailbox,
    id: RequestId,
    /// None once the answer is here, or when there is nothing to take back.
    device: Option<DeviceId>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(device) = self.device {
            let _ = self.shard.try_send("gave_up", Mail::GaveUp { device, request: self.id });
        }
    }
}

/// A shard answers each request with its own kind of reply; another one is a mistake of ours.
fn unexpected(reply: &Reply) -> Refusal {
    debug_assert!(false, "{reply:?} answers another request");
    Refusal::Unavailable
}
