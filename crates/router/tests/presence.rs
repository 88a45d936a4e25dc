//! Who is online, who is told, what is written down; sessions that come, go and come back.

mod common;

use common::*;
use model::journal::Entry;
use model::link::{Command, LinkEvent, Transport, Verdict};
use model::{CloudMessage, DeviceMessage, DeviceRow, Refusal};
use router::{Input, Reply, Request, Restored};
use std::sync::Arc;

fn presences(world: &World) -> Vec<bool> {
    let of = |(_, entry): &(u64, Entry)| match entry {
        Entry::Presence { online, .. } => Some(*online),
        _ => None,
    };
    world.records.iter().filter_map(of).collect()
}

fn restore(world: &mut World, n: u8, row: DeviceRow, online: bool) {
    let restored = Restored {
        link: link(n),
        device: device(n),
        row,
        subscriptions: vec![subscription("temp")],
        hello: hello(),
        peer: "192.0.2.7:5000".parse().expect("an address"),
        online,
        last_heard: world.now.utc,
        last_handshake_at: None,
    };
    world.input(Input::Restored(Box::new(restored)));
}

fn described_row() -> DeviceRow {
    let description = Some(Arc::new(application()));
    DeviceRow { account: Some(OWNER), description, ..DeviceRow::default() }
}

#[test]
fn a_hello_while_online_is_offline_and_online() {
    let mut world = World::new();
    world.online(1, OWNER);
    assert_eq!(world.statuses(1), ["online"]);
    world.hello_on(1, link(1), false);
    assert_eq!(world.statuses(1), ["online", "offline", "online"]);
}

#[test]
fn a_hello_over_another_connection_closes_the_older_one() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).answers = false;
    let call = world.call(1, "echo");
    world.hello_on(1, link(7), true);
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert_eq!(world.replies[&call], Err(Refusal::TimedOut));
    world.link(LinkEvent::Closed { link: link(1), forget: true });
    assert!(world.is_online(1));
    let forgets = |(_, entry): &(u64, Entry)| matches!(entry, Entry::Forget { .. });
    assert!(!world.records.iter().any(forgets), "the newer session stays");
}

#[test]
fn goodbye_is_acknowledged_at_once_and_the_next_message_brings_the_device_back() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let receipt = world.goodbye(1);
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    assert!(!world.is_online(1));
    world.publish(1, "temp");
    assert!(world.is_online(1));
    world.commit();
    assert_eq!(world.statuses(1), ["online", "offline", "online"]);
}

#[test]
fn silence_and_a_closed_connection_are_offline_once() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.link(LinkEvent::Silent { link: link(1) });
    world.link(LinkEvent::Silent { link: link(1) });
    world.link(LinkEvent::Closed { link: link(1), forget: false });
    assert_eq!(world.statuses(1), ["online", "offline"]);
    assert_eq!(world.shard.counters().devices_online, 0);
}

#[test]
fn a_restored_device_is_what_it_was_and_nobody_is_told() {
    let mut world = World::new();
    restore(&mut world, 1, described_row(), true);
    restore(&mut world, 2, described_row(), false);
    world.link(LinkEvent::Alive { link: link(1) });
    assert!(world.notified.is_empty());
    assert!(world.is_online(1) && !world.is_online(2));
    world.link(LinkEvent::Alive { link: link(2) });
    assert_eq!(world.statuses(2), ["online"]);
    world.publish(2, "temp");
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(1)), ["temp"], "subscriptions came back");
    let id = world.call(1, "echo");
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_restored_device_without_a_description_is_reset_at_its_first_confirmable_message() {
    let mut world = World::new();
    let row = DeviceRow { account: Some(OWNER), ..DeviceRow::default() };
    restore(&mut world, 1, row.clone(), true);
    let receipt = world.publish(1, "temp");
    assert!(world.commands.contains(&(link(1), Command::Reset { receipt })));
    assert_eq!(world.operations(), 0);

    restore(&mut world, 2, row, true);
    world.describe(2);
    let receipt = world.publish(2, "temp");
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
}

#[test]
fn a_connection_that_nobody_knows_is_reset() {
    let mut world = World::new();
    let receipt = world.publish(1, "temp");
    assert_eq!(world.commands, [(link(1), Command::Reset { receipt })]);
}

#[test]
fn presence_is_written_at_each_change_and_60_s_after_it_was_heard() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.run(seconds(61));
    assert_eq!(presences(&world), [true, true]);
    assert_eq!(world.shard.next_timeout(), None, "an idle device has no timer");
    world.publish(1, "temp");
    world.run(seconds(30));
    world.publish(1, "temp");
    assert_eq!(presences(&world), [true, true]);
    world.run(seconds(30));
    assert_eq!(presences(&world), [true, true, true]);
    world.goodbye(1);
    assert_eq!(presences(&world), [true, true, true, false]);
}

#[test]
fn a_new_address_is_written_and_nobody_told() {
    let mut world = World::new();
    world.online(1, OWNER);
    let peer = "198.51.100.9:6000".parse().expect("an address");
    world.link(LinkEvent::Moved { link: link(1), peer, record: 77 });
    assert_eq!(world.state(1).peer, Some(peer));
    let written = |(_, entry): &(u64, Entry)| matches!(entry, Entry::Presence { peer: Some(at), record_seen: 77, .. } if *at == peer);
    assert!(world.records.iter().any(written));
    assert_eq!(world.statuses(1), ["online"]);
}

