//! Functions, variables, pings and signals: who waits, who is refused, who is answered when.

mod common;

use common::*;
use model::hello::HelloFlags;
use model::link::{ExchangeId, LinkEvent, Transport};
use model::{Answer, CloudMessage, DescribePart, DeviceMessage, Refusal, RequestId, VariableValue};
use router::{Input, Pause, Reply, Request};

fn calls_sent(world: &World) -> usize {
    let is_call = |message: &CloudMessage| matches!(message, CloudMessage::FunctionCall { .. });
    world.sent.iter().filter(|(_, _, message)| is_call(message)).count()
}

fn last_exchange(world: &World) -> ExchangeId {
    world.sent.last().expect("something was sent").1
}

/// A device that takes calls and never answers them.
fn mute(world: &mut World) {
    world.online(1, OWNER);
    world.script(link(1)).answers = false;
}

#[test]
fn a_variable_is_read_by_its_described_type() {
    let mut world = World::new();
    world.online(1, OWNER);
    let id = world.read(1, "TEMP");
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Value(VariableValue::Int(7))));
}

#[test]
fn names_are_sent_as_described() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.call(1, "LED");
    let (_, _, message) = world.sent.last().expect("a call");
    let expected = CloudMessage::FunctionCall { name: "Led".into(), argument: "on".into() };
    assert_eq!(*message, expected);
}

#[test]
fn calls_of_one_device_run_one_after_the_other_in_order() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).delay = seconds(2);
    let ids: Vec<RequestId> = (0..3).map(|_| world.call(1, "echo")).collect();
    assert_eq!(calls_sent(&world), 1);
    world.run(seconds(5));
    assert_eq!(calls_sent(&world), 3);
    world.run(seconds(5));
    let times: Vec<_> = ids.iter().map(|id| world.replied_at[id]).collect();
    assert!(times[0] < times[1] && times[1] < times[2]);
}

#[test]
fn the_seventeenth_waiting_call_is_refused() {
    let mut world = World::new();
    mute(&mut world);
    let ids: Vec<RequestId> = (0..18).map(|_| world.call(1, "echo")).collect();
    assert_eq!(world.replies.get(&ids[16]), None);
    assert_eq!(world.replies[&ids[17]], Err(Refusal::QueueFull));
    world.run(seconds(60));
    let timed_out = ids.iter().filter(|id| world.replies[id] == Err(Refusal::TimedOut)).count();
    assert_eq!(timed_out, 17);
    assert_eq!(world.shard.counters().calls_timed_out, 17);
    assert_eq!(world.operations(), 1, "those that waited in vain were never sent");
}

#[test]
fn an_attempt_that_leaves_behind_the_callers_deadline_counts() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new();
        world.online(1, OWNER);
        let script = world.script(link(1));
        (script.transport, script.held) = (transport, seconds(40));
        let id = world.call(1, "echo");
        world.run(seconds(39));
        assert_eq!((&world.replies[&id], world.operations()), (&Err(Refusal::TimedOut), 0));
        world.run(seconds(10));
        assert_eq!(world.operations(), 1);
        world.script(link(1)).held = seconds(0);
        let next = world.call(1, "echo");
        world.run(seconds(30));
        assert!(world.replies[&next].is_ok());
    }
}

#[test]
fn a_call_that_begins_as_its_device_falls_silent_counts_if_it_leaves() {
    let mut world = World::new();
    mute(&mut world);
    let first = world.call(1, "echo");
    let (call, second) = (last_exchange(&world), world.call(1, "echo"));
    world.script(link(1)).acknowledges = 0;
    let ping = world.request(Request::Ping { device: device(1) });
    let pinged = last_exchange(&world);
    world.run(seconds(1));
    let before = world.operations();
    let answer = Answer::Returned(1);
    world.link(LinkEvent::Answered { link: link(1), exchange: call, answer });
    let begun = last_exchange(&world);
    world.link(LinkEvent::Unanswered { link: link(1), exchange: pinged });
    assert!(world.replies.contains_key(&first) && world.replies.contains_key(&ping));
    assert_eq!(world.replies[&second], Err(Refusal::TimedOut));
    assert!(begun != call && begun != pinged);
    world.run(seconds(1));
    assert_eq!(world.operations(), before + 1);
}

