//! What a device can take, as far as its Hello tells: a [`Dialect`] in few bytes.

use model::Hello;
use model::limits::DEVICE_MESSAGE_BYTES_MAX;
use model::link::Transport;

use crate::message::Dialect;

/// The sizes and the abilities that matter for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    message_bytes_max: u16,
    event_data_bytes_max: u16,
    argument_bytes_max: u16,
    typed_events: bool,
}

impl Traits {
    /// Length of [`Self::to_bytes`].
    pub(crate) const BYTES: usize = 7;

    pub(crate) fn new(hello: &Hello, transport: Transport) -> Self {
        let dialect = Dialect::of(hello, transport);
        Self {
            message_bytes_max: narrow(message_bytes_max(hello, transport)),
            event_data_bytes_max: narrow(dialect.event_data_bytes_max),
            argument_bytes_max: narrow(dialect.argument_bytes_max),
            typed_events: dialect.typed_events,
        }
    }

    pub(crate) fn dialect(self, transport: Transport) -> Dialect {
        Dialect {
            transport,
            typed_events: self.typed_events,
            message_bytes_max: self.message_bytes_max.into(),
            event_data_bytes_max: self.event_data_bytes_max.into(),
            argument_bytes_max: self.argument_bytes_max.into(),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b] = self.message_bytes_max.to_be_bytes();
        let [c, d] = self.event_data_bytes_max.to_be_bytes();
        let [e, f] = self.argument_bytes_max.to_be_bytes();
        [a, b, c, d, e, f, self.typed_events.into()]
    }

    pub(crate) fn from_bytes([a, b, c, d, e, f, typed]: [u8; Self::BYTES]) -> Self {
        Self {
            message_bytes_max: u16::from_be_bytes([a, b]),
            event_data_bytes_max: u16::from_be_bytes([c, d]),
            argument_bytes_max: u16::from_be_bytes([e, f]),
            typed_events: typed != 0,
        }
    }
}

/// Largest message for this device. One that says it takes more than any does is not believed.
fn message_bytes_max(hello: &Hello, transport: Transport) -> usize {
    let told = hello.message_bytes_max(transport).min(DEVICE_MESSAGE_BYTES_MAX);
    let is_legacy = hello.system.is_none();
    match transport {
        Transport::Udp if is_legacy => told.saturating_sub(ANSWER_BYTES),
        Transport::Udp => told,
        Transport::Tcp if is_legacy => framed(told),
        Transport::Tcp => framed(told.saturating_sub(FRAME_OVERHEAD_BYTES)),
    }
}

/// Largest message whose padded text is a multiple of 16 that fits; at least one byte is padding.
fn framed(bytes: usize) -> usize {
    (bytes / 16 * 16).saturating_sub(1)
}

/// What the oldest devices need in the same buffer for their answer (`limits.md` §3).
const ANSWER_BYTES: usize = 16;
/// A frame's length and padding, out of the buffer that the Hello tells (`tcp-session.md` §6).
const FRAME_OVERHEAD_BYTES: usize = 18;

fn narrow(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use model::Platform;
    use model::hello::{HelloFlags, HelloSystem};

    use super::*;

    fn hello(platform: u16, message_bytes_max: Option<u16>) -> Hello {
        Hello {
            product_id: 1,
            product_version: 1,
            flags: HelloFlags(0),
            platform: Platform(platform),
            device_id: None,
            system: message_bytes_max.map(|message_bytes_max| HelloSystem {
                version: 6200,
                message_bytes_max,
                binary_bytes_max: 0,
                chunk_bytes: 512,
            }),
        }
    }

    #[test]
    fn traits_come_back_from_their_bytes() {
        let hello = hello(13, Some(1152));
        let traits = Traits::new(&hello, Transport::Udp);
        assert_eq!(Traits::from_bytes(traits.to_bytes()), traits);
        assert_eq!(traits.dialect(Transport::Udp), Dialect::of(&hello, Transport::Udp));
    }

    #[test]
    fn messages_leave_room_for_padding_and_for_the_answer() {
        for (platform, told, transport, bytes) in [
            (13, Some(1152), Transport::Udp, 1152),
            (13, Some(65_535), Transport::Udp, 1300),
            (10, None, Transport::Udp, 752),
            (6, Some(960), Transport::Tcp, 927),
            (6, None, Transport::Tcp, 767),
            (0, None, Transport::Tcp, 607),
            (6, Some(0), Transport::Tcp, 0),
        ] {
            let traits = Traits::new(&hello(platform, told), transport);
            assert_eq!(traits.dialect(transport).message_bytes_max, bytes, "{platform} {told:?}");
        }
    }
}
