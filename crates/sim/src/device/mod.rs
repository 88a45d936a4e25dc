//! A simulated device that behaves as the firmware does, without a socket or a clock.
//!
//! [`Device`] takes datagrams or stream bytes and the time, and gives [`Output`]s. After every call
//! take outputs with [`Device::poll_output`] until there are none, and call
//! [`Device::handle_timeout`] when [`Device::next_timeout`] has come. What a test wants to know is
//! told as [`Observation`]s.
//!
//! The device spells its messages by itself and reads the server's as its firmware does, by
//! position (`messages.md` §2.1), so that it is a second witness of the server's codec. The record
//! layers and key arithmetic are those of `secure`.

pub mod application;
mod client_hello;
mod connect;
mod describe;
mod exchange;
mod greet;
mod handshake;
pub mod profile;
mod publish;
mod receive;
mod retained;
mod serve;
mod update;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{DeviceId, Metric, Mono};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use secure::dtls::ContentType;
use secure::dtls::record::{mark_moved, mark_moved_cid};
use secure::keys::{KeyError, PublicKey};
use secure::p256::{OpensslP256, P256, Point};
use secure::tcp::{FrameOpener, FrameSealer};

use crate::identity::Identity;
use application::{Application, Program, ReceivedEvent, Value};
use exchange::{Inbox, Outbox};
use handshake::ClientHandshake;
use profile::{Generation, Profile};
use retained::Retained;

pub(crate) use client_hello::first_client_hello;
pub use handshake::HandshakeFailure;
pub use publish::{Acknowledgement, Publish, PublishError};
pub use retained::RetainedMemory;
pub use update::{Installed, UpdateFault, UpdateStep};

/// What a device is made of, shared by all devices that are alike.
#[derive(Clone)]
pub struct Setup {
    /// Which firmware it plays.
    pub profile: Profile,
    /// The application on it.
    pub program: Arc<Program>,
    /// The server keys in its memory.
    pub trust: Trust,
    /// Modules in the system Describe beside the bootloader; 60 make it go in blocks.
    pub modules: u32,
    /// Whether the firmware's own limit on publishes holds: 4 in any second.
    pub limits_publishes: bool,
    /// Whether a legacy device wants one chunk of an update after the other.
    pub takes_chunks_slowly: bool,
}

/// The server's public keys, as written to a device when it is set up.
#[derive(Clone)]
pub struct Trust {
    /// For DTLS: the point of the P-256 key.
    pub p256: Option<Point>,
    /// For TCP: the RSA-2048 key.
    pub rsa: Option<PublicKey>,
    /// Arithmetic on the curve.
    pub curve: Arc<dyn P256>,
}

/// What a device wants its driver to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Use a new local address from now on. UDP: a new port. TCP: connect, then tell
    /// [`Device::stream_opened`] or [`Device::stream_closed`].
    Open,
    /// Send this to the server from the current address.
    Datagram(Vec<u8>),
    /// Write this to the stream in one piece.
    Stream(Vec<u8>),
    /// Close the socket; what still arrives on it is not for this device.
    Close,
}

/// What happened to a device, for tests and statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// A function was called; `None` if it has none of that name or does not return.
    Called {
        /// Its name.
        name: String,
        /// The argument.
        argument: Vec<u8>,
        /// What it returned.
        returned: Option<i32>,
    },
    /// The server can be talked to from now on.
    Connected(How),
    /// A connection attempt began.
    Connecting {
        /// With a stored session instead of a handshake.
        resuming: bool,
    },
    /// The connection is gone.
    Disconnected(Loss),
    /// An event matched a subscription.
    Event(ReceivedEvent),
    /// A publish was acknowledged.
    PublishAnswered {
        /// The number that [`Device::publish`] gave.
        publish: u64,
        /// The CoAP code as class × 100 + detail; 0 for the empty acknowledgement.
        code: u16,
        /// Since its first transmission.
        after: Duration,
    },
    /// A publish was still not acknowledged when its connection ended.
    PublishLost {
        /// The number that [`Device::publish`] gave.
        publish: u64,
    },
    /// A variable was asked for.
    Read {
        /// Its name.
        name: String,
    },
    /// The LED shouts rainbows, or stops.
    Signal(bool),
    /// Everything the device tells after its Hello was acknowledged.
    Settled,
    /// The clock was set to these seconds since 1970.
    TimeSet(u32),
    /// Something happened to an update.
    Update(UpdateStep),
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A full handshake and a Hello.
    Handshake,
    /// A stored session and a ping; the server has not answered yet.
    Resumed,
    /// A stored session and a Hello, because something changed.
    ResumedWithHello,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The server sent an alert with this description inside the session; the session is gone.
    Alert(u8),
    /// The handshake failed.
    Handshake(HandshakeFailure),
    /// The server discarded the session (KeyChange).
    KeyChange,
    /// A message had no acknowledgement after four transmissions; the session is gone.
    NotAcknowledged,
    /// Nothing arrived for too long after a ping; the session is kept.
    PingTimeout,
    /// The device lost its power or was switched off.
    Power,
    /// The server reset a message; the session is gone.
    Reset,
    /// The device restarted; the session is kept.
    Restart,
    /// The application asked for it; the session is kept.
    Requested,
    /// The stream was closed, cut, or cannot be understood.
    Stream,
    /// The server did not say Hello in time (TCP).
    NoHello,
    /// A message of the server was never acknowledged by this firmware; the session is gone.
    Unacknowledgeable,
    /// An update failed; the session is kept.
    UpdateFailed,
    /// Nothing of an update came for five minutes; the session is kept.
    UpdateTimeout,
}

