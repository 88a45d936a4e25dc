//! Publishing from a simulated application.

use std::collections::VecDeque;
use std::time::Duration;

use model::{Mono, limits};

use super::Device;
use super::exchange::Purpose;
use super::profile::Generation;
use super::wire::{CONTENT_FORMAT, Kind, MAX_AGE, POST, URI_PATH, Writer};

/// An event to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// 1 to 64 bytes.
    pub name: &'a str,
    /// At most 1,024 bytes, fewer on older firmware; empty for none.
    pub data: &'a [u8],
    /// Whether an acknowledgement is wanted.
    pub acknowledgement: Acknowledgement,
    /// Time to live in seconds; 60 is not sent.
    pub ttl_s: u32,
    /// Content format; 0, text, is not sent. Others need Device OS 6.2.
    pub format: u16,
    /// Device OS ≤ 6.1: the old public kind, path `e`.
    pub public: bool,
}

/// Whether a publish is confirmable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledgement {
    /// As the transport has it: yes over UDP, no over TCP.
    #[default]
    Default,
    /// `NO_ACK`.
    Never,
    /// `WITH_ACK`.
    Wanted,
}

/// Why the firmware does not take a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The name or the data do not fit, or the format is not known to this release.
    #[error("the event does not fit this firmware")]
    Invalid,
    /// There is no connection.
    #[error("not connected")]
    Offline,
    /// More than 4 within a second.
    #[error("more than 4 events in a second")]
    TooFast,
}

impl<'a> Publish<'a> {
    /// A private text event that lives 60 s.
    pub fn text(name: &'a str, data: &'a str) -> Self {
        Self {
            name,
            data: data.as_bytes(),
            acknowledgement: Acknowledgement::Default,
            ttl_s: limits::EVENT_TTL_S_DEFAULT,
            format: 0,
            public: false,
        }
    }
}

impl Device {
    /// Publishes an event and gives it a number, by which its acknowledgement is told if it wants
    /// one.
    pub fn publish(&mut self, now: Mono, event: &Publish<'_>) -> Result<u64, PublishError> {
        if !self.is_online() {
            return Err(PublishError::Offline);
        }
        if self.setup.limits_publishes && !self.publishes.admit(now) {
            return Err(PublishError::TooFast);
        }
        self.check(event)?;
        self.application.count_publish();
        let number = self.next_publish;
        self.next_publish += 1;
        self.send_event(now, event, Purpose::Publish(number));
        Ok(number)
    }

    /// An event of the system itself.
    pub(super) fn publish_system(&mut self, now: Mono, name: &str, data: &str) {
        self.send_event(now, &Publish::text(name, data), Purpose::System);
    }

    fn check(&self, event: &Publish<'_>) -> Result<(), PublishError> {
        let modern = self.setup.profile.generation == Generation::Os6;
        let fits = (1..=limits::EVENT_NAME_BYTES_MAX).contains(&event.name.len())
            && event.data.len() <= self.setup.profile.value_bytes_max
            && event.ttl_s <= TTL_S_MAX
            && (modern || event.format == 0);
        if fits { Ok(()) } else { Err(PublishError::Invalid) }
    }

    fn send_event(&mut self, now: Mono, event: &Publish<'_>, purpose: Purpose) {
        let confirmable = match event.acknowledgement {
            Acknowledgement::Default => self.is_udp(),
            Acknowledgement::Never => false,
            Acknowledgement::Wanted => true,
        };
        let kind = if confirmable { Kind::Con } else { Kind::Non };
        let message = self.event_message(kind, event);
        if confirmable {
            self.send_confirmable(now, purpose, message);
        } else {
            self.send(&message);
        }
    }

    fn event_message(&mut self, kind: Kind, event: &Publish<'_>) -> Vec<u8> {
        let modern = self.setup.profile.generation == Generation::Os6;
        let path: &[u8] = if event.public && !modern { b"e" } else { b"E" };
        let mut writer = Writer::new(kind, POST, self.next_id(), &[])
            .option(URI_PATH, path)
            .option(URI_PATH, event.name.as_bytes());
        if event.format != 0 {
            writer = writer.number(CONTENT_FORMAT, u32::from(event.format));
        }
        if event.ttl_s != limits::EVENT_TTL_S_DEFAULT {
            writer = if modern {
                writer.number(MAX_AGE, event.ttl_s)
            } else {
                writer.option(MAX_AGE, &event.ttl_s.to_be_bytes()[1..])
            };
        }
        writer.payload(event.data)
    }
}

/// The firmware's own limit: an attempt is refused when the fifth-last attempt is less than a
/// second ago; refused attempts count (`reliability.md` §9.1).
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    attempts: VecDeque<Mono>,
}

impl Limiter {
    fn admit(&mut self, now: Mono) -> bool {
        let crowded = self.attempts.len() == RING
            && self.attempts.front().is_some_and(|at| now.since(*at) < Duration::from_secs(1));
        if self.attempts.len() == RING {
            self.attempts.pop_front();
        }
        self.attempts.push_back(now);
        !crowded
    }
}

/// Four are admitted in a second: the ring holds the four attempts before the one at hand.
const RING: usize = 4;
const TTL_S_MAX: u32 = 16_777_215;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_events_pass_in_a_second_and_refused_ones_count() {
        let mut limiter = Limiter::default();
        let admitted: Vec<_> = (0..6).map(|n| limiter.admit(Mono(n * 1000))).collect();
        assert_eq!(admitted, [true, true, true, true, false, false]);
        assert!(limiter.admit(Mono(2_000_000)));
    }
}
