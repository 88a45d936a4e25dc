//! The worked scenarios of `metering/rules.md` §9, as far as they concern routing and counting.

mod common;

use common::*;
use metering::{Catalogue, Rules};
use model::journal::OperationKind;
use model::link::Verdict;
use model::{EventData, Origin, Refusal};
use router::{Input, Pause, Reply, Request};

#[test]
fn a_ten_publishes_without_subscribers_are_ten() {
    let mut world = World::new();
    world.online(1, OWNER);
    for _ in 0..10 {
        world.publish(1, "temp");
        world.run(seconds(1));
    }
    assert_eq!(world.operations(), 10);
}

#[test]
fn b_a_publish_to_three_subscribed_devices_is_four() {
    let mut world = World::new();
    for n in 1..=4 {
        world.online(n, OWNER);
    }
    for n in 2..=4 {
        world.subscribe(n, "te");
    }
    world.publish(1, "temp");
    world.run(seconds(30));
    assert_eq!(world.operations(), 4);
    assert_eq!(world.delivered_to(link(3)), ["temp"]);
}

#[test]
fn c_a_subscriber_that_is_offline_costs_nothing() {
    let mut world = World::new();
    for n in 1..=4 {
        world.online(n, OWNER);
    }
    for n in 2..=4 {
        world.subscribe(n, "te");
    }
    world.goodbye(4);
    world.publish(1, "temp");
    world.run(seconds(30));
    assert_eq!(world.operations(), 3);
    assert!(world.delivered_to(link(4)).is_empty());
}

#[test]
fn d_an_internal_event_is_none() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.publish(1, "spark/device/diagnostics/update");
    assert_eq!(world.operations(), 0);
    assert!(world.shown().contains(&"spark/device/diagnostics/update".to_owned()));
}

#[test]
fn e_an_api_publish_to_five_devices_is_five() {
    let mut world = World::new();
    for n in 1..=5 {
        world.online(n, OWNER);
    }
    for n in 1..=5 {
        world.subscribe(n, "alarm");
    }
    let id = world.api_publish(OWNER, "alarm");
    world.run(seconds(30));
    assert_eq!(world.replies[&id], Ok(Reply::Done));
    assert_eq!(world.operations(), 5);
}

#[test]
fn f_an_api_publish_to_nobody_is_none() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.api_publish(OWNER, "alarm");
    world.run(seconds(30));
    assert_eq!(world.operations(), 0);
    assert!(world.shown().contains(&"alarm".to_owned()));
}

#[test]
fn g_a_call_answered_at_the_first_attempt_is_one() {
    let mut world = World::new();
    world.online(1, OWNER);
    let id = world.call(1, "led");
    world.run(seconds(30));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
    assert_eq!(world.operations(), 1);
}

#[test]
fn h_a_call_acknowledged_at_the_third_attempt_is_three() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 3;
    let id = world.call(1, "led");
    world.run(seconds(30));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
    assert_eq!(world.operations(), 3);
}

#[test]
fn i_a_call_never_acknowledged_is_three_and_the_device_is_offline_for_the_next() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    let call = world.call(1, "led");
    world.run(seconds(21));
    assert_eq!(world.replies[&call], Err(Refusal::TimedOut));
    let read = world.read(1, "temp");
    assert_eq!(world.replies[&read], Err(Refusal::Offline));
    assert_eq!(world.operations(), 3);
    assert_eq!(world.statuses(1), ["online", "offline"]);
}

#[test]
fn i_over_tcp_is_one_and_the_device_stays_online() {
    let mut world = World::new();
    world.script(link(1)).transport = model::link::Transport::Tcp;
    world.online(1, OWNER);
    world.script(link(1)).answers = false;
    let call = world.call(1, "led");
    world.run(seconds(27));
    assert!(!world.replies.contains_key(&call));
    world.run(seconds(1));
    assert_eq!(world.replies[&call], Err(Refusal::TimedOut));
    assert_eq!(world.operations(), 1);
    assert!(world.is_online(1));
}

#[test]
fn j_a_variable_read_by_two_pages_is_two() {
    let mut world = World::new();
    world.online(1, OWNER);
    let (first, second) = (world.read(1, "temp"), world.read(1, "temp"));
    world.run(seconds(30));
    assert!(world.replies[&first].is_ok() && world.replies[&second].is_ok());
    assert_eq!(world.operations(), 2);
}

#[test]
fn k_a_publish_that_arrives_twice_is_two_and_routed_once() {
    let mut world = World::new();
    world.online(1, OWNER);
    let receipt = world.publish(1, "temp");
    world.say_again(1, publish("temp", None), receipt);
    assert_eq!(world.operations(), 2);
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted, Verdict::Accepted]);
    assert_eq!(world.shown().iter().filter(|name| *name == "temp").count(), 1);
}

