//! Connections that come and go: streams, Hellos, answers to what the endpoint asked.

use std::net::SocketAddr;

use model::limits::TCP_HELLO_WAIT;
use model::{DeviceId, Hello, LinkId, Now};
use rand::Rng;
use secure::dtls::codec::alert;
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
    /// Takes a stream after its RSA handshake. The device is proven, and told to the shard, when its
    /// first frame decrypts to a Hello. Nothing if there is no room for another connection: the
    /// stream is to be closed.
    pub fn accept_stream(
        &mut self,
        now: Now,
        device: DeviceId,
        keys: &FrameKeys,
        peer: SocketAddr,
    ) -> Option<LinkId> {
        let slot = self.slots.reserve()?;
        let link = self.slots.next_link(slot);
        let newcomer = Newcomer {
            ids: vec![device],
            expires_at: now.mono.after(TCP_HELLO_WAIT),
            counted_ip: None,
            client_random: [0; 32],
            public_key: Box::default(),
            final_flight: None,
            greeting: None,
        };
        let message_id = self.rng.next_u32() as u16;
        let connection = Connection::accepted(link, peer, keys, message_id, newcomer, now.mono);
        self.counters.tcp_handshakes_completed += 1;
        self.slots.insert(slot, connection);
        self.set_timer(now, slot);
        Some(link)
    }

    /// Takes bytes of a stream, cut anyhow. One that cannot be understood is closed.
    pub fn handle_stream(&mut self, now: Now, link: LinkId, mut bytes: &[u8]) {
        let Some(slot) = self.slots.by_link(link) else { return };
        self.counters.bytes_received += bytes.len() as u64;
        let opener = self.slots.get_mut(slot).and_then(Connection::take_opener);
        let Some(mut opener) = opener else { return };
        loop {
            match opener.open(&mut bytes) {
                Ok(Some(message)) => {
                    self.with_connection(now, slot, |connection, cx| {
                        connection.handle_frame(cx, message)
                    });
                }
                Ok(None) => break,
                Err(_) => {
                    self.counters.closed_malformed_stream += 1;
                    return self.end(slot, false);
                }
            }
            if self.slots.by_link(link).is_none() {
                return;
            }
        }
        if let Some(connection) = self.slots.get_mut(slot) {
            connection.put_opener(opener);
        }
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
            NeedAnswer::Key { handshake, ids } => self.handle_key(now, handshake, ids),
            NeedAnswer::Job { handshake, done } => self.handle_job(now, handshake, done),
            NeedAnswer::Bind { link, bound } => self.handle_bound(now, link, bound),
        }
    }

    /// A Hello that did not come before.
    pub(super) fn greet(&mut self, now: Now, slot: u32, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        match identify(connection, &greeting.hello) {
            Identity::Device(device) => self.admit(now, slot, device, greeting),
            Identity::Claims(device) if self.config.trust_on_first_use => {
                self.ask_to_bind(slot, device, greeting);
            }
            Identity::Claims(_) | Identity::Stranger => self.refuse(now, slot),
        }
    }

    /// The device of a connection is known: its older connection goes, and only now.
    fn admit(&mut self, now: Now, slot: u32, device: DeviceId, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let is_first = connection.device.is_none();
        if is_first {
            if let Some(newcomer) = connection.take_newcomer() {
                self.handshakes.release(&newcomer);
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
    }

    /// Not the device it says: told under the session's protection, then forgotten.
    fn refuse(&mut self, now: Now, slot: u32) {
        self.counters.hellos_refused += 1;
        self.with_connection(now, slot, |connection, cx| {
            connection.send_alert(cx, alert::FATAL, alert::ACCESS_DENIED);
            super::Upshot::Ended { forget: true }
        });
    }

    fn ask_to_bind(&mut self, slot: u32, device: DeviceId, greeting: Greeting) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let link = connection.link;
        let Some(newcomer) = connection.newcomer_mut() else { return };
        if newcomer.greeting.is_some() {
            return;
        }
        newcomer.greeting = Some(Box::new(greeting));
        let public_key = newcomer.public_key.clone();
        self.out.need(Need::Bind { link, device, public_key });
    }

    fn handle_bound(&mut self, now: Now, link: LinkId, bound: bool) {
        let Some(slot) = self.slots.by_link(link) else { return };
        let newcomer = self.slots.get_mut(slot).and_then(Connection::newcomer_mut);
        let Some(greeting) = newcomer.and_then(|newcomer| newcomer.greeting.take()) else { return };
        match greeting.hello.device_id {
            Some(device) if bound => self.admit(now, slot, device, *greeting),
            Some(_) | None => self.refuse(now, slot),
        }
    }
}

fn identify(connection: &mut Connection, hello: &Hello) -> Identity {
    let claimed = hello.device_id;
    if let Some(device) = connection.device {
        let agrees = claimed.is_none_or(|claimed| claimed == device);
        return if agrees { Identity::Device(device) } else { Identity::Stranger };
    }
    let is_datagram = connection.is_datagram();
    let Some(newcomer) = connection.newcomer_mut() else { return Identity::Stranger };
    match (claimed, newcomer.ids.as_slice()) {
        (Some(claimed), []) => Identity::Claims(claimed),
        (Some(claimed), ids) if ids.contains(&claimed) => Identity::Device(claimed),
        (None, [device]) if !is_datagram => Identity::Device(*device),
        _ => Identity::Stranger,
    }
}
