//! What goes into a shard and what comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;

use metering::{Catalogues, Platforms, Rules};
use model::journal::Entry;
use model::link::{Command, LinkEvent};
use model::message::Subscribe;
use model::{
    AccountId, DeviceId, DeviceRow, DeviceState, Event, EventId, Hello, LinkId, Refusal, RequestId,
    Timestamp, Update, UpdateId, UpdateReport, VariableValue,
};

use crate::ota::Handover;

/// Settings of a shard.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Publishes a device may make at once; 0 turns the limit off. Default 4.
    pub publish_burst: u32,
    /// One more publish is allowed each so many milliseconds; 0 turns the limit off. Default 1,000.
    pub publish_rate_ms: u32,
    /// What operations cost. Default: catalogue 2022.
    pub rules: Rules,
    /// Which devices are on a carrier. Default: those of the rules.
    pub platforms: Arc<Platforms>,
    /// Whether operations and bytes are counted. Default true; false only to measure what counting costs.
    pub counts: bool,
    /// Seed of the shard's random numbers: they answer the devices' requests for some.
    pub seed: [u8; 32],
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            publish_burst: model::limits::PUBLISH_BURST,
            publish_rate_ms: 1000,
            rules: Rules::default(),
            platforms: Catalogues::default().platforms(),
            counts: true,
            seed: [0; 32],
        }
    }
}

/// What a shard is told.
#[derive(Debug)]
pub enum Input {
    /// A pause of an account begins, changes or ends.
    AccountPaused {
        /// Whose.
        account: AccountId,
        /// What is paused and why; absent: nothing any more.
        pause: Option<Pause>,
    },
    /// An account's catalogue has rules of its own, or no longer.
    AccountRules {
        /// Whose.
        account: AccountId,
        /// What its operations cost; absent: what the settings say.
        rules: Option<Rules>,
    },
    /// The registry's row of a device changed (owner, product, name); absent: the device is removed
    /// or denied, its session is ended and forgotten. The description of a row that is told here
    /// counts only while the shard has none.
    Changed {
        /// Which device.
        device: DeviceId,
        /// Its row.
        row: Option<DeviceRow>,
    },
    /// What became of [`Effect::Claim`].
    Claimed {
        /// Which device.
        device: DeviceId,
        /// What the code did.
        outcome: ClaimOutcome,
        /// Its row from now on; absent if it is no longer registered.
        row: Option<DeviceRow>,
    },
    /// Records of this sequence range, both ends included, could not be written and never will be.
    CommitFailed {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// Every record up to this sequence is durable, but for those told by [`Input::CommitFailed`].
    Committed {
        /// The last of them.
        through: u64,
        /// The [`Entry::Publish`] records of this commit were numbered from this id on, one by one
        /// in the order of their sequence.
        first_event_id: EventId,
    },
    /// An event that was accepted by another shard: match it to the devices of this one.
    Deliver(Arc<Event>),
    /// The device has a newer session in another shard: drop this one.
    Displaced {
        /// Which device.
        device: DeviceId,
    },
    /// What the endpoint tells.
    Link(LinkEvent),
    /// The answer to [`Effect::Load`].
    Loaded {
        /// The connection that waits.
        link: LinkId,
        /// Which device.
        device: DeviceId,
        /// Its row; absent if it is not registered (any more): the connection is closed.
        row: Option<DeviceRow>,
    },
    /// A caller wants something; answered by [`Effect::Reply`].
    Request {
        /// Names it in the reply.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// A session that came back from the store when the server started.
    Restored(Box<Restored>),
    /// The update of a device whose session came to this shard ([`Effect::HandOver`]).
    TakeOver {
        /// Which device.
        device: DeviceId,
        /// Its update.
        update: Box<Handover>,
    },
}

/// Why an account is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Whether only its cellular devices are (`metering/rules.md` §6).
    pub cellular_only: bool,
    /// The limit and until when, for people.
    pub why: Arc<str>,
}

/// What a claim code did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimOutcome {
    /// The device belongs to the maker of the code, from now on or from before.
    Claimed,
    /// Nobody could look it up now; the device keeps it and tells it again.
    NotLookedUp,
    /// It belongs to somebody else and stays there.
    OwnedByOther,
    /// No such code, too old or used.
    Unknown,
}

