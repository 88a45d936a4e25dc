//! Time goes on: what arrives, what is due, and where it goes from there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use model::Mono;

use super::cloud::{Cloud, Journal, Out};
use super::wires::{End, Wire};
use super::{Item, Server, World};
use crate::device::{Device, Observation, Output, UpdateStep};
use crate::harness::StreamId;
use crate::network::Datagram;

impl World {
    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) -> Result<(), String> {
        self.run_until(span, |_| false).map(drop)
    }

    /// Lets time pass until `done`, at most for `span`; whether it was.
    pub(super) fn run_until(
        &mut self,
        span: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, String> {
        let end = self.now.after(span);
        loop {
            if done(self) {
                return Ok(true);
            }
            match self.next_moment() {
                Some(next) if next <= end => self.now = self.now.max(next),
                Some(_) | None => {
                    self.now = end;
                    return Ok(false);
                }
            }
            self.step();
            if !self.judge.broken.is_empty() {
                return Err(self.judge.broken.join("\n"));
            }
        }
    }

    fn next_moment(&self) -> Option<Mono> {
        let device = self.due.iter().copied().min().filter(|at| *at < NEVER);
        let server = match &self.server {
            Server::Up(cloud) => cloud.next_timeout(),
            Server::Down(_) => None,
        };
        device
            .into_iter()
            .chain(server)
            .chain(self.network.next_arrival())
            .chain(self.wires.next_arrival())
            .chain(self.agenda.keys().next().map(|(at, _)| *at))
            .min()
    }

    /// Everything that happens at this moment.
    fn step(&mut self) {
        while let Some(datagram) = self.network.arrive(self.now) {
            self.datagram_arrived(datagram);
        }
        while let Some((stream, end, wire)) = self.wires.arrive(self.now) {
            match end {
                End::Device => self.wire_at_device(stream, wire),
                End::Server => self.wire_at_server(stream, wire),
            }
        }
        self.serve(|cloud, now| {
            if cloud.next_timeout().is_some_and(|at| at <= now) {
                cloud.handle_timeout(now);
            }
        });
        for index in 0..self.fleet.len() {
            if self.due[index] <= self.now {
                self.with(index, Device::handle_timeout);
            }
        }
        while let Some((at, number)) = self.agenda.keys().next().copied()
            && at <= self.now
        {
            if let Some(item) = self.agenda.remove(&(at, number)) {
                self.begin(item);
            }
        }
    }

    fn begin(&mut self, item: Item) {
        match item {
            Item::Act => self.act(),
            Item::Administer => self.administer_again(),
            Item::Fault => self.fault(),
            Item::Keep => self.keep_updates(),
            Item::PowerOn(index) => self.with(index, Device::power_on),
            Item::Restart => self.restart(),
            Item::Resume(account) => self.resume_account(account),
            Item::Update => self.update_again(),
            Item::Weather(weather) => self.set_weather(weather),
            Item::Disk(disk) => self.set_disk(disk),
        }
    }

    fn datagram_arrived(&mut self, mut datagram: Datagram) {
        if datagram.to == self.address {
            if self.comes_too_early(&datagram) {
                return;
            }
            self.overhear(&datagram);
            let Datagram { from, bytes, .. } = &mut datagram;
            return self.serve(|cloud, now| cloud.handle_datagram(now, *from, bytes));
        }
        let Some((index, _)) = self.addresses.get(&datagram.to).copied() else { return };
        let placed = &self.fleet[index];
        let is_there = placed.inner.is_some_and(|at| self.network.reaches(datagram.to, at));
        if is_there && placed.isolated_until <= self.now {
            self.with(index, |device, now| device.handle_datagram(now, &mut datagram.bytes));
        }
    }

    /// Whether something that the disk refused may wait for another try.
    pub(super) fn is_trouble_fresh(&self) -> bool {
        self.trouble.1 == NEVER || self.now.since(self.trouble.1) <= WINDOW_WRITTEN
    }

    /// What was sent again before a restart and arrives behind it: see [`WINDOW_WRITTEN`].
    fn comes_too_early(&self, datagram: &Datagram) -> bool {
        datagram.from.ip() == LISTENER && self.now.since(self.started_at) < LINGERS
    }

    fn overhear(&mut self, datagram: &Datagram) {
        if self.cloud().is_none() {
            return;
        }
        if self.overheard.len() == OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        self.overheard.push_back((self.now, datagram.clone()));
    }

    fn wire_at_device(&mut self, stream: StreamId, wire: Wire) {
        let Some(index) = self.fleet.iter().position(|placed| placed.stream == Some(stream)) else {
            return;
        };
        match wire {
            Wire::Connect => {}
            Wire::Connected => self.with(index, Device::stream_opened),
            Wire::Bytes(bytes) => self.with(index, |device, now| device.handle_stream(now, &bytes)),
            Wire::Closed => {
                self.fleet[index].stream = None;
                self.with(index, Device::stream_closed);
            }
        }
    }

    fn wire_at_server(&mut self, stream: StreamId, wire: Wire) {
        let now = self.now;
        match wire {
            Wire::Connect => {
                let is_up = matches!(self.server, Server::Up(_));
                let answer = if is_up { Wire::Connected } else { Wire::Closed };
                self.wires.send(now, stream, End::Device, answer);
                let peer = peer_of(stream);
                self.serve(|cloud, now| cloud.open_stream(now, stream, peer));
            }
            Wire::Connected => {}
            Wire::Bytes(bytes) => self.serve(|cloud, now| cloud.handle_stream(now, stream, &bytes)),
            Wire::Closed => self.serve(|cloud, now| cloud.close_stream(now, stream)),
        }
    }

    /// Lets the server do something, if it runs, and carries what left it.
    pub(super) fn serve(&mut self, act: impl FnOnce(&mut Cloud, Mono)) {
        let now = self.now;
        let Some(cloud) = self.cloud() else { return };
        act(cloud, now);
        let (out, is_dead) = (cloud.take_out(), cloud.is_dead());
        if is_dead {
            self.server_stops();
        }
        self.read_journal();
        for out in out {
            self.carry_from_server(out);
        }
        if is_dead {
            self.server_stopped();
        }
    }

    fn read_journal(&mut self) {
        let journal = match &self.server {
            Server::Up(cloud) => &cloud.commits.journal,
            Server::Down(journal) => journal,
        };
        self.judge.read_journal(journal);
    }

    fn carry_from_server(&mut self, out: Out) {
        let now = self.now;
        match out {
            Out::Datagram { to, bytes } => self.datagram_leaves(to, bytes),
            Out::Stream { stream, bytes } => {
                self.wires.send(now, stream, End::Device, Wire::Bytes(bytes));
            }
            Out::CloseStream { stream } => {
                self.wires.send(now, stream, End::Device, Wire::Closed);
            }
            Out::Notify { shard, event } => {
                self.note(|_| {
                    format!("shown: {} {} {:?}", event.id, event.name.as_str(), event.origin)
                });
                self.judge.notified(shard, &event);
            }
            Out::Reply { id, result } => {
                self.note(|_| format!("reply {id}: {result:?}"));
                if !self.update_answered(id, &result) {
                    self.judge.replied(now, id, &result);
                }
            }
            Out::Delivery { device, event } => self.judge.sent(device, &event),
            Out::Update(report) => self.update_reported(&report),
            Out::Broken(what) => self.judge.fail(what),
        }
    }

    fn datagram_leaves(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        let Some((index, session)) = self.addresses.get(&to).copied() else {
            let is_to_listener = to.ip() == LISTENER && protected_records(&bytes).is_empty();
            if !is_to_listener {
                self.judge.fail(format!("a datagram to {to}, where no device was"));
            }
            return;
        };
        for record in protected_records(&bytes) {
            self.judge.sealed(index, session, record);
        }
        if self.fleet[index].isolated_until <= self.now {
            self.network.send_down(self.now, self.address, to, bytes);
        }
    }

    /// The machine is off from here on: what was not synced is gone.
    fn server_stops(&mut self) {
        let before = std::mem::replace(&mut self.server, Server::Down(Journal::default()));
        if let Server::Up(cloud) = before {
            self.server = Server::Down(cloud.crash(self.now));
        }
    }

    /// What follows for everybody else.
    fn server_stopped(&mut self) {
        self.crashes += 1;
        self.stops.push(self.now);
        self.note(|_| "the server stops".into());
        self.judge.server_stopped(self.now);
        self.judge.callers_left();
        self.updates.server_stopped();
        let until = if self.is_trouble_fresh() { self.trouble.0 } else { self.now };
        self.overheard.retain(|(at, _)| until.since(*at) > WINDOW_WRITTEN);
        self.wires.cut(|_| true, End::Server);
        for index in 0..self.fleet.len() {
            if let Some(stream) = self.fleet[index].stream {
                self.wires.send(self.now, stream, End::Device, Wire::Closed);
            }
        }
        let down = self.time_down();
        self.plan_in(down, Item::Restart);
    }

    fn restart(&mut self) {
        let before = std::mem::replace(&mut self.server, Server::Down(Journal::default()));
        self.server = match before {
            Server::Up(cloud) => return self.server = Server::Up(cloud),
            Server::Down(journal) => {
                self.start.seed = self.start.seed.wrapping_mul(SPREAD).wrapping_add(1);
                let cloud = Cloud::start(self.now, self.start.clone(), journal);
                Server::Up(Box::new(cloud))
            }
        };
        self.note(|_| "the server starts".into());
        self.started_at = self.now;
        self.judge.starts();
        self.take_up_updates();
        self.serve(|_, _| {});
        self.call_at_once();
    }

    /// Does something to a device now and carries what follows. Nothing else changes a device, so that
    /// when it is due next is known without asking it.
    pub(super) fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Device, Mono) -> T) -> T {
        let done = act(&mut self.fleet[index].device, self.now);
        while let Some(output) = self.fleet[index].device.poll_output() {
            self.carry_from_device(index, output);
        }
        while let Some(observation) = self.fleet[index].device.poll_observation() {
            self.note(|_| format!("device {index}: {observation:?}"));
            if matches!(observation, Observation::Connected(_)) {
                self.fleet[index].connected_at = self.now;
            }
            if observation == Observation::Update(UpdateStep::Applied) {
                self.judge.update_applied(index, self.fleet[index].device.installed());
            }
            self.judge.observed(self.now, index, &observation);
        }
        self.due[index] = self.fleet[index].device.next_timeout().unwrap_or(NEVER);
        done
    }

    fn carry_from_device(&mut self, index: usize, output: Output) {
        let (now, server) = (self.now, self.address);
        let placed = &mut self.fleet[index];
        match output {
            Output::Open => self.open(index),
            Output::Close => {
                placed.inner = None;
                if let Some(stream) = placed.stream.take() {
                    self.wires.send(now, stream, End::Server, Wire::Closed);
                }
            }
            Output::Datagram(bytes) => {
                if let Some(inner) = placed.inner.filter(|_| placed.isolated_until <= now) {
                    self.network.send_up(now, inner, server, bytes);
                }
            }
            Output::Stream(bytes) => {
                if let Some(stream) = placed.stream {
                    self.wires.send(now, stream, End::Server, Wire::Bytes(bytes));
                }
            }
        }
    }

    /// Without a stored session a handshake begins: what is sealed for this address is sealed with
    /// other keys.
    fn open(&mut self, index: usize) {
        let placed = &mut self.fleet[index];
        if placed.is_udp() {
            let inner = placed.open(index);
            placed.session += u32::from(!placed.device.has_session());
            self.addresses.insert(inner, (index, placed.session));
            return;
        }
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        placed.stream = Some(stream);
        self.wires.send(self.now, stream, End::Server, Wire::Connect);
    }

    /// The network gives a device another address, unseen by it.
    pub(super) fn rebind(&mut self, index: usize) {
        let Some(inner) = self.fleet[index].inner else { return };
        self.network.rebind(inner);
        let outer = self.network.outer(inner);
        self.addresses.insert(outer, (index, self.fleet[index].session));
    }
}

fn peer_of(stream: StreamId) -> SocketAddr {
    let port = u16::try_from(20_000 + stream.0 % 40_000).unwrap_or(0);
    SocketAddr::from(([10, 1, 0, 1], port))
}

/// The numbers of the records of epoch 1 in a datagram of the server, none of which has a connection
/// id.
fn protected_records(mut bytes: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<13>() {
        let number = header[5..11].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if header[3..5] != [0, 0] {
            numbers.push(number);
        }
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        bytes = rest.get(length..).unwrap_or_default();
    }
    numbers
}

/// Whoever sends again what it overheard. It never gets more than the beginning of a handshake.
pub(super) const LISTENER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const OVERHEARD_MAX: usize = 2000;
/// What the server saw of a device is written down at the latest after this and a slow commit: what
/// is sent again before may be taken again after a restart.
const WINDOW_WRITTEN: Duration = Duration::from_secs(70);
/// Longer than any datagram is on its way.
pub(super) const LINGERS: Duration = Duration::from_secs(5);
/// When a device is due that waits for nothing.
pub(super) const NEVER: Mono = Mono(u64::MAX);
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
