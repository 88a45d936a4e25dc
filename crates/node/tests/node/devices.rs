//! The device side as a whole: real sockets, a real journal, simulated devices.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{
    SOON, Server, World, connect, key, publish, register, wait_for, wait_for_event, while_alive,
};
use model::{EventName, Refusal, VariableValue};
use node::{EventStream, Node, NodeConfig, StartError, StreamBound, StreamFilter, StreamItem};
use sim::device::profile::Generation;
use sim::device::{How, Loss, Observation, Publish};
use sim::live::Live;
use tokio::time::timeout;

fn streamed(world: &World, server: &Server, prefix: &str) -> EventStream {
    let filter = StreamFilter { prefix: prefix.into(), ..StreamFilter::account(world.account) };
    server.handle.streams().subscribe(filter, StreamBound::default())
}

/// The names, data and ids of the next events, at least `count` of them.
async fn next_events(stream: &mut EventStream, count: usize) -> Vec<(String, String, u64)> {
    let mut events = Vec::new();
    while events.len() < count {
        let item = timeout(SOON, stream.next()).await.expect("an event");
        let StreamItem::Events(batch) = item else { panic!("{item:?}") };
        events.extend(batch.iter().map(|event| {
            let data = event.data.as_ref().map_or(&[][..], |data| &data.bytes);
            let data = String::from_utf8_lossy(data).into_owned();
            (event.name.to_string(), data, event.id.0)
        }));
    }
    events
}

