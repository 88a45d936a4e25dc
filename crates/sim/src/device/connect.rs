//! How a device gets a connection and how it loses it: handshake, resume, timers, back-off.

use std::time::Duration;

use model::Mono;
use rand::{Rng, RngExt};
use secure::dtls::{ContentType, Session};
use secure::tcp::device::{open_answer, seal_credentials};
use secure::tcp::{FrameOpener, FrameSealer, NONCE_BYTES, SESSION_KEY_BYTES};

use super::exchange::{Due, Purpose};
use super::handshake::{ClientHandshake, Parameters, Progress};
use super::profile::Generation;
use super::retained::{Retained, Told, digest};
use super::wire::{Kind, empty};
use super::{Device, HandshakeFailure, How, Loss, Observation, Output, Phase, Stream};

/// The RSA exchange of TCP, as far as it came.
pub(crate) struct StreamHandshake {
    received: Vec<u8>,
    /// Whether the credentials went out, so that the answer is awaited and not the nonce.
    answered: bool,
    until: Mono,
}

impl Device {
    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Mono> {
        let phase = match &self.phase {
            Phase::Off => return None,
            Phase::Backoff { until } => return Some(*until),
            Phase::Handshake(handshake) => return Some(handshake.next_timeout()),
            Phase::Stream(handshake) => return Some(handshake.until),
            Phase::Hello { until, .. } => *until,
            Phase::Leaving { until } => Some(*until),
            Phase::Online if self.is_updating() => self.update_timeout(),
            Phase::Online => Some(self.next_ping()),
        };
        [phase, self.outbox.next_timeout(), self.inbox.next_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        match &mut self.phase {
            Phase::Off => {}
            Phase::Backoff { until } if now >= *until => self.connect(now),
            Phase::Handshake(handshake) => {
                let mut out = Vec::new();
                let progress = handshake.handle_timeout(now, &mut out);
                self.after_handshake_step(now, progress, out);
            }
            Phase::Stream(handshake) if now >= handshake.until => self.lose(now, Loss::Stream),
            Phase::Hello { until: Some(until), .. } if now >= *until => {
                self.lose(now, Loss::NoHello);
            }
            Phase::Leaving { until } if now >= *until => self.leave(),
            Phase::Online => self.watch(now),
            _ => {}
        }
        self.repeat_due(now);
    }

    /// Takes a datagram from the server that arrived at the current address.
    pub fn handle_datagram(&mut self, now: Mono, datagram: &mut [u8]) {
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                let mut out = Vec::new();
                let progress = handshake.handle_datagram(now, datagram, &mut out);
                self.after_handshake_step(now, progress, out);
            }
            Phase::Hello { .. } | Phase::Online | Phase::Leaving { .. } => {
                self.handle_records(now, datagram);
            }
            Phase::Off | Phase::Backoff { .. } | Phase::Stream(_) => {}
        }
    }

    /// The stream asked for by [`Output::Open`] is connected.
    pub fn stream_opened(&mut self, now: Mono) {
        if let Phase::Stream(handshake) = &mut self.phase {
            handshake.until = now.after(STREAM_TIMEOUT);
        }
    }

    /// The stream could not be opened or was closed by the other side.
    pub fn stream_closed(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::Off | Phase::Backoff { .. }) {
            self.lose(now, Loss::Stream);
        }
    }

    /// Takes bytes from the stream.
    pub fn handle_stream(&mut self, now: Mono, bytes: &[u8]) {
        let mut rest = bytes;
        if let Phase::Stream(handshake) = &mut self.phase {
            rest = handshake.fill(rest);
            self.stream_step(now);
            if !rest.is_empty() && !matches!(self.phase, Phase::Backoff { .. }) {
                self.handle_stream(now, rest);
            }
            return;
        }
        while let Some(stream) = &mut self.stream {
            match stream.opener.open(&mut rest) {
                Ok(Some(message)) => {
                    let message = message.to_vec();
                    self.receive(now, &message);
                }
                Ok(None) => return,
                Err(_) => return self.lose(now, Loss::Stream),
            }
        }
    }

    /// One attempt, from a new address.
    pub(super) fn connect(&mut self, now: Mono) {
        self.outputs.push_back(Output::Open);
        if !self.is_udp() {
            self.observe(Observation::Connecting { resuming: false });
            let until = now.after(STREAM_TIMEOUT);
            let handshake = StreamHandshake { received: Vec::new(), answered: false, until };
            self.phase = Phase::Stream(Box::new(handshake));
            return;
        }
        let keeps_window = self.setup.profile.generation == Generation::Os6;
        let keys = self.keys_digest();
        self.retained = self.retained.take().and_then(|kept| kept.restore(keys, keeps_window));
        self.observe(Observation::Connecting { resuming: self.retained.is_some() });
        if self.retained.is_some() {
            self.resume(now);
        } else {
            self.start_handshake(now);
        }
    }

    /// Drops the connection and tries again after a while. Whether the session is kept depends on
    /// the reason.
    pub(super) fn lose(&mut self, now: Mono, loss: Loss) {
        self.drop_connection(loss);
        if loss.ends_session() {
            self.retained = None;
        }
        if loss == Loss::KeyChange {
            self.connect(now);
            return;
        }
        let wait = BACKOFF_MAX.min(Duration::from_secs(1 << self.failures.min(7)));
        self.failures += 1;
        self.phase = Phase::Backoff { until: now.after(wait) };
    }

    /// Forgets everything that belongs to the connection and not to the session.
    pub(super) fn drop_connection(&mut self, loss: Loss) {
        for message in self.outbox.drain() {
            if let Purpose::Publish(publish) = message.purpose {
                self.observe(Observation::PublishLost { publish });
            }
        }
        self.break_off_update();
        self.inbox.clear();
        self.uploads = Vec::new();
        self.answers = Vec::new();
        self.stream = None;
        self.is_moving = false;
        self.ping_sent = None;
        if !matches!(self.phase, Phase::Off | Phase::Backoff { .. }) {
            self.outputs.push_back(Output::Close);
            self.observe(Observation::Disconnected(loss));
        }
    }

    pub(super) fn leave(&mut self) {
        self.drop_connection(Loss::Requested);
        self.phase = Phase::Off;
    }

    /// The connection works: the next failure waits one second again.
    pub(super) fn go_online(&mut self, now: Mono, how: How) {
        self.phase = Phase::Online;
        self.failures = 0;
        self.last_received = now;
        self.ping_sent = None;
        self.observe(Observation::Connected(how));
    }

    /// An empty confirmable message: the keep-alive, and all a resumed session has to say.
    pub(super) fn send_ping(&mut self, now: Mono) {
        let message = empty(Kind::Con, self.next_id());
        self.send_confirmable(now, Purpose::Ping, message);
    }

    fn resume(&mut self, now: Mono) {
        self.is_moving = true;
        let told = self.told();
        if told.hello.is_some() && told.hello == self.hello_digest() && told.system.is_some() {
            self.go_online(now, How::Resumed);
            self.send_ping(now);
            self.greet_resumed(now);
        } else {
            self.send_hello(now, How::ResumedWithHello);
        }
    }

    fn start_handshake(&mut self, now: Mono) {
        let mut out = Vec::new();
        let Some(parameters) = self.handshake_parameters() else {
            return self.lose(now, Loss::Handshake(HandshakeFailure::Library));
        };
        let handshake = ClientHandshake::start(now, parameters, &mut out);
        self.phase = Phase::Handshake(Box::new(handshake));
        self.outputs.push_back(Output::Datagram(out));
    }

    fn handshake_parameters(&mut self) -> Option<Parameters> {
        Some(Parameters {
            offers_cid: self.setup.profile.generation == Generation::Os6,
            client_random: self.random.random(),
            ephemeral: self.random.random(),
            curve: self.setup.trust.curve.clone(),
            server_key: self.setup.trust.p256?,
            device_key: self.identity.key.signing_key().ok()?,
        })
    }

    fn after_handshake_step(&mut self, now: Mono, progress: Progress, out: Vec<u8>) {
        if !out.is_empty() {
            self.outputs.push_back(Output::Datagram(out));
        }
        match progress {
            Progress::Waiting => {}
            Progress::Established(session) => self.established(now, session),
            Progress::Failed(failure) => self.lose(now, Loss::Handshake(failure)),
        }
    }

    fn established(&mut self, now: Mono, session: Session) {
        let keys = self.keys_digest();
        self.retained = Some(Retained { session, uses: 0, keys, told: Told::default() });
        self.is_moving = false;
        self.send_hello(now, How::Handshake);
    }

    fn handle_records(&mut self, now: Mono, datagram: &mut [u8]) {
        let Some(retained) = &mut self.retained else { return };
        // The firmware's server never packs application records, so one record is read.
        let Ok(opened) = retained.session.open(datagram) else { return };
        match (opened.content_type, opened.plaintext) {
            (ContentType::ApplicationData, plaintext) if !plaintext.is_empty() => {
                let message = plaintext.to_vec();
                self.is_moving = false;
                retained.uses = 0;
                self.receive(now, &message);
            }
            (ContentType::Alert, &[level, description]) if level == 2 || description == 0 => {
                self.lose(now, Loss::Alert(description));
            }
            _ => {}
        }
    }

    fn next_ping(&self) -> Mono {
        match self.ping_sent {
            Some(sent) => sent.after(self.setup.profile.ping_timeout),
            None => self.last_received.after(self.setup.profile.keep_alive),
        }
    }

    /// The keep-alive: a ping after silence, the end after more of it.
    fn watch(&mut self, now: Mono) {
        if self.is_updating() {
            return self.watch_update(now);
        }
        if now < self.next_ping() {
            return;
        }
        if self.ping_sent.is_some() {
            return self.lose(now, Loss::PingTimeout);
        }
        self.ping_sent = Some(now);
        self.send_ping(now);
    }

    fn repeat_due(&mut self, now: Mono) {
        if self.inbox.is_dead(now) {
            return self.lose(now, Loss::Unacknowledgeable);
        }
        loop {
            let random = &mut self.random;
            match self.outbox.take_due(now, || random.random()) {
                Some(Due::Repeat(message)) => self.send(&message),
                Some(Due::GiveUp) => return self.lose(now, Loss::NotAcknowledged),
                None => return,
            }
        }
    }

    fn stream_step(&mut self, now: Mono) {
        let Phase::Stream(handshake) = &mut self.phase else { return };
        if !handshake.is_complete() {
            return;
        }
        let received = std::mem::take(&mut handshake.received);
        let done = if handshake.answered {
            self.open_session(now, &received)
        } else {
            self.send_credentials(now, &received)
        };
        if done.is_none() {
            self.lose(now, Loss::Stream);
        }
    }

    fn send_credentials(&mut self, now: Mono, nonce: &[u8]) -> Option<()> {
        let nonce: &[u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let own = self.identity.key.public_key().ok()?;
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| fill_nonzero(random, bytes);
        let server = self.setup.trust.rsa.as_ref()?;
        let id = self.identity.id.as_bytes();
        let sealed = seal_credentials(server, nonce, id, Some(&own), &mut fill).ok()?;
        self.outputs.push_back(Output::Stream(sealed.to_vec()));
        if let Phase::Stream(handshake) = &mut self.phase {
            handshake.answered = true;
            handshake.until = now.after(STREAM_TIMEOUT);
        }
        Some(())
    }

    fn open_session(&mut self, now: Mono, answer: &[u8]) -> Option<()> {
        let answer: &[u8; SESSION_KEY_BYTES] = answer.try_into().ok()?;
        let key = self.identity.key.private_key().ok()?;
        let credentials = open_answer(&key, self.setup.trust.rsa.as_ref()?, answer).ok()?;
        let keys = credentials.frame_keys();
        let stream = Stream { opener: FrameOpener::new(&keys), sealer: FrameSealer::new(&keys) };
        self.stream = Some(Box::new(stream));
        let salt = credentials.salt();
        self.message_id = u16::from_le_bytes([salt[0], salt[1]]);
        self.send_hello(now, How::Handshake);
        Some(())
    }

    fn keys_digest(&self) -> u64 {
        digest((self.setup.trust.p256, self.identity.key.fingerprint()))
    }
}

