//! What goes wrong.

use std::time::Duration;

use model::Mono;
use rand::RngExt;

use super::cloud::Disk;
use super::plan::PROGRAMS;
use super::step::{LISTENER, NEVER};
use super::wires::{End, Wire};
use super::{Item, World};
use crate::device::Device;
use crate::network::Conditions;

/// How long an answer may be on its way: a device repeats it for 90 s.
const ANSWER_LIFE: Duration = Duration::from_secs(110);
/// Stops of the server within that time, at most.
const STOPS_MAX: usize = 3;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing is lost, delays are short.
    Clear,
    /// Nothing is lost; some come twice, and some overtake others.
    Windy,
    /// Much is lost, doubled, damaged.
    Poor,
    /// A third is lost, delays of seconds.
    Awful,
    /// Nothing arrives.
    Dead,
}

impl Weather {
    pub(super) fn conditions(self) -> Conditions {
        let ms = Duration::from_millis;
        let clear = Conditions { delay_max: ms(30), ..Conditions::perfect() };
        match self {
            Self::Clear => clear,
            Self::Windy => {
                Conditions { duplication: 0.1, delay_min: ms(10), delay_max: ms(600), ..clear }
            }
            Self::Poor => Conditions::poor(),
            Self::Awful => Conditions {
                loss: 0.35,
                duplication: 0.15,
                corruption: 0.02,
                delay_min: ms(20),
                delay_max: ms(3000),
            },
            Self::Dead => Conditions { loss: 1.0, ..clear },
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Poor | Self::Awful | Self::Dead)
    }
}

impl World {
    /// Something goes wrong, and something else will after a while.
    pub(super) fn fault(&mut self) {
        if !self.is_troubled {
            return;
        }
        let gap = self.around(self.plan.fault_gap);
        self.plan_in(gap, Item::Fault);
        let mood = self.plan.mood;
        match self.random.random_range(0..14) {
            0..4 if mood.crashes => self.arm_crash(),
            4..6 if mood.network => self.change_weather(),
            6..8 if mood.devices => self.trouble_device(),
            8 if mood.network => self.isolate(),
            9..11 if mood.roaming => self.move_device(),
            11 if mood.disk => self.trouble_disk(),
            12 | 13 => self.replay(),
            _ => {}
        }
    }

    /// The server will stop between two of its next steps, if it did not too often: four processes within
    /// the life of an answer have tokens of their own, the fifth those of the first.
    fn arm_crash(&mut self) {
        let is_recent = |at: &&Mono| self.now.since(**at) < ANSWER_LIFE;
        if self.stops.iter().rev().take_while(is_recent).count() >= STOPS_MAX {
            return;
        }
        let steps = self.random.random_range(1..200);
        self.note(|_| format!("the server stops after {steps} steps"));
        if let Some(cloud) = self.cloud() {
            cloud.arm(steps);
        }
    }

    /// Mostly it is back at once; TCP devices notice in any case.
    pub(super) fn time_down(&mut self) -> Duration {
        let is_long = self.random.random_bool(0.1);
        let ms = self.random.random_range(if is_long { 5_000..90_000 } else { 0..5_000 });
        let down = Duration::from_millis(ms);
        let until = self.now.after(down);
        for index in 0..self.fleet.len() {
            if is_long || !self.fleet[index].is_udp() {
                self.judge.excuse(index, until);
            }
        }
        down
    }

    /// Somebody sends again what it overheard, from where it came or from another place.
    fn replay(&mut self) {
        self.note(|_| "replays".into());
        for _ in 0..self.random.random_range(1..50) {
            if self.overheard.is_empty() {
                return;
            }
            let index = self.random.random_range(0..self.overheard.len());
            let (heard_at, mut datagram) = self.overheard[index].clone();
            let head = &datagram.bytes[..datagram.bytes.len().min(11)];
            let line = format!("again from {}, heard at {heard_at:?}: {head:02x?}", datagram.from);
            self.note(|_| line);
            if self.random.random_bool(0.5) {
                datagram.from.set_ip(LISTENER);
            }
            self.network.send_up(self.now, datagram.from, datagram.to, datagram.bytes);
        }
    }

    fn change_weather(&mut self) {
        let (weather, longest) = match self.random.random_range(0..10) {
            0..3 => (Weather::Windy, 120),
            3..6 => (Weather::Poor, 120),
            6..8 => (Weather::Awful, 90),
            _ => (Weather::Dead, 200),
        };
        self.set_weather(weather);
        let lasts = self.random.random_range(1..=longest);
        self.plan_in(Duration::from_secs(lasts), Item::Weather(Weather::Clear));
    }

