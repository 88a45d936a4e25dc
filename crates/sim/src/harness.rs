//! Devices and a server in virtual time, in one thread: a test that takes a day of waiting runs in
//! milliseconds, and the same seed runs the same way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use model::Mono;

use crate::device::{Device, Observation, Output};
use crate::network::{Conditions, Network};

/// A server without sockets, as the harness drives it.
pub trait Server {
    /// Takes a datagram.
    fn handle_datagram(&mut self, now: Mono, from: SocketAddr, datagram: &mut [u8]);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Mono);

    /// When [`Self::handle_timeout`] wants to be called.
    fn next_timeout(&self) -> Option<Mono>;

    /// The next datagram to send.
    fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)>;

    /// A device connected over TCP.
    fn open_stream(&mut self, _now: Mono, _stream: StreamId) {}

    /// Bytes of a stream.
    fn handle_stream(&mut self, _now: Mono, _stream: StreamId, _bytes: &[u8]) {}

    /// The device closed the stream.
    fn close_stream(&mut self, _now: Mono, _stream: StreamId) {}

    /// The next thing to do with a stream.
    fn poll_stream(&mut self) -> Option<(StreamId, StreamOutput)> {
        None
    }
}

/// A TCP connection, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What a server does with a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOutput {
    /// Writes.
    Bytes(Vec<u8>),
    /// Closes.
    Close,
}

/// A server and its devices with the network between them.
pub struct Harness<S> {
    /// The server.
    pub server: S,
    /// The network.
    pub network: Network,
    now: Mono,
    address: SocketAddr,
    devices: Vec<Placed>,
    streams: VecDeque<(StreamId, ToDevice)>,
    next_stream: u64,
}

/// A device at its place.
struct Placed {
    device: Device,
    /// Its socket, as long as one is open: each `Open` is another port.
    inner: Option<SocketAddr>,
    stream: Option<StreamId>,
    opened: u16,
    observations: Vec<(Mono, Observation)>,
}

enum ToDevice {
    Opened,
    Bytes(Vec<u8>),
    Closed,
}

impl<S: Server> Harness<S> {
    /// A server behind a network.
    pub fn new(server: S, seed: u64, conditions: Conditions) -> Self {
        Self {
            server,
            network: Network::new(seed, conditions),
            now: Mono(1_000_000),
            address: SocketAddr::from(([192, 0, 2, 1], 5684)),
            devices: Vec::new(),
            streams: VecDeque::new(),
            next_stream: 1,
        }
    }

    /// Adds a device that is switched off and gives its number.
    pub fn add(&mut self, device: Device) -> usize {
        let (inner, stream, opened, observations) = (None, None, 0, Vec::new());
        self.devices.push(Placed { device, inner, stream, opened, observations });
        self.devices.len() - 1
    }

    /// The time.
    pub fn now(&self) -> Mono {
        self.now
    }

    /// The device of this number.
    pub fn device(&self, index: usize) -> &Device {
        &self.devices[index].device
    }

