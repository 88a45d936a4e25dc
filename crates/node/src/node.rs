//! Assembles the device side: binds, recovers, starts the threads, stops them.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use secure::dtls::ServerIdentity;
use secure::keys::ServerKeys;
use secure::p256::{OpensslP256, SigningKey};
use secure::tcp::RsaServerKeys;
use store::{Recovery, Store};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinHandle as TaskHandle;
use tracing::info;

use crate::clock::Clock;
use crate::commit::CommitQueue;
use crate::errands::{self, ERRANDS_MAX};
use crate::health::CommitHealth;
use crate::mail::{Mailbox, Mails};
use crate::pool::Pool;
use crate::quota::LogQuota;
use crate::registry::Registry;
use crate::shared::{Failures, Keys, Shared};
use crate::{
    Billing, EventHub, Handle, NodeConfig, StartError, restore, roll_up, tcp, threads, udp,
};

/// The running device side. Dropping it without [`Node::stop`] leaves its threads running until the
/// process ends; what was acknowledged is durable all the same.
pub struct Node {
    udp: SocketAddr,
    tcp: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    /// Tells the TCP thread to close everything.
    pub(crate) tcp_stop: watch::Sender<bool>,
    pub(crate) tcp_thread: Option<JoinHandle<()>>,
    /// All but the TCP thread, which ends before the shards, and the commit thread, which ends last.
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) commit: JoinHandle<()>,
    pub(crate) tasks: Vec<TaskHandle<()>>,
}

/// Ports, bound before anything slow begins: a port that is taken is told at once, and what devices
/// send meanwhile waits in the kernel.
struct Ports {
    udp: Vec<UdpSocket>,
    udp_addr: SocketAddr,
    tcp: TcpListener,
    tcp_addr: SocketAddr,
}

impl Node {
    /// Binds the ports, recovers sessions from the store, then serves devices. Call it in a tokio
    /// runtime; the threads of the device side have their own. When it returns, the sessions of the
    /// last process go on.
    ///
    /// # Errors
    /// See [`StartError`]; each text says what to do.
    pub async fn start(
        config: NodeConfig,
        store: Arc<Store>,
        keys: ServerKeys,
    ) -> Result<(Self, Handle), StartError> {
        let config = config.resolved()?;
        let keys = Keys::new(&keys)?;
        let ports = Ports::bind(&config)?;
        let Recovery { devices, sessions } = store.recover().await?;
        info!(devices = devices.len(), sessions = sessions.len(), "recovered");
        let journal = store.journal().ok_or(StartError::JournalTaken)?;
        // Of this run alone: cookies tell time by the run's own clock, and one of an earlier run would
        // be young again.
        let cookie_secret = rand::random();
        let shards = config.shards_number();
        let registry = Registry::new(shards, devices);
        let sessions = restore::by_shard(sessions, shards, &registry);
        let (pool, mut threads) = Pool::start(config.pool_threads, config.pool_queue_max)?;
        let billing =
            Billing::open(Arc::clone(&store), config.catalogues.clone(), &config.catalogue);
        let billing = billing.await?;
        let (shared, mails, errands) = assemble(config, store, keys, registry, pool, billing);

        let handle = Handle::new(Arc::clone(&shared));
        shared.billing.tell_all().await;
        let commit = threads::commit(&shared, journal)?;
        let mut shards = Vec::new();
        for ((mails, socket), sessions) in mails.into_iter().zip(ports.udp).zip(sessions) {
            let wires = threads::Wires { mails, socket, sessions, cookie_secret };
            shards.push(threads::shard(&shared, shards.len(), wires)?);
        }
        for (thread, ready) in shards {
            threads.push(thread);
            threads::wait(ready).await?;
        }
        let (tcp_stop, stopped) = watch::channel(false);
        let tcp_thread = Some(threads::tcp(&shared, ports.tcp, stopped)?);
        let hub = shared.hub.clone();
        let mut tasks = vec![
            handle.spawn("event streams", async move { hub.wake_readers().await }),
            handle.spawn("errands", errands::run(errands, Arc::clone(&shared))),
            handle.spawn("metrics", threads::export_metrics(Arc::clone(&shared))),
            handle.spawn("roll-up", roll_up::run(Arc::clone(&shared.store), shared.config.kept)),
        ];
        if shared.config.counts {
            tasks.push(handle.spawn("billing", Arc::clone(&shared.billing).run()));
        }
        info!(udp = %ports.udp_addr, tcp = %ports.tcp_addr, "devices are served");
        let (udp, tcp) = (ports.udp_addr, ports.tcp_addr);
        Ok((Self { udp, tcp, shared, tcp_stop, tcp_thread, threads, commit, tasks }, handle))
    }

