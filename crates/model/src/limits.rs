//! Every bound of the device side, named, with its source. Sizes in bytes, times as [`Duration`].

use std::time::Duration;

/// Longest event name or prefix (`protocol/limits.md` §1).
pub const EVENT_NAME_BYTES_MAX: usize = 64;
/// Longest event data in one message from a device (`protocol/limits.md` §1).
pub const EVENT_DATA_BYTES_MAX: usize = 1024;
/// Longest event data of an API publish or a block-wise device publish.
pub const EVENT_DATA_BYTES_MAX_BLOCKWISE: usize = 16_384;
/// TTL of an event whose publisher did not say.
pub const EVENT_TTL_S_DEFAULT: u32 = 60;
/// Longest function or variable name.
pub const CALL_NAME_BYTES_MAX: usize = 64;
/// Largest CoAP message taken from a device (`protocol/limits.md` §7).
pub const DEVICE_MESSAGE_BYTES_MAX: usize = 1300;
/// Largest datagram read.
pub const DATAGRAM_BYTES_MAX: usize = 2048;
/// Largest part of a Describe, reassembled (`protocol/limits.md` §2: at least 32 KB).
pub const DESCRIBE_PART_BYTES_MAX: usize = 65_536;
/// Prefixes a device may subscribe to.
pub const SUBSCRIPTIONS_MAX: usize = 32;

/// Waits before the second and third transmission, and before giving up.
pub const TRANSMISSIONS: [Duration; 3] =
    [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(8)];
/// When a caller gets its answer at the latest.
pub const CALL_DEADLINE: Duration = Duration::from_secs(28);
/// When a ping asked for by a user is answered by what is known.
pub const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Calls waiting behind the running one, for each device.
pub const CALLS_WAITING_MAX: usize = 16;
/// Events waiting for one device.
pub const EVENTS_WAITING_MAX: usize = 64;
/// Bytes of names and data waiting for one device.
pub const EVENTS_WAITING_BYTES_MAX: usize = 65_536;

/// Message ids remembered for each session, and for how long.
pub const DUPLICATES_MAX: usize = 128;
/// See [`DUPLICATES_MAX`].
pub const DUPLICATES_KEPT: Duration = Duration::from_secs(90);
/// How long an id or a timed-out token is not used again (RFC 7252 §4.8.2, EXCHANGE_LIFETIME).
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);
/// How long nothing is sent to a device after its Hello unless it speaks first.
pub const HELLO_QUIET: Duration = Duration::from_secs(5);
/// How long the cloud waits for a Describe that the device sends by itself.
pub const DESCRIBE_WAIT: Duration = Duration::from_secs(10);

/// The keep-alive interval assumed of a UDP device until three samples agree.
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(23 * 60);
/// The shortest keep-alive interval that is learnt.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(25);
/// Silence after which a TCP device is offline.
pub const TCP_SILENCE: Duration = Duration::from_secs(31);
/// Silence after which a TCP device is asked for a sign of life. It acknowledges no event and pings
/// only when it receives nothing (`protocol/tcp-session.md` §9): what we send it keeps it silent.
pub const TCP_PROBE: Duration = Duration::from_secs(21);
/// Longest time between two writes of a device's presence.
pub const PRESENCE_WRITTEN: Duration = Duration::from_secs(60);

/// Longest time for which bytes over the carrier are known to their connection alone: what a crash
/// loses of them at most.
pub const TRAFFIC_TOLD: Duration = Duration::from_secs(60);
/// So many of them are told at once.
pub const TRAFFIC_TOLD_BYTES: u64 = 65_536;

/// Sequence numbers reserved ahead, in the store, before any of them is used (`session-resume.md` §5):
/// so many at first, up to four times as many later.
pub const RECORD_NUMBERS_RESERVED: u64 = 1024;
/// Open handshakes of one endpoint; one more takes the place of the oldest whose client is not heard.
pub const HANDSHAKES_OPEN_MAX: usize = 4096;
/// Open handshakes from one IPv4 address or one IPv6 network of 64 bits: with the answer to a cookie
/// these are proven, so that it takes many of them to fill the table.
pub const HANDSHAKES_OPEN_PER_ADDRESS_MAX: usize = 256;
/// Life of a handshake that makes no progress.
pub const HANDSHAKE_LIFE: Duration = Duration::from_secs(60);
/// Largest handshake message taken.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = 2048;

/// Publishes a device may make at once (`metering/rules.md` §7).
pub const PUBLISH_BURST: u32 = 4;
/// One more publish is allowed each such span.
pub const PUBLISH_REFILL: Duration = Duration::from_millis(1000);
/// Internal events a device may send in [`INTERNAL_WINDOW`].
pub const INTERNAL_EVENTS_MAX: u32 = 255;
/// See [`INTERNAL_EVENTS_MAX`].
pub const INTERNAL_WINDOW: Duration = Duration::from_secs(65);

/// Messages of one connection that wait for its device to be ready; more are unsendable.
pub const SENDS_WAITING_MAX: usize = 32;
/// Requests of the cloud to one device whose fate is open; more wait (`protocol/reliability.md` §7).
pub const EXCHANGES_OPEN_MAX: usize = 15;
/// Answers of one connection that wait for a record number; more are dropped, the device asks again.
pub const REPLIES_WAITING_MAX: usize = 16;
/// Fewer record numbers left than this: more are reserved.
pub const RECORD_NUMBERS_LOW: u64 = 512;
/// A reservation that was not granted is asked for again after this.
pub const RESERVE_AGAIN: Duration = Duration::from_secs(10);
/// Block-wise bodies on their way in, for each connection; the oldest one goes for a new one.
pub const BODIES_MAX: usize = 4;
/// Life of a block-wise body of which no block came.
pub const BODY_LIFE: Duration = Duration::from_secs(90);
/// How often a block-wise Describe answer is begun again because it changed on the way.
pub const DESCRIBE_RESTARTS_MAX: u8 = 3;
/// How long the cloud waits for the second half of a Describe answer that comes in two
/// (`protocol/messages.md` §6.2, the oldest TCP devices).
pub const DESCRIBE_SECOND_HALF: Duration = Duration::from_secs(2);
/// Bytes of chunks that all updates together send in a second.
pub const UPDATE_BANDWIDTH: u64 = 8 << 20;
/// How long a TCP device may take for its Hello after the key exchange.
pub const TCP_HELLO_WAIT: Duration = Duration::from_secs(20);
/// How long the other server key is used for handshakes from an address that did not know the one
/// (ADR 8): a device tries again after up to 128 s (`dtls-session.md` §10).
pub const OTHER_SERVER_KEY: Duration = Duration::from_secs(300);
/// Addresses for which that is remembered; for more the current key is used.
pub const OTHER_SERVER_KEY_ADDRESSES_MAX: usize = 4096;
