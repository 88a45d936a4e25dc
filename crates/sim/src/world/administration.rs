//! What people do to accounts, plans and keys while devices are at work, and what happens to the
//! server's clock.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use metering::Rules;
use model::AccountId;
use rand::RngExt;
use router::{Input, Pause, Request};

use super::{Item, World, fleet};
use crate::device::Device;

impl World {
    /// One of them, and another after a while.
    pub(super) fn administer_again(&mut self) {
        if !self.is_troubled || !self.plan.mood.people {
            return;
        }
        let gap = self.around(self.plan.fault_gap * 2);
        self.plan_in(gap, Item::Administer);
        self.administer();
    }

    /// Nothing is paused any more.
    pub(super) fn resume_all(&mut self) {
        for account in self.start.paused.clone() {
            self.resume_account(account);
        }
    }

    fn administer(&mut self) {
        match self.random.random_range(0..8) {
            0..3 => self.pause_account(),
            3 | 4 => self.change_plan(),
            5 => self.step_clock(),
            _ => self.rotate_key(),
        }
    }

    fn any_account(&mut self) -> AccountId {
        AccountId(self.random.random_range(1..=self.plan.accounts))
    }

    fn pause_account(&mut self) {
        let account = self.any_account();
        if !self.start.paused.insert(account) {
            return;
        }
        self.note(|_| format!("account {account} is paused"));
        let utc = self.start.utc(self.now);
        self.judge.account_paused(account, self.now, utc);
        self.tell_shards(account);
        let lasts = Duration::from_secs(self.random.random_range(1..120));
        self.plan_in(lasts, Item::Resume(account));
    }

    pub(super) fn resume_account(&mut self, account: AccountId) {
        if !self.start.paused.remove(&account) {
            return;
        }
        self.note(|_| format!("account {account} is paused no more"));
        self.judge.account_resumed(account, self.now);
        self.tell_shards(account);
    }

    fn change_plan(&mut self) {
        let account = self.any_account();
        let unit =
            [None, NonZeroU32::new(2), NonZeroU32::new(1024)][self.random.random_range(0..3)];
        self.note(|_| format!("account {account} pays for each {unit:?} bytes"));
        let rules = Rules { event_bytes_per_operation: unit, ..Rules::default() };
        self.start.rules.insert(account, rules);
        self.judge.plan_changed(account, rules, self.now, self.start.utc(self.now));
        self.tell_shards(account);
    }

    /// The server, if it runs, is told what is in force; one that starts asks for it.
    fn tell_shards(&mut self, account: AccountId) {
        let pause = self.start.pause_of(account);
        let rules = self.start.rules.get(&account).copied();
        self.serve(|cloud, now| {
            cloud.tell_shards(now, || Input::AccountPaused { account, pause: pause.clone() });
            cloud.tell_shards(now, || Input::AccountRules { account, rules });
        });
    }

    /// Somebody sets the machine's clock, by up to an hour.
    fn step_clock(&mut self) {
        let step_ms = self.random.random_range(-3_600_000..=3_600_000);
        self.note(|_| format!("the clock is set by {step_ms} ms"));
        self.start.utc_offset_ms += step_ms;
        self.judge.clock_stepped(self.now);
        let utc_offset_ms = self.start.utc_offset_ms;
        if let Some(cloud) = self.cloud() {
            cloud.set_clock(utc_offset_ms);
        }
    }

    /// A device gets another key, and with it nothing of what it remembered.
    fn rotate_key(&mut self) {
        if self.cloud().is_none() {
            return;
        }
        let index = self.random.random_range(0..self.fleet.len());
        self.note(|_| format!("device {index} gets another key"));
        self.with(index, |device, _| device.lose_power());
        self.judge.excuse(index, self.now);
        let seed = self.random.random();
        let setup = self.setups.of(&self.fleet[index].plan);
        let (device, registered) = fleet::rekeyed(&mut self.fleet[index], index, setup, seed);
        let before = std::mem::replace(&mut self.fleet[index].device, device);
        if let Some(installed) = before.installed() {
            self.fleet[index].device.install(&installed.image);
        }
        Arc::make_mut(&mut self.start.devices)[index] = registered.clone();
        let id = registered.device;
        let request = self.request_id();
        self.judge.cancelled_from_the_start(request);
        self.serve(|cloud, now| {
            cloud.registry.register(registered);
            cloud.ask(now, request, Request::KeyReplaced { device: id });
        });
        self.with(index, Device::power_on);
    }
}

/// What a paused account is told.
pub(super) fn pause() -> Pause {
    Pause { cellular_only: false, why: "the limit is reached".into() }
}
