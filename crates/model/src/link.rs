//! What the protocol half (an endpoint) and the routing half (a shard) say to each other.
//!
//! The endpoint tells [`LinkEvent`]s, the shard answers with [`Command`]s; the shell carries both
//! and decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::update::{Image, UpdateId};
use crate::{Answer, CloudMessage, DeviceId, DeviceMessage, Hello, LinkId, Timestamp, Traffic};

/// What a session goes on from after a restart; only the endpoint looks inside. It holds keys: freed, it is
/// overwritten.
pub type Snapshot = Zeroizing<Box<[u8]>>;

/// How a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// RSA and AES over TCP 5683.
    Tcp,
    /// DTLS over UDP 5684.
    Udp,
}

/// Names one message or request sent to a device, until its fate is told. Chosen by the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// A device's message that waits for its acknowledgement. Only the endpoint looks inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// CoAP message id.
    pub message_id: u16,
    /// Bytes of `token` in use.
    pub token_len: u8,
    /// CoAP token.
    pub token: [u8; 8],
}

/// Where a message came from within its session: kept with everything that was made durable for it,
/// so that a copy is recognised and a record refused after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// DTLS record number (48 bits); 0 over TCP.
    pub record: u64,
    /// CoAP message id.
    pub message_id: u16,
    /// Whether the message was confirmable.
    pub confirmable: bool,
}

/// What the endpoint tells about a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkEvent {
    /// A Hello was accepted: this is `device`, proven by its key. A link may say Hello again (a
    /// resumed session whose state changed); nothing more is told of the exchanges begun before it.
    Opened(Box<Opened>),
    /// An authentic message of a link that was thought silent or was restored at start.
    Alive {
        /// Which connection.
        link: LinkId,
    },
    /// Records came of which nothing else tells (UDP): at the latest [`crate::limits::PRESENCE_WRITTEN`]
    /// after the first of them. No sign that a silent device is back.
    Heard {
        /// Which connection.
        link: LinkId,
        /// When the last of them came.
        at: Timestamp,
        /// The highest record number so far.
        record: u64,
    },
    /// A message for the shard. With a receipt it waits for [`Command::Acknowledge`].
    Message {
        /// Which connection.
        link: LinkId,
        /// What it says.
        message: DeviceMessage,
        /// Present if the device waits for an acknowledgement.
        receipt: Option<Receipt>,
        /// Where it came from.
        source: Source,
    },
    /// A publish that came before, in a record of its own. If the first copy was refused, the
    /// endpoint repeats the refusal by itself and tells nothing. With a receipt it waits for
    /// [`Command::Acknowledge`] like the first copy.
    Copy {
        /// Which connection.
        link: LinkId,
        /// The same publish as before.
        message: DeviceMessage,
        /// Present if the device waits for an acknowledgement.
        receipt: Option<Receipt>,
        /// Where this copy came from.
        source: Source,
    },
    /// One transmission of a sent message left the machine (or would have: it was handed to the
    /// socket).
    Attempt {
        /// Which connection.
        link: LinkId,
        /// Which message.
        exchange: ExchangeId,
    },
    /// The device answered, or acknowledged a message that has no other answer.
    Answered {
        /// Which connection.
        link: LinkId,
        /// Which message.
        exchange: ExchangeId,
        /// Its answer.
        answer: Answer,
    },
    /// Nothing acknowledged the last transmission (UDP), or another message of this connection was
    /// given up, or the device fell silent or said Goodbye: nothing is attempted to an offline device.
    Unanswered {
        /// Which connection.
        link: LinkId,
        /// Which message.
        exchange: ExchangeId,
    },
    /// Bytes over the carrier that nothing told of yet: at the latest
    /// [`crate::limits::TRAFFIC_TOLD`] after the first of them or when there are
    /// [`crate::limits::TRAFFIC_TOLD_BYTES`], and before [`LinkEvent::Closed`] (over TCP behind it).
    Traffic {
        /// Which connection.
        link: LinkId,
        /// Whose it is or was.
        device: DeviceId,
        /// The bytes.
        traffic: Traffic,
    },
    /// The message cannot be sent: larger than this device takes. No attempt was made.
    Unsendable {
        /// Which connection.
        link: LinkId,
        /// Which message.
        exchange: ExchangeId,
    },
    /// More record numbers are wanted; none above the last reservation is used before
    /// [`Command::Reserved`] says that this one is durable.
    Reserve {
        /// Which connection.
        link: LinkId,
        /// Numbers below this one.
        record_limit: u64,
    },
    /// The device's address changed, or is its own again after another device was heard from it.
    Moved {
        /// Which connection.
        link: LinkId,
        /// Its new address.
        peer: SocketAddr,
        /// The highest record number so far.
        record: u64,
    },
    /// Nothing was heard for longer than the device's keep-alive allows.
    Silent {
        /// Which connection.
        link: LinkId,
    },
    /// How a transfer goes. Nothing is told of one after [`TransferNews::Ended`], nor after the
    /// connection said Hello again, fell silent or closed: these end it without a word.
    Transfer {
        /// Which connection.
        link: LinkId,
        /// Which update.
        update: UpdateId,
        /// What happened.
        news: TransferNews,
    },
    /// The connection is gone; its id will not be used again.
    Closed {
        /// Which connection.
        link: LinkId,
        /// Whether the stored session is void as well (it can never be resumed).
        forget: bool,
    },
}

