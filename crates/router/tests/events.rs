//! Publishing and delivering: what waits for what, and what happens when there is too much.

mod common;

use common::*;
use model::journal::Entry;
use model::limits::{EVENTS_WAITING_MAX, SUBSCRIPTIONS_MAX};
use model::link::{Command, LinkEvent, Verdict};
use model::message::{Subscribe, SubscriptionContent};
use model::{CloudMessage, DeviceMessage, DeviceRow, EventId, EventPrefix, Origin, Refusal};
use router::{Input, Pause, Reply, Request, ShardConfig};
use std::sync::Arc;

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut world = World::new();
    world.withholds_commits = true;
    world.register(1, Some(OWNER));
    let opened = world.opened(1, link(1), true);
    let hello = opened.receipt.expect("over UDP it waits");
    world.link(LinkEvent::Opened(Box::new(opened)));
    let describe = world.say(1, DeviceMessage::Describe(system()));
    let subscribe = world.subscribe(1, "temp");
    let publish = world.publish(1, "temp");
    let shown = world.publish(1, "spark/device/last_reset");
    let api = world.api_publish(OWNER, "alarm");
    for receipt in [hello, describe, subscribe, publish, shown] {
        assert!(world.verdicts(receipt).is_empty());
    }
    assert!(world.notified.is_empty() && world.replies.is_empty());
    assert!(world.delivered_to(link(1)).is_empty());
    world.commit();
    for receipt in [hello, describe, subscribe, publish, shown] {
        assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    }
    assert_eq!(world.replies[&api], Ok(Reply::Done));
    assert_eq!(world.delivered_to(link(1)), ["temp"]);
}

#[test]
fn a_commit_releases_what_it_covers_and_nothing_more() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let (first, second) = (world.publish(1, "temp"), world.publish(1, "temp"));
    world.commit_some(1);
    while let Some(effect) = world.shard.poll_effect() {
        let router::Effect::Command(_, Command::Acknowledge { receipt, .. }) = effect else {
            continue;
        };
        assert_eq!(receipt, first);
    }
    world.commit();
    assert_eq!(world.verdicts(second), [Verdict::Accepted]);
}

#[test]
fn what_the_store_refuses_is_refused() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let describe = world.say(1, DeviceMessage::Describe(system()));
    let subscribe = world.subscribe(1, "temp");
    let first = world.publish(1, "temp");
    world.say_again(1, publish("temp", None), first);
    let api = world.api_publish(OWNER, "alarm");
    world.refuse();
    assert!(world.verdicts(describe).is_empty());
    assert_eq!(world.verdicts(subscribe), [Verdict::Unavailable]);
    assert_eq!(world.verdicts(first), [Verdict::Unavailable; 2]);
    assert_eq!(world.replies[&api], Err(Refusal::Unavailable));
    assert_eq!(world.operations(), 0);
    world.withholds_commits = false;
    let receipt = world.publish(1, "temp");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
}

#[test]
fn a_copy_of_a_publish_that_could_not_be_written_is_refused_like_it() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let receipt = world.publish(1, "temp");
    let (refused, _) = *world.records.last().expect("a record");
    world.say_again(1, publish("temp", None), receipt);
    let (from, to) = (refused, refused);
    world.input(Input::CommitFailed { from, to });
    let (through, first_event_id) = (refused + 1, EventId(9));
    world.input(Input::Committed { through, first_event_id });
    assert_eq!(world.verdicts(receipt), [Verdict::Unavailable; 2]);
    let counted = |(_, entry): &(u64, _)| matches!(entry, model::journal::Entry::Copy { .. });
    assert!(!world.records.iter().any(counted), "nothing of a refused publish is counted");
    assert!(!world.shown().contains(&"temp".to_owned()));
}

#[test]
fn a_new_session_that_cannot_be_written_is_closed() {
    let mut world = World::new();
    world.withholds_commits = true;
    world.register(1, Some(OWNER));
    world.hello(1);
    world.refuse();
    assert_eq!(world.commands, [(link(1), Command::Close)]);
}

#[test]
fn a_copy_while_the_first_is_on_its_way_to_the_disk_waits_too() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let receipt = world.publish(1, "spark/device/last_reset");
    world.say_again(1, publish("spark/device/last_reset", None), receipt);
    assert!(world.verdicts(receipt).is_empty());
    world.commit();
    assert_eq!(world.verdicts(receipt).len(), 2);
    world.say_again(1, publish("spark/device/last_reset", None), receipt);
    assert_eq!(world.verdicts(receipt).len(), 3);
    assert_eq!(world.operations(), 0);
}

#[test]
fn a_copy_takes_nothing_from_the_rate() {
    let mut world = World::new();
    world.online(1, OWNER);
    let first = world.publish(1, "temp");
    (0..5).for_each(|_| world.say_again(1, publish("temp", None), first));
    let others = [(); 3].map(|()| world.publish(1, "temp"));
    for receipt in others {
        assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    }
    assert_eq!(world.operations(), 9);
}

