//! What a device can take, as far as its Hello tells: a [`Dialect`] in few bytes.

use model::Hello;
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
            message_bytes_max: narrow(dialect.message_bytes_max),
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

fn narrow(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use model::Platform;
    use model::hello::{HelloFlags, HelloSystem};

    use super::*;

    #[test]
    fn traits_come_back_from_their_bytes() {
        let hello = Hello {
            product_id: 1,
            product_version: 1,
            flags: HelloFlags(0),
            platform: Platform(13),
            device_id: None,
            system: Some(HelloSystem {
                version: 6200,
                message_bytes_max: 1152,
                binary_bytes_max: 0,
                chunk_bytes: 512,
            }),
        };
        let traits = Traits::new(&hello, Transport::Udp);
        assert_eq!(Traits::from_bytes(traits.to_bytes()), traits);
        assert_eq!(traits.dialect(Transport::Udp), Dialect::of(&hello, Transport::Udp));
    }
}