#[test]
fn refusals_come_in_their_order() {
    let mut world = World::new();
    let unknown = world.call(9, "nosuch");
    assert_eq!(world.replies[&unknown], Err(Refusal::UnknownDevice));

    mute(&mut world);
    let pause = Pause { cellular_only: true, why: "bytes".into() };
    world.goodbye(1);
    world.input(Input::AccountPaused { account: OWNER, pause: Some(pause) });
    let paused = world.call(1, "nosuch");
    assert_eq!(world.replies[&paused], Err(Refusal::Paused("bytes".into())));

    world.input(Input::AccountPaused { account: OWNER, pause: None });
    let offline = world.call(1, "nosuch");
    assert_eq!(world.replies[&offline], Err(Refusal::Offline));

    world.publish(1, "back");
    for _ in 0..17 {
        world.call(1, "echo");
    }
    let function = world.call(1, "nosuch");
    assert_eq!(world.replies[&function], Err(Refusal::UnknownFunction("nosuch".into())));
    let variable = world.read(1, "nosuch");
    assert_eq!(world.replies[&variable], Err(Refusal::UnknownVariable));
    let full = world.call(1, "echo");
    assert_eq!(world.replies[&full], Err(Refusal::QueueFull));
}

#[test]
fn a_signal_is_no_operation_and_works_while_paused() {
    let mut world = World::new();
    world.online(1, OWNER);
    let pause = Pause { cellular_only: false, why: "operations".into() };
    world.input(Input::AccountPaused { account: OWNER, pause: Some(pause) });
    let id = world.request(Request::Signal { device: device(1), on: true });
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Done));
    assert_eq!(world.operations(), 0);
}

#[test]
fn an_argument_over_the_limit_is_refused_with_the_limit() {
    let mut world = World::new();
    world.online(1, OWNER);
    let argument = "x".repeat(1025).into();
    let id = world.request(Request::Call { device: device(1), name: "echo".into(), argument });
    assert_eq!(world.replies[&id], Err(Refusal::ArgumentTooLong(1024)));
    assert_eq!(world.operations(), 0);
}

#[test]
fn a_call_without_an_answer_times_out_at_28_s_and_the_next_one_starts() {
    let mut world = World::new();
    mute(&mut world);
    let first = world.call(1, "echo");
    world.run(seconds(20));
    let second = world.call(1, "echo");
    world.run(millis(7_999));
    assert!(!world.replies.contains_key(&first));
    world.script(link(1)).answers = true;
    world.run(seconds(1));
    assert_eq!(world.replies[&first], Err(Refusal::TimedOut));
    assert_eq!(world.replies[&second], Ok(Reply::Returned(42)));
    assert!(world.is_online(1));
}

#[test]
fn a_call_that_is_still_unacknowledged_at_its_deadline_goes_on_and_counts() {
    let mut world = World::new();
    mute(&mut world);
    let first = world.call(1, "echo");
    let second = world.call(1, "echo");
    world.run(seconds(15));
    let device = device(1);
    world.request(Request::CancelIfWaiting { device, request: second });
    let third = world.call(1, "echo");
    world.script(link(1)).acknowledges = 0;
    world.run(seconds(14));
    assert_eq!(world.replies[&first], Err(Refusal::TimedOut));
    world.run(seconds(14));
    assert_eq!(world.replies[&third], Err(Refusal::TimedOut));
    let fourth = world.call(1, "echo");
    world.run(seconds(5));
    assert_eq!(calls_sent(&world), 2, "the third one is not given up yet");
    world.run(seconds(2));
    assert_eq!(world.replies[&fourth], Err(Refusal::Offline));
    assert_eq!(world.operations(), 1 + 3);
    assert!(!world.replies.contains_key(&second), "nobody waited for it");
}

#[test]
fn a_cancelled_call_that_was_sent_finishes_and_counts() {
    let mut world = World::new();
    world.online(1, OWNER);
    let id = world.call(1, "echo");
    world.request(Request::CancelIfWaiting { device: device(1), request: id });
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
    assert_eq!(world.operations(), 1);
}

#[test]
fn a_late_answer_is_nobodys() {
    let mut world = World::new();
    mute(&mut world);
    world.call(1, "echo");
    world.run(seconds(29));
    let (link, exchange) = (link(1), last_exchange(&world));
    world.link(LinkEvent::Answered { link, exchange, answer: Answer::Returned(9) });
    assert_eq!(world.shard.counters().answers_late, 1);
    assert_eq!(world.replies.len(), 1);
}

