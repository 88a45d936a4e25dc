//! Connections that come and go: streams, Hellos, answers to what the endpoint asked.

use std::net::SocketAddr;

use model::limits::TCP_HELLO_WAIT;
use model::{DeviceId, Hello, KeyHash, LinkId, Now};
use rand::Rng;
use secure::dtls::codec::alert;
use secure::keys::PublicKey;
use secure::tcp::FrameKeys;

use super::Endpoint;
use super::connection::{Connection, Greeting, Newcomer};
use super::output::{Need, NeedAnswer};

/// Who says Hello.
enum Identity {
    /// This device, proven.
    Device(DeviceId),
    /// A key that nobody registered claims to be this device.
    Claims(DeviceId),
    /// An id that the key is not registered for.
    Stranger,
}

impl Endpoint {
    /// Takes a stream after its RSA handshake with `device_key`. The device is proven, and told to the
    /// shard, when its first frame decrypts to a Hello and the key is its own. Nothing if there is no room for another connection: the
    /// stream is to be closed.
    pub fn accept_stream(
        &mut self,
        now: Now,
        device: DeviceId,
        device_key: &PublicKey,
        keys: &FrameKeys,
        peer: SocketAddr,
    ) -> Option<LinkId> {
        let slot = self.slots.reserve()?;
        let link = self.slots.next_link(slot);
        let newcomer = Newcomer {
            told: Some(device),
            key: KeyHash(device_key.hash()),
            expires_at: now.mono.after(TCP_HELLO_WAIT),
            counted_network: None,
            client_random: [0; 32],
            public_key: device_key.spki().into(),
            final_flight: None,
            greeting: None,
            unread: Vec::new(),
        };
        let message_id = self.rng.next_u32() as u16;
        let connection = Connection::accepted(link, peer, keys, message_id, newcomer, now.mono);
        self.counters.tcp_handshakes_completed += 1;
        self.slots.insert(slot, connection);
        self.set_timer(now, slot);
        Some(link)
    }

    /// Takes bytes of a stream, cut anyhow. One that cannot be understood is closed.
    pub fn handle_stream(&mut self, now: Now, link: LinkId, bytes: &[u8]) {
        self.counters.bytes_received += bytes.len() as u64;
        self.read_stream(now, link, bytes);
    }

    fn read_stream(&mut self, now: Now, link: LinkId, mut bytes: &[u8]) {
        let Some(slot) = self.slots.by_link(link) else { return };
        let opener = self.slots.get_mut(slot).and_then(Connection::take_opener);
        let Some(mut opener) = opener else { return };
        while !self.is_greeting(slot) {
            match opener.open(&mut bytes) {
                Ok(Some(message)) => {
                    self.with_connection(now, slot, |connection, cx| {
                        connection.handle_frame(cx, message)
                    });
                }
                Ok(None) => break,
                Err(_) => return self.end_unreadable(slot),
            }
            if self.slots.by_link(link).is_none() {
                return;
            }
        }
        let Some(connection) = self.slots.get_mut(slot) else { return };
        connection.put_opener(opener);
        if !connection.newcomer_mut().is_none_or(|newcomer| newcomer.keep_unread(bytes)) {
            self.end_unreadable(slot);
        }
    }

    /// Whether its Hello waits for an answer: what comes behind it waits as well.
    fn is_greeting(&mut self, slot: u32) -> bool {
        let newcomer = self.slots.get_mut(slot).and_then(Connection::newcomer_mut);
        newcomer.is_some_and(|newcomer| newcomer.greeting.is_some())
    }

    fn end_unreadable(&mut self, slot: u32) {
        self.counters.closed_malformed_stream += 1;
        self.end(slot, false);
    }

    /// A session in another shard is heard from the address where this one was heard last: what comes
    /// from there without a connection id is that one's.
    pub fn address_taken(&mut self, link: LinkId, peer: SocketAddr) {
        self.slots.give_address_up(link, peer);
    }

    /// The stream is gone.
    pub fn stream_closed(&mut self, _now: Now, link: LinkId) {
        if let Some(slot) = self.slots.by_link(link) {
            self.end_stream(slot);
        }
    }

    /// Takes the answer to a [`Need`].
    pub fn handle_answer(&mut self, now: Now, answer: NeedAnswer) {
        match answer {
            NeedAnswer::Key { handshake, ids } => self.handle_key(now, handshake, &ids),
            NeedAnswer::Job { handshake, done } => self.handle_job(now, handshake, done),
            NeedAnswer::Owner { link, ids } => self.handle_owner(now, link, &ids),
            NeedAnswer::Bind { link, bound } => self.handle_bound(now, link, bound),
            NeedAnswer::Room { link, frames } => {
                let Some(slot) = self.slots.by_link(link) else { return };
                self.with_connection(now, slot, |connection, cx| {
                    connection.take_room(cx.now.mono, frames);
                    super::Upshot::Done
                });
            }
        }
    }