    /// Where UDP devices send to; the port the kernel chose if 0 was configured.
    pub fn udp_addr(&self) -> SocketAddr {
        self.udp
    }

    /// Where TCP devices connect to; the port the kernel chose if 0 was configured.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { udp, tcp, .. } = self;
        f.debug_struct("Node").field("udp", udp).field("tcp", tcp).finish_non_exhaustive()
    }
}

impl Ports {
    fn bind(config: &NodeConfig) -> Result<Self, StartError> {
        let refused =
            |transport, address| move |cause| StartError::Bind { transport, address, cause };
        let (shards, buffer) = (config.shards, config.socket_buffer_bytes);
        let udp = udp::bind_all(config.udp, shards, buffer).map_err(refused("udp", config.udp))?;
        let tcp = tcp::bind(config.tcp).map_err(refused("tcp", config.tcp))?;
        let udp_addr = udp.first().map_or(Ok(config.udp), UdpSocket::local_addr);
        let udp_addr = udp_addr.map_err(refused("udp", config.udp))?;
        let tcp_addr = tcp.local_addr().map_err(refused("tcp", config.tcp))?;
        Ok(Self { udp, udp_addr, tcp, tcp_addr })
    }
}

impl Keys {
    fn new(keys: &ServerKeys) -> Result<Self, StartError> {
        let ec = || StartError::Key("P-256");
        let signing = |key: &secure::keys::PrivateKey| {
            SigningKey::from_ec_key(key.ec().ok_or_else(ec)?).map_err(|_| ec())
        };
        let previous = keys.previous_ec().map(signing).transpose()?;
        let rsa = RsaServerKeys::new(keys.rsa(), keys.previous_rsa());
        Ok(Self {
            p256: OpensslP256::new().map_err(|_| ec())?,
            identity: ServerIdentity::new(signing(keys.ec())?, previous),
            rsa: rsa.map_err(|_| StartError::Key("RSA"))?,
        })
    }
}

fn assemble(
    config: NodeConfig,
    store: Arc<Store>,
    keys: Keys,
    registry: Registry,
    pool: Pool,
    billing: Billing,
) -> (Arc<Shared>, Vec<Mails>, mpsc::Receiver<errands::Errand>) {
    let (shards, mails): (Vec<_>, _) = (0..config.shards).map(|_| Mailbox::new()).unzip();
    let tcp_jobs = config.pool_queue_max;
    let (errands, errands_end) = mpsc::channel(ERRANDS_MAX);
    let shared = Shared {
        billing: Arc::new(billing.told_to(shards.clone())),
        changing: Mutex::default(),
        clock: Clock::new(),
        commit_health: CommitHealth::default(),
        commits: CommitQueue::default(),
        config,
        errands,
        failures: Failures::default(),
        hub: EventHub::new(),
        keys,
        pool,
        registry,
        reports: crate::reports::ReportBoard::default(),
        safe_modes: crate::safe_modes::SafeModeBoard::default(),
        request_ids: AtomicU64::new(1),
        shards,
        store,
        tcp_jobs: Semaphore::new(tcp_jobs),
        unknown_keys: LogQuota::default(),
    };
    (Arc::new(shared), mails, errands_end)
}