#[test]
fn a_hello_fails_the_running_call_at_once_and_the_waiting_ones_go_on() {
    let mut world = World::new();
    mute(&mut world);
    let (running, waiting) = (world.call(1, "echo"), world.call(1, "echo"));
    world.run(seconds(1));
    world.script(link(1)).answers = true;
    world.hello_on(1, link(1), false);
    assert_eq!(world.replies[&running], Err(Refusal::TimedOut));
    assert!(!world.replies.contains_key(&waiting), "it waits for the description");
    world.describe(1);
    world.run(seconds(1));
    assert_eq!(world.replies[&waiting], Ok(Reply::Returned(42)));
}

#[test]
fn an_unanswered_call_fails_those_behind_it() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    let (running, waiting) = (world.call(1, "echo"), world.read(1, "temp"));
    world.run(seconds(20));
    assert_eq!(world.replies[&running], Err(Refusal::TimedOut));
    assert_eq!(world.replies[&waiting], Err(Refusal::Offline));
    assert_eq!(world.operations(), 3);
}

#[test]
fn the_devices_error_is_told() {
    let mut world = World::new();
    mute(&mut world);
    for (answer, refusal) in [
        (Answer::Failed(400), Refusal::DeviceFailed(400)),
        (Answer::Value(Box::from([1])), Refusal::DeviceFailed(500)),
    ] {
        let id = world.call(1, "echo");
        world.run(millis(1));
        let (link, exchange) = (link(1), last_exchange(&world));
        world.link(LinkEvent::Answered { link, exchange, answer });
        assert_eq!(world.replies[&id], Err(refusal));
    }
    let id = world.read(1, "temp");
    let (link, exchange) = (link(1), last_exchange(&world));
    world.link(LinkEvent::Answered { link, exchange, answer: Answer::Failed(404) });
    assert_eq!(world.replies[&id], Err(Refusal::UnknownVariable));
}

#[test]
fn a_reply_waits_until_its_attempts_are_durable() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.withholds_commits = true;
    let id = world.call(1, "echo");
    world.run(seconds(5));
    assert!(!world.replies.contains_key(&id));
    world.commit();
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_time_out_waits_until_its_attempts_are_durable_too() {
    let mut world = World::new();
    mute(&mut world);
    world.withholds_commits = true;
    let id = world.call(1, "echo");
    world.run(seconds(40));
    assert!(!world.replies.contains_key(&id));
    world.commit();
    assert_eq!(world.replies[&id], Err(Refusal::TimedOut));
}

#[test]
fn a_description_that_was_lost_with_the_device_is_asked_for_when_it_is_back() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    world.hello(1);
    world.link(LinkEvent::Silent { link: link(1) });
    world.run(seconds(60));
    world.link(LinkEvent::Alive { link: link(1) });
    let id = world.call(1, "echo");
    world.run(seconds(11));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_call_whose_attempt_cannot_be_written_is_unavailable() {
    let mut world = World::new();
    mute(&mut world);
    world.withholds_commits = true;
    let id = world.call(1, "echo");
    world.run(seconds(1));
    world.refuse();
    assert_eq!(world.replies[&id], Err(Refusal::Unavailable));
    let next = world.call(1, "echo");
    assert_eq!(world.replies[&next], Err(Refusal::Unavailable));
    world.run(seconds(2));
    world.withholds_commits = false;
    let later = world.call(1, "echo");
    assert!(!world.replies.contains_key(&later));
}

#[test]
fn calls_wait_for_a_description_on_its_way() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    world.hello(1);
    let (good, bad) = (world.call(1, "echo"), world.call(1, "nosuch"));
    world.run(seconds(2));
    assert!(world.replies.is_empty());
    world.say(1, DeviceMessage::Describe(DescribePart::Application(application())));
    world.run(seconds(1));
    assert_eq!(world.replies[&good], Ok(Reply::Returned(42)));
    assert_eq!(world.replies[&bad], Err(Refusal::UnknownFunction("nosuch".into())));
    assert_eq!(world.operations(), 1);
}

