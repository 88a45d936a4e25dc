//! One connection: a device's session over UDP or its stream over TCP, from its first record to its
//! end.
//!
//! [`incoming`] takes what the device says, [`outgoing`] carries what the cloud says, [`timeout`]
//! does what is due. An idle connection is small: what it needs only at times is in [`Busy`].

mod answers;
mod bodies;
mod busy;
mod duplicates;
mod exchange;
mod fetch;
mod incoming;
mod keep_alive;
mod laps;
mod newcomer;
mod opening;
mod outgoing;
mod publishing;
mod responses;
mod timeout;
mod traits;
mod updating;

use std::net::SocketAddr;

use model::limits::{RECORD_NUMBERS_LOW, TCP_PROBE, TCP_SILENCE, TRAFFIC_TOLD, TRAFFIC_TOLD_BYTES};
use model::link::{LinkEvent, Transport};
use model::{DeviceId, Hello, LinkId, Mono, Now, Timestamp, Traffic};
use secure::dtls::{ConnectionId, ContentType, Session};
use secure::tcp::{FrameKeys, FrameOpener, FrameSealer};

use self::busy::Busy;
use self::duplicates::Duplicates;
use self::keep_alive::KeepAlive;
pub(crate) use self::newcomer::Newcomer;
use self::traits::Traits;
use super::counters::Counters;
use super::output::{Outbox, Output};
use crate::coap::{Builder, Header};

/// A connection and what is known of its device.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: LinkId,
    pub(crate) peer: SocketAddr,
    /// Whose it is; nobody's until its Hello.
    pub(crate) device: Option<DeviceId>,
    channel: Channel,
    heard_at: Mono,
    sent_at: Mono,
    keep_alive: KeepAlive,
    traits: Traits,
    last_ping_id: u16,
    token_counter: u8,
    /// Which quarter of the tokens is used, see [`laps`].
    lap: u8,
    phase: Phase,
    /// Whether a message sent now is believed to arrive.
    online: bool,
    /// Whether the shard waits to hear that the device is alive.
    unannounced: bool,
    /// Whether records came that the shard knows nothing of.
    untold: bool,
    /// Bytes over the carrier that the shard knows nothing of (UDP).
    pub(crate) traffic: Traffic,
    /// When it is told of both.
    tell_at: Option<Mono>,
    /// Messages that came before. Apart from what is busy: every connection that said something has
    /// them for a while.
    duplicates: Option<Box<Duplicates>>,
    busy: Option<Box<Busy>>,
}

#[derive(Debug)]
enum Channel {
    Datagram(Session),
    Stream(Box<Stream>),
}

/// Both directions of a TCP device.
#[derive(Debug)]
struct Stream {
    /// Absent while its messages are being handled.
    opener: Option<FrameOpener>,
    sealer: FrameSealer,
    next_message_id: u16,
    /// Whether the device was asked for a sign of life since it gave one.
    probed: bool,
}

/// Whether the device listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No Hello came: nothing but it is taken.
    Silent,
    /// The device may not have the answer to its Hello and would drop what is sent.
    Quiet,
    Open,
}

/// What a connection works with.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Outbox,
    pub(crate) counters: &'a mut Counters,
    /// Holds the message that is being written.
    pub(crate) scratch: &'a mut Vec<u8>,
}

/// What a connection cannot do by itself.
#[derive(Debug)]
pub(crate) enum Upshot {
    /// Nothing more to do.
    Done,
    /// A Hello that did not come before: who is it?
    Greeted(Box<Greeting>),
    /// It is over. Whether its stored session is void as well.
    Ended { forget: bool },
}

/// A Hello on its way through.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) hello: Hello,
    pub(crate) header: Header,
    pub(crate) record: u64,
}

impl Connection {
    /// A session fresh from its handshake.
    pub(crate) fn established(
        link: LinkId,
        peer: SocketAddr,
        session: Session,
        newcomer: Newcomer,
        now: Mono,
    ) -> Self {
        let lap = laps::of(session.record_limit());
        Self {
            busy: Some(Busy::new(newcomer)),
            lap,
            ..Self::new(link, peer, Channel::Datagram(session), now)
        }
    }

