//! Devices of Device OS 6.2 that connect with everything they say then, and the sessions that are
//! left of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Mono;
use secure::dtls::Session;
use sim::device::profile::Generation;
use sim::device::{Device, Output, Setup, Trust};
use sim::identity::Identity;

use crate::Outcome;
use crate::wire::Wire;

/// Devices that connect at the same time.
const CONNECTING: usize = 128;
/// How often timers are looked at; the shortest is 3 s.
const TIMERS_EACH: Duration = Duration::from_millis(200);
/// Without progress for this long something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is left of a connected device: enough to talk, at the least cost for the load.
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) message_id: u16,
}

/// Device `index` of a server; every scenario uses indices of its own.
pub(crate) fn identity(index: usize) -> Identity {
    Identity::of_fleet("e00fce68", 7, index as u32, false)
}

/// Devices on their way through handshake, Hello, Describe, subscriptions.
struct Connecting<'a> {
    wire: &'a mut Wire,
    setup: Arc<Setup>,
    started: Instant,
    devices: Vec<Option<Box<Device>>>,
    peers: Vec<Option<Peer>>,
    active: Vec<usize>,
    out_of: usize,
}

/// Connects devices `0..count` and waits until everything they say is acknowledged.
pub(crate) fn connect(wire: &mut Wire, trust: &Trust, count: usize) -> Outcome<Vec<Peer>> {
    let mut connecting = Connecting {
        wire,
        setup: setup(trust),
        started: Instant::now(),
        devices: std::iter::repeat_with(|| None).take(count).collect(),
        peers: std::iter::repeat_with(|| None).take(count).collect(),
        active: Vec::new(),
        out_of: count,
    };
    connecting.run()?;
    Ok(connecting.peers.into_iter().flatten().collect())
}

/// What a device that trusts this server is made of.
pub(crate) fn setup(trust: &Trust) -> Arc<Setup> {
    Arc::new(Setup::new(Generation::Os6, trust.clone()))
}

impl Connecting<'_> {
    fn run(&mut self) -> Outcome {
        let (mut begun, mut timers_at, mut progress_at) = (0, self.started, Instant::now());
        loop {
            while self.active.len() < CONNECTING && begun < self.out_of {
                self.begin(begun);
                begun += 1;
            }
            if self.active.is_empty() {
                return Ok(());
            }
            if self.receive()? {
                progress_at = Instant::now();
            } else if progress_at.elapsed() > PATIENCE {
                return Err(format!("{} devices do not connect", self.active.len()).into());
            }
            if timers_at.elapsed() > TIMERS_EACH {
                timers_at = Instant::now();
                self.handle_timeouts();
            }
        }
    }

    fn begin(&mut self, index: usize) {
        let mut device = Device::new(identity(index), Arc::clone(&self.setup), index as u64);
        device.power_on(self.now());
        self.devices[index] = Some(Box::new(device));
        self.active.push(index);
        self.settle(index);
    }

    fn receive(&mut self) -> Outcome<bool> {
        let count = self.wire.receive(TIMERS_EACH)?;
        let now = self.now();
        for place in 0..count {
            let (index, datagram) = self.wire.datagram(place);
            if let Some(device) = self.devices.get_mut(index).and_then(Option::as_mut) {
                device.handle_datagram(now, datagram);
                self.settle(index);
            }
        }
        let Self { active, devices, .. } = self;
        active.retain(|index| devices[*index].is_some());
        Ok(count > 0)
    }

    fn handle_timeouts(&mut self) {
        let now = self.now();
        for place in 0..self.active.len() {
            let index = self.active[place];
            if let Some(device) = &mut self.devices[index]
                && device.next_timeout().is_some_and(|at| at <= now)
            {
                device.handle_timeout(now);
                self.settle(index);
            }
        }
    }

    /// Sends what a device has to say, and takes its session once all of it has arrived.
    fn settle(&mut self, index: usize) {
        let Some(device) = &mut self.devices[index] else { return };
        while let Some(output) = device.poll_output() {
            if let Output::Datagram(bytes) = output {
                self.wire.send(index, &bytes);
            }
        }
        while device.poll_observation().is_some() {}
        if device.is_online() && device.unacknowledged() == 0 {
            self.peers[index] = self.devices[index]
                .take()
                .and_then(|device| device.into_session())
                .map(|(session, message_id)| Peer { session, message_id });
        }
    }

    fn now(&self) -> Mono {
        Mono(self.started.elapsed().as_micros() as u64)
    }
}
