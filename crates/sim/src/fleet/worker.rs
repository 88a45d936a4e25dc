//! One thread of a fleet: its devices, their sockets, and a loop that only carries.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::Mono;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::config::FleetConfig;
use super::links::{Arrived, Batch, Links, Ready};
use super::schedule::{Pacer, Timers};
use super::stats::{Shared, Tally, count, uncount};
use crate::device::{Device, How, Loss, Observation, Output, Publish, UpdateStep};

/// The devices of one thread.
pub(crate) struct Worker {
    devices: Vec<Device>,
    states: Vec<State>,
    links: Links,
    timers: Timers,
    pacers: Pacers,
    tally: Tally,
    started: Instant,
    random: SmallRng,
    loss: f64,
    latency_from: Mono,
    event_name: String,
    payload: String,
    in_flight: u64,
    in_flight_max: u64,
    connecting: u32,
    connecting_max: u32,
    /// Devices that were switched on; they are switched on in order.
    switched_on: usize,
    /// Whose turn it is to publish, to roam, to restart.
    turns: [usize; 3],
    /// Devices that got a datagram of the batch at hand.
    touched: Vec<usize>,
}

/// What the driver remembers of a device.
#[derive(Clone, Copy, Default)]
struct State {
    is_online: bool,
    is_connecting: bool,
    since: Mono,
}

struct Pacers {
    connects: Pacer,
    publishes: Pacer,
    roams: Pacer,
    resets: Pacer,
}

impl Worker {
    pub(crate) fn new(
        config: &FleetConfig,
        devices: Vec<Device>,
        thread: u32,
        started: Instant,
    ) -> io::Result<Self> {
        let now = mono(started);
        let count = devices.len();
        let share = count as f64 / f64::from(config.devices);
        let threads = config.threads.clamp(1, config.devices);
        let pacers = Pacers {
            connects: Pacer::new(f64::from(config.connect_per_s) * share, now),
            publishes: Pacer::new(config.publish.per_s * share, now),
            roams: Pacer::spread(count, config.roam_every, now),
            resets: Pacer::spread(count, config.reset_every, now),
        };
        Ok(Self {
            states: vec![State::default(); count],
            links: Links::new(config.udp, config.tcp, count)?,
            timers: Timers::new(count),
            devices,
            pacers,
            tally: Tally::default(),
            started,
            random: SmallRng::seed_from_u64(config.seed ^ u64::from(thread) << 32),
            loss: config.loss,
            latency_from: Mono(u64::try_from(config.latency_from.as_micros()).unwrap_or(u64::MAX)),
            event_name: config.publish.name.clone(),
            payload: "x".repeat(config.publish.payload_bytes),
            in_flight: 0,
            in_flight_max: (config.publish.in_flight_max / u64::from(threads)).max(1),
            connecting: 0,
            connecting_max: (config.connecting_max / threads).max(1),
            switched_on: 0,
            turns: [0; 3],
            touched: Vec::new(),
        })
    }

