//! What applications and callers do of their own accord.

use std::time::Duration;

use model::{AccountId, Event, EventData, EventId, EventName, Origin, RequestId, Timestamp};
use rand::RngExt;
use router::Request;

use super::judge::{Asked, Wish};
use super::plan::NAMES;
use super::{Item, World};
use crate::device::{Acknowledgement, Publish};

impl World {
    /// Somebody does something, and somebody else will after a while.
    pub(super) fn act(&mut self) {
        if !self.is_troubled {
            return;
        }
        let gap = self.around(self.plan.action_gap);
        self.plan_in(gap.max(Duration::from_millis(1)), Item::Act);
        let index = self.random.random_range(0..self.fleet.len());
        match self.random.random_range(0..100) {
            0..60 => self.publish_one(index),
            60..65 => (0..self.random.random_range(2..=6)).for_each(|_| self.publish_one(index)),
            65..67 => self.with(index, crate::device::Device::publish_vitals),
            67..77 => self.call(index),
            77..83 => drop(self.ask(Wish::Read { device: index }, false)),
            83..86 => drop(self.ask(Wish::Ping { device: index }, false)),
            86..89 => drop(self.ask(Wish::Signal { device: index }, false)),
            89..91 => drop(self.ask(Wish::States { device: index }, false)),
            _ => self.publish_by_caller(),
        }
    }

    fn publish_one(&mut self, index: usize) {
        let name = NAMES[self.random.random_range(0..NAMES.len())];
        let acknowledgement = match self.random.random_range(0..10) {
            0 => Acknowledgement::Never,
            1 => Acknowledgement::Wanted,
            _ => Acknowledgement::Default,
        };
        self.publish(index, name, acknowledgement);
    }

    /// A device publishes; gives the serial number if its firmware takes it.
    pub(super) fn publish(
        &mut self,
        index: usize,
        name: &str,
        acknowledgement: Acknowledgement,
    ) -> Option<u64> {
        let data = self.judge.next_data();
        let event = Publish { acknowledgement, ..Publish::text(name, &data) };
        let taken = self.with(index, |device, now| device.publish(now, &event));
        self.note(|_| format!("device {index} publishes {name} {data}: {taken:?}"));
        let number = taken.ok()?;
        self.judge.device_published(self.now, index, number, name);
        Some(self.judge.last_serial())
    }

    fn publish_by_caller(&mut self) {
        let account = AccountId(self.random.random_range(1..=self.plan.accounts));
        let name = NAMES[self.random.random_range(0..NAMES.len())];
        self.caller_publishes(account, name, false);
    }

    /// A caller publishes; gives the serial number.
    pub(super) fn caller_publishes(
        &mut self,
        account: AccountId,
        name: &str,
        must_succeed: bool,
    ) -> Option<u64> {
        self.cloud()?;
        let data = self.judge.next_data();
        let serial = self.judge.caller_published(self.now, account, name);
        let event = Event {
            id: EventId(0),
            account,
            origin: Origin::Api,
            product: None,
            name: EventName::parse(name.as_bytes()).ok()?,
            data: Some(EventData { format: 0, bytes: data.into_bytes().into() }),
            ttl_s: 60,
            published_at: Timestamp(0),
        };
        self.request(Wish::Publish { serial }, Request::Publish { event }, must_succeed);
        Some(serial)
    }

    /// Calls a function, several times at once now and then; some callers go away.
    fn call(&mut self, index: usize) {
        let count = if self.random.random_bool(0.1) { 20 } else { 1 };
        for _ in 0..count {
            let id = self.ask_echo(index, false);
            if self.random.random_bool(0.1)
                && let Some(id) = id
            {
                self.give_up(index, id);
            }
        }
    }

    pub(super) fn ask_echo(&mut self, device: usize, must_succeed: bool) -> Option<RequestId> {
        let argument = format!("c{}", self.next_request);
        self.ask(Wish::Echo { device, argument }, must_succeed)
    }

    /// Callers whose connection broke with the server ask again.
    pub(super) fn call_at_once(&mut self) {
        for _ in 0..if self.is_troubled { 5 } else { 0 } {
            let index = self.random.random_range(0..self.fleet.len());
            self.ask_echo(index, false);
        }
    }

    fn give_up(&mut self, index: usize, id: RequestId) {
        self.judge.cancelled(id);
        let device = self.fleet[index].device.id();
        let unanswered = self.request_id();
        self.serve(|cloud, now| {
            let request = Request::CancelIfWaiting { device, request: id };
            cloud.ask(now, unanswered, request);
        });
    }

    /// Asks the server, if it runs.
    pub(super) fn ask(&mut self, wish: Wish, must_succeed: bool) -> Option<RequestId> {
        let (Wish::Echo { device, .. }
        | Wish::Ping { device }
        | Wish::Read { device }
        | Wish::Signal { device }
        | Wish::States { device }) = &wish
        else {
            return None;
        };
        let device = self.fleet[*device].device.id();
        let request = match &wish {
            Wish::Echo { argument, .. } => {
                Request::Call { device, name: "echo".into(), argument: argument.as_str().into() }
            }
            Wish::Ping { .. } => Request::Ping { device },
            Wish::Read { .. } => Request::Read { device, name: "v_int".into() },
            Wish::Signal { .. } => Request::Signal { device, on: true },
            Wish::States { .. } | Wish::Publish { .. } => Request::States { devices: vec![device] },
        };
        self.request(wish, request, must_succeed)
    }

    fn request(&mut self, wish: Wish, request: Request, must_succeed: bool) -> Option<RequestId> {
        self.cloud()?;
        let id = self.request_id();
        self.note(|_| format!("request {id}: {wish:?}"));
        self.judge.asked(id, Asked { at: self.now, wish, must_succeed });
        self.serve(|cloud, now| cloud.ask(now, id, request));
        Some(id)
    }
}
