//! Many devices at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, World, key};
use node::NodeConfig;
use sim::device::profile::Generation;
use sim::fleet::{self, FleetConfig, Progress, Summary};
use store::{DeviceKey, NewDevice};

/// So many that the queue of the pool is over its bound whatever the machine does meanwhile.
const STORM: u32 = 100;

fn fleet(world: &World, server: &Server, devices: u32, seconds: u64) -> FleetConfig {
    let keys = [world.keys.ec().public_key().clone(), world.keys.rsa().public_key().clone()];
    let (udp, tcp) = (server.node.udp_addr(), server.node.tcp_addr());
    FleetConfig {
        devices,
        duration: Some(Duration::from_secs(seconds)),
        ..FleetConfig::new(udp, tcp, keys.into())
    }
}

async fn register(world: &World, server: &Server, config: &FleetConfig) {
    let devices: Vec<_> = fleet::identities(config)
        .map(|identity| {
            let DeviceKey { hash, spki } = key(&identity);
            NewDevice {
                id: identity.id,
                account: Some(world.account),
                product: None,
                name: None,
                platform: None,
                key: Some(DeviceKey { hash, spki }),
                first_use: false,
            }
        })
        .collect();
    server.store.devices().import(&devices, model::Timestamp(1)).await.unwrap();
    for device in devices {
        server.handle.device_changed(device.id).await.unwrap();
    }
}

/// Runs a fleet until its time is over or it is where it should be.
async fn run_until(config: FleetConfig, done: impl Fn(&Progress) -> bool) -> Summary {
    let stop = AtomicBool::new(false);
    let watch = &mut |progress: &Progress| stop.store(done(progress), Ordering::Relaxed);
    tokio::task::block_in_place(|| fleet::run(&config, &stop, watch).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_larger_than_the_pool_is_served_by_and_by() {
    let world = World::new().await;
    let small = NodeConfig { pool_threads: 1, pool_queue_max: 12, ..NodeConfig::loopback() };
    let server = world.start(small).await;
    let config = FleetConfig {
        connect_per_s: 100_000,
        profiles: vec![Generation::Os6],
        ..fleet(&world, &server, STORM, 60)
    };
    register(&world, &server, &config).await;
    let summary = run_until(config, |progress| progress.counts.online == u64::from(STORM)).await;
    assert_eq!(summary.counts.online, u64::from(STORM), "{summary:?}");
    assert!(summary.connect_ms.max > 2900.0, "nobody had to repeat itself: {summary:?}");
    server.stop().await;
}
