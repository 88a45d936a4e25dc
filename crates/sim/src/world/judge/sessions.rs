//! Connections: what a device may suffer, and what must never happen to its keys.

use std::time::Duration;

use model::Mono;

use super::Judge;
use crate::device::{How, Loss, Observation};

/// A confirmable message is given up after at most 90 s, and its last copy may linger.
const GIVEN_UP: Duration = Duration::from_secs(110);
/// A device whose session is forgotten, and which notices by its pings, resumes it three times in vain, a
/// minute each, before it makes another (`session-resume.md` §7).
const RESUMED_IN_VAIN: Duration = Duration::from_secs(190);
/// The firmware waits so long for the next piece of an update.
const UPDATE_IDLE: Duration = Duration::from_secs(300);

impl Judge {
    /// Something happened to a device.
    pub(crate) fn observed(&mut self, now: Mono, index: usize, observation: &Observation) {
        match observation {
            Observation::Called { argument, .. } => self.executed(index, argument),
            Observation::Connected(how) => {
                self.devices[index].is_online = true;
                if *how != How::Resumed {
                    self.settles(now, index, false);
                }
                self.check_session(index, *how);
                match how {
                    How::Handshake => self.tally.handshakes += 1,
                    How::Resumed | How::ResumedWithHello => self.tally.resumes += 1,
                }
            }
            Observation::Connecting { .. } => {
                self.devices[index].connection += 1;
                self.devices[index].journal_before = self.journal_read;
            }
            Observation::Disconnected(loss) => self.lost(now, index, *loss),
            Observation::Event(event) => self.received(index, event),
            Observation::PublishAnswered { publish, code, .. } => {
                self.publish_answered(now, index, *publish, *code);
            }
            Observation::Settled => self.settles(now, index, true),
            Observation::PublishLost { .. }
            | Observation::Read { .. }
            | Observation::Signal(_)
            | Observation::TimeSet(_) => {}
            Observation::Update(step) => self.update_step(index, step),
        }
    }

    /// It begins to tell what it is, or the server knows all of it.
    fn settles(&mut self, now: Mono, index: usize, is_settled: bool) {
        let device = &mut self.devices[index];
        device.is_settled = is_settled;
        device.may_be_reset_until = device.may_be_reset_until.min(now.after(GIVEN_UP));
    }

    /// An acknowledged Hello vouches for a durable session.
    fn check_session(&mut self, index: usize, how: How) {
        let device = &self.devices[index];
        let is_durable = device.last_session > device.journal_before;
        if device.is_udp && how != How::Resumed && !is_durable {
            self.fail(format!("device {index} is connected ({how:?}), no session is durable"));
        }
    }

    /// The world is bad for everybody: what devices suffer until a while after it is excused.
    pub(crate) fn excuse_all(&mut self, until: Mono) {
        self.bad_until = self.bad_until.max(until);
    }

    /// The network is bad until then, or has become good.
    pub(crate) fn bad_weather(&mut self, until: Mono) {
        self.weather_until = until;
    }

    /// The world is bad for one device.
    pub(crate) fn excuse(&mut self, index: usize, until: Mono) {
        let device = &mut self.devices[index];
        device.bad_until = device.bad_until.max(until);
    }

    /// The server stopped. A device whose session was not durable yet finds out by itself; one that was
    /// telling what it is may be told to begin anew, when it is heard again.
    pub(crate) fn server_stopped(&mut self, now: Mono) {
        if now.since(self.stopped_at) < GIVEN_UP {
            // What is sent again may meet the next stop, and the next.
            self.excuse_all(now);
        }
        self.stopped_at = now;
        for index in 0..self.devices.len() {
            if !self.devices[index].is_online {
                self.excuse(index, now);
            }
            if !self.devices[index].is_settled {
                self.devices[index].may_be_reset_until = Mono(u64::MAX);
            }
        }
    }

    /// The connection of a device is gone. Whether it may be depends on the world: in a good one a
    /// server that stops and comes back within seconds costs no device its session.
    fn lost(&mut self, now: Mono, index: usize, loss: Loss) {
        let device = &mut self.devices[index];
        let bad_until = device.bad_until.max(self.bad_until).max(self.weather_until);
        let good_since = bad_until.after(GIVEN_UP + device.notices_within);
        let is_excused = now < good_since;
        let is_vain = now < good_since.after(RESUMED_IN_VAIN);
        let is_idle_excused = now < good_since.after(UPDATE_IDLE);
        let may_be_reset_until = device.may_be_reset_until;
        // Of a transfer that the server knows nothing of, a device of the old protocol is thrown out.
        let may_be_thrown_out = device.is_flashed && !device.has_cid;
        let is_faulty = device.is_faulty;
        let was_online = std::mem::replace(&mut device.is_online, false);
        if !was_online || (loss == Loss::UpdateTimeout && is_idle_excused) {
            // What began in bad times may end in good ones.
            device.bad_until = device.bad_until.max(now);
        }
        let is_allowed = match loss {
            Loss::Power | Loss::Requested | Loss::Restart => true,
            Loss::Reset => now < may_be_reset_until,
            Loss::KeyChange => may_be_thrown_out,
            Loss::Unacknowledgeable => false,
            Loss::UpdateFailed => is_faulty || is_excused,
            Loss::UpdateTimeout => is_idle_excused,
            Loss::Alert(_)
            | Loss::Handshake(_)
            | Loss::NoHello
            | Loss::NotAcknowledged
            | Loss::Stream => is_excused,
            Loss::PingTimeout => is_vain,
        };
        if !is_allowed {
            self.fail(format!("device {index} lost its connection in good times: {loss:?}"));
        }
    }

    /// A protected record left the server for an address that belongs to this session of a device.
    pub(crate) fn sealed(&mut self, index: usize, session: u32, record: u64) {
        self.tally.records += 1;
        if !self.nonces.insert((index, session, record)) {
            self.fail(format!("device {index}, session {session}: record {record} sealed twice"));
        }
    }
}