impl StreamHandshake {
    /// Takes what is missing off the front of `bytes` and gives the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = self.wanted() - self.received.len();
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.received.extend_from_slice(taken);
        rest
    }

    fn wanted(&self) -> usize {
        if self.answered { SESSION_KEY_BYTES } else { NONCE_BYTES }
    }

    fn is_complete(&self) -> bool {
        self.received.len() == self.wanted()
    }
}

impl Loss {
    /// Whether the stored session goes with the connection (`session-resume.md` §7).
    pub fn ends_session(self) -> bool {
        match self {
            Self::Alert(_)
            | Self::Handshake(_)
            | Self::KeyChange
            | Self::NotAcknowledged
            | Self::Reset
            | Self::Unacknowledgeable => true,
            Self::NoHello
            | Self::PingTimeout
            | Self::Power
            | Self::Requested
            | Self::Restart
            | Self::Stream
            | Self::UpdateFailed
            | Self::UpdateTimeout => false,
        }
    }
}

/// PKCS#1 padding has no zero bytes.
fn fill_nonzero(random: &mut impl Rng, bytes: &mut [u8]) {
    for byte in bytes {
        *byte = random.random_range(1..=255);
    }
}

/// Longest wait for the bytes of the handshake (`tcp-session.md` §3).
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);
/// The system layer waits 1 s after a failure and twice as long after each further one, up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(128);
