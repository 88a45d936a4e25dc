//! What a device says when a connection begins (`messages.md` §3): Hello, then a burst of
//! everything else without waiting.

use std::time::Duration;

use model::hello::HelloFlags;
use model::{Metric, Mono};

use super::application::Subscription;
use super::describe::USER_PART;
use super::exchange::Purpose;
use super::profile::Generation;
use super::retained::{Told, digest};
use super::wire::{
    BLOCK1, CONTENT_FORMAT, GET, Kind, NO_RESPONSE, POST, URI_PATH, URI_QUERY, Writer, is_success,
};
use super::{Device, How, Observation, Phase, describe};

/// Flag of the system part of a description.
pub(crate) const SYSTEM: u8 = 1;
/// Flag of the application part.
pub(crate) const APPLICATION: u8 = 2;
/// Flag of the vital signs.
pub(crate) const METRICS: u8 = 4;

/// A part of the description on its way in blocks.
pub(crate) struct Upload {
    flag: u8,
    bytes: Vec<u8>,
    next_block: u32,
}

/// A description that the server fetches in blocks.
pub(crate) struct PreparedAnswer {
    pub(crate) flag: u8,
    pub(crate) etag: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) last_access: Mono,
}

/// Subscriptions whose acknowledgement is awaited.
#[derive(Debug, Default)]
pub(crate) struct Subscribing {
    left: usize,
    failed: bool,
}

impl Device {
    /// The first message of a session, or of a resumed one whose state changed.
    pub(super) fn send_hello(&mut self, now: Mono, how: How) {
        if let Some(retained) = &mut self.retained {
            retained.told = Told::default();
        }
        let kind = if self.is_udp() { Kind::Con } else { Kind::Non };
        let payload = self.hello_payload();
        let message =
            Writer::new(kind, POST, self.next_id(), &[]).option(URI_PATH, b"h").payload(&payload);
        self.last_received = now;
        if self.is_udp() {
            self.phase = Phase::Hello { how, until: None };
            self.send_confirmable(now, Purpose::Hello, message);
        } else {
            self.phase = Phase::Hello { how, until: Some(now.after(HELLO_TIMEOUT)) };
            self.send(&message);
        }
    }

    /// Hello was taken: the device is connected and tells everything else.
    pub(super) fn hello_taken(&mut self, now: Mono) {
        let Phase::Hello { how, .. } = self.phase else { return };
        let hello = self.hello_digest();
        if let Some(retained) = &mut self.retained {
            retained.told.hello = hello;
        }
        self.go_online(now, how);
        self.greet(now);
    }

    /// What follows the ping of a resumed session: the events of the system, and whatever changed.
    pub(super) fn greet_resumed(&mut self, now: Mono) {
        let told = self.told();
        self.is_settled = false;
        if !self.clock_is_set {
            self.ask_time(now);
        }
        self.tell_updates(now);
        if self.describes_itself() && told.application != Some(self.application_digest()) {
            self.post_description(now, APPLICATION);
        }
        if told.subscriptions != Some(self.subscriptions_digest()) {
            self.subscribe(now);
        }
    }

    /// A part of the description was acknowledged, with whatever code.
    pub(super) fn described(&mut self, now: Mono, flag: u8, last: bool) {
        if !last {
            return self.post_next_block(now, flag);
        }
        let system = self.system_digest();
        let application = self.application_digest();
        let Some(retained) = &mut self.retained else { return };
        match flag {
            SYSTEM => retained.told.system = Some(system),
            APPLICATION => retained.told.application = Some(application),
            _ => {}
        }
    }

    /// A subscription was acknowledged; only all of them together count.
    pub(super) fn subscribed(&mut self, code: u8) {
        self.subscribing.failed |= !is_success(code);
        self.subscribing.left = self.subscribing.left.saturating_sub(1);
        let done = self.subscribing.left == 0 && !self.subscribing.failed;
        let subscriptions = self.subscriptions_digest();
        if let (true, Some(retained)) = (done, &mut self.retained) {
            retained.told.subscriptions = Some(subscriptions);
        }
    }

    /// Tells once that everything said after Hello was acknowledged.
    pub(super) fn check_settled(&mut self) {
        let open = !self.uploads.is_empty() || self.outbox.is_waiting_for(Purpose::is_greeting);
        if !self.is_settled && self.is_online() && (!open || !self.is_udp()) {
            self.is_settled = true;
            self.observe(Observation::Settled);
        }
    }

