//! What a device of some version and transport takes.

use model::Hello;
use model::link::Transport;

/// How to speak to one device; known from its Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// How it is connected. Over TCP events are never acknowledged and go as NON.
    pub transport: Transport,
    /// Whether it parses the options of an event and tells its handlers the Content-Format (6.2).
    pub typed_events: bool,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Largest event data, in bytes.
    pub event_data_bytes_max: usize,
    /// Longest function argument, in bytes.
    pub argument_bytes_max: usize,
}

impl Dialect {
    /// The dialect of a device that said this Hello.
    pub fn of(hello: &Hello, transport: Transport) -> Self {
        Self {
            transport,
            typed_events: hello.system.is_some_and(|system| system.version >= 6200),
            message_bytes_max: hello.message_bytes_max(transport),
            event_data_bytes_max: hello.event_data_bytes_max(),
            argument_bytes_max: hello.argument_bytes_max(),
        }
    }
}