    /// Does something to a device now.
    pub fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Device, Mono) -> T) -> T {
        let done = act(&mut self.devices[index].device, self.now);
        self.settle();
        done
    }

    /// Gives the device another address, seen from outside, without its knowledge.
    pub fn rebind(&mut self, index: usize) {
        if let Some(inner) = self.devices[index].inner {
            self.network.rebind(inner);
        }
    }

    /// Everything observed of a device, with the time, oldest first.
    pub fn observations(&self, index: usize) -> &[(Mono, Observation)] {
        &self.devices[index].observations
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until `done`, at most for `span`; whether it was.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.after(span);
        self.settle();
        loop {
            if done(self) {
                return true;
            }
            match self.next_moment() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    return false;
                }
            }
            self.step();
        }
    }

    /// Lets time pass until a device tells something that `wanted` takes; whether it did.
    pub fn run_until_observed(
        &mut self,
        index: usize,
        span: Duration,
        wanted: impl Fn(&Observation) -> bool,
    ) -> bool {
        let mut looked_at = self.devices[index].observations.len();
        self.run_until(span, |harness| {
            let all = harness.observations(index);
            let found = all[looked_at..].iter().any(|(_, observation)| wanted(observation));
            looked_at = all.len();
            found
        })
    }

    fn next_moment(&self) -> Option<Mono> {
        let devices = self.devices.iter().filter_map(|placed| placed.device.next_timeout());
        devices.chain(self.network.next_arrival()).chain(self.server.next_timeout()).min()
    }

    /// Everything that happens at this moment.
    fn step(&mut self) {
        let now = self.now;
        while let Some(mut datagram) = self.network.arrive(now) {
            if datagram.to == self.address {
                self.server.handle_datagram(now, datagram.from, &mut datagram.bytes);
            } else {
                self.deliver(datagram.to, &mut datagram.bytes);
            }
            self.settle();
        }
        if self.server.next_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
        for placed in &mut self.devices {
            if placed.device.next_timeout().is_some_and(|at| at <= now) {
                placed.device.handle_timeout(now);
            }
        }
        self.settle();
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &mut [u8]) {
        let network = &self.network;
        let reached = |placed: &&mut Placed| placed.inner.is_some_and(|at| network.reaches(to, at));
        if let Some(placed) = self.devices.iter_mut().find(reached) {
            placed.device.handle_datagram(self.now, datagram);
        }
    }

    /// Carries until nothing is left to carry at this moment.
    fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = self.carry_from_server();
            for index in 0..self.devices.len() {
                moved |= self.carry_from_device(index);
            }
            while let Some((stream, event)) = self.streams.pop_front() {
                moved = true;
                self.tell_stream(stream, event);
            }
        }
    }

    fn carry_from_server(&mut self) -> bool {
        let mut moved = false;
        while let Some((to, bytes)) = self.server.poll_datagram() {
            self.network.send_down(self.now, self.address, to, bytes);
        }
        while let Some((stream, output)) = self.server.poll_stream() {
            moved = true;
            let event = match output {
                StreamOutput::Bytes(bytes) => ToDevice::Bytes(bytes),
                StreamOutput::Close => ToDevice::Closed,
            };
            self.streams.push_back((stream, event));
        }
        moved
    }

    fn carry_from_device(&mut self, index: usize) -> bool {
        let mut moved = false;
        while let Some(output) = self.devices[index].device.poll_output() {
            moved = true;
            self.carry_out(index, output);
        }
        let placed = &mut self.devices[index];
        while let Some(observation) = placed.device.poll_observation() {
            placed.observations.push((self.now, observation));
        }
        moved
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now;
        let placed = &mut self.devices[index];
        match output {
            Output::Open => self.open(index),
            Output::Close => {
                placed.inner = None;
                if let Some(stream) = placed.stream.take() {
                    self.server.close_stream(now, stream);
                }
            }
            Output::Datagram(bytes) => {
                if let Some(inner) = placed.inner {
                    self.network.send_up(now, inner, self.address, bytes);
                }
            }
            Output::Stream(bytes) => {
                if let Some(stream) = placed.stream {
                    self.server.handle_stream(now, stream, &bytes);
                }
            }
        }
    }

    fn open(&mut self, index: usize) {
        let placed = &mut self.devices[index];
        if placed.device.setup().profile.is_udp() {
            let [_, _, high, low] = (index as u32 + 1).to_be_bytes();
            placed.inner = Some(SocketAddr::from(([10, 0, high, low], 20_000 + placed.opened)));
            placed.opened = placed.opened.wrapping_add(1) % 40_000;
            return;
        }
        let stream = StreamId(self.next_stream);
        self.next_stream += 1;
        placed.stream = Some(stream);
        self.server.open_stream(self.now, stream);
        self.streams.push_front((stream, ToDevice::Opened));
    }

    fn tell_stream(&mut self, stream: StreamId, event: ToDevice) {
        let Some(placed) = self.devices.iter_mut().find(|placed| placed.stream == Some(stream))
        else {
            return;
        };
        match event {
            ToDevice::Opened => placed.device.stream_opened(self.now),
            ToDevice::Bytes(bytes) => placed.device.handle_stream(self.now, &bytes),
            ToDevice::Closed => {
                placed.stream = None;
                placed.device.stream_closed(self.now);
            }
        }
    }
}