/// The contents of [`LinkEvent::Opened`].
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// Which connection.
    pub link: LinkId,
    /// Who it is.
    pub device: DeviceId,
    /// How it is connected.
    pub transport: Transport,
    /// What it told.
    pub hello: Hello,
    /// Its address.
    pub peer: SocketAddr,
    /// Whether this Hello is the first after a full handshake (as against a resumed session).
    pub full_handshake: bool,
    /// What to keep so that the session survives a restart; empty over TCP.
    pub snapshot: Snapshot,
    /// Held until the session is durable; absent over TCP, where nothing waits.
    pub receipt: Option<Receipt>,
    /// Where the Hello came from.
    pub source: Source,
}

/// An image on its way to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Whose part it is.
    pub update: UpdateId,
    /// What to send.
    pub image: Arc<Image>,
    /// How the device takes it.
    pub protocol: TransferProtocol,
    /// Bytes of a chunk: what the device's Hello, or its event, says. With protocol v3 larger ones are
    /// chosen where the device's messages have room, unless `cautious`.
    pub chunk_bytes: u16,
    /// Whether chunks stay at `chunk_bytes`.
    pub cautious: bool,
    /// Whether the device is to be told that it is forgotten what an earlier transfer brought.
    pub afresh: bool,
}

/// The two protocols of updates (`ota.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferProtocol {
    /// Section 2: UpdateBegin, chunks with CRC-32, ChunkMissed, UpdateDone.
    Legacy,
    /// Section 3: a window of chunks with selective acknowledgement, resumable.
    V3,
}

/// How a transfer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferNews {
    /// The device takes it, behind so many bytes that it has already.
    Started {
        /// In bytes; always 0 with the legacy protocol.
        offset: u32,
    },
    /// So much is there; at most once a second.
    Progress {
        /// In bytes. With the legacy protocol, in its fast form, what was sent.
        bytes: u32,
    },
    /// Everything is there; the device was asked to check and apply it.
    Validating,
    /// It is over.
    Ended(TransferEnd),
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferEnd {
    /// The device applies the image and restarts.
    Applied,
    /// The device does not begin; the connection stays.
    Refused {
        /// CoAP code, class × 100 + detail.
        code: u16,
        /// What it said; may be empty.
        text: String,
    },
    /// The device has everything and found it invalid.
    Invalid {
        /// CoAP code, class × 100 + detail; 204 when only its text tells.
        code: u16,
        /// What it said; may be empty.
        text: String,
    },
    /// The device knows nothing of the transfer any more.
    Lost,
    /// Nothing came back for too long.
    Stalled,
}

/// What the shard asks of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send an image; its fate is told by [`LinkEvent::Transfer`]. A transfer that is under way ends
    /// without a word.
    BeginTransfer(Box<Transfer>),
    /// Call the transfer of this update off, if it is under way; nothing more is told of it.
    EndTransfer {
        /// Which.
        update: UpdateId,
    },
    /// Let the acknowledgement of a message go.
    Acknowledge {
        /// What waits.
        receipt: Receipt,
        /// What it says.
        verdict: Verdict,
    },
    /// Send a message; its fate is told by `Attempt`, then `Answered`, `Unanswered` or `Unsendable`.
    Send {
        /// Its name in those events.
        exchange: ExchangeId,
        /// What to say.
        message: CloudMessage,
    },
    /// Record numbers below this one are durable and may be used.
    Reserved {
        /// Numbers below this one.
        record_limit: u64,
    },
    /// Answer the device's message with a reset: the session cannot go on (UDP).
    Reset {
        /// The message that asked.
        receipt: Receipt,
    },
    /// End the connection and forget its session. Over TCP the socket is closed.
    Close,
}

/// How a device's message was taken. The endpoint turns it into an ACK code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Taken and durable: an empty ACK.
    Accepted,
    /// 4.00
    BadRequest,
    /// 4.03: the account is paused, or the session is being ended.
    Forbidden,
    /// 4.13
    TooLarge,
    /// 4.29
    TooManyRequests,
    /// 5.03: the store refuses, or an inbox is full.
    Unavailable,
}

/// A session that came back from the store when the server started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredSession {
    /// Whose it is.
    pub device: DeviceId,
    /// [`Opened::snapshot`] as it was stored.
    pub snapshot: Snapshot,
    /// Last known address.
    pub peer: SocketAddr,
    /// The first record number that was never reserved: sending goes on here.
    pub record_limit: u64,
    /// The highest record number of the device known to the journal; it and everything below count
    /// as seen.
    pub record_seen: u64,
    /// Messages made durable within [`crate::limits::DUPLICATES_KEPT`] before the crash, oldest first:
    /// copies get an empty ACK and are told as [`LinkEvent::Copy`].
    pub recent: Vec<Source>,
    /// Whether the device was thought online.
    pub online: bool,
}
