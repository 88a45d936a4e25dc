//! A server of its own for each test, with registered simulated devices.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{AccountId, DeviceId, KeyHash, Timestamp};
use node::{Handle, Node, NodeConfig};
use secure::keys::ServerKeys;
use sim::device::profile::Generation;
use sim::device::{Device, Observation, Publish, Setup, Trust};
use sim::identity::Identity;
use sim::live::Live;
use store::{DeviceKey, NewDevice, Store};

/// Longer than anything here should take.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A data folder with keys and one account; a server can run on it, again and again.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) keys: ServerKeys,
    pub(crate) account: AccountId,
    registered: u32,
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) handle: Handle,
    pub(crate) store: Arc<Store>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = ServerKeys::generate().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let accounts = store.accounts();
        let account = accounts.create("a@example.com", "hash", Timestamp(1)).await.unwrap().id;
        store.close().await.unwrap();
        Self { folder, keys, account, registered: 0 }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn start(&self, config: NodeConfig) -> Server {
        let store = Arc::new(Store::open(self.folder()).await.unwrap());
        let started = Node::start(config, Arc::clone(&store), self.keys.clone()).await;
        let (node, handle) = started.unwrap();
        Server { node, handle, store }
    }

    /// A new device of this account, registered and not powered on.
    pub(crate) async fn device(&mut self, server: &Server, generation: Generation) -> Live {
        let identity = self.identity(generation);
        register(&server.store, &identity, Some(self.account)).await;
        server.handle.device_changed(identity.id).await.unwrap();
        self.live(identity, server, generation)
    }

    pub(crate) fn identity(&mut self, generation: Generation) -> Identity {
        self.registered += 1;
        let rsa = generation == Generation::Tcp;
        Identity::of_fleet("e00fce68", 1, self.registered, rsa)
    }

    pub(crate) fn live(&self, identity: Identity, server: &Server, generation: Generation) -> Live {
        let keys = [self.keys.ec().public_key().clone(), self.keys.rsa().public_key().clone()];
        let setup = Setup::new(generation, Trust::new(keys).unwrap());
        let seed = u64::from(self.registered);
        Live::new(Device::new(identity, Arc::new(setup), seed), server.address(generation))
    }
}

impl Server {
    pub(crate) fn address(&self, generation: Generation) -> SocketAddr {
        match generation {
            Generation::Tcp => self.node.tcp_addr(),
            Generation::Os3 | Generation::Os6 => self.node.udp_addr(),
        }
    }

    pub(crate) async fn stop(self) {
        self.node.stop().await;
        self.store.close().await.unwrap();
    }
}

pub(crate) async fn register(store: &Store, identity: &Identity, account: Option<AccountId>) {
    let new = NewDevice {
        id: identity.id,
        account,
        product: None,
        name: None,
        platform: None,
        key: Some(key(identity)),
        first_use: false,
    };
    store.devices().insert(&new, Timestamp(1)).await.unwrap();
}

pub(crate) fn key(identity: &Identity) -> DeviceKey {
    let public = identity.key.public_key().unwrap();
    DeviceKey { hash: KeyHash(public.hash()), spki: public.spki().to_vec() }
}

/// Powers a device on and waits until it told everything.
pub(crate) fn connect(live: &mut Live) -> DeviceId {
    live.power_on();
    wait_for(live, |seen| *seen == Observation::Settled);
    live.device().id()
}

pub(crate) fn wait_for(live: &mut Live, wanted: impl FnMut(&Observation) -> bool) -> Observation {
    let found = tokio::task::block_in_place(|| live.run_until(SOON, wanted));
    found.unwrap_or_else(|| panic!("it did not come; seen: {:#?}", live.observations()))
}

/// Waits for an event, unless it was seen before.
pub(crate) fn wait_for_event(live: &mut Live, name: &str) {
    let wanted =
        |seen: &Observation| matches!(seen, Observation::Event(event) if event.name == name);
    if !live.observations().iter().any(wanted) {
        wait_for(live, wanted);
    }
}

/// Publishes and waits for the acknowledgement; gives its code.
pub(crate) fn publish(live: &mut Live, name: &str, data: &str) -> u16 {
    let now = live.now();
    let wanted = sim::device::Acknowledgement::Wanted;
    let event = Publish { acknowledgement: wanted, ..Publish::text(name, data) };
    let number = live.device().publish(now, &event).unwrap();
    let answered = wait_for(
        live,
        |seen| matches!(seen, Observation::PublishAnswered { publish, .. } if *publish == number),
    );
    match answered {
        Observation::PublishAnswered { code, .. } => code,
        other => unreachable!("{other:?}"),
    }
}

/// Lets the device live until the server's answer is there.
pub(crate) async fn while_alive<T: Send + 'static>(
    live: &mut Live,
    asked: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = tokio::spawn(asked);
    for _ in 0..1000 {
        if task.is_finished() {
            break;
        }
        tokio::task::block_in_place(|| live.run(Duration::from_millis(10)));
    }
    task.await.unwrap()
}