#[test]
fn without_a_rate_everything_is_taken() {
    let config = ShardConfig { publish_burst: 0, ..ShardConfig::default() };
    let mut world = World::with(config);
    world.online(1, OWNER);
    for _ in 0..100 {
        world.publish(1, "temp");
    }
    assert_eq!(world.operations(), 100);
}

#[test]
fn events_are_numbered_in_the_order_of_their_commit() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    world.publish(1, "a");
    world.subscribe(1, "nothing");
    world.publish(1, "b");
    world.commit();
    let ids: Vec<u64> = world.notified.iter().map(|event| event.id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(world.shown(), ["spark/status", "a", "b"]);
}

#[test]
fn undocumented_internal_events_go_no_further() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.online(2, OWNER);
    world.subscribe(2, "");
    world.subscribe(2, "spark");
    for name in ["spark/free/ride", "particle", "sparkling"] {
        let receipt = world.publish(1, name);
        assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
        assert!(!world.shown().contains(&name.to_owned()));
    }
    assert!(world.delivered_to(link(2)).is_empty());
    assert_eq!(world.shard.counters().internal_undocumented, 3);
    assert_eq!(world.operations(), 0);
}

#[test]
fn internal_events_have_a_rate_of_their_own() {
    let mut world = World::new();
    world.online(1, OWNER);
    for _ in 0..300 {
        let receipt = world.publish(1, "spark/device/last_reset");
        assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    }
    assert_eq!(world.shown().iter().filter(|name| name.ends_with("last_reset")).count(), 255);
    let receipt = world.publish(1, "temp");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    assert_eq!(world.operations(), 1);
}

#[test]
fn a_device_that_asks_for_its_name_address_or_chance_is_told() {
    let mut world = World::new();
    world.online(1, OWNER);
    for name in ["spark/device/name", "particle/device/ip", "particle/device/random"] {
        world.publish(1, name);
    }
    world.run(seconds(1));
    let of = |message: &CloudMessage| match message {
        CloudMessage::Event { event, .. } => Some((event.name.to_string(), text(event))),
        _ => None,
    };
    let answers: Vec<_> = world.sent.iter().filter_map(|(_, _, message)| of(message)).collect();
    assert_eq!(answers[0], ("spark/device/name".into(), "lamp".into()));
    assert_eq!(answers[1], ("particle/device/ip".into(), "192.0.2.7".into()));
    assert_eq!((answers[2].0.as_str(), answers[2].1.len()), ("particle/device/random", 40));
    assert_eq!(world.operations(), 0);
}

#[test]
fn what_a_device_tells_of_updates_is_kept() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.say(1, publish("particle/device/updates/enabled", Some(b"false")));
    world.say(1, publish("particle/device/updates/forced", Some(b"true")));
    let state = world.state(1);
    assert_eq!((state.updates_enabled, state.updates_forced), (Some(false), Some(true)));
}

#[test]
fn events_reach_a_device_one_at_a_time_in_order() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "e");
    world.script(link(1)).delay = seconds(1);
    for name in ["e1", "e2", "e3"] {
        world.api_publish(OWNER, name);
    }
    assert_eq!(world.delivered_to(link(1)), ["e1"]);
    world.run(millis(1500));
    assert_eq!(world.delivered_to(link(1)), ["e1", "e2"]);
    world.run(seconds(5));
    assert_eq!(world.delivered_to(link(1)), ["e1", "e2", "e3"]);
}

#[test]
fn calls_run_beside_deliveries() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "e");
    world.script(link(1)).delay = seconds(3);
    world.api_publish(OWNER, "e1");
    let id = world.call(1, "echo");
    world.run(millis(3100));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn of_more_than_64_waiting_events_the_newest_are_dropped() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "e");
    world.script(link(1)).delay = millis(1);
    for n in 0..70 {
        world.api_publish(OWNER, &format!("e{n}"));
    }
    world.run(seconds(5));
    let delivered = world.delivered_to(link(1));
    assert_eq!(delivered.len(), EVENTS_WAITING_MAX + 1);
    assert_eq!(delivered[64], "e64");
    assert_eq!(world.shard.counters().deliveries_queue_full, 5);
    assert_eq!(world.state(1).events_dropped, 5);
}

#[test]
fn waiting_events_are_bounded_by_bytes_too() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "big");
    for _ in 0..6 {
        let mut event = api_event(OWNER, "big", world.now.utc);
        event.data = Some(model::EventData { format: 0, bytes: vec![b'x'; 16_384].into() });
        world.request(Request::Publish { event });
    }
    assert_eq!(world.shard.counters().deliveries_queue_full, 2);
}

#[test]
fn what_waits_for_a_device_that_goes_offline_is_dropped() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "e");
    world.script(link(1)).acknowledges = 0;
    for _ in 0..3 {
        world.api_publish(OWNER, "e");
    }
    world.run(seconds(21));
    world.script(link(1)).acknowledges = 1;
    world.link(LinkEvent::Alive { link: link(1) });
    world.run(seconds(30));
    assert_eq!(world.delivered_to(link(1)).len(), 1);
    assert_eq!(world.operations(), 3);
    assert_eq!(world.shard.counters().deliveries_offline, 2);
}

