//! What the HTTP side and the command line ask of live devices.

use model::device::DeviceState;
use model::{AccountId, DeviceId, EventData, EventName, Refusal, VariableValue};

use crate::{EventHub, Health};

/// The way to the shards. Cheap to clone; every request goes through a bounded inbox and is answered
/// with [`Refusal::Unavailable`] when that is full. Dropping a returned future gives up the answer,
/// not the request.
#[derive(Debug, Clone)]
pub struct Handle {
    hub: EventHub,
}

impl Handle {
    /// Calls a function of a device and waits for what it returns, at most
    /// [`model::limits::CALL_DEADLINE`].
    ///
    /// Refused with `UnknownDevice`, `Paused`, `Offline`, `UnknownFunction`, `ArgumentTooLong`,
    /// `QueueFull`, `TimedOut`, `DeviceFailed` or `Unavailable`, in this order.
    pub async fn call(
        &self,
        _device: DeviceId,
        _name: String,
        _argument: String,
    ) -> Result<i32, Refusal> {
        Err(Refusal::Unavailable)
    }

    /// Reads a variable of a device; refused like [`Handle::call`], with `UnknownVariable`.
    pub async fn read(&self, _device: DeviceId, _name: String) -> Result<VariableValue, Refusal> {
        Err(Refusal::Unavailable)
    }

    /// Asks a device for a sign of life; after [`model::limits::PING_DEADLINE`] what is known
    /// answers. True means online.
    pub async fn ping(&self, _device: DeviceId) -> Result<bool, Refusal> {
        Err(Refusal::Unavailable)
    }

    /// Starts (true) or stops the device's signal.
    pub async fn signal(&self, _device: DeviceId, _on: bool) -> Result<(), Refusal> {
        Err(Refusal::Unavailable)
    }

    /// Publishes an event of the API; returns when it is durable.
    pub async fn publish(
        &self,
        _account: AccountId,
        _name: EventName,
        _data: Option<EventData>,
        _ttl_s: u32,
    ) -> Result<(), Refusal> {
        Err(Refusal::Unavailable)
    }

    /// How these devices are. In the order asked; one that no shard knows is offline and otherwise
    /// unknown.
    pub async fn states(&self, _devices: &[DeviceId]) -> Vec<DeviceState> {
        Vec::new()
    }

    /// To be called after the store's row of a device was written (owner, product, name, key) or
    /// removed: the row is read again and the device's session is told. A replaced or removed key
    /// ends the session: the device is told to make a new handshake and the stored one is void.
    pub async fn device_changed(&self, _device: DeviceId) -> Result<(), Refusal> {
        Err(Refusal::Unavailable)
    }

    /// The streams of committed events.
    pub fn streams(&self) -> &EventHub {
        &self.hub
    }

    /// How the device side fares.
    pub fn health(&self) -> Health {
        Health { degraded: None }
    }
}