    pub(super) fn set_weather(&mut self, weather: Weather) {
        self.note(|_| format!("weather: {weather:?}"));
        self.weather = weather;
        self.network.set_conditions(weather.conditions());
        let forever = Mono(u64::MAX / 2);
        self.judge.bad_weather(if weather.is_bad() { forever } else { self.now });
    }

    fn trouble_device(&mut self) {
        let index = self.random.random_range(0..self.fleet.len());
        let later = Duration::from_secs(self.random.random_range(1..60));
        match self.random.random_range(0..6) {
            0 | 1 => {
                self.note(|_| format!("device {index} is reset"));
                self.with(index, Device::reset);
            }
            2 => {
                self.note(|_| format!("device {index} loses power"));
                self.with(index, |device, _| device.lose_power());
                self.plan_in(later, Item::PowerOn(index));
            }
            3 => self.load_program(index),
            4 => {
                let says_goodbye = self.random.random_bool(0.5);
                self.note(|_| format!("device {index} disconnects, goodbye={says_goodbye}"));
                self.with(index, |device, now| device.disconnect(now, says_goodbye));
                self.plan_in(later, Item::PowerOn(index));
                // A farewell that waits longer is over by then.
                self.plan_in(later + Duration::from_secs(90), Item::PowerOn(index));
            }
            _ => self.cut_stream(index),
        }
    }

    /// Another application with other subscriptions, and the restart that comes with it.
    fn load_program(&mut self, index: usize) {
        let program = self.random.random_range(0..PROGRAMS);
        self.note(|_| format!("device {index} runs program {program}"));
        self.fleet[index].plan.program = program;
        let setup = self.setups.of(&self.fleet[index].plan);
        self.with(index, |device, now| {
            device.set_setup(setup);
            device.reset(now);
        });
    }

    fn cut_stream(&mut self, index: usize) {
        let Some(stream) = self.fleet[index].stream else { return };
        self.note(|_| format!("the stream of device {index} is cut"));
        self.judge.excuse(index, self.now);
        self.wires.send(self.now, stream, End::Device, Wire::Closed);
        self.wires.send(self.now, stream, End::Server, Wire::Closed);
    }

    fn isolate(&mut self) {
        let index = self.random.random_range(0..self.fleet.len());
        let until = self.now.after(Duration::from_secs(self.random.random_range(5..200)));
        self.note(|_| format!("device {index} is isolated until {until:?}"));
        self.fleet[index].isolated_until = until;
        self.judge.excuse(index, until);
    }

    /// A device that has no connection id and does not know that it moved has to find out.
    fn move_device(&mut self) {
        let index = self.random.random_range(0..self.fleet.len());
        if !self.judge.devices[index].has_cid {
            self.judge.excuse(index, self.now);
        }
        if self.random.random_bool(0.5) {
            self.note(|_| format!("device {index} is rebound"));
            self.rebind(index);
        } else {
            self.note(|_| format!("device {index} roams"));
            self.with(index, |device, _| device.roam());
        }
    }

    fn trouble_disk(&mut self) {
        let disk = if self.random.random_bool(0.5) { Disk::Slow } else { Disk::Refusing };
        self.set_disk(disk);
        let lasts = Duration::from_millis(self.random.random_range(200..20_000));
        self.plan_in(lasts, Item::Disk(Disk::Fine));
    }

    /// A refusal sends devices away, and what they were refused they do not ask for again.
    pub(super) fn set_disk(&mut self, disk: Disk) {
        self.note(|_| format!("disk: {disk:?}"));
        if self.start.disk != Disk::Fine || disk != Disk::Fine {
            self.judge.excuse_all(self.now.after(DISK_TROUBLE));
        }
        if self.start.disk == Disk::Refusing || disk == Disk::Refusing {
            self.judge.disk_refuses();
        }
        if self.start.disk == Disk::Fine && !self.is_trouble_fresh() {
            self.trouble.0 = self.now;
        }
        self.trouble.1 = if disk == Disk::Fine { self.now } else { NEVER };
        self.start.disk = disk;
        if let Some(cloud) = self.cloud() {
            cloud.commits.disk = disk;
        }
    }
}

/// The longest trouble with the disk, and what still waits then.
const DISK_TROUBLE: Duration = Duration::from_secs(30);
