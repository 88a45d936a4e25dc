//! Assembles the device side: binds, recovers, starts the threads, stops them.

use std::net::SocketAddr;
use std::sync::Arc;

use secure::keys::ServerKeys;
use store::Store;

use crate::{Handle, NodeConfig, StartError};

/// The running device side. Dropping it without [`Node::stop`] is a crash: nothing acknowledged is
/// lost, TCP devices notice by themselves.
#[derive(Debug)]
pub struct Node {
    udp: SocketAddr,
    tcp: SocketAddr,
}

impl Node {
    /// Binds the ports, recovers sessions from the store, then serves devices. Call it in a tokio
    /// runtime; the threads of the device side have their own.
    pub async fn start(
        config: NodeConfig,
        store: Arc<Store>,
        keys: ServerKeys,
    ) -> Result<(Self, Handle), StartError> {
        todo!()
    }

    /// Where UDP devices send to; the port the kernel chose if 0 was configured.
    pub fn udp_addr(&self) -> SocketAddr {
        self.udp
    }

    /// Where TCP devices connect to; the port the kernel chose if 0 was configured.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp
    }

    /// Stops in order: nothing new is accepted, what is recorded becomes durable, presence is
    /// written, TCP connections and event streams are closed. Takes at most
    /// [`NodeConfig::stop_deadline`].
    pub async fn stop(self) {}
}