#[test]
fn an_event_larger_than_the_device_takes_costs_nothing_and_the_next_follows() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "e");
    world.api_publish(OWNER, "e1");
    world.api_publish(OWNER, "e2");
    let (link, exchange, _) = *world.sent.last().expect("an event");
    world.link(LinkEvent::Unsendable { link, exchange });
    assert_eq!(world.delivered_to(link), ["e1", "e2"]);
    assert_eq!(world.shard.counters().deliveries_too_large, 1);
    assert_eq!(world.operations(), 0);
}

#[test]
fn the_33rd_prefix_is_refused_and_the_same_one_again_is_not() {
    let mut world = World::new();
    world.online(1, OWNER);
    for n in 0..SUBSCRIPTIONS_MAX {
        let receipt = world.subscribe(1, &format!("p{n}"));
        assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    }
    let receipt = world.subscribe(1, "one/more");
    assert_eq!(world.verdicts(receipt), [Verdict::BadRequest]);
    let receipt = world.subscribe(1, "p0");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    let receipt = world.subscribe(1, "spark");
    assert_eq!(world.verdicts(receipt), [Verdict::BadRequest]);
    world.hello_on(1, link(1), false);
    let receipt = world.subscribe(1, "one/more");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
}

#[test]
fn the_same_prefix_twice_is_delivered_once_as_the_last_one_wants_it() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    let content = SubscriptionContent::Cbor;
    world.say(1, DeviceMessage::Subscribe(Subscribe { content, ..subscription("temp") }));
    world.api_publish(OWNER, "temp");
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(1)).len(), 1);
    let (_, _, message) = world.sent.last().expect("an event");
    assert!(matches!(message, CloudMessage::Event { content: SubscriptionContent::Cbor, .. }));
}

#[test]
fn a_hello_clears_the_subscriptions() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    world.hello_on(1, link(1), false);
    world.api_publish(OWNER, "temp");
    world.run(seconds(1));
    assert!(world.delivered_to(link(1)).is_empty());
}

#[test]
fn the_device_form_takes_events_of_that_device_only() {
    let mut world = World::new();
    for n in 1..=3 {
        world.online(n, OWNER);
    }
    let prefix = EventPrefix::parse(b"temp").expect("a prefix");
    let content = SubscriptionContent::Text;
    let form = Subscribe { prefix, device: Some(device(1)), content };
    world.say(3, DeviceMessage::Subscribe(form));
    world.publish(2, "temp");
    world.api_publish(OWNER, "temp");
    assert!(world.delivered_to(link(3)).is_empty());
    world.publish(1, "temp");
    assert_eq!(world.delivered_to(link(3)), ["temp"]);
}

#[test]
fn an_event_of_another_shard_is_delivered_and_not_shown_again() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    world.forget_what_happened();
    let mut event = api_event(OWNER, "temp", world.now.utc);
    event.origin = Origin::Device(device(9));
    world.input(Input::Deliver(Arc::new(event)));
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(1)), ["temp"]);
    assert!(world.notified.is_empty());
    assert_eq!(world.operations(), 1);
}

#[test]
fn a_paused_account_gets_no_events_and_the_api_is_refused_with_the_reason() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    let pause = Pause { cellular_only: false, why: "operations until 1 March".into() };
    world.input(Input::AccountPaused { account: OWNER, pause: Some(pause) });
    let id = world.api_publish(OWNER, "temp");
    let why = "operations until 1 March".to_owned();
    assert_eq!(world.replies[&id], Err(Refusal::Paused(why)));
    let event = Arc::new(api_event(OWNER, "temp", world.now.utc));
    world.input(Input::Deliver(event));
    assert!(world.delivered_to(link(1)).is_empty());
    let receipt = world.publish(1, "spark/device/last_reset");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
}

#[test]
fn the_payer_is_the_owner_of_the_product() {
    let mut world = World::new();
    let product = Some(model::ProductId(77));
    let row = DeviceRow { account: Some(OWNER), product, ..DeviceRow::default() };
    world.rows.insert(device(1), row);
    world.hello(1);
    world.publish(1, "temp");
    let paid = world.ledger.total(|key| key.account == OWNER && key.product == product);
    assert_eq!(paid.operations, 1);
    assert_eq!(world.notified.last().expect("an event").product, product);
}

#[test]
fn a_publish_keeps_where_it_came_from() {
    let mut world = World::new();
    world.online(1, OWNER);
    let receipt = world.publish(1, "temp");
    let (_, entry) = world.records.last().expect("a record");
    let Entry::Publish { source: Some(from), charge: Some(_), .. } = entry else {
        panic!("{entry:?}")
    };
    assert_eq!(*from, source(receipt.message_id));
}