async fn serves(generation: Generation) {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, generation).await;
    let mut stream = streamed(&world, &server, "temp");
    let device = connect(&mut live);

    assert_eq!(publish(&mut live, "temp", "21"), 0);
    let events = next_events(&mut stream, 1).await;
    assert_eq!((events[0].0.as_str(), events[0].1.as_str()), ("temp", "21"));
    assert!(events[0].2 > 0);

    let handle = server.handle.clone();
    let called = async move { handle.call(device, "echo".into(), "12345".into()).await };
    assert_eq!(while_alive(&mut live, called).await, Ok(5));
    let handle = server.handle.clone();
    let read = async move { handle.read(device, "v_int".into()).await };
    assert_eq!(while_alive(&mut live, read).await, Ok(VariableValue::Int(42)));
    let handle = server.handle.clone();
    assert_eq!(while_alive(&mut live, async move { handle.ping(device).await }).await, Ok(true));
    let handle = server.handle.clone();
    let signalled = async move { handle.signal(device, true).await };
    assert_eq!(while_alive(&mut live, signalled).await, Ok(()));

    let name = EventName::parse(b"test/hello").unwrap();
    server.handle.publish(world.account, name, None, 60).await.unwrap();
    wait_for(
        &mut live,
        |seen| matches!(seen, Observation::Event(event) if event.name == "test/hello"),
    );

    let states = server.handle.states(&[device]).await;
    assert!(states[0].online && states[0].description.is_some());
    assert_eq!(server.handle.health().degraded, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dtls_device_of_6_2_publishes_subscribes_and_is_called() {
    serves(Generation::Os6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dtls_device_of_3_0_publishes_subscribes_and_is_called() {
    serves(Generation::Os3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_device_publishes_subscribes_and_is_called() {
    serves(Generation::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_events_does_not_close_a_tcp_device() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, Generation::Tcp).await;
    connect(&mut live);
    let publish = |name: String| {
        let (handle, account) = (server.handle.clone(), world.account);
        let name = EventName::parse(name.as_bytes()).unwrap();
        tokio::spawn(async move { handle.publish(account, name, None, 60).await })
    };
    for round in 0..8 {
        let burst: Vec<_> = (0..200).map(|_| publish("test/burst".to_owned())).collect();
        for published in burst {
            published.await.unwrap().unwrap();
        }
        publish(format!("test/after/{round}")).await.unwrap().unwrap();
        wait_for_event(&mut live, &format!("test/after/{round}"));
    }
    assert_eq!(handshakes(&live), 1);
    server.stop().await;
}

/// The shard is busy, so that the end of the connection could overtake the bytes before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_tcp_device_that_goes_at_once_are_heard() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut stream = streamed(&world, &server, "last");
    for round in 0..3 {
        let mut live = world.device(&server, Generation::Tcp).await;
        connect(&mut live);
        let (handle, account) = (server.handle.clone(), world.account);
        let busy = tokio::spawn(async move {
            let name = EventName::parse(b"test/busy").unwrap();
            let publish = || handle.publish(account, name.clone(), None, 60);
            futures_util::future::join_all((0..4000).map(|_| publish())).await
        });
        let now = live.now();
        let name = format!("last/{round}");
        live.device().publish(now, &Publish::text(&name, "words")).unwrap();
        live.run(Duration::ZERO);
        drop(live);
        assert_eq!(next_events(&mut stream, 1).await[0].0, name);
        busy.await.unwrap();
    }
    server.stop().await;
}

fn handshakes(live: &Live) -> usize {
    let connected = |seen: &&Observation| **seen == Observation::Connected(How::Handshake);
    live.observations().iter().filter(connected).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_costs_no_handshake_and_ids_go_on() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let config = NodeConfig { udp: server.node.udp_addr(), ..NodeConfig::loopback() };
    let mut live = world.device(&server, Generation::Os6).await;
    let mut stream = streamed(&world, &server, "n");
    let device = connect(&mut live);
    assert_eq!(publish(&mut live, "n", "1"), 0);
    let before = next_events(&mut stream, 1).await;
    server.stop().await;
    assert_eq!(stream.next().await, StreamItem::Closed);

    let server = world.start(config).await;
    let mut stream = streamed(&world, &server, "n");
    assert!(server.handle.states(&[device]).await[0].online, "it is what it was");
    assert_eq!(publish(&mut live, "n", "2"), 0);
    let after = next_events(&mut stream, 1).await;
    assert!(after[0].2 > before[0].2, "{before:?} {after:?}");
    let handle = server.handle.clone();
    let called = async move { handle.call(device, "echo".into(), "123".into()).await };
    assert_eq!(while_alive(&mut live, called).await, Ok(3));
    assert_eq!(handshakes(&live), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_with_another_number_of_shards() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig { shards: 3, ..NodeConfig::loopback() }).await;
    let udp = server.node.udp_addr();
    let mut lives = Vec::new();
    for generation in [Generation::Os6, Generation::Os3, Generation::Os6, Generation::Os3] {
        let mut live = world.device(&server, generation).await;
        connect(&mut live);
        lives.push(live);
    }
    server.stop().await;
    for shards in [1, 4] {
        let server = world.start(NodeConfig { udp, shards, ..NodeConfig::loopback() }).await;
        for live in &mut lives {
            assert_eq!(publish(live, "still/here", ""), 0);
            assert_eq!(handshakes(live), 1);
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_device_is_offline_after_a_restart_and_what_it_told_is_still_shown() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, Generation::Tcp).await;
    let device = connect(&mut live);
    server.stop().await;
    wait_for(&mut live, |seen| matches!(seen, Observation::Disconnected(Loss::Stream)));

    let server = world.start(NodeConfig::loopback()).await;
    let state = server.handle.states(&[device]).await.remove(0);
    assert!(!state.online);
    assert!(state.last_heard.is_some() && state.system_version.is_some(), "{state:?}");
    assert_eq!(
        server.handle.call(device, "echo".into(), String::new()).await,
        Err(Refusal::Offline)
    );
    assert_eq!(server.handle.ping(device).await, Ok(false));
    server.stop().await;
}

/// A device with a connection id is found by it without noticing anything; an older one restarts
/// and says who it is.
fn move_elsewhere(live: &mut Live) {
    match live.device().setup().profile.generation {
        Generation::Os6 => live.device().roam(),
        Generation::Os3 => {
            live.reset();
            wait_for(live, |seen| *seen == Observation::Connected(How::Resumed));
        }
        Generation::Tcp => return,
    }
    assert_eq!(publish(live, "moved", ""), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_several_shards_hear_each_other_and_move_about() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig { shards: 4, ..NodeConfig::loopback() }).await;
    let mut stream = streamed(&world, &server, "test/");
    let mut lives = Vec::new();
    for index in 0..6 {
        let generation = [Generation::Os6, Generation::Os3, Generation::Tcp][index % 3];
        let mut live = world.device(&server, generation).await;
        connect(&mut live);
        lives.push(live);
    }
    for round in ["a", "b"] {
        for index in 0..lives.len() {
            let name = format!("test/{round}{index}");
            assert_eq!(publish(&mut lives[index], &name, "x"), 0);
            for live in &mut lives {
                wait_for_event(live, &name);
            }
        }
        // From a new address the kernel may give their datagrams to another thread.
        lives.iter_mut().for_each(move_elsewhere);
    }
    let events = next_events(&mut stream, 12).await;
    assert_eq!(events.iter().map(|(name, ..)| name).collect::<BTreeSet<_>>().len(), 12);
    assert_eq!(events.iter().map(|(.., id)| id).collect::<BTreeSet<_>>().len(), 12);
    assert!(lives.iter().all(|live| handshakes(live) == 1));
    for mut live in lives {
        let (handle, device) = (server.handle.clone(), live.device().id());
        let called = async move { handle.call(device, "echo".into(), "1".into()).await };
        assert_eq!(while_alive(&mut live, called).await, Ok(1));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_ends_the_session_and_the_old_key_is_unknown() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, Generation::Os6).await;
    let device = connect(&mut live);
    publish(&mut live, "a", "");
    let other = key(&world.identity(Generation::Os6));
    server.store.devices().set_key(device, &other, model::Timestamp(2)).await.unwrap();
    server.handle.device_changed(device).await.unwrap();
    wait_for(&mut live, |seen| *seen == Observation::Disconnected(Loss::KeyChange));
    wait_for(&mut live, |seen| matches!(seen, Observation::Disconnected(Loss::Handshake(_))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_closed_and_unknown() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let mut live = world.device(&server, Generation::Tcp).await;
    let device = connect(&mut live);
    server.store.devices().delete(device).await.unwrap();
    server.handle.device_changed(device).await.unwrap();
    wait_for(&mut live, |seen| matches!(seen, Observation::Disconnected(_)));
    assert_eq!(
        server.handle.call(device, "echo".into(), String::new()).await,
        Err(Refusal::UnknownDevice)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_of_a_device_before_a_change_does_not_come_into_force_after_it() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let identity = world.identity(Generation::Os6);
    let (store, handle) = (&server.store, &server.handle);
    // However far the slow one is when the quick one begins.
    for steps in 1..12 {
        register(store, &identity, Some(world.account)).await;
        let mut slow = std::pin::pin!(handle.device_changed(identity.id));
        let mut is_slow_done = false;
        for _ in 0..steps {
            is_slow_done = is_slow_done || futures_util::poll!(slow.as_mut()).is_ready();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        store.devices().delete(identity.id).await.unwrap();
        let mut quick = std::pin::pin!(handle.device_changed(identity.id));
        let is_quick_done = timeout(Duration::from_millis(100), quick.as_mut()).await.is_ok();
        if !is_slow_done {
            slow.await.unwrap();
        }
        if !is_quick_done {
            quick.await.unwrap();
        }
        let called = handle.call(identity.id, "echo".into(), String::new()).await;
        assert_eq!(called, Err(Refusal::UnknownDevice), "after {steps} steps");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_code_gives_a_device_its_owner() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let identity = world.identity(Generation::Os6);
    register(&server.store, &identity, None).await;
    server.handle.device_changed(identity.id).await.unwrap();
    let now = model::Timestamp(i64::MAX / 4);
    let code = server.store.claims().create(world.account, now).await.unwrap();
    let mut live = world.live(identity.clone(), &server, Generation::Os6);
    live.device().set_claim_code(Some(code));
    connect(&mut live);
    for _ in 0..500 {
        let device = server.store.devices().get(identity.id).await.unwrap().unwrap();
        if device.account == Some(world.account) {
            break;
        }
        tokio::task::block_in_place(|| live.run(std::time::Duration::from_millis(10)));
    }
    // The store knows it a moment before the shard does.
    let mut stream = streamed(&world, &server, "mine");
    while stream.take().is_none() {
        assert_eq!(publish(&mut live, "mine", "now"), 0);
        tokio::task::block_in_place(|| live.run(std::time::Duration::from_millis(300)));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_on_first_use_takes_a_stranger_that_nobody_owns() {
    for generation in [Generation::Os6, Generation::Tcp] {
        let mut world = World::new().await;
        let trusting = NodeConfig { trust_on_first_use: true, ..NodeConfig::loopback() };
        let server = world.start(trusting).await;
        let identity = world.identity(generation);
        let mut live = world.live(identity.clone(), &server, generation);
        connect(&mut live);
        let stored = server.store.devices().get(identity.id).await.unwrap().unwrap();
        assert_eq!((stored.key, stored.account), (Some(key(&identity).hash), None));
        assert!(stored.first_use);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_served() {
    let mut world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    for generation in [Generation::Os6, Generation::Tcp] {
        let identity = world.identity(generation);
        let mut live = world.live(identity, &server, generation);
        live.power_on();
        wait_for(&mut live, |seen| matches!(seen, Observation::Disconnected(_)));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_before_anything_is_recovered() {
    let world = World::new().await;
    let server = world.start(NodeConfig::loopback()).await;
    let taken = server.node.udp_addr();
    let config = NodeConfig { udp: taken, ..NodeConfig::loopback() };
    let second = World::new().await;
    let store = store::Store::open(second.folder()).await.unwrap();
    let error = Node::start(config, store.into(), second.keys.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { transport: "udp", .. }));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    server.stop().await;
}