    pub(super) fn ask_time(&mut self, now: Mono) {
        if self.outbox.is_waiting_for(|purpose| purpose == Purpose::Time) {
            return;
        }
        let (id, token) = (self.next_id(), self.next_token());
        let message = Writer::new(Kind::Con, GET, id, &token).option(URI_PATH, b"t").done();
        self.send_confirmable(now, Purpose::Time, message);
    }

    /// Sends the vital signs (`Particle.publishVitals()`).
    pub fn publish_vitals(&mut self, now: Mono) {
        if self.is_online() {
            self.post_description(now, METRICS);
        }
    }

    /// Goodbye: disconnected by the user (`messages.md` §9.4).
    pub(super) fn send_goodbye(&mut self, now: Mono) {
        const PAYLOAD: [u8; 3] = [0x09, 2, 2];
        if !self.is_udp() {
            let message = Writer::new(Kind::Non, POST, self.next_id(), &[])
                .option(URI_PATH, b"x")
                .option(NO_RESPONSE, b"")
                .payload(&PAYLOAD);
            self.send(&message);
            return;
        }
        let message = Writer::new(Kind::Con, POST, self.next_id(), &[])
            .option(URI_PATH, b"x")
            .payload(&PAYLOAD);
        self.phase = Phase::Leaving { until: now.after(LEAVE_TIMEOUT) };
        self.send_confirmable(now, Purpose::Goodbye, message);
    }

    pub(super) fn told(&self) -> Told {
        self.retained.as_ref().map_or_else(Told::default, |retained| retained.told)
    }

    /// Stands for the fields whose change makes a resumed session say Hello again; the bit that
    /// reports an update is not among them.
    pub(super) fn hello_digest(&self) -> Option<u64> {
        let profile = &self.setup.profile;
        let flags = profile.flags & !HelloFlags::OTA_SUCCESSFUL;
        let sizes = (profile.message_bytes_max, profile.binary_bytes_max, profile.chunk_bytes);
        let described = if self.describes_itself() { 0 } else { self.application_digest() };
        Some(digest((profile.system_version, flags, sizes, self.system_digest(), described)))
    }

    /// The bytes of one part, or of both for 0.
    pub(super) fn description(&self, flag: u8) -> Vec<u8> {
        let profile = &self.setup.profile;
        match flag {
            SYSTEM => describe::system(profile, &self.modules()),
            APPLICATION => describe::application(&self.program()),
            METRICS => describe::metrics(self.vitals()),
            _ => describe::both(profile, &self.modules(), &self.program()),
        }
    }

    /// What the application registers; in safe mode it does not run.
    fn program(&self) -> model::ApplicationDescription {
        match self.is_in_safe_mode() {
            true => model::ApplicationDescription::default(),
            false => self.application.program().description(),
        }
    }

    /// Bytes of one block of a description.
    pub(super) fn block_bytes(&self) -> (usize, u32) {
        if self.setup.profile.message_bytes_max >= 1040 { (1024, 6) } else { (512, 5) }
    }

    fn greet(&mut self, now: Mono) {
        self.is_settled = false;
        if self.describes_itself() {
            self.post_description(now, SYSTEM);
        }
        if let Some(code) = self.claim_code.clone() {
            self.publish_system(now, "spark/device/claim/code", &code);
        }
        if self.setup.profile.is_modern() {
            self.ask_time(now);
            self.tell_updates(now);
        } else {
            self.tell_updates(now);
            self.ask_time(now);
        }
        if self.describes_itself() {
            self.post_description(now, APPLICATION);
        }
        self.subscribe(now);
        self.check_settled();
    }

    fn describes_itself(&self) -> bool {
        self.setup.profile.flags & HelloFlags::DEVICE_INITIATED_DESCRIBE != 0
    }

    fn tell_updates(&mut self, now: Mono) {
        if self.is_in_safe_mode() {
            self.publish_system(now, "spark/device/safemode", "");
        }
        let text = |is_so| if is_so { "true" } else { "false" };
        let (enabled, forced) = (self.updates_enabled(), self.updates_forced());
        self.publish_system(now, "particle/device/updates/enabled", text(enabled));
        self.publish_system(now, "particle/device/updates/forced", text(forced));
    }

    fn post_description(&mut self, now: Mono, flag: u8) {
        let bytes = self.description(flag);
        if self.setup.profile.is_modern() && bytes.len() > self.block_bytes().0 {
            self.uploads.retain(|upload| upload.flag != flag);
            self.uploads.push(Upload { flag, bytes, next_block: 0 });
            return self.post_next_block(now, flag);
        }
        let message = self.description_head(flag).payload(&bytes);
        self.send_confirmable(now, Purpose::Describe { flag, last: true }, message);
    }

