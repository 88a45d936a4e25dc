//! What other threads tell a shard.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{DeviceId, Event, LinkId, Refusal, RequestId, Traffic};
use protocol::endpoint::NeedAnswer;
use router::{Input, Reply, Request};
use secure::keys::PublicKey;
use secure::tcp::FrameKeys;
use tokio::sync::{mpsc, oneshot};

use crate::commit::CommitNotice;
use crate::metrics;

/// Mails that wait for one shard; the answer to a full inbox is told with each of them.
const INBOX_MAX: usize = 8192;
/// Frames that wait for one TCP device; one that reads slower is closed. What waits for it in its
/// shard ([`model::limits::EVENTS_WAITING_MAX`]) comes here all at once with each commit, so this
/// holds several times as much.
pub(crate) const WRITES_MAX: usize = 256;
const _: () = assert!(WRITES_MAX >= 3 * model::limits::EVENTS_WAITING_MAX);

/// What may be refused.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A TCP device that finished its handshake. Waits for room.
    Attach(Box<Attach>),
    /// Bytes of a TCP device. They wait for room, so that the kernel slows the device down.
    Bytes { link: LinkId, bytes: Vec<u8> },
    /// A datagram that the kernel gave to another shard. Full: dropped.
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    /// Events accepted by another shard, for the devices of this one. Full: dropped and counted.
    Deliver(Vec<Arc<Event>>),
    /// A caller does not wait any more. Full: the call goes on.
    GaveUp { device: DeviceId, request: RequestId },
    /// What a caller wants. Full: [`Refusal::Unavailable`].
    Request { id: RequestId, request: Request, reply: oneshot::Sender<Answer> },
}

/// What a caller gets.
pub(crate) type Answer = Result<Reply, Refusal>;

/// A new TCP connection.
#[derive(Debug)]
pub(crate) struct Attach {
    /// Who it says it is; its first frame proves it.
    pub(crate) device: DeviceId,
    /// The key its handshake was encrypted for.
    pub(crate) device_key: PublicKey,
    pub(crate) keys: FrameKeys,
    pub(crate) peer: SocketAddr,
    /// Where its frames go, each to be written in one piece. Dropped to close the connection after
    /// the last of them.
    pub(crate) writes: mpsc::Sender<Vec<u8>>,
    /// Told its name.
    pub(crate) attached: oneshot::Sender<LinkId>,
}

/// What must not be lost. Each kind is bounded by its cause: records and jobs that this shard gave
/// out, connections it has, rows that somebody changed.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A session of another shard is heard from this address, where this one was.
    AddressTaken { link: LinkId, peer: SocketAddr },
    /// What was looked up or computed.
    Answer(NeedAnswer),
    /// A TCP connection ended, and what it carried since this was told last. It takes effect behind the
    /// mails that were there before, its bytes among them.
    Closed { link: LinkId, traffic: Traffic },
    /// What became of records.
    Commit(CommitNotice),
    /// Something for the shard that waits for no reply.
    Input(Input),
    /// Read no more datagrams.
    Quiesce,
    /// What a TCP connection carried since this was told last.
    Traffic { link: LinkId, traffic: Traffic },
    /// End when nothing waits for the journal and the socket; the sender is dropped then.
    Stop(oneshot::Sender<()>),
}

/// The way to one shard. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    inbox: mpsc::Sender<Mail>,
    notices: mpsc::UnboundedSender<Notice>,
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct Mails {
    pub(crate) inbox: mpsc::Receiver<Mail>,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
}

/// The shard does not take it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl Mailbox {
    pub(crate) fn new() -> (Self, Mails) {
        let (inbox, inbox_end) = mpsc::channel(INBOX_MAX);
        let (notices, notices_end) = mpsc::unbounded_channel();
        (Self { inbox, notices }, Mails { inbox: inbox_end, notices: notices_end })
    }

    /// Leaves a mail if there is room; counts it under `kind` if not.
    pub(crate) fn try_send(&self, kind: &'static str, mail: Mail) -> Result<(), Refused> {
        self.inbox.try_send(mail).map_err(|_| {
            metrics::inbox_refused(kind);
            Refused
        })
    }

    /// Leaves a mail as soon as there is room; refused when the shard has ended.
    pub(crate) async fn send(&self, mail: Mail) -> Result<(), Refused> {
        self.inbox.send(mail).await.map_err(|_| Refused)
    }

    /// Tells something; a shard that has ended needs no more.
    pub(crate) fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }
}
