//! What the endpoint counts: plain numbers since it was made, one for each reason.

/// Counts since the endpoint was made. Every datagram or frame that is dropped is counted once, under
/// the reason it was dropped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams taken in, of any kind.
    pub datagrams_received: u64,
    /// Bytes of those.
    pub bytes_received: u64,
    /// Datagrams given out.
    pub datagrams_sent: u64,
    /// Bytes of those.
    pub bytes_sent: u64,
    /// CoAP messages taken from authentic records and frames.
    pub messages_received: u64,
    /// Bytes of messages with a chunk of an update, given out.
    pub update_bytes_sent: u64,

    /// Full DTLS handshakes completed.
    pub handshakes_completed: u64,
    /// DTLS handshakes that failed or ran out of time.
    pub handshakes_failed: u64,
    /// DTLS handshakes ended because the key is unknown.
    pub handshakes_unknown_key: u64,
    /// RSA handshakes completed: streams that were accepted.
    pub tcp_handshakes_completed: u64,
    /// Times a session went on without a handshake: an authentic newest record of a session that was
    /// restored, was thought silent, had said Goodbye, or came from a new address. Once each time.
    pub resumes: u64,
    /// Sessions that are established and known by a device.
    pub sessions_opened: u64,
    /// Hellos with an id that the key is not registered for.
    pub hellos_refused: u64,

    /// Datagrams that are no record at all (keep-alive bytes included).
    pub dropped_noise: u64,
    /// ClientHellos answered with a cookie.
    pub cookies_sent: u64,
    /// ClientHellos with a good cookie dropped because handshakes are not admitted.
    pub dropped_not_admitted: u64,
    /// ClientHellos dropped because too many handshakes are open, in total or from one IP address.
    pub dropped_handshakes_full: u64,
    /// Records of no session known here.
    pub dropped_unknown_session: u64,
    /// Records that do not decrypt.
    pub dropped_not_authentic: u64,
    /// Records that came before.
    pub dropped_replayed: u64,
    /// Records that are malformed or of a wrong epoch.
    pub dropped_malformed_record: u64,
    /// Datagrams handed to another shard.
    pub forwarded: u64,
    /// Authentic messages that are no CoAP.
    pub dropped_malformed_message: u64,
    /// Authentic messages before the Hello.
    pub dropped_before_hello: u64,
    /// Messages that were not confirmable and not known or not allowed.
    pub dropped_unanswerable: u64,
    /// Answers to nothing (confirmable ones were acknowledged).
    pub answers_unmatched: u64,
    /// Copies of messages that came before.
    pub copies: u64,
    /// Messages dropped because the queue of a session was full.
    pub dropped_queue_full: u64,
    /// Commands for a connection that is gone.
    pub commands_late: u64,
    /// Connections that ended because of a fatal alert or close_notify of the device.
    pub closed_by_alert: u64,
    /// Streams closed because of bytes that do not decrypt or parse.
    pub closed_malformed_stream: u64,
}