    /// A Hello that did not come before.
    pub(super) fn greet(&mut self, now: Now, slot: u32, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        match (connection.device, greeting.hello.device_id) {
            (Some(device), Some(claimed)) if claimed != device => self.refuse(now, slot),
            (Some(device), _) => self.admit(now, slot, device, greeting),
            (None, _) => self.ask_whose_key(slot, greeting),
        }
    }

    fn ask_whose_key(&mut self, slot: u32, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let link = connection.link;
        let Some(newcomer) = connection.newcomer_mut() else { return };
        if newcomer.greeting.is_some() {
            return;
        }
        newcomer.greeting = Some(Box::new(greeting));
        self.out.need(Need::Owner { link, hash: newcomer.key });
    }

    fn handle_owner(&mut self, now: Now, link: LinkId, ids: &[DeviceId]) {
        let Some((slot, newcomer)) = self.newcomer(link) else { return };
        let Some(greeting) = newcomer.greeting.take() else { return };
        match identify(newcomer, ids, &greeting.hello) {
            Identity::Device(device) => self.admit(now, slot, device, *greeting),
            Identity::Claims(device) if self.config.trust_on_first_use => {
                self.ask_to_bind(slot, device, greeting);
            }
            Identity::Claims(_) | Identity::Stranger => self.refuse(now, slot),
        }
    }

    fn newcomer(&mut self, link: LinkId) -> Option<(u32, &mut Newcomer)> {
        let slot = self.slots.by_link(link)?;
        Some((slot, self.slots.get_mut(slot)?.newcomer_mut()?))
    }

    /// The device of a connection is known: its older connection goes, and only now.
    fn admit(&mut self, now: Now, slot: u32, device: DeviceId, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let link = connection.link;
        let is_first = connection.device.is_none();
        let mut unread = Vec::new();
        if is_first {
            if let Some(newcomer) = connection.take_newcomer() {
                self.handshakes.release(&newcomer);
                unread = newcomer.unread;
            }
            if let Some(older) = self.slots.by_device(device) {
                self.end(older, false);
            }
            self.slots.set_device(slot, device);
            self.counters.sessions_opened += 1;
        }
        self.with_connection(now, slot, |connection, cx| {
            connection.open(cx, device, greeting, is_first);
            super::Upshot::Done
        });
        if !unread.is_empty() {
            self.read_stream(now, link, &unread);
        }
    }

    /// Not the device it says: told under the session's protection, then forgotten.
    fn refuse(&mut self, now: Now, slot: u32) {
        self.counters.hellos_refused += 1;
        self.with_connection(now, slot, |connection, cx| {
            connection.send_alert(cx, alert::FATAL, alert::ACCESS_DENIED);
            super::Upshot::Ended { forget: true }
        });
    }

    fn ask_to_bind(&mut self, slot: u32, device: DeviceId, greeting: Box<Greeting>) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let link = connection.link;
        let Some(newcomer) = connection.newcomer_mut() else { return };
        newcomer.greeting = Some(greeting);
        let public_key = newcomer.public_key.clone();
        self.out.need(Need::Bind { link, device, public_key });
    }

    fn handle_bound(&mut self, now: Now, link: LinkId, bound: bool) {
        let Some((slot, newcomer)) = self.newcomer(link) else { return };
        let Some(greeting) = newcomer.greeting.take() else { return };
        match claimed(newcomer, &greeting.hello) {
            Some(device) if bound => self.admit(now, slot, device, *greeting),
            Some(_) | None => self.refuse(now, slot),
        }
    }
}

fn identify(newcomer: &Newcomer, ids: &[DeviceId], hello: &Hello) -> Identity {
    match claimed(newcomer, hello) {
        Some(device) if ids.contains(&device) => Identity::Device(device),
        Some(device) if ids.is_empty() => Identity::Claims(device),
        Some(_) | None => Identity::Stranger,
    }
}

/// Who a newcomer says it is; nobody if it says two things.
fn claimed(newcomer: &Newcomer, hello: &Hello) -> Option<DeviceId> {
    match (hello.device_id, newcomer.told) {
        (Some(claimed), Some(told)) if claimed != told => None,
        (claimed, told) => claimed.or(told),
    }
}
