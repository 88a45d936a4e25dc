//! Bytes over the carrier: who pays for them, and who is paused by them.

mod common;

use std::sync::Arc;

use common::*;
use model::journal::{Carried, Entry};
use model::link::{LinkEvent, Opened};
use model::{
    Bearer, DescribePart, DeviceMessage, DeviceRow, Platform, ProductId, SystemDescription, Traffic,
};
use router::{Input, Pause};

const SOME: Traffic = Traffic { received: 300, sent: 200 };

impl World {
    fn online_as(&mut self, n: u8, platform: u16) {
        self.register(n, Some(OWNER));
        let Opened { hello, .. } = self.opened(n, link(n), true);
        let mut opened = self.opened(n, link(n), true);
        opened.hello = model::Hello { platform: Platform(platform), ..hello };
        self.link(LinkEvent::Opened(Box::new(opened)));
    }

    fn carry_bytes(&mut self, n: u8) {
        self.link(LinkEvent::Traffic { link: link(n), device: device(n), traffic: SOME });
    }

    fn carried(&self) -> Vec<Carried> {
        let carried = |(_, entry): &(u64, Entry)| match entry {
            Entry::Traffic(carried) => Some(*carried),
            _ => None,
        };
        self.records.iter().filter_map(carried).collect()
    }
}

fn modem(imei: Option<&str>) -> DeviceMessage {
    let imei = imei.map(Into::into);
    DeviceMessage::Describe(DescribePart::System(SystemDescription {
        imei,
        ..SystemDescription::default()
    }))
}

#[test]
fn bytes_are_written_down_for_the_payer_with_the_bearer_of_the_platform() {
    let mut world = World::new();
    for (n, platform) in [(1, 13), (2, 26), (3, 6)] {
        world.online_as(n, platform);
        world.carry_bytes(n);
    }
    let carried = world.carried();
    let bearers: Vec<_> = carried.iter().map(|carried| carried.bearer).collect();
    assert_eq!(bearers, [Bearer::Cellular, Bearer::Tracker, Bearer::Wifi]);
    let Carried { account, device: of, traffic, at, .. } = carried[0];
    assert_eq!((account, of, traffic, at), (OWNER, device(1), SOME, world.now.utc));
    assert_eq!(world.operations(), 0);
}

#[test]
fn an_msom_is_cellular_while_its_describe_tells_an_imei() {
    let mut world = World::new();
    world.online_as(1, 35);
    world.carry_bytes(1);
    world.say(1, modem(Some("352753090042138")));
    world.carry_bytes(1);
    let row = DeviceRow { account: Some(OWNER), ..DeviceRow::default() };
    world.input(Input::Changed { device: device(1), row: Some(row) });
    world.carry_bytes(1);
    world.say(1, modem(None));
    world.carry_bytes(1);
    let bearers: Vec<_> = world.carried().iter().map(|carried| carried.bearer).collect();
    assert_eq!(bearers, [Bearer::Wifi, Bearer::Cellular, Bearer::Cellular, Bearer::Wifi]);
}

#[test]
fn nobody_pays_for_a_device_without_owner_and_none_is_lost_of_one_that_left() {
    let mut world = World::new();
    world.register(1, None);
    world.hello(1);
    world.carry_bytes(1);
    assert_eq!(world.carried(), []);

    world.register(2, Some(OWNER));
    world.rows.get_mut(&device(2)).expect("there").product = Some(ProductId(10_000));
    world.hello(2);
    world.input(Input::Displaced { device: device(2) });
    world.carry_bytes(2);
    let carried = world.carried();
    assert_eq!(carried.len(), 1);
    assert_eq!((carried[0].account, carried[0].product), (OWNER, Some(ProductId(10_000))));
}

#[test]
fn a_pause_of_cellular_data_stops_cellular_devices_alone() {
    let mut world = World::new();
    world.online_as(1, 13);
    world.online_as(2, 6);
    let pause = Some(Pause { cellular_only: true, why: Arc::from("used up") });
    world.input(Input::AccountPaused { account: OWNER, pause });
    world.publish(1, "temp");
    assert_eq!(world.operations(), 0);
    world.publish(2, "temp");
    assert_eq!(world.operations(), 1);
    world.input(Input::AccountPaused { account: OWNER, pause: None });
    world.publish(1, "temp");
    assert_eq!(world.operations(), 2);
}