    /// A stream after its key exchange.
    pub(crate) fn accepted(
        link: LinkId,
        peer: SocketAddr,
        keys: &FrameKeys,
        next_message_id: u16,
        newcomer: Newcomer,
        now: Mono,
    ) -> Self {
        let stream = Stream {
            opener: Some(FrameOpener::new(keys)),
            sealer: FrameSealer::new(keys),
            next_message_id,
            probed: false,
        };
        let channel = Channel::Stream(Box::new(stream));
        Self { busy: Some(Busy::new(newcomer)), ..Self::new(link, peer, channel, now) }
    }

    /// A session from the store: its device believes in it, so it is open at once.
    pub(crate) fn restored(
        link: LinkId,
        peer: SocketAddr,
        session: Session,
        online: bool,
        now: Mono,
    ) -> Self {
        let lap = laps::after(session.record_limit());
        let fresh = Self::new(link, peer, Channel::Datagram(session), now);
        Self { phase: Phase::Open, online, unannounced: true, lap, ..fresh }
    }

    fn new(link: LinkId, peer: SocketAddr, channel: Channel, now: Mono) -> Self {
        Self {
            link,
            peer,
            device: None,
            channel,
            heard_at: now,
            sent_at: now,
            keep_alive: KeepAlive::default(),
            traits: Traits::default(),
            last_ping_id: 0,
            token_counter: 0,
            lap: 0,
            phase: Phase::Silent,
            online: false,
            unannounced: false,
            untold: false,
            traffic: Traffic::default(),
            tell_at: None,
            duplicates: None,
            busy: None,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.channel {
            Channel::Datagram(_) => Transport::Udp,
            Channel::Stream(_) => Transport::Tcp,
        }
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.transport() == Transport::Udp
    }

    pub(crate) fn cid(&self) -> Option<ConnectionId> {
        self.session()?.cid()
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.channel {
            Channel::Datagram(session) => Some(session),
            Channel::Stream(_) => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.channel {
            Channel::Datagram(session) => Some(session),
            Channel::Stream(_) => None,
        }
    }

    /// The highest record number that came; 0 over TCP.
    fn record_seen(&self) -> u64 {
        self.session().map_or(0, Session::record_seen)
    }

    /// Tells the shard of records and bytes that nothing else told of, if there are any.
    pub(crate) fn tell_rest(&mut self, cx: &mut Context<'_>) {
        self.tell_at = None;
        if std::mem::take(&mut self.untold) {
            let ago = cx.now.mono.since(self.heard_at).as_millis();
            let at = Timestamp(cx.now.utc.0.saturating_sub(i64::try_from(ago).unwrap_or(0)));
            cx.out.event(LinkEvent::Heard { link: self.link, at, record: self.record_seen() });
        }
        self.tell_traffic(cx.out);
    }

    /// Sees to it that bytes that the shard knows nothing of are told, at once if there are many.
    pub(crate) fn tell_traffic_in_time(&mut self, now: Mono, out: &mut Outbox) {
        if self.traffic.is_empty() || self.device.is_none() {
            return;
        }
        self.tell_at.get_or_insert_with(|| now.after(TRAFFIC_TOLD));
        if self.traffic.total() >= TRAFFIC_TOLD_BYTES {
            self.tell_traffic(out);
        }
    }

    /// Tells the shard of them now.
    pub(crate) fn tell_traffic(&mut self, out: &mut Outbox) {
        let traffic = std::mem::take(&mut self.traffic);
        if let Some(device) = self.device.filter(|_| !traffic.is_empty()) {
            out.event(LinkEvent::Traffic { link: self.link, device, traffic });
        }
    }

    pub(crate) fn newcomer_mut(&mut self) -> Option<&mut Newcomer> {
        self.busy.as_mut()?.newcomer.as_deref_mut()
    }

    /// Takes the state of a session without Hello away.
    pub(crate) fn take_newcomer(&mut self) -> Option<Box<Newcomer>> {
        self.busy.as_mut()?.newcomer.take()
    }

    /// When it wants to be woken.
    pub(crate) fn deadline(&self, now: Mono) -> Option<Mono> {
        let silence =
            self.is_watched().then(|| self.probe_at().unwrap_or_else(|| self.silent_at()));
        let can_send = self.can_send();
        let busy = self.busy.as_ref().and_then(|busy| busy.deadline(now, can_send));
        let duplicates = self.duplicates.as_ref().and_then(|seen| seen.deadline(now));
        silence.into_iter().chain(busy).chain(duplicates).chain(self.tell_at).min()
    }

    /// Whether silence matters. That of a stream always does: one whose device said Goodbye and went
    /// before it closed it holds its place.
    fn is_watched(&self) -> bool {
        (self.online || !self.is_datagram()) && !self.is_updating()
    }

    fn silent_at(&self) -> Mono {
        self.heard_at.after(match self.channel {
            Channel::Datagram(_) => self.keep_alive.silence(),
            Channel::Stream(_) => TCP_SILENCE,
        })
    }

    /// When a TCP device that says nothing is asked for a sign of life.
    fn probe_at(&self) -> Option<Mono> {
        match &self.channel {
            Channel::Stream(stream) if self.online && !stream.probed => {
                Some(self.heard_at.after(TCP_PROBE))
            }
            Channel::Stream(_) | Channel::Datagram(_) => None,
        }
    }

    /// Lets rare state go that holds nothing.
    pub(crate) fn settle(&mut self) {
        if self.busy.as_ref().is_some_and(|busy| busy.is_idle()) {
            self.busy = None;
        }
        if self.duplicates.as_ref().is_some_and(|seen| seen.is_empty()) {
            self.duplicates = None;
        }
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Whether there is a record number for another message.
    fn can_send(&self) -> bool {
        self.session().is_none_or(|session| session.next_record_number() < session.record_limit())
    }

    /// Writes a message and sends it, or keeps it until there is a record number.
    fn reply(&mut self, cx: &mut Context<'_>, header: Header, payload: impl FnOnce(Builder<'_>)) {
        cx.scratch.clear();
        payload(Builder::new(header, cx.scratch));
        self.send_reply(cx);
    }

    /// Sends the answer in `scratch`, or keeps it until there is a record number.
    fn send_reply(&mut self, cx: &mut Context<'_>) {
        if self.transmit(cx) {
            return;
        }
        if !self.busy().keep_reply(cx.scratch) {
            cx.counters.dropped_queue_full += 1;
        }
    }

    /// Sends the message in `scratch`; `false` if there is no record number for it.
    fn transmit(&mut self, cx: &mut Context<'_>) -> bool {
        let sent = match &mut self.channel {
            Channel::Datagram(session) => {
                seal(session, self.peer, ContentType::ApplicationData, cx)
            }
            Channel::Stream(stream) => {
                let mut bytes = Vec::with_capacity(cx.scratch.len() + FRAME_ROOM);
                let sealed = stream.sealer.seal(cx.scratch, &mut bytes);
                debug_assert!(sealed.is_ok(), "messages are smaller than the device's buffer");
                cx.out.outputs.push_back(Output::Stream { link: self.link, bytes });
                true
            }
        };
        if sent {
            self.sent_at = cx.now.mono;
        }
        self.reserve(cx);
        sent
    }

    /// Sends an alert. Without a record number the device has to find out by itself.
    pub(crate) fn send_alert(&mut self, cx: &mut Context<'_>, level: u8, description: u8) {
        cx.scratch.clear();
        cx.scratch.extend_from_slice(&[level, description]);
        if let Channel::Datagram(session) = &mut self.channel {
            seal(session, self.peer, ContentType::Alert, cx);
        }
    }

    /// Asks for more record numbers in time.
    pub(super) fn reserve(&mut self, cx: &mut Context<'_>) {
        let Channel::Datagram(session) = &self.channel else { return };
        let limit = session.record_limit();
        let is_low = session.next_record_number() + RECORD_NUMBERS_LOW >= limit;
        if !is_low || self.device.is_none() || self.busy().reserve_asked_at.is_some() {
            return;
        }
        self.busy().reserve_asked_at = Some(cx.now.mono);
        let record_limit = laps::next_limit(limit, self.lap);
        cx.out.event(LinkEvent::Reserve { link: self.link, record_limit });
    }
}

/// What of a snapshot tells about the device.
pub(crate) const TRAITS_BYTES: usize = Traits::BYTES;
/// Room for a frame's length and padding.
const FRAME_ROOM: usize = 18;

fn seal(
    session: &mut Session,
    peer: SocketAddr,
    content_type: ContentType,
    cx: &mut Context<'_>,
) -> bool {
    let Context { out, counters, scratch, .. } = cx;
    let before = out.transmits.bytes_len();
    let sealed = out.transmits.add(peer, |bytes| session.seal(content_type, scratch, bytes));
    if sealed.is_ok() {
        counters.datagrams_sent += 1;
        counters.bytes_sent += (out.transmits.bytes_len() - before) as u64;
    }
    sealed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
    }
}
