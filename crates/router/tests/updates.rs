//! How an update ends.

mod common;

use std::sync::Arc;

use common::*;
use model::link::{LinkEvent, TransferEnd, TransferNews};
use model::update::{Expected, Image, UpdateFailure};
use model::{Update, UpdateId, UpdateState};
use router::Request;

const UPDATE: UpdateId = UpdateId(7);

/// A device that took an update, with version 2, and is back; it does not say what it consists of.
fn back_and_silent() -> World {
    let mut world = World::new();
    world.online(1, OWNER);
    take_update(&mut world, None);
    world.hello_on(1, link(1), false);
    world
}

/// The device takes the update and says nothing more.
fn take_update(world: &mut World, product_version: Option<u16>) {
    let image = Image { sha256: [1; 32], function: 5, index: 1, bytes: vec![0; 2000].into() };
    let expected = Expected { sha256: Some([2; 32]), version: 2, product_version };
    let update = Update {
        id: UPDATE,
        image: Arc::new(image),
        forced: false,
        automatic: false,
        expected: Some(expected),
    };
    world.request(Request::Update { device: device(1), update });
    world.run(seconds(1));
    for news in [
        TransferNews::Started { offset: 0 },
        TransferNews::Validating,
        TransferNews::Ended(TransferEnd::Applied),
    ] {
        world.link(LinkEvent::Transfer { link: link(1), update: UPDATE, news });
    }
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&UpdateState::Restarting));
    world.script(link(1)).answers = false;
}

/// A Hello of firmware with this product version.
fn hello_with_version(world: &mut World, product_version: u16) {
    let mut opened = world.opened(1, link(1), false);
    opened.hello.product_version = product_version;
    world.link(LinkEvent::Opened(Box::new(opened)));
}

fn has_failed(world: &World) -> bool {
    let end = world.reports.last().map(|report| &report.state);
    matches!(end, Some(UpdateState::Failed(UpdateFailure::NotApplied(_))))
}

#[test]
fn a_device_that_does_not_say_what_it_runs_is_not_believed_to_run_the_update() {
    let mut world = back_and_silent();
    world.run(seconds(600));
    let end = world.reports.last().map(|report| report.state.clone());
    let Some(UpdateState::Failed(UpdateFailure::NotApplied(why))) = end else { panic!("{end:?}") };
    assert_eq!(why, "it does not say what it consists of");
}

#[test]
fn a_device_that_says_late_what_it_consists_of_is_believed_then() {
    let mut world = back_and_silent();
    world.run(seconds(150));
    world.script(link(1)).answers = true;
    world.run(seconds(100));
    // Its description says nothing of the module, nor does its Hello: its word is taken.
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&UpdateState::Succeeded));
}

#[test]
fn a_device_that_never_says_what_it_consists_of_is_believed_the_version_of_its_hello_in_the_end() {
    let mut world = World::new();
    world.online(1, OWNER);
    take_update(&mut world, Some(3));
    hello_with_version(&mut world, 3);
    world.run(seconds(290));
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&UpdateState::Restarting));
    world.run(seconds(310));
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&UpdateState::Succeeded));
}

#[test]
fn a_version_that_is_another_one_or_not_told_shows_nothing() {
    for (wanted, told) in [(3, 2), (3, u16::MAX), (u16::MAX, u16::MAX)] {
        let mut world = World::new();
        world.online(1, OWNER);
        take_update(&mut world, Some(wanted));
        hello_with_version(&mut world, told);
        world.run(seconds(600));
        assert!(has_failed(&world), "{wanted} {told}");
    }
}

#[test]
fn a_version_told_before_the_update_shows_nothing() {
    let mut world = World::new();
    world.register(1, Some(OWNER));
    hello_with_version(&mut world, 3);
    world.describe(1);
    take_update(&mut world, Some(3));
    world.link(LinkEvent::Silent { link: link(1) });
    world.run(seconds(10));
    world.link(LinkEvent::Alive { link: link(1) });
    world.run(seconds(600));
    assert!(has_failed(&world), "{:?}", world.reports.last());
}
