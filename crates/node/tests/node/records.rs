//! Record numbers over the end of a server.

use crate::support::{World, connect, while_alive};
use node::NodeConfig;
use sim::device::profile::Generation;

/// The highest record number that the next server knows of the only device.
async fn record_seen(world: &World) -> u64 {
    let store = store::Store::open(world.folder()).await.unwrap();
    let recovery = store.recover().await.unwrap();
    store.close().await.unwrap();
    recovery.sessions[0].session.record_seen
}

/// Acknowledgements of a ping are in no entry of the journal by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_order_keeps_the_number_of_every_record_that_came() {
    const PINGS: u64 = 5;
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, Generation::Os6).await;
    let device = connect(&mut live);
    server.store.settle().await.unwrap();
    let journalled = server.store.recover().await.unwrap().sessions[0].session.record_seen;
    for _ in 0..PINGS {
        let handle = server.handle.clone();
        assert_eq!(
            while_alive(&mut live, async move { handle.ping(device).await }).await,
            Ok(true)
        );
    }
    server.stop().await;
    assert!(record_seen(&world).await >= journalled + PINGS);
}