#[test]
fn full_handshakes_and_resumes_are_told_apart() {
    let mut world = World::new();
    world.online(1, OWNER);
    let counted = |world: &mut World| {
        let state = world.state(1);
        (state.handshakes, state.resumes)
    };
    assert_eq!(counted(&mut world), (1, 0));
    let peer = ([198, 51, 100, 7], 4711).into();
    world.link(LinkEvent::Moved { link: link(1), peer, record: 77 });
    assert_eq!(counted(&mut world), (1, 1));
    world.link(LinkEvent::Silent { link: link(1) });
    world.link(LinkEvent::Moved { link: link(1), peer, record: 78 });
    world.link(LinkEvent::Alive { link: link(1) });
    assert_eq!(counted(&mut world), (1, 2));
    world.hello_on(1, link(1), false);
    assert_eq!(counted(&mut world), (1, 3));
    world.hello_on(1, link(1), true);
    assert_eq!(counted(&mut world), (2, 3));
}

#[test]
fn an_address_that_changes_with_every_message_is_written_once_a_second() {
    let mut world = World::new();
    world.online(1, OWNER);
    let before = presences(&world).len();
    let mut peer = ([198, 51, 100, 9], 6000).into();
    for port in 0..50 {
        peer = ([198, 51, 100, 9], 6000 + port).into();
        world.link(LinkEvent::Moved { link: link(1), peer, record: 9 });
        world.run(millis(90));
    }
    assert_eq!(presences(&world).len() - before, 5);
    world.run(seconds(1));
    let last = world.records.iter().rev().find_map(|(_, entry)| match entry {
        Entry::Presence { peer, .. } => *peer,
        _ => None,
    });
    assert_eq!(last, Some(peer));
    let after = presences(&world).len();
    world.run(seconds(120));
    assert_eq!(presences(&world).len(), after, "what is written is not written again");
    assert_eq!(world.shard.next_timeout(), None);
}

#[test]
fn record_numbers_that_were_seen_are_written_and_those_of_an_older_session_never_again() {
    let mut world = World::new();
    world.online(1, OWNER);
    let seen = |world: &World| match world.records.last() {
        Some((_, Entry::Presence { record_seen, last_heard, online, .. })) => {
            (*record_seen, *last_heard, *online)
        }
        other => panic!("{other:?}"),
    };
    let at = world.now.utc.after(seconds(20));
    world.link(LinkEvent::Heard { link: link(1), at, record: 500 });
    assert_eq!(seen(&world), (500, at, true));
    world.goodbye(1);
    world.link(LinkEvent::Heard { link: link(1), at, record: 501 });
    assert_eq!(seen(&world), (501, at, false), "no sign that it is back");
    assert_eq!(world.statuses(1), ["online", "offline"]);
    let before = world.records.len();
    world.hello_on(1, link(7), true);
    for (_, entry) in &world.records[before..] {
        assert!(!matches!(entry, Entry::Presence { record_seen: 500.., .. }), "{entry:?}");
    }
}

#[test]
fn record_numbers_are_granted_when_the_reservation_is_durable() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    world.link(LinkEvent::Reserve { link: link(1), record_limit: 2048 });
    let granted = (link(1), Command::Reserved { record_limit: 2048 });
    assert!(!world.commands.contains(&granted));
    world.commit();
    assert!(world.commands.contains(&granted));
}

#[test]
fn a_device_that_is_not_registered_is_closed() {
    let mut world = World::new();
    world.hello(1);
    assert_eq!(world.commands, [(link(1), Command::Close)]);
}

#[test]
fn a_displaced_device_is_closed_and_nothing_is_written_or_told() {
    let mut world = World::new();
    world.online(1, OWNER);
    let before = presences(&world).len();
    world.input(Input::Displaced { device: device(1) });
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert_eq!(world.statuses(1), ["online"], "where its newer session is, it is online");
    assert_eq!(world.shard.counters().devices_online, 0);
    assert_eq!(presences(&world).len(), before);
    let id = world.call(1, "echo");
    assert_eq!(world.replies[&id], Err(Refusal::UnknownDevice));
    assert_eq!(world.shard.counters().devices, 0);
}

#[test]
fn a_replaced_key_ends_the_session_by_a_key_change() {
    let mut world = World::new();
    world.online(1, OWNER);
    let id = world.request(Request::KeyReplaced { device: device(1) });
    assert_eq!(world.replies[&id], Ok(Reply::Done));
    assert_eq!(world.sent.last().expect("a message").2, CloudMessage::KeyChange);
    let receipt = world.publish(1, "last words");
    assert_eq!(world.verdicts(receipt), [Verdict::Forbidden], "it is not published");
    world.run(seconds(1));
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert!(!world.is_online(1));
    assert_eq!(world.operations(), 0);
    let forgotten = Entry::Forget { device: device(1) };
    assert_eq!(world.records.iter().filter(|(_, entry)| *entry == forgotten).count(), 1);
    world.hello_on(1, link(2), true);
    assert!(world.is_online(1));
}

