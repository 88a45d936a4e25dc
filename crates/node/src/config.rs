//! What the operator may set about the device side, with its defaults, and why a start fails.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of the device side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Where DTLS devices send to; port 0 lets the kernel choose. Default `0.0.0.0:5684`.
    pub udp: SocketAddr,
    /// Where TCP devices connect to; port 0 lets the kernel choose. Default `0.0.0.0:5683`.
    pub tcp: SocketAddr,
    /// Threads that serve devices, 1 to 64. Default: 1 up to 2 cores, else half the cores.
    pub shards: usize,
    /// Threads for public-key arithmetic. Default: the number of cores.
    pub pool_threads: usize,
    /// Public-key jobs that may wait; a handshake that finds the queue full is not begun.
    /// Default 256.
    pub pool_queue_max: usize,
    /// Receive and send buffer of each UDP socket, in bytes. Default 8 MiB; the kernel may grant
    /// less, which is logged.
    pub socket_buffer_bytes: usize,
    /// Open TCP connections. Default 20,000.
    pub tcp_connections_max: usize,
    /// Open TCP connections from one IP address. Default 1,024.
    pub tcp_connections_per_address_max: usize,
    /// Time a TCP connection has for its handshake. Default 30 s.
    pub tcp_handshake_deadline: Duration,
    /// Time a stop may take before what is left is abandoned. Default 10 s.
    pub stop_deadline: Duration,
    /// How long a commit waits for company before it writes, at most 2 ms. Default 0: while one
    /// write is on its way to the disk the next records gather by themselves.
    pub commit_wait: Duration,
    /// Whether an unknown key is bound to the id it says first. Default false.
    pub trust_on_first_use: bool,
    /// Whether devices are held to 4 publishes at once and one each second after. Default true;
    /// benches set it off.
    pub publish_rate_limit: bool,
    /// Domain of the process's random numbers; absent: from the operating system. Tests set it.
    pub seed: Option<[u8; 32]>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            udp: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5684),
            tcp: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5683),
            shards: if cores <= 2 { 1 } else { (cores / 2).min(SHARDS_MAX) },
            pool_threads: cores,
            pool_queue_max: 256,
            socket_buffer_bytes: 8 << 20,
            tcp_connections_max: 20_000,
            tcp_connections_per_address_max: 1024,
            tcp_handshake_deadline: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(10),
            commit_wait: Duration::ZERO,
            trust_on_first_use: false,
            publish_rate_limit: true,
            seed: None,
        }
    }
}

/// The shard's number is the first byte of a connection id, and there is no sense in more.
pub const SHARDS_MAX: usize = 64;

impl NodeConfig {
    /// Defaults on `127.0.0.1` with ports that the kernel chooses.
    pub fn loopback() -> Self {
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { udp: any_port, tcp: any_port, ..Self::default() }
    }
}

/// Why the device side did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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
        source: std::io::Error,
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
    #[error("cannot start the thread {name}: raise the limit of threads or open files")]
    Thread {
        /// Which.
        name: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The store could not be read.
    #[error("cannot read the store: {0}")]
    Store(String),
}
