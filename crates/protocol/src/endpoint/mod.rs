//! All sessions of one socket set, as one quiet state machine.
//!
//! **Driving it.** Feed datagrams, stream bytes, commands, answers and, at [`Endpoint::next_timeout`],
//! the time. After each batch take everything from [`Endpoint::poll_output`] and
//! [`Endpoint::transmits`], and [clear](Transmits::clear) the latter: state is only consistent then.
//! [`Now`] must not go backwards. Nothing in here fails: what is noise is dropped and
//! [counted](Endpoint::counters), what the shard has to know is an event.
//!
//! **Whose a link is.** A datagram finds its session by connection id, device id or address
//! (`demux.rs`). A session that came out of a handshake belongs to nobody until its Hello, which must
//! name an id that the key is registered for; only then the device's older connection is closed.

mod config;
mod connection;
mod counters;
mod demux;
mod handshakes;
mod links;
mod output;
mod restore;
mod slots;
mod timers;
mod updates;

use model::link::{Command, LinkEvent};
use model::{LinkId, Mono, Now, Traffic};
use rand::SeedableRng;
use rand::rngs::StdRng;
use secure::dtls::Cookies;

pub use self::config::EndpointConfig;
use self::connection::{Connection, Context, Upshot};
pub use self::counters::Counters;
use self::handshakes::Handshakes;
pub use self::output::{Disposition, HandshakeId, Need, NeedAnswer, Output, Transmits, Where};
use self::output::{Outbox, Sent};
pub use self::restore::shard_of;
use self::slots::Slots;
use self::timers::Timers;
use self::updates::Updates;

/// All sessions of one socket set. See the [module](self) for how to drive it.
pub struct Endpoint {
    config: EndpointConfig,
    rng: StdRng,
    cookies: Cookies,
    slots: Slots,
    timers: Timers,
    handshakes: Handshakes,
    updates: Updates,
    out: Outbox,
    counters: Counters,
    scratch: Vec<u8>,
    admits: bool,
    /// What the datagram that is being handled took on the wire, until it is known whose it is.
    arriving: u32,
}

impl Endpoint {
    /// An endpoint without sessions. Give it what the store holds with [`Self::restore`].
    pub fn new(config: EndpointConfig) -> Self {
        let mut rng = StdRng::from_seed(config.seed);
        let hash_seed = rand::Rng::next_u64(&mut rng) as usize;
        Self {
            cookies: Cookies::new(config.cookie_secret),
            slots: Slots::new(config.shard, hash_seed),
            timers: Timers::default(),
            handshakes: Handshakes::default(),
            updates: Updates::new(config.update_bandwidth),
            out: Outbox::default(),
            counters: Counters::default(),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            admits: true,
            arriving: 0,
            rng,
            config,
        }
    }

    /// Whether new handshakes are begun. While they are not, a ClientHello with a good cookie is
    /// dropped without a word: the device repeats it after 3, 9 and 21 s. Handshakes that are open go
    /// on.
    pub fn set_admission(&mut self, admits: bool) {
        self.admits = admits;
    }

    /// Carries out what the shard asks of a connection. One that is gone ignores it.
    pub fn handle_command(&mut self, now: Now, link: LinkId, command: Command) {
        let Some(slot) = self.slots.by_link(link) else {
            self.counters.commands_late += 1;
            return;
        };
        self.with_connection(now, slot, |connection, cx| connection.handle_command(cx, command));
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.handle_handshake_timeouts(now);
        while let Some(slot) = self.timers.pop_due(now.mono) {
            self.with_connection(now, slot, |connection, cx| connection.handle_timeout(cx));
        }
        self.send_chunks_due(now);
    }

    /// Tells everything about sessions that is told later otherwise: for an end in order.
    pub fn tell_all(&mut self, now: Now) {
        for slot in 0..self.slots.len() {
            self.with_connection(now, slot, |connection, cx| {
                connection.tell_rest(cx);
                Upshot::Done
            });
        }
    }

    /// When [`Self::handle_timeout`] is to be called at the latest.
    pub fn next_timeout(&self) -> Option<Mono> {
        let rare = self.handshakes.next_timeout().into_iter().chain(self.updates.next_timeout());
        self.timers.next().into_iter().chain(rare).min()
    }

    /// DTLS handshakes under way, from the ClientHello that was admitted to the last Finished.
    pub fn handshakes_open(&self) -> usize {
        self.handshakes.count()
    }

    /// The next thing for the shell to carry.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    /// The datagrams to send; to be cleared when they are sent.
    pub fn transmits(&mut self) -> &mut Transmits {
        &mut self.out.transmits
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Lets a connection act, then does what it cannot do by itself and sees to its timer.
    fn with_connection(
        &mut self,
        now: Now,
        slot: u32,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> Upshot,
    ) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let mut cx = Context {
            now,
            out: &mut self.out,
            counters: &mut self.counters,
            scratch: &mut self.scratch,
        };
        let sent = Sent::before(cx.out);
        let upshot = match act(connection, &mut cx) {
            Upshot::Done => connection.drive_transfer(&mut cx),
            upshot @ (Upshot::Greeted(_) | Upshot::Ended { .. }) => upshot,
        };
        let sent = sent.since(&self.out, connection.peer);
        connection.traffic += Traffic { received: 0, sent };
        match upshot {
            Upshot::Done => {}
            Upshot::Greeted(greeting) => self.greet(now, slot, *greeting),
            Upshot::Ended { forget } => self.end(slot, forget),
        }
        self.set_timer(now, slot);
    }

    fn set_timer(&mut self, now: Now, slot: u32) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        connection.settle();
        connection.tell_traffic_in_time(now.mono, &mut self.out);
        if connection.joins_queue(now.mono) {
            self.updates.join(slot, now.mono);
        }
        if let Some(at) = connection.deadline(now.mono) {
            // Never at once: a connection that cannot do what is due must not stop the others.
            self.timers.set_no_later(slot, at.max(Mono(now.mono.0 + TIMER_STEP_US)));
        }
    }

    /// Takes a connection away and tells the shard, if it knew it.
    fn end(&mut self, slot: u32, forget: bool) {
        let Some(mut connection) = self.slots.remove(slot) else { return };
        self.timers.clear(slot);
        if let Some(newcomer) = connection.take_newcomer() {
            self.handshakes.release(&newcomer);
        }
        let link = connection.link;
        if connection.device.is_some() {
            connection.tell_traffic(&mut self.out);
            self.out.event(LinkEvent::Closed { link, forget });
        }
        if !connection.is_datagram() {
            self.out.outputs.push_back(Output::CloseStream { link });
        }
    }

    /// The same for a stream that the shell saw closed.
    fn end_stream(&mut self, slot: u32) {
        self.end(slot, false);
        if matches!(self.out.outputs.back(), Some(Output::CloseStream { .. })) {
            self.out.outputs.pop_back();
        }
    }
}

/// Holds any message to a device.
const SCRATCH_BYTES: usize = 2048;
/// The shortest time to the next look at a connection.
const TIMER_STEP_US: u64 = 1000;