    /// The counters, for whoever watches.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.tally.shared)
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter()
    }

    /// Runs until `over` is set.
    pub(crate) fn run(mut self, over: &AtomicBool) -> Self {
        let mut ready = Vec::new();
        let (mut batch, mut buffer) = (Batch::new(), vec![0; BUFFER_BYTES]);
        while !over.load(Ordering::Relaxed) {
            self.do_what_is_due();
            let wait = self.time_to_wait();
            if let Err(error) = self.links.wait(wait, &mut ready) {
                tracing::warn!(%error, "a fleet's thread ends: its sockets cannot be waited for");
                break;
            }
            for ready in &ready {
                match *ready {
                    Ready::Shared => self.receive_shared(&mut batch),
                    Ready::Device(index) => self.receive_own(index, &mut buffer),
                }
            }
        }
        self
    }

    fn now(&self) -> Mono {
        mono(self.started)
    }

    fn do_what_is_due(&mut self) {
        let now = self.now();
        while let Some(index) = self.timers.pop_due(now) {
            self.devices[index].handle_timeout(now);
            self.settle(index, now);
        }
        self.switch_on(now);
        self.publish(now);
        let roams = self.pacers.roams.due(now);
        self.pacers.roams.did(roams);
        for _ in 0..roams {
            self.in_turn(ROAM, now, |device, _| device.roam());
        }
        let resets = self.pacers.resets.due(now);
        self.pacers.resets.did(resets);
        for _ in 0..resets {
            self.in_turn(RESET, now, Device::reset);
        }
    }

    fn switch_on(&mut self, now: Mono) {
        let due = self.pacers.connects.due(now);
        let mut done = 0;
        while done < due
            && self.switched_on < self.devices.len()
            && self.connecting < self.connecting_max
        {
            let index = self.switched_on;
            self.switched_on += 1;
            done += 1;
            self.devices[index].power_on(now);
            self.settle(index, now);
        }
        self.pacers.connects.did(done);
    }

    fn publish(&mut self, now: Mono) {
        let due = self.pacers.publishes.due(now).min(PUBLISHES_IN_A_ROW);
        let mut done = 0;
        while done < due && self.in_flight < self.in_flight_max {
            let Some(index) = self.next_online(PUBLISH) else { break };
            let event = Publish::text(&self.event_name, &self.payload);
            if self.devices[index].publish(now, &event).is_ok() {
                count(&self.tally.shared.published);
                self.in_flight += u64::from(self.devices[index].setup().profile.is_udp());
            }
            self.settle(index, now);
            done += 1;
        }
        self.pacers.publishes.did(done);
    }

    fn in_turn(&mut self, turn: usize, now: Mono, act: impl FnOnce(&mut Device, Mono)) {
        if let Some(index) = self.next_online(turn) {
            act(&mut self.devices[index], now);
            self.settle(index, now);
        }
    }

    /// The next connected device, round and round.
    fn next_online(&mut self, turn: usize) -> Option<usize> {
        let count = self.devices.len();
        for _ in 0..count {
            let index = self.turns[turn];
            self.turns[turn] = (index + 1) % count;
            if self.states[index].is_online {
                return Some(index);
            }
        }
        None
    }

    fn receive_shared(&mut self, batch: &mut Batch) {
        for _ in 0..BATCHES_IN_A_ROW {
            let now = self.now();
            let mut touched = std::mem::take(&mut self.touched);
            let (devices, random, loss) = (&mut self.devices, &mut self.random, self.loss);
            let received = self.links.receive_shared(batch, |index, datagram| {
                if loss == 0.0 || !random.random_bool(loss) {
                    devices[index].handle_datagram(now, datagram);
                    touched.push(index);
                }
            });
            for index in touched.drain(..) {
                count(&self.tally.shared.received);
                self.settle(index, now);
            }
            self.touched = touched;
            if !received.is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    fn receive_own(&mut self, index: usize, buffer: &mut [u8]) {
        let now = self.now();
        let lost = self.loss > 0.0 && self.random.random_bool(self.loss);
        let device = &mut self.devices[index];
        count(&self.tally.shared.received);
        self.links.receive_own(index, buffer, |arrived| match arrived {
            Arrived::Datagram(_) if lost => {}
            Arrived::Datagram(datagram) => device.handle_datagram(now, datagram),
            Arrived::Stream(bytes) => device.handle_stream(now, bytes),
            Arrived::StreamOpened => device.stream_opened(now),
            Arrived::StreamClosed => device.stream_closed(now),
        });
        self.settle(index, now);
    }

    /// After anything was done to a device: its outputs, what it tells, its timer.
    fn settle(&mut self, index: usize, now: Mono) {
        while let Some(output) = self.devices[index].poll_output() {
            self.carry_out(index, now, output);
        }
        while let Some(observation) = self.devices[index].poll_observation() {
            self.note(index, now, &observation);
        }
        self.timers.set(index, self.devices[index].next_timeout());
    }

    fn carry_out(&mut self, index: usize, now: Mono, output: Output) {
        let done = match output {
            Output::Open if self.devices[index].setup().profile.is_udp() => {
                self.links.open_udp(index)
            }
            Output::Open => self.links.open_tcp(index),
            Output::Close => {
                self.links.close(index);
                Ok(())
            }
            Output::Datagram(bytes) => {
                count(&self.tally.shared.sent);
                if self.loss == 0.0 || !self.random.random_bool(self.loss) {
                    self.links.send_datagram(index, &bytes);
                }
                Ok(())
            }
            Output::Stream(bytes) => {
                count(&self.tally.shared.sent);
                self.links.send_stream(index, &bytes)
            }
        };
        if done.is_err() {
            self.devices[index].stream_closed(now);
        }
    }

    fn note(&mut self, index: usize, now: Mono, observation: &Observation) {
        let shared = &self.tally.shared;
        match observation {
            Observation::Connecting { .. } => self.began(index, now),
            Observation::Connected(how) => self.connected(index, now, *how),
            Observation::Disconnected(loss) => self.disconnected(index, *loss),
            Observation::PublishAnswered { code, after, .. } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if *code < 400 {
                    count(&shared.acknowledged);
                    if now >= self.latency_from {
                        self.tally.latency.record(*after);
                    }
                } else {
                    count(&shared.refused);
                }
            }
            Observation::PublishLost { .. } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                count(&shared.lost);
            }
            Observation::Event(_) => count(&shared.events),
            Observation::Called { .. } | Observation::Read { .. } => count(&shared.calls),
            Observation::Update(UpdateStep::Begun { .. }) => count(&shared.updates_begun),
            Observation::Update(UpdateStep::Applied) => count(&shared.updates_applied),
            Observation::Update(UpdateStep::Failed(_)) => count(&shared.updates_failed),
            Observation::Settled
            | Observation::Signal(_)
            | Observation::TimeSet(_)
            | Observation::Update(UpdateStep::Trapped) => {}
        }
    }

    fn began(&mut self, index: usize, now: Mono) {
        let state = &mut self.states[index];
        self.connecting += u32::from(!state.is_connecting);
        *state = State { is_online: state.is_online, is_connecting: true, since: now };
    }

    fn connected(&mut self, index: usize, now: Mono, how: How) {
        let state = &mut self.states[index];
        self.connecting -= u32::from(state.is_connecting);
        state.is_connecting = false;
        if !state.is_online {
            state.is_online = true;
            count(&self.tally.shared.online);
        }
        if how == How::Handshake {
            count(&self.tally.shared.handshakes);
            self.tally.connect.record(now.since(state.since));
        } else {
            count(&self.tally.shared.resumes);
        }
    }

    fn disconnected(&mut self, index: usize, loss: Loss) {
        let state = &mut self.states[index];
        self.connecting -= u32::from(state.is_connecting);
        state.is_connecting = false;
        if state.is_online {
            state.is_online = false;
            uncount(&self.tally.shared.online);
        }
        match loss {
            Loss::Handshake(_) => count(&self.tally.shared.handshake_failures),
            Loss::Restart | Loss::Power | Loss::Requested => {}
            _ => count(&self.tally.shared.losses),
        }
    }

    fn time_to_wait(&self) -> Duration {
        let now = self.now();
        let is_ramping =
            self.switched_on < self.devices.len() && self.connecting < self.connecting_max;
        let waiting = is_ramping.then(|| self.pacers.connects.next());
        let publishes = (self.in_flight < self.in_flight_max).then(|| self.pacers.publishes.next());
        let next = [
            self.timers.next(),
            waiting.flatten(),
            publishes.flatten(),
            self.pacers.roams.next(),
            self.pacers.resets.next(),
        ];
        let due = next.into_iter().flatten().min().map_or(LONGEST_WAIT, |at| at.since(now));
        due.min(LONGEST_WAIT)
    }
}

fn mono(started: Instant) -> Mono {
    Mono(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

const PUBLISH: usize = 0;
const ROAM: usize = 1;
const RESET: usize = 2;
/// How soon the end is noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Between two looks at what arrived.
const PUBLISHES_IN_A_ROW: u64 = 256;
/// Between two looks at what is due.
const BATCHES_IN_A_ROW: usize = 16;
const BUFFER_BYTES: usize = 4096;
