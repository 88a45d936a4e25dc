//! A device behind a bad network: datagrams are lost, doubled and late, the address changes, the
//! server restarts. Whatever happens, each publish is told once, and no record number is used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use model::link::{Command, LinkEvent, RestoredSession, Source, Verdict};
use model::{DeviceMessage, LinkId};
use secure::dtls::codec::{Reader, RecordHeader};

use crate::support::*;

/// A small generator, so that a failing seed can be played again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Trial {
    world: World,
    device: Device,
    dice: Dice,
    /// What a store would hold.
    session: RestoredSession,
    /// Commands whose commit is under way.
    committing: Vec<(LinkId, Command)>,
    told: BTreeMap<u16, usize>,
    copies: usize,
    arrived: usize,
    acknowledged: BTreeSet<u16>,
    numbers: BTreeSet<u64>,
    late: Vec<Vec<u8>>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let mut device = Device::handshaken(&mut world, 1, crate::client::Kind::DeviceWithCid);
        device.say(&mut world, &hello(1, device.id));
        let opened = opened(world.event());
        device.link = opened.link;
        let sent = world.accept(opened.link, opened.receipt.unwrap());
        device.open_all(&world, sent);
        let session = RestoredSession {
            device: device.id,
            snapshot: opened.snapshot,
            peer: device.peer,
            record_limit: 1024,
            record_seen: opened.source.record,
            recent: vec![opened.source],
            online: true,
        };
        Self {
            world,
            device,
            dice: Dice(seed),
            session,
            committing: Vec::new(),
            told: BTreeMap::new(),
            copies: 0,
            arrived: 0,
            acknowledged: BTreeSet::new(),
            numbers: BTreeSet::from([0, 1]),
            late: Vec::new(),
        }
    }

    /// The device says something; the network does what it likes with it.
    fn say(&mut self, message: &[u8]) {
        let datagram = self.device.seal(message);
        match self.dice.roll(10) {
            0..=1 => {}
            2 => self.late.push(datagram),
            3 => {
                self.deliver(&datagram);
                self.deliver(&datagram);
            }
            _ => self.deliver(&datagram),
        }
        if self.dice.roll(4) == 0
            && let Some(late) = self.late.pop()
        {
            self.deliver(&late);
        }
    }

    fn deliver(&mut self, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        self.world.endpoint.handle_datagram(self.world.now, self.device.peer, &mut bytes);
        let sent = self.world.drain();
        self.receive(sent);
        self.record();
    }

    /// Journals what happened; its commands wait for the commit.
    fn record(&mut self) {
        for event in self.world.take_events() {
            match event {
                LinkEvent::Message { link, message, receipt, source } => {
                    let DeviceMessage::Publish(_) = message else { panic!("{message:?}") };
                    *self.told.entry(source.message_id).or_default() += 1;
                    self.keep(link, receipt, source);
                }
                LinkEvent::Copy { link, receipt, source, .. } => {
                    self.copies += 1;
                    self.keep(link, receipt, source);
                }
                LinkEvent::Reserve { link, record_limit } => {
                    self.session.record_limit = record_limit;
                    self.committing.push((link, Command::Reserved { record_limit }));
                }
                LinkEvent::Moved { peer, .. } => self.session.peer = peer,
                LinkEvent::Alive { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn keep(&mut self, link: LinkId, receipt: Option<model::link::Receipt>, source: Source) {
        self.arrived += 1;
        self.session.record_seen = self.session.record_seen.max(source.record);
        self.session.recent.push(source);
        let receipt = receipt.expect("all are confirmable");
        let verdict = Verdict::Accepted;
        self.committing.push((link, Command::Acknowledge { receipt, verdict }));
    }

    fn commit(&mut self) {
        for (link, command) in std::mem::take(&mut self.committing) {
            let sent = self.world.command(link, command);
            self.receive(sent);
        }
        self.record();
    }

    fn receive(&mut self, sent: Vec<(SocketAddr, Vec<u8>)>) {
        for (_, datagram) in sent {
            let number = RecordHeader::read(&mut Reader::new(&datagram)).unwrap().number;
            assert!(self.numbers.insert(number), "record number {number} was used twice");
            assert!(number < self.session.record_limit, "beyond the reservation");
            if self.dice.roll(4) == 0 {
                continue;
            }
            if let Some(message) = self.device.open(&self.world, datagram)
                && message[0] == 0x60
            {
                self.acknowledged.insert(u16::from_be_bytes([message[2], message[3]]));
            }
        }
    }

    /// The process ends between two commits: what was not recorded is gone. (Here all was.)
    fn restart(&mut self) {
        self.committing.clear();
        self.late.clear();
        let now = self.world.now;
        self.world = World::new();
        self.world.now = now;
        self.device.link = self.world.endpoint.restore(now, self.session.clone()).unwrap();
    }

    /// Publishes until it is acknowledged, as the firmware does.
    fn publish(&mut self, id: u16) {
        for _ in 0..100 {
            self.say(&publish(id));
            if self.dice.roll(3) > 0 {
                self.commit();
            }
            match self.dice.roll(60) {
                0 => self.restart(),
                1..=3 => self.device.peer.set_port(10_000 + self.dice.roll(50_000) as u16),
                _ => {}
            }
            self.world.skip(SECOND / 2);
            if self.acknowledged.contains(&id) {
                return;
            }
        }
        panic!("{id} was never acknowledged");
    }
}

#[test]
fn each_publish_is_told_once_whatever_the_network_does() {
    for seed in 1..=60 {
        let mut trial = Trial::new(seed);
        for id in 2..80 {
            trial.publish(id);
        }
        assert_eq!(trial.told.len(), 78, "seed {seed}");
        assert!(trial.told.values().all(|times| *times == 1), "seed {seed}: {:?}", trial.told);
        assert_eq!(trial.arrived, trial.told.len() + trial.copies, "seed {seed}");
    }
}