/// The contents of [`Input::Restored`]. Only UDP sessions come back.
#[derive(Debug)]
pub struct Restored {
    /// The connection, as the endpoint names it.
    pub link: LinkId,
    /// Whose.
    pub device: DeviceId,
    /// Its row in the registry.
    pub row: DeviceRow,
    /// Its subscriptions, oldest first.
    pub subscriptions: Vec<Subscribe>,
    /// Its last Hello.
    pub hello: Hello,
    /// Its last known address.
    pub peer: SocketAddr,
    /// Whether it was believed online.
    pub online: bool,
    /// When it was last heard.
    pub last_heard: Timestamp,
    /// When its last full handshake was, if known.
    pub last_handshake_at: Option<Timestamp>,
}

/// What a caller wants.
///
/// The caller's right to the device has been checked. A device that never had a session in this shard
/// is refused with [`Refusal::UnknownDevice`]; for a registered device without any session the shell
/// answers [`Refusal::Offline`] itself.
#[derive(Debug)]
pub enum Request {
    /// Calls a function: [`Reply::Returned`], at the latest after [`model::limits::CALL_DEADLINE`].
    Call {
        /// Which device.
        device: DeviceId,
        /// Function name, as the caller wrote it.
        name: Box<str>,
        /// Argument text; may be empty.
        argument: Box<str>,
    },
    /// The caller of this call, read or signal went away: if it was not sent yet it is taken out and
    /// never answered. Has no reply of its own.
    CancelIfWaiting {
        /// Which device.
        device: DeviceId,
        /// The request to take out.
        request: RequestId,
    },
    /// The key of a device was replaced: its session is ended by KeyChange and forgotten.
    /// [`Reply::Done`] at once.
    KeyReplaced {
        /// Which device.
        device: DeviceId,
    },
    /// Asks for a sign of life: [`Reply::Online`], at the latest after
    /// [`model::limits::PING_DEADLINE`]; at once when it is offline.
    Ping {
        /// Which device.
        device: DeviceId,
    },
    /// An event of the API or of the cloud itself: [`Reply::Done`] when it is durable. Its id is 0;
    /// its name, unless the cloud made it, is no internal one.
    Publish {
        /// What to publish.
        event: Event,
    },
    /// Reads a variable: [`Reply::Value`], at the latest after [`model::limits::CALL_DEADLINE`].
    Read {
        /// Which device.
        device: DeviceId,
        /// Variable name, as the caller wrote it.
        name: Box<str>,
    },
    /// Calls an update off: [`Reply::Done`] at once, whether it was under way or not.
    CancelUpdate {
        /// Which device.
        device: DeviceId,
        /// Which update.
        update: UpdateId,
    },
    /// Starts or stops shouting rainbows: [`Reply::Done`] when the device took it.
    Signal {
        /// Which device.
        device: DeviceId,
        /// Whether to start.
        on: bool,
    },
    /// Asks a device for its vital signs: [`Reply::Done`] when the question is on its way.
    AskVitals {
        /// Which device.
        device: DeviceId,
    },
    /// How devices are: [`Reply::States`], those unknown to this shard left out.
    States {
        /// Which devices.
        devices: Vec<DeviceId>,
    },
    /// Brings an update to a device: [`Reply::Done`] when it is taken, [`Effect::Report`] from then on,
    /// [`Refusal::UpdateRunning`] while another one is under way.
    Update {
        /// Which device.
        device: DeviceId,
        /// What it gets.
        update: Update,
    },
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// Whether the device gave a sign of life in time.
    Online(bool),
    /// What the function returned.
    Returned(i32),
    /// How the devices are, in the order asked.
    States(Vec<DeviceState>),
    /// The value of the variable.
    Value(VariableValue),
}

/// What a shard wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Redeem a claim code; answered by [`Input::Claimed`].
    Claim {
        /// The device that told the code.
        device: DeviceId,
        /// The code.
        code: Box<str>,
        /// Its connection.
        link: LinkId,
    },
    /// Carry a command to a connection. The endpoint ignores one for a connection that is gone.
    Command(LinkId, Command),
    /// The device's session is in another shard: its update goes there, by [`Input::TakeOver`].
    HandOver {
        /// Which device.
        device: DeviceId,
        /// Its update.
        update: Box<Handover>,
    },
    /// Fetch the registry's row of a device; answered by [`Input::Loaded`].
    Load {
        /// The connection that waits.
        link: LinkId,
        /// Which device.
        device: DeviceId,
    },
    /// An event is durable: show it on the streams. If it is not internal
    /// ([`model::EventName::is_internal`]), tell the other shards by [`Input::Deliver`].
    Notify(Arc<Event>),
    /// Make an entry durable; answered by [`Input::Committed`] or [`Input::CommitFailed`]. The
    /// sequence begins at 1 and grows by 1.
    Record(u64, Entry),
    /// Answer a caller.
    Reply(RequestId, Result<Reply, Refusal>),
    /// How an update goes.
    Report(UpdateReport),
}