#[test]
fn m_three_chunks_of_a_webhook_answer_are_three_besides_the_publish() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "hook-response/temp");
    world.publish(1, "temp");
    for (part, bytes) in [512, 512, 276].into_iter().enumerate() {
        let mut event = api_event(OWNER, &format!("hook-response/temp/{part}"), world.now.utc);
        event.origin = Origin::Internal;
        event.data = Some(EventData { format: 0, bytes: vec![b'x'; bytes].into() });
        world.request(Request::Publish { event });
    }
    world.run(seconds(30));
    assert_eq!(world.operations(), 4);
    let parts = ["hook-response/temp/0", "hook-response/temp/1", "hook-response/temp/2"];
    assert_eq!(world.delivered_to(link(1)), parts);
    let delivered = world.ledger.total(|key| key.kind == OperationKind::WebhookAnswer);
    assert_eq!((delivered.operations, delivered.bytes), (3, 1300));
}

#[test]
fn p_a_ping_is_none_in_2022_and_one_in_2021() {
    for (catalogue, operations) in [(Catalogue::Y2022, 0), (Catalogue::Y2021, 1)] {
        let mut world = World::with_rules(Rules::of(catalogue));
        world.online(1, OWNER);
        world.script(link(1)).acknowledges = 2;
        let id = world.request(Request::Ping { device: device(1) });
        world.run(seconds(30));
        assert_eq!(world.replies[&id], Ok(Reply::Online(true)));
        assert_eq!(world.operations(), operations, "{catalogue:?}");
    }
}

#[test]
fn q_publishes_of_a_paused_account_are_none() {
    let mut world = World::new();
    world.online(1, OWNER);
    let pause = Pause { cellular_only: false, why: "operations until 1 March".into() };
    world.input(Input::AccountPaused { account: OWNER, pause: Some(pause) });
    for _ in 0..5 {
        let receipt = world.publish(1, "temp");
        assert_eq!(world.verdicts(receipt), [Verdict::Forbidden]);
    }
    assert_eq!(world.operations(), 0);
    assert!(!world.shown().contains(&"temp".to_owned()));
    world.input(Input::AccountPaused { account: OWNER, pause: None });
    let receipt = world.publish(1, "temp");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
}

#[test]
fn r_eight_publishes_within_a_second_are_four() {
    let mut world = World::new();
    world.online(1, OWNER);
    let receipts: Vec<_> = (0..8)
        .map(|_| {
            world.run(millis(100));
            world.publish(1, "temp")
        })
        .collect();
    let verdicts: Vec<_> = receipts.iter().flat_map(|receipt| world.verdicts(*receipt)).collect();
    assert_eq!(verdicts[..4], [Verdict::Accepted; 4]);
    assert_eq!(verdicts[4..], [Verdict::TooManyRequests; 4]);
    assert_eq!(world.operations(), 4);
}

#[test]
fn s_a_device_that_subscribes_to_its_own_event_makes_two() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    world.publish(1, "temp");
    world.run(seconds(30));
    assert_eq!(world.operations(), 2);
}

#[test]
fn t_a_device_of_another_account_never_sees_it() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.online(2, OTHER);
    world.subscribe(2, "temp");
    world.publish(1, "temp");
    world.run(seconds(30));
    assert_eq!(world.operations(), 1);
    assert_eq!(world.ledger.operations(OTHER), 0);
    assert!(world.delivered_to(link(2)).is_empty());
}

#[test]
fn a_delivery_never_acknowledged_is_three_and_the_next_one_none() {
    let mut world = World::new();
    for n in 1..=2 {
        world.online(n, OWNER);
    }
    world.subscribe(2, "temp");
    world.script(link(2)).acknowledges = 0;
    world.publish(1, "temp");
    world.publish(1, "temp");
    world.run(seconds(30));
    assert_eq!(world.delivered_to(link(2)), ["temp"]);
    assert_eq!(world.operations(), 2 + 3);
    assert!(!world.is_online(2));
}

#[test]
fn over_tcp_each_delivery_is_one_and_the_next_follows_at_once() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(2)).transport = model::link::Transport::Tcp;
    world.online(2, OWNER);
    world.subscribe(2, "temp");
    for _ in 0..3 {
        world.publish(1, "temp");
    }
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(2)).len(), 3);
    assert_eq!(world.operations(), 6);
}

#[test]
fn large_events_count_by_started_kilobyte_in_catalogue_2025() {
    let mut world = World::with_rules(Rules::of(Catalogue::Y2025));
    for n in 1..=2 {
        world.online(n, OWNER);
    }
    world.subscribe(2, "big");
    world.say(1, publish("big", Some(&[b'x'; 1025])));
    world.run(seconds(30));
    assert_eq!(world.operations(), 4);
}

#[test]
fn nothing_of_a_device_that_nobody_owns_is_counted_or_routed() {
    let mut world = World::new();
    world.register(1, None);
    world.hello(1);
    world.online(2, OWNER);
    world.subscribe(2, "");
    let receipt = world.publish(1, "temp");
    world.say_again(1, publish("temp", None), receipt);
    world.run(seconds(30));
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted, Verdict::Accepted]);
    assert!(world.ledger.is_empty());
    assert!(!world.shown().contains(&"temp".to_owned()));
    assert!(world.delivered_to(link(2)).is_empty());
}