#[test]
fn a_description_that_does_not_come_is_asked_for_part_by_part_after_10_s() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    world.hello(1);
    let id = world.call(1, "echo");
    world.run(millis(9_999));
    assert!(world.sent.is_empty());
    world.run(seconds(2));
    let asked: Vec<_> = world.sent.iter().map(|(_, _, message)| message.clone()).collect();
    assert!(
        asked.contains(&CloudMessage::Describe(2)) && asked.contains(&CloudMessage::Describe(1))
    );
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_device_that_does_not_describe_itself_is_asked_at_once_without_flags() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    let mut opened = world.opened(1, link(1), true);
    opened.hello.flags = HelloFlags(HelloFlags::DIAGNOSTICS);
    world.link(LinkEvent::Opened(Box::new(opened)));
    assert_eq!(world.sent[0].2, CloudMessage::Describe(0));
    let id = world.call(1, "echo");
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_description_survives_a_hello_when_no_new_one_comes() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.hello_on(1, link(1), false);
    world.script(link(1)).answers = false;
    world.run(seconds(70));
    world.script(link(1)).answers = true;
    let id = world.call(1, "echo");
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn in_safe_mode_nothing_is_described_until_a_new_description_comes() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.publish(1, "spark/device/safemode");
    assert!(world.shown().contains(&"spark/status/safe-mode".to_owned()));
    assert!(!world.shown().contains(&"spark/device/safemode".to_owned()));
    let id = world.call(1, "echo");
    assert_eq!(world.replies[&id], Err(Refusal::UnknownFunction("echo".into())));
    assert!(world.is_online(1) && world.state(1).safe_mode);
    assert_eq!(world.state(1).description, None);
    world.describe(1);
    let id = world.call(1, "echo");
    world.run(seconds(1));
    assert_eq!(world.replies[&id], Ok(Reply::Returned(42)));
}

#[test]
fn a_ping_is_answered_by_any_message_and_shared_by_its_callers() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    world.forget_what_happened();
    let ping = Request::Ping { device: device(1) };
    let first = world.request(ping);
    let second = world.request(Request::Ping { device: device(1) });
    assert_eq!(world.sent.len(), 1);
    world.run(seconds(1));
    world.publish(1, "temp");
    assert_eq!(world.replies[&first], Ok(Reply::Online(true)));
    assert_eq!(world.replies[&second], Ok(Reply::Online(true)));
}

#[test]
fn a_ping_without_an_answer_is_told_after_10_s_and_the_device_given_up_at_20() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).acknowledges = 0;
    let id = world.request(Request::Ping { device: device(1) });
    world.run(millis(9_999));
    assert!(!world.replies.contains_key(&id));
    world.run(millis(1));
    assert_eq!(world.replies[&id], Ok(Reply::Online(false)));
    assert!(world.is_online(1));
    world.run(seconds(10));
    assert!(!world.is_online(1));
    let id = world.request(Request::Ping { device: device(1) });
    assert_eq!(world.replies[&id], Ok(Reply::Online(false)));
}

#[test]
fn a_classic_device_takes_short_arguments_only() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    world.script(link(1)).transport = Transport::Tcp;
    let mut opened = world.opened(1, link(1), true);
    opened.hello.platform = model::Platform(6);
    opened.hello.flags = HelloFlags(0);
    opened.hello.system = None;
    world.link(LinkEvent::Opened(Box::new(opened)));
    world.run(seconds(1));
    let argument = "x".repeat(64).into();
    let id = world.request(Request::Call { device: device(1), name: "echo".into(), argument });
    assert_eq!(world.replies[&id], Err(Refusal::ArgumentTooLong(63)));
}

#[test]
fn vital_signs_that_were_never_answered_are_asked_for_again() {
    let mut world = World::new();
    world.online(1, OWNER);
    world.script(link(1)).answers = false;
    let mut ask = |after_s, asked| {
        world.run(seconds(after_s));
        world.request(Request::AskVitals { device: device(1) });
        let is_vitals = |message: &CloudMessage| matches!(message, CloudMessage::Describe(4));
        let sent = world.sent.iter().filter(|(_, _, message)| is_vitals(message)).count();
        assert_eq!(sent, asked, "{after_s} s later");
    };
    ask(0, 1);
    ask(139, 1);
    ask(1, 2);
    ask(139, 2);
    ask(1, 3);
}