/// A device of one generation with its application, its retained memory and its connection.
pub struct Device {
    identity: Identity,
    setup: Arc<Setup>,
    application: Application,
    random: SmallRng,
    phase: Phase,
    retained: Option<Retained>,
    /// Set from a restore until the first reply: records are marked 253 or 254.
    is_moving: bool,
    stream: Option<Box<Stream>>,
    message_id: u16,
    token: u8,
    clock_is_set: bool,
    claim_code: Option<String>,
    outbox: Outbox,
    inbox: Inbox,
    uploads: Vec<greet::Upload>,
    answers: Vec<greet::PreparedAnswer>,
    subscribing: greet::Subscribing,
    last_received: Mono,
    ping_sent: Option<Mono>,
    failures: u32,
    publishes: publish::Limiter,
    next_publish: u64,
    etag: u32,
    /// Absent until something is to be kept there.
    flash: Option<Box<update::Flash>>,
    is_settled: bool,
    /// Absent: those of the recordings.
    vitals: Option<Box<[Metric]>>,
    outputs: VecDeque<Output>,
    observations: VecDeque<Observation>,
}

enum Phase {
    Off,
    /// Waits before the next attempt.
    Backoff {
        until: Mono,
    },
    Handshake(Box<ClientHandshake>),
    /// The stream is being opened, or the RSA exchange runs.
    Stream(Box<connect::StreamHandshake>),
    /// Hello was sent; over UDP only its acknowledgement is heard.
    Hello {
        how: How,
        until: Option<Mono>,
    },
    Online,
    /// Goodbye was sent.
    Leaving {
        until: Mono,
    },
}

struct Stream {
    opener: FrameOpener,
    sealer: FrameSealer,
}

impl Trust {
    /// The server keys of UDP and TCP, either of which may be missing, with OpenSSL's arithmetic.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeyError> {
        let curve = OpensslP256::new().map_err(|_| KeyError::Library)?;
        let mut trust = Self { p256: None, rsa: None, curve: Arc::new(curve) };
        for key in keys {
            match key.point() {
                Some(point) => trust.p256 = point.try_into().ok(),
                None => trust.rsa = Some(key),
            }
        }
        Ok(trust)
    }
}

impl Setup {
    /// A generation's profile with the recorded application.
    pub fn new(generation: Generation, trust: Trust) -> Self {
        Self {
            profile: Profile::new(generation),
            program: Arc::new(Program::recorded()),
            trust,
            modules: 1,
            limits_publishes: true,
            takes_chunks_slowly: false,
        }
    }
}

impl Device {
    /// A device that was never powered. `seed` decides everything random but ECDSA's nonces.
    pub fn new(identity: Identity, setup: Arc<Setup>, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let token = random.random();
        Self {
            application: Application::new(Arc::clone(&setup.program)),
            identity,
            setup,
            random,
            phase: Phase::Off,
            retained: None,
            is_moving: false,
            stream: None,
            message_id: 0,
            token,
            clock_is_set: false,
            claim_code: None,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            uploads: Vec::new(),
            answers: Vec::new(),
            subscribing: greet::Subscribing::default(),
            last_received: Mono(0),
            ping_sent: None,
            failures: 0,
            publishes: publish::Limiter::default(),
            next_publish: 1,
            etag: 0,
            flash: None,
            is_settled: false,
            vitals: None,
            outputs: VecDeque::new(),
            observations: VecDeque::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.identity.id
    }

    /// What it is made of.
    pub fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// Whether it can talk to the server, as far as it knows.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online)
    }

    /// Whether it is switched off or was asked to disconnect.
    pub fn is_off(&self) -> bool {
        matches!(self.phase, Phase::Off)
    }

    /// Whether retained memory holds a session.
    pub fn has_session(&self) -> bool {
        self.retained.is_some()
    }

    /// Confirmable messages that wait for an acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    /// Switches it on, or lets it connect again after [`Self::disconnect`].
    pub fn power_on(&mut self, now: Mono) {
        if self.is_off() {
            self.failures = 0;
            self.connect(now);
        }
    }

    /// Takes its power away: retained memory is gone, the clock too.
    pub fn lose_power(&mut self) {
        self.drop_connection(Loss::Power);
        self.retained = None;
        self.message_id = 0;
        self.clock_is_set = false;
        self.token = self.random.random();
        self.application = Application::new(Arc::clone(&self.setup.program));
        self.phase = Phase::Off;
    }

