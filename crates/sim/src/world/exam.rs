//! The end: everything is made well, the devices find back by themselves, and each is asked whether
//! it works.

use std::collections::BTreeMap;
use std::time::Duration;

use model::AccountId;
use model::limits::EVENTS_WAITING_MAX;

use super::cloud::Disk;
use super::faults::Weather;
use super::judge::Wish;
use super::{Item, World};
use crate::device::{Acknowledgement, Device, UpdateFault};

impl World {
    /// No more faults: within what the timers of their firmware allow, all devices are connected.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.note(|_| "all is well again".into());
        self.is_troubled = false;
        self.agenda.retain(|_, item| matches!(item, Item::Keep | Item::Restart));
        self.set_weather(Weather::Clear);
        self.set_disk(Disk::Fine);
        self.defuse();
        self.resume_all();
        for index in 0..self.fleet.len() {
            self.fleet[index].isolated_until = self.now;
            self.with(index, |device, now| {
                device.set_update_fault(UpdateFault::None);
                device.power_on(now);
            });
        }
        let began = self.now;
        self.all_come_back()?;
        self.healed_after = self.now.since(began);
        self.run(SETTLING)?;
        // A message whose last attempt was lost in the bad times is given up only now, and with it its
        // device, which shows itself with its next ping.
        self.all_come_back()?;
        self.say_again()?;
        self.end_updates()?;
        self.examine_updates()
    }

    pub(super) fn all_come_back(&mut self) -> Result<(), String> {
        let bound = self.healing_bound();
        if self.run_until(bound, |world| world.all_are_connected())? {
            return Ok(());
        }
        Err(format!("after {bound:?} not connected: {:?}", self.absent()))
    }

    fn defuse(&mut self) {
        if let Some(cloud) = self.cloud() {
            cloud.disarm();
        }
    }

    /// A back-off that just began, a dead connection to notice, three attempts with a session that
    /// the server does not have, and the handshake.
    fn healing_bound(&self) -> Duration {
        let notices = self.fleet.iter().map(|placed| {
            let profile = &placed.device.setup().profile;
            (profile.keep_alive + profile.ping_timeout).max(GIVEN_UP)
        });
        let notices = notices.max().unwrap_or(GIVEN_UP);
        let idle = if self.plan.mood.updates { UPDATE_IDLE } else { Duration::ZERO };
        BACKOFF_MAX + idle + notices * 4 + Duration::from_secs(1 + 2 + 4 + 8) + HANDSHAKE
    }

    fn all_are_connected(&mut self) -> bool {
        for index in 0..self.fleet.len() {
            // A farewell under way ends by itself.
            if self.fleet[index].device.is_off() {
                self.with(index, Device::power_on);
            }
        }
        // Over TCP what the disk refused stays without an answer, and nothing is sent again.
        let is_well = |placed: &super::Placed| {
            let is_heard = !placed.is_udp() || placed.device.unacknowledged() == 0;
            placed.device.is_online() && is_heard
        };
        self.fleet.iter().all(is_well) && self.is_known_online()
    }

    /// The server believes so, too, and knows where they are. It may have given up a device, or the
    /// device may have moved, without the device noticing before its next ping.
    fn is_known_online(&mut self) -> bool {
        (0..self.fleet.len()).all(|index| {
            let (id, inner) = (self.fleet[index].device.id(), self.fleet[index].inner);
            let state = self.cloud().and_then(|cloud| cloud.state(id));
            let reaches = |peer| inner.is_none_or(|inner| self.network.reaches(peer, inner));
            state.is_some_and(|state| state.online && state.peer.is_some_and(reaches))
        })
    }

    /// Who is not connected, with what the device and the server believe, and what waits.
    fn absent(&mut self) -> Vec<(usize, bool, bool, usize)> {
        let mut absent = Vec::new();
        for index in 0..self.fleet.len() {
            let (id, is_online) =
                (self.fleet[index].device.id(), self.fleet[index].device.is_online());
            let state = self.cloud().and_then(|cloud| cloud.state(id));
            let is_known = state.is_some_and(|state| state.online);
            let waiting = self.fleet[index].device.unacknowledged();
            if !is_online || !is_known || waiting > 0 {
                absent.push((index, is_online, is_known, waiting));
            }
        }
        absent
    }

    /// A subscription that the disk refused comes again with the next connection.
    fn say_again(&mut self) -> Result<(), String> {
        if !self.plan.mood.disk {
            return Ok(());
        }
        for index in 0..self.fleet.len() {
            self.with(index, Device::reset);
        }
        let is_well = self.run_until(SETTLING * 2, |world| {
            world.fleet.iter().all(|placed| placed.device.is_online())
        })?;
        if !is_well {
            return Err(format!("not connected after a reset: {:?}", self.absent()));
        }
        self.run(SETTLING)
    }

    /// Every device works: it is online, callable, heard, and gets what it subscribed to.
    pub(super) fn examine(&mut self) -> Result<(), String> {
        self.note(|_| "examination".into());
        self.ask_everybody();
        let events = self.publish_everywhere();
        self.run(SETTLING)?;
        self.judge.check_waiting(self.now);
        for (serial, account, name) in events {
            self.check_event(serial, account, &name);
        }
        self.check_states();
        let left = self.cloud().map_or(0, |cloud| cloud.copies_left());
        if left != 0 && !self.plan.mood.disk {
            self.judge.fail(format!("{left} copies were not counted"));
        }
        match self.judge.broken.as_slice() {
            [] => Ok(()),
            broken => Err(broken.join("\n")),
        }
    }

    fn ask_everybody(&mut self) {
        for index in 0..self.fleet.len() {
            if self.fleet[index].plan.account.is_some() {
                self.ask_echo(index, true);
                self.ask(Wish::Read { device: index }, true);
                self.ask(Wish::Signal { device: index }, true);
                self.ask(Wish::Ping { device: index }, true);
            }
        }
    }

    /// Some devices and each account's API publish one event each, all at once.
    fn publish_everywhere(&mut self) -> Vec<(u64, AccountId, String)> {
        let mut events = Vec::new();
        for (index, account) in self.publishers() {
            let serial = self.publish(index, "test/a", Acknowledgement::Default);
            events.extend(serial.map(|serial| (serial, account, "test/a".to_owned())));
        }
        for account in (1..=self.plan.accounts).map(AccountId) {
            let serial = self.caller_publishes(account, "mine", true);
            events.extend(serial.map(|serial| (serial, account, "mine".to_owned())));
        }
        events
    }

    /// The devices that publish. With its API an account publishes not more than the queue of a
    /// device that wants all of it holds: what comes when it is full is dropped, as it should be.
    fn publishers(&self) -> Vec<(usize, AccountId)> {
        let mut published = BTreeMap::<AccountId, usize>::new();
        let owned = (0..self.fleet.len())
            .step_by(EVERY)
            .filter_map(|index| Some((index, self.fleet[index].plan.account?)));
        let fits = owned.filter(|(_, account)| {
            let count = published.entry(*account).or_default();
            *count += 1;
            *count < EVENTS_WAITING_MAX
        });
        fits.collect()
    }

    /// It is durable, and every device of its account that wants it has seen it.
    fn check_event(&mut self, serial: u64, account: AccountId, name: &str) {
        if !self.judge.is_durable(serial) {
            self.judge.fail(format!("p{serial} is not durable"));
        }
        for index in 0..self.fleet.len() {
            let placed = &self.fleet[index];
            let program = &placed.device.setup().program;
            let wants = placed.plan.account == Some(account)
                && program.subscriptions.iter().any(|s| name.starts_with(&s.prefix));
            if wants != self.judge.has_received(index, serial) {
                self.judge.fail(format!("device {index} has seen {name} p{serial}: {}", !wants));
            }
        }
    }

    fn check_states(&mut self) {
        for index in 0..self.fleet.len() {
            let id = self.fleet[index].device.id();
            let state = self.cloud().and_then(|cloud| cloud.state(id));
            if state.as_ref().is_none_or(|state| !state.online) {
                self.judge.fail(format!("device {index} is connected, the server has {state:?}"));
            }
        }
    }
}

/// Every so many devices one publishes in the examination.
const EVERY: usize = 4;
pub(super) const SETTLING: Duration = Duration::from_secs(45);
/// See the judge's.
const GIVEN_UP: Duration = Duration::from_secs(110);
const BACKOFF_MAX: Duration = Duration::from_secs(128);
const HANDSHAKE: Duration = Duration::from_secs(60);
/// A device waits so long for the next piece of an update, and sends no ping meanwhile.
pub(super) const UPDATE_IDLE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Size;

    #[test]
    fn an_examination_publishes_no_more_than_a_device_that_wants_everything_can_have_waiting() {
        let world = World::new(LARGE_FLEET_OF_ONE_ACCOUNT, Size::Usual);
        let owned = world.fleet.iter().filter(|placed| placed.plan.account.is_some()).count();
        assert_eq!(world.plan.accounts, 1);
        assert!(owned > EVERY * EVENTS_WAITING_MAX, "{owned} devices: a seed with more is needed");
        let of_its_api = 1;
        let published = world.publishers().len() + of_its_api;
        assert_eq!(published, EVENTS_WAITING_MAX);
    }

    const LARGE_FLEET_OF_ONE_ACCOUNT: u64 = 561;
}