    fn post_next_block(&mut self, now: Mono, flag: u8) {
        let (size, exponent) = self.block_bytes();
        let head = self.description_head(flag);
        let Some(index) = self.uploads.iter().position(|upload| upload.flag == flag) else {
            return;
        };
        let upload = &mut self.uploads[index];
        let start = upload.next_block as usize * size;
        let end = upload.bytes.len().min(start + size);
        let last = end == upload.bytes.len();
        let value = upload.next_block << 4 | u32::from(!last) << 3 | exponent;
        let message = head.number(BLOCK1, value).payload(&upload.bytes[start..end]);
        upload.next_block += 1;
        if last {
            self.uploads.remove(index);
        }
        self.send_confirmable(now, Purpose::Describe { flag, last }, message);
    }

    /// Path, format and query of a Describe, as each generation has them (§6.3).
    fn description_head(&mut self, flag: u8) -> Writer {
        let id = self.next_id();
        if !self.setup.profile.is_modern() {
            return Writer::new(Kind::Con, POST, id, &[])
                .option(URI_PATH, b"d")
                .option(URI_QUERY, &[flag]);
        }
        let token = self.next_token();
        let writer = Writer::new(Kind::Con, POST, id, &token).option(URI_PATH, b"d");
        let writer = if flag == SYSTEM { writer.number(CONTENT_FORMAT, 42) } else { writer };
        writer.option(URI_QUERY, &[flag])
    }

    fn subscribe(&mut self, now: Mono) {
        let is_in_safe_mode = self.is_in_safe_mode();
        let system: [&str; 2] = match self.setup.profile.generation {
            Generation::Os6 => ["particle", "spark"],
            Generation::Os3 | Generation::Tcp => ["spark", "particle"],
        };
        let own = self.setup.program.subscriptions.iter().cloned();
        let own = own.filter(|_| !is_in_safe_mode);
        let all: Vec<_> = system.into_iter().map(Subscription::own).chain(own).collect();
        self.subscribing = Subscribing { left: all.len(), failed: false };
        for subscription in all {
            let message = self.subscription_message(&subscription);
            self.send_confirmable(now, Purpose::Subscribe, message);
        }
    }

    fn subscription_message(&mut self, subscription: &Subscription) -> Vec<u8> {
        let modern = self.setup.profile.is_modern();
        let writer = Writer::new(Kind::Con, GET, self.next_id(), &[])
            .option(URI_PATH, b"e")
            .option(URI_PATH, subscription.prefix.as_bytes());
        if modern && subscription.any_content {
            writer.option(URI_QUERY, b"b").done()
        } else if !modern && subscription.own_devices {
            writer.option(URI_QUERY, b"u").done()
        } else {
            writer.done()
        }
    }

    /// Hello of Device OS ≥ 3.0 (§5.1); over TCP without the id.
    fn hello_payload(&self) -> Vec<u8> {
        let profile = &self.setup.profile;
        let mut payload = Vec::with_capacity(32);
        payload.extend(profile.product_id.to_be_bytes());
        let installed = self.flash.iter().flat_map(|flash| flash.installed());
        let installed = installed.filter(|module| module.function == USER_PART);
        let version = installed.filter_map(|module| module.product_version).last();
        payload.extend(version.unwrap_or(profile.product_version).to_be_bytes());
        payload.extend(profile.flags.to_be_bytes());
        payload.extend(profile.platform.0.to_be_bytes());
        let id: &[u8] = if self.is_udp() { self.identity.id.as_bytes() } else { &[] };
        payload.extend([0, id.len() as u8]);
        payload.extend(id);
        payload.extend(profile.system_version.to_be_bytes());
        payload.extend(profile.message_bytes_max.to_be_bytes());
        payload.extend(profile.binary_bytes_max.to_be_bytes());
        payload.extend(profile.chunk_bytes.to_be_bytes());
        payload
    }

    fn system_digest(&self) -> u64 {
        digest((
            self.description(SYSTEM),
            self.setup.profile.system_version,
            self.setup.profile.platform,
        ))
    }

    fn application_digest(&self) -> u64 {
        digest(self.program())
    }

    fn subscriptions_digest(&self) -> u64 {
        digest(&self.setup.program.subscriptions)
    }

    fn vitals(&self) -> &[Metric] {
        const RECORDED: [Metric; 3] =
            [Metric { id: 6, value: 3 }, Metric { id: 10, value: 2 }, Metric { id: 31, value: 1 }];
        self.vitals.as_deref().unwrap_or(&RECORDED)
    }
}

/// How long a TCP device waits for the server's Hello (`reliability.md` §6).
const HELLO_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a graceful disconnect waits for what is outstanding.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);