#[test]
fn a_hello_does_not_save_a_session_whose_key_was_replaced() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    world.request(Request::KeyReplaced { device: device(1) });
    world.hello_on(1, link(1), false);
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert!(!world.is_online(1));
    let last = &world.records.last().expect("a record").1;
    assert_eq!(*last, Entry::Forget { device: device(1) }, "no session is stored behind it");
    world.hello_on(1, link(2), true);
    assert!(world.is_online(1));
}

#[test]
fn a_removed_device_that_was_connecting_is_closed() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    world.rows.clear();
    world.input(Input::Changed { device: device(1), row: None });
    world.hello_on(1, link(2), true);
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert!(world.commands.contains(&(link(2), Command::Close)));
    assert_eq!(world.shard.counters().devices, 0);
}

#[test]
fn a_removed_device_over_tcp_is_closed_and_gone() {
    let mut world = World::new();
    world.script(link(1)).transport = Transport::Tcp;
    world.online(1, OWNER);
    world.input(Input::Changed { device: device(1), row: None });
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert_eq!(world.shard.counters().devices, 0);
}

#[test]
fn a_removed_device_over_udp_is_gone_when_it_knows() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    world.input(Input::Changed { device: device(1), row: None });
    assert_eq!(world.shard.counters().devices, 1);
    world.run(seconds(20));
    assert!(world.commands.contains(&(link(1), Command::Close)));
    assert_eq!(world.shard.counters().devices, 0);
}

#[test]
fn a_device_that_changes_hands_leaves_its_old_owners_events() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.subscribe(1, "temp");
    let row = DeviceRow { account: Some(OTHER), ..DeviceRow::default() };
    world.input(Input::Changed { device: device(1), row: Some(row) });
    world.api_publish(OWNER, "temp");
    assert!(world.delivered_to(link(1)).is_empty());
    world.api_publish(OTHER, "temp");
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(1)), ["temp"]);
    assert_eq!((world.operations(), world.ledger.operations(OTHER)), (0, 1));
    assert!(world.state(1).description.is_some(), "what it can do stays");
}

#[test]
fn a_claim_code_is_looked_up_and_the_device_told_to_forget_it() {
    let mut world = World::new();
    world.register(1, None);
    world.hello(1);
    world.subscribe(1, "temp");
    let code = [b'c'; 63];
    let receipt = world.say(1, publish("spark/device/claim/code", Some(&code)));
    assert_eq!(world.verdicts(receipt), [Verdict::Accepted]);
    assert_eq!(world.claims, [(device(1), "c".repeat(63))]);
    let row = DeviceRow { account: Some(OWNER), ..DeviceRow::default() };
    let outcome = router::ClaimOutcome::Claimed;
    world.input(Input::Claimed { device: device(1), outcome, row: Some(row) });
    world.run(seconds(1));
    assert_eq!(world.delivered_to(link(1)), ["spark/device/claim/code"]);
    world.publish(1, "temp");
    world.run(seconds(1));
    assert_eq!(world.operations(), 2, "it is owned, and what it subscribed to is delivered");
}

#[test]
fn a_device_keeps_a_claim_code_that_could_not_be_looked_up() {
    let mut world = World::new();
    world.register(1, None);
    world.hello(1);
    world.say(1, publish("spark/device/claim/code", Some(b"code")));
    let outcome = router::ClaimOutcome::NotLookedUp;
    world.input(Input::Claimed { device: device(1), outcome, row: Some(DeviceRow::default()) });
    world.run(seconds(1));
    assert!(world.delivered_to(link(1)).is_empty());
    world.say(1, publish("spark/device/claim/code", Some(b"code")));
    assert_eq!(world.claims.len(), 2, "it may tell it again");
}

#[test]
fn a_code_for_a_device_of_somebody_else_is_shown_to_its_owner_without_the_code() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.say(1, publish("spark/device/claim/code", Some(b"secret")));
    let row = world.rows[&device(1)].clone();
    let outcome = router::ClaimOutcome::OwnedByOther;
    world.input(Input::Claimed { device: device(1), outcome, row: Some(row) });
    let shown = world.notified.last().expect("an event");
    assert_eq!((shown.name.as_str(), &shown.data), ("spark/device/claim/code", &None));
    assert_eq!(world.delivered_to(link(1)), ["spark/device/claim/code"]);
    assert_eq!(world.operations(), 0);
}

#[test]
fn the_same_message_over_a_closed_connection_is_nobodys() {
    let mut world = World::new();
    world.script(link(1)).transport = Transport::Tcp;
    world.online(1, OWNER);
    world.link(LinkEvent::Closed { link: link(1), forget: false });
    world.say_as(1, publish("temp", None), None);
    assert_eq!(world.operations(), 0);
    assert!(!world.is_online(1));
    let goodbye = DeviceMessage::Goodbye(model::message::Goodbye::default());
    world.say_as(1, goodbye, None);
    assert_eq!(world.statuses(1), ["online", "offline"]);
}