    /// Restarts it; it connects again after a second, with its session if it has one.
    pub fn reset(&mut self, now: Mono) {
        self.drop_connection(Loss::Restart);
        if self.retained.is_none() {
            self.message_id = 0;
        }
        self.token = self.random.random();
        self.application = Application::new(Arc::clone(&self.setup.program));
        self.phase = Phase::Backoff { until: now.after(REBOOT) };
    }

    /// Gives it a new address without its knowledge, as a NAT does: the connection goes on.
    pub fn roam(&mut self) {
        if self.setup.profile.is_udp() && !self.is_off() {
            self.outputs.push_back(Output::Open);
        }
    }

    /// Ends the connection at the application's wish, with a Goodbye or without. The session is
    /// kept.
    pub fn disconnect(&mut self, now: Mono, goodbye: bool) {
        if goodbye && self.is_online() {
            self.send_goodbye(now);
        }
        if !matches!(self.phase, Phase::Leaving { .. }) {
            self.drop_connection(Loss::Requested);
            self.phase = Phase::Off;
        }
    }

    /// Replaces the value of a variable; false if there is none of this name.
    pub fn set_variable(&mut self, name: &str, value: Value) -> bool {
        self.application.assign(name, value)
    }

    /// Replaces what it is made of, as an update or a new configuration would. Takes effect with
    /// the next connection.
    pub fn set_setup(&mut self, setup: Arc<Setup>) {
        self.application = Application::new(Arc::clone(&setup.program));
        self.setup = setup;
    }

    /// Sets the vital signs that it tells from now on.
    pub fn set_vitals(&mut self, vitals: Vec<Metric>) {
        self.vitals = Some(vitals.into());
    }

    /// Stores a claim code; it is sent with each connection until the server says to forget it.
    pub fn set_claim_code(&mut self, code: Option<String>) {
        self.claim_code = code;
    }

    /// The stored claim code.
    pub fn claim_code(&self) -> Option<&str> {
        self.claim_code.as_deref()
    }

    /// What is in retained memory, if a session is.
    pub fn retained_memory(&self) -> Option<RetainedMemory> {
        self.retained.as_ref().map(|kept| kept.save(self.message_id, self.clock_is_set))
    }

    /// Puts retained memory back before the device is switched on; false if it is damaged.
    pub fn restore_memory(&mut self, memory: &RetainedMemory) -> bool {
        let Some((retained, message_id, clock_is_set)) = Retained::load(memory) else {
            return false;
        };
        self.retained = Some(retained);
        self.message_id = message_id;
        self.clock_is_set = clock_is_set;
        true
    }

    /// The next thing to do for the driver.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() && self.outputs.capacity() > QUEUE_KEPT {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The next thing that happened.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        let observation = self.observations.pop_front();
        if self.observations.is_empty() && self.observations.capacity() > QUEUE_KEPT {
            self.observations = VecDeque::new();
        }
        observation
    }

    fn observe(&mut self, observation: Observation) {
        self.observations.push_back(observation);
    }

    fn is_udp(&self) -> bool {
        self.setup.profile.is_udp()
    }

    fn next_id(&mut self) -> u16 {
        self.message_id = self.message_id.wrapping_add(1);
        self.message_id
    }

    fn next_token(&mut self) -> [u8; 1] {
        self.token = self.token.wrapping_add(1);
        [self.token]
    }

    /// Protects a message and hands it to the driver.
    fn send(&mut self, message: &[u8]) {
        if self.is_udp() {
            self.send_record(message);
        } else if let Some(stream) = &mut self.stream {
            let mut frame = Vec::with_capacity(message.len() + 34);
            if stream.sealer.seal(message, &mut frame).is_ok() {
                self.outputs.push_back(Output::Stream(frame));
            }
        }
    }

    fn send_record(&mut self, message: &[u8]) {
        let Some(retained) = &mut self.retained else { return };
        let mut record = Vec::with_capacity(message.len() + 64);
        if retained.session.seal(ContentType::ApplicationData, message, &mut record).is_err() {
            return;
        }
        if self.is_moving {
            match self.setup.profile.generation {
                Generation::Os6 => mark_moved_cid(&mut record),
                Generation::Os3 | Generation::Tcp => {
                    mark_moved(&mut record, self.identity.id.as_bytes());
                }
            }
        }
        self.outputs.push_back(Output::Datagram(record));
    }

    /// Sends a confirmable message and keeps it until it is acknowledged. TCP repeats nothing.
    fn send_confirmable(&mut self, now: Mono, purpose: exchange::Purpose, message: Vec<u8>) {
        self.send(&message);
        if self.is_udp() {
            let random = self.random.random();
            self.outbox.add(now, purpose, message, random);
        } else {
            self.outbox.add_unrepeated(now, purpose, message);
        }
    }
}

/// From a reset to the next connection, as recorded (udp-v6-reset).
const REBOOT: Duration = Duration::from_secs(1);
/// Queues larger than this are given back once empty, so that an idle device is small.
const QUEUE_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_device_is_small_enough_for_a_hundred_thousand_of_them() {
        assert!(size_of::<Device>() <= 1024, "{}", size_of::<Device>());
    }
}
