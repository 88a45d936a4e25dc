//! What is due when. Idle devices have nothing here.

use std::collections::BTreeSet;

use model::Mono;

use crate::device::{Device, Slot};

/// Which of a device's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The running call or the first waiting one is over its time.
    Call,
    /// A part of the description did not come.
    Describe,
    /// The callers of a ping want to know.
    Ping,
    /// Another address may be written down again.
    Presence,
    /// What an update waits for did not happen.
    Update,
}

/// When the timers of a device are due.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dues([Option<Mono>; 5]);

impl Dues {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn of(&mut self, timer: Timer) -> &mut Option<Mono> {
        let [call, describe, ping, presence, update] = &mut self.0;
        match timer {
            Timer::Call => call,
            Timer::Describe => describe,
            Timer::Ping => ping,
            Timer::Presence => presence,
            Timer::Update => update,
        }
    }
}

/// The timers of all devices, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Mono, Slot, Timer)>,
}

impl Timers {
    /// Sets a timer of the device in `slot`, or stops it.
    pub(crate) fn set(&mut self, slot: Slot, device: &mut Device, timer: Timer, at: Option<Mono>) {
        if at.is_none() && device.busy.is_none() {
            return;
        }
        let due = device.busy().dues.of(timer);
        if let Some(old) = std::mem::replace(due, at) {
            self.due.remove(&(old, slot, timer));
        }
        self.due.extend(at.map(|at| (at, slot, timer)));
    }

    /// Stops all timers of a device.
    pub(crate) fn stop(&mut self, slot: Slot, device: &mut Device) {
        let all = [Timer::Call, Timer::Describe, Timer::Ping, Timer::Presence, Timer::Update];
        for timer in all {
            self.set(slot, device, timer, None);
        }
    }

    /// Whether a timer of the device is set.
    pub(crate) fn is_set(device: &mut Device, timer: Timer) -> bool {
        device.busy.as_mut().is_some_and(|busy| busy.dues.of(timer).is_some())
    }

    /// When the first one is due.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// Which one is due first, if it is by `now`. It stays until it is set again or stopped.
    pub(crate) fn first_due(&self, now: Mono) -> Option<(Slot, Timer)> {
        self.due.first().filter(|(at, _, _)| *at <= now).map(|(_, slot, timer)| (*slot, *timer))
    }
}
