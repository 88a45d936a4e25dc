//! Many devices at once. What is only measured is ignored: run it with `--ignored --nocapture` and
//! optimised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, World, key};
use node::NodeConfig;
use sim::device::profile::Generation;
use sim::fleet::{self, FleetConfig, Progress, PublishPlan, Summary};
use store::{DeviceKey, NewDevice};

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

async fn run(config: FleetConfig) -> Summary {
    run_until(config, |_| false).await
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
        ..fleet(&world, &server, 40, 60)
    };
    register(&world, &server, &config).await;
    let summary = run_until(config, |progress| progress.counts.online == 40).await;
    assert_eq!(summary.counts.online, 40, "{summary:?}");
    assert!(summary.connect_ms.max > 2900.0, "nobody had to repeat itself: {summary:?}");
    server.stop().await;
}

/// Whether a commit should wait for company.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn publishes_with_and_without_a_wait_before_each_commit() {
    for (wait_us, per_s) in
        [(0, 1000.0), (500, 1000.0), (2000, 1000.0), (0, 1e6), (500, 1e6), (2000, 1e6)]
    {
        let world = World::new().await;
        let commit_wait = Duration::from_micros(wait_us);
        let server = world
            .start(NodeConfig { commit_wait, publish_burst: 0, ..NodeConfig::loopback() })
            .await;
        let mut config = fleet(&world, &server, 500, 8);
        config.publish = PublishPlan { per_s, in_flight_max: 2000, ..PublishPlan::none() };
        register(&world, &server, &config).await;
        let Summary { counts, latency_ms, .. } = run(config).await;
        println!(
            "wait {wait_us} µs, asked {per_s}/s: acknowledged {}, {latency_ms:?}",
            counts.acknowledged
        );
        server.stop().await;
    }
}

/// What a storm of handshakes does to devices that are connected.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn established_devices_keep_their_latency_in_a_storm_of_10_000() {
    let world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut calm = fleet(&world, &server, 100, 40);
    calm.publish = PublishPlan { per_s: 100.0, ..PublishPlan::none() };
    let storm = FleetConfig {
        id_prefix: "e00fce69".into(),
        seed: 2,
        connect_per_s: 100_000,
        connecting_max: 10_000,
        ..fleet(&world, &server, 10_000, 30)
    };
    register(&world, &server, &calm).await;
    register(&world, &server, &storm).await;
    let calm = tokio::spawn(async move { run(calm).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let storm = run(storm).await;
    println!("storm: {:?} {:?}", storm.counts, storm.connect_ms);
    println!("calm: {:?}", calm.await.unwrap().latency_ms);
    server.stop().await;
}
