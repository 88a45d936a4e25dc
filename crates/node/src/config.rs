//! What the operator may set about the device side, with its defaults, and why a start fails.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use metering::Catalogues;
use model::limits;

/// Settings of the device side.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where DTLS devices send to; port 0 lets the kernel choose. Default `0.0.0.0:5684`.
    pub udp: SocketAddr,
    /// Where TCP devices connect to; port 0 lets the kernel choose. Default `0.0.0.0:5683`.
    pub tcp: SocketAddr,
    /// Threads that own devices, at most [`SHARDS_MAX`]. Default 0: half the cores, at least one.
    pub shards: usize,
    /// Receive and send buffer asked of the kernel for each UDP socket, in bytes. Default 8 MiB; a
    /// smaller grant is logged.
    pub socket_buffer_bytes: usize,
    /// Open TCP connections. Default 20,000.
    pub tcp_connections_max: usize,
    /// Open TCP connections from one IP address. Default 1,000.
    pub tcp_connections_per_address_max: usize,
    /// Time a TCP connection has for its handshake. Default 30 s.
    pub tcp_handshake_deadline: Duration,
    /// Threads for the public-key work of handshakes. Default 0: the number of cores.
    pub pool_threads: usize,
    /// Public-key jobs that may wait for such a thread; a handshake that finds the queue full is
    /// not begun. Default 4,096: about a second's work, less than the 3 s after which a device
    /// repeats itself, so that no thread idles between the waves of a storm.
    pub pool_queue_max: usize,
    /// Whether an unknown key is bound to the id that its device claims. Default false.
    pub trust_on_first_use: bool,
    /// Publishes a device may make at once; 0 switches the limit off. Default 4.
    pub publish_burst: u32,
    /// Milliseconds for which a device gains one publish; 0 switches the limit off. Default 1,000.
    pub publish_refill_ms: u32,
    /// Bytes of updates that all shards together send in a second, repetitions included; 0: no bound.
    /// Default 8 MiB.
    pub update_bandwidth: u64,
    /// Plans and what operations cost. Default: those that ship.
    pub catalogues: Catalogues,
    /// Name of the catalogue of accounts that agreed to none. Default `2022`.
    pub catalogue: String,
    /// How long the ledger keeps sums of hours and of days. Default: 62 and 400 days.
    pub kept: store::Kept,
    /// Whether operations and bytes are counted. Without it nothing is metered and no limit holds: it is there to
    /// measure what counting costs, and no setting of the server leads here. Default true.
    pub counts: bool,
    /// How long a commit waits for company before it writes, at most 2 ms. Default 0: while one
    /// write is on its way to the disk the next records gather by themselves.
    pub commit_wait: Duration,
    /// Time a stop may take before what is left is abandoned. Default 10 s.
    pub stop_deadline: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            udp: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5684),
            tcp: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5683),
            shards: 0,
            socket_buffer_bytes: 8 << 20,
            tcp_connections_max: 20_000,
            tcp_connections_per_address_max: 1000,
            tcp_handshake_deadline: Duration::from_secs(30),
            pool_threads: 0,
            pool_queue_max: 4096,
            trust_on_first_use: false,
            publish_burst: limits::PUBLISH_BURST,
            publish_refill_ms: 1000,
            update_bandwidth: limits::UPDATE_BANDWIDTH,
            catalogues: Catalogues::default(),
            catalogue: "2022".to_owned(),
            kept: store::Kept::default(),
            counts: true,
            commit_wait: Duration::ZERO,
            stop_deadline: Duration::from_secs(10),
        }
    }
}

/// The shard's number is the first byte of a connection id, and there is no sense in more.
pub const SHARDS_MAX: usize = 64;
/// The longest `commit_wait`.
const COMMIT_WAIT_MAX: Duration = Duration::from_millis(2);

impl NodeConfig {
    /// Defaults on `127.0.0.1` with ports that the kernel chooses.
    pub fn loopback() -> Self {
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { udp: any_port, tcp: any_port, ..Self::default() }
    }

    /// Fits a byte once the settings are resolved.
    pub(crate) fn shards_number(&self) -> u8 {
        u8::try_from(self.shards).unwrap_or(u8::MAX)
    }

    /// With every setting that says "choose" chosen for this machine.
    pub(crate) fn resolved(mut self) -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.shards == 0 {
            self.shards = (cores / 2).clamp(1, SHARDS_MAX);
        }
        if self.pool_threads == 0 {
            self.pool_threads = cores;
        }
        let setting =
            |name, rule, good| if good { Ok(()) } else { Err(StartError::Setting { name, rule }) };
        setting("shards", "at most 64", self.shards <= SHARDS_MAX)?;
        setting("pool_threads", "at most 1,024", self.pool_threads <= 1024)?;
        setting("pool_queue_max", "at least 1", self.pool_queue_max > 0)?;
        setting("commit_wait", "at most 2 ms", self.commit_wait <= COMMIT_WAIT_MAX)?;
        Ok(self)
    }
}

/// Why the device side did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plans that accounts have are not there, or the store could not be read.
    #[error(transparent)]
    Billing(#[from] crate::BillingError),
    /// A port is taken or not allowed.
    #[error(
        "cannot listen on {transport} {address}: is another server running, or is the address not this machine's?"
    )]
    Bind {
        /// `udp` or `tcp`.
        transport: &'static str,
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A setting has no meaning.
    #[error("setting {name} must be {rule}")]
    Setting {
        /// Its name in [`NodeConfig`].
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A thread or its event loop could not be made.
    #[error("cannot start the thread {name}: {cause}. Raise the limit of threads and open files")]
    Thread {
        /// Which.
        name: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The journal's writing end was taken before: each store serves one node.
    #[error("the journal of this store is in use")]
    JournalTaken,
    /// A key of the server is of a kind that devices do not take.
    #[error("the server's {0} key cannot be used: `cloudchamber keys` makes new ones")]
    Key(&'static str),
}
