//! What a shard keeps of each device: a compact part for all, a boxed part while something is under
//! way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metering::Payer;
use model::hello::HelloFlags;
use model::journal::{MessageName, OperationKind};
use model::limits::SUBSCRIPTIONS_MAX;
use model::link::{ExchangeId, Transport};
use model::message::{Subscribe, SubscriptionContent};
use model::{
    ApplicationDescription, DeviceId, DeviceRow, DeviceState, Event, Hello, LinkId, Mono, Now,
    Platform, RequestId, Timestamp,
};
use smallvec::SmallVec;

use crate::calls::{Call, Running};
use crate::describe::Describing;
use crate::ota::Job;
use crate::rate::{Bucket, InternalWindow};
use crate::timers::Dues;

/// No description is under way for longer.
const DESCRIBE_LONGEST: Duration = Duration::from_secs(140);

/// The place of a device in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const LAST: Self = Self(u32::MAX);
}

/// One device. There is one for each device that ever had a session here.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// Its connection; over UDP it outlives being offline.
    pub(crate) link: Option<LinkId>,
    pub(crate) peer: SocketAddr,
    pub(crate) row: DeviceRow,
    pub(crate) facts: Facts,
    pub(crate) last_heard: Timestamp,
    /// 0: not known.
    pub(crate) last_handshake_at: Timestamp,
    pub(crate) bucket: Bucket,
    pub(crate) internal: InternalWindow,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) describing: Describing,
    pub(crate) marks: Marks,
    /// Events it missed because they were too many or too large.
    pub(crate) events_dropped: u16,
    /// Full handshakes, and times that its session went on without one, since it became known here.
    pub(crate) handshakes: u8,
    pub(crate) resumes: u8,
    pub(crate) busy: Option<Box<Busy>>,
}

/// What is true or false of a device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    pub(crate) online: bool,
    pub(crate) safe_mode: bool,
    /// Its presence is to be written when its turn comes.
    pub(crate) presence_due: bool,
    /// It stands in the queue of those whose presence may be due.
    pub(crate) presence_queued: bool,
    /// Its address is another one than was written.
    pub(crate) moved: bool,
    /// It is being thrown out: what it says is not heard any more.
    pub(crate) leaving: bool,
    /// It goes with its connection.
    pub(crate) removed: bool,
    /// Its session came back without a description that it will not send again by itself.
    pub(crate) unknown: bool,
    pub(crate) updates_enabled: Option<bool>,
    pub(crate) updates_forced: Option<bool>,
}

/// What its last Hello told, without what only the session needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) transport: Transport,
    pub(crate) platform: Platform,
    pub(crate) flags: HelloFlags,
    product: u16,
    pub(crate) product_version: u16,
    /// 0: before Device OS 3.0.
    pub(crate) system_version: u16,
    /// 0: not told.
    pub(crate) message_bytes_max: u16,
    /// Of a chunk of an update, in words of 4 bytes; 0: not told.
    chunk_words: u8,
    /// Of a file, in KiB, rounded up; 0: not told.
    binary_kib_max: u16,
}

impl Facts {
    /// The longest function argument, in bytes.
    pub(crate) fn argument_bytes_max(&self) -> usize {
        let told = (self.message_bytes_max > 0).then_some(self.message_bytes_max);
        model::hello::argument_bytes_max(self.platform, self.flags, told)
    }

    pub(crate) fn of(hello: &Hello, transport: Transport) -> Self {
        let mut facts = Self {
            transport,
            platform: hello.platform,
            flags: hello.flags,
            product: hello.product_id,
            product_version: hello.product_version,
            system_version: hello.system.map_or(0, |system| system.version),
            message_bytes_max: hello.system.map_or(0, |system| system.message_bytes_max),
            chunk_words: 0,
            binary_kib_max: 0,
        };
        if let Some(system) = hello.system {
            facts.set_chunk_bytes(system.chunk_bytes);
            facts.set_binary_bytes_max(system.binary_bytes_max);
        }
        facts
    }

    /// Of a product; absent: the firmware has none.
    pub(crate) fn product_version_told(&self) -> Option<u16> {
        told(self.product_version)
    }

    /// Of a chunk of an update; 0: not told.
    pub(crate) fn chunk_bytes(&self) -> u16 {
        u16::from(self.chunk_words) * 4
    }

    pub(crate) fn set_chunk_bytes(&mut self, bytes: u16) {
        self.chunk_words = u8::try_from(bytes / 4).unwrap_or(u8::MAX);
    }

    /// Of a file; 0: not told.
    pub(crate) fn binary_bytes_max(&self) -> u32 {
        u32::from(self.binary_kib_max) * 1024
    }

    pub(crate) fn set_binary_bytes_max(&mut self, bytes: u32) {
        self.binary_kib_max = u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX);
    }
}

/// The subscriptions of one device. The two that every device makes, `spark` and `particle`, match
/// nothing and are only marked.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// Boxed to its length: it hardly ever grows.
    pub(crate) list: Box<[Subscribe]>,
    spark: bool,
    particle: bool,
}

/// A device has [`SUBSCRIPTIONS_MAX`] subscriptions.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Subscriptions {
    /// Adds one, or puts it in the place of one to the same prefix, which is given back.
    pub(crate) fn take(&mut self, subscribe: &Subscribe) -> Result<Option<Subscribe>, TooMany> {
        let is_full = self.count() >= SUBSCRIPTIONS_MAX;
        let mark = match (subscribe.prefix.as_str(), subscribe.device) {
            ("spark", None) => Some(&mut self.spark),
            ("particle", None) => Some(&mut self.particle),
            _ => None,
        };
        if let Some(mark) = mark {
            *mark |= !is_full;
            return if *mark { Ok(None) } else { Err(TooMany) };
        }
        let is_same = |other: &&mut Subscribe| {
            (&other.prefix, other.device) == (&subscribe.prefix, subscribe.device)
        };
        if let Some(same) = self.list.iter_mut().find(is_same) {
            return Ok(Some(std::mem::replace(same, subscribe.clone())));
        }
        if is_full {
            return Err(TooMany);
        }
        let mut list = std::mem::take(&mut self.list).into_vec();
        list.push(subscribe.clone());
        self.list = list.into();
        Ok(None)
    }

    fn count(&self) -> usize {
        self.list.len() + usize::from(self.spark) + usize::from(self.particle)
    }
}

/// What is under way with a device.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub(crate) running: Option<Running>,
    pub(crate) calls: VecDeque<Call>,
    /// The event that was sent and not acknowledged yet.
    pub(crate) delivering: Option<ExchangeId>,
    pub(crate) events: VecDeque<(Arc<Event>, SubscriptionContent)>,
    pub(crate) events_bytes: usize,
    /// Callers that wait for a sign of life.
    pub(crate) pings: Vec<RequestId>,
    pub(crate) sent: SmallVec<[Sent; 2]>,
    pub(crate) update: Option<Box<Job>>,
    pub(crate) dues: Dues,
}

impl Busy {
    fn is_idle(&self) -> bool {
        self.running.is_none()
            && self.calls.is_empty()
            && self.delivering.is_none()
            && self.events.is_empty()
            && self.pings.is_empty()
            && self.sent.is_empty()
            && self.update.is_none()
            && self.dues.is_empty()
    }
}

/// A message to a device whose fate is open.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) exchange: ExchangeId,
    pub(crate) what: What,
    /// As what its attempts count, and who pays; absent: they do not.
    pub(crate) counted: Option<(OperationKind, Payer)>,
    /// What it is named in the list of what was counted.
    pub(crate) name: MessageName,
    pub(crate) bytes: usize,
    /// When the first attempt was made, or, before that, when it was handed to the session.
    pub(crate) since: Mono,
    pub(crate) attempts: u8,
    /// The record of the last attempt.
    pub(crate) sequence: u64,
}

/// What a sent message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Call,
    Delivery,
    Describe,
    KeyChange,
    Ping,
}

impl Device {
    /// Whether a Describe that the cloud asked for is under way.
    pub(crate) fn is_asked_to_describe(&self) -> bool {
        let busy = self.busy.as_ref();
        busy.is_some_and(|busy| busy.sent.iter().any(|sent| sent.what == What::Describe))
    }

    /// Forgets those that were acknowledged and never answered: of their end the session tells nothing.
    /// One that comes block by block takes longer than other answers.
    pub(crate) fn forget_describes_overdue(&mut self, now: Now) {
        if let Some(busy) = &mut self.busy {
            let is_overdue = |sent: &Sent| sent.since.after(DESCRIBE_LONGEST) <= now.mono;
            busy.sent.retain(|sent| sent.what != What::Describe || !is_overdue(sent));
        }
    }

    pub(crate) fn new(id: DeviceId, peer: SocketAddr, row: DeviceRow, facts: Facts) -> Self {
        Self {
            id,
            link: None,
            peer,
            row,
            facts,
            last_heard: Timestamp::default(),
            last_handshake_at: Timestamp::default(),
            bucket: Bucket::default(),
            internal: InternalWindow::default(),
            subscriptions: Subscriptions::default(),
            describing: Describing::default(),
            marks: Marks::default(),
            events_dropped: 0,
            handshakes: 0,
            resumes: 0,
            busy: None,
        }
    }

    pub(crate) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    pub(crate) fn job(&self) -> Option<&Job> {
        self.busy.as_ref()?.update.as_deref()
    }

    pub(crate) fn sent(&mut self, exchange: ExchangeId) -> Option<&mut Sent> {
        self.busy.as_mut()?.sent.iter_mut().find(|sent| sent.exchange == exchange)
    }

    /// Takes the sent message out: its fate is known.
    pub(crate) fn take_sent(&mut self, exchange: ExchangeId) -> Option<Sent> {
        let sent = &mut self.busy.as_mut()?.sent;
        let place = sent.iter().position(|sent| sent.exchange == exchange)?;
        Some(sent.remove(place))
    }

    /// Nothing that was sent matters any more: the session makes no further attempt of it.
    pub(crate) fn forget_sent(&mut self) {
        if let Some(busy) = &mut self.busy {
            busy.sent.clear();
            busy.delivering = None;
        }
    }

    /// The same when the session stays: what was handed to it at this moment may still leave, and counts
    /// if it does.
    pub(crate) fn forget_sent_before(&mut self, now: Mono) {
        if let Some(busy) = &mut self.busy {
            let may_leave =
                |sent: &mut Sent| sent.attempts == 0 && sent.since == now && sent.counted.is_some();
            busy.sent.retain(may_leave);
            busy.delivering = None;
        }
    }

    /// Gives the memory back when nothing is under way.
    pub(crate) fn rest(&mut self) {
        self.busy.take_if(|busy| busy.is_idle());
    }

    pub(crate) fn payer(&self) -> Option<Payer> {
        let account = self.row.account?;
        Some(Payer { account, product: self.row.product, device: self.id })
    }

    /// The description that calls go by.
    pub(crate) fn description(&self) -> Option<&Arc<ApplicationDescription>> {
        self.row.description.as_ref().filter(|_| !self.marks.safe_mode)
    }

    pub(crate) fn state(&self) -> DeviceState {
        let known = |at: Timestamp| (at != Timestamp::default()).then_some(at);
        DeviceState {
            device: self.id,
            online: self.marks.online,
            last_heard: known(self.last_heard),
            last_handshake_at: known(self.last_handshake_at),
            peer: Some(self.peer),
            transport: Some(self.facts.transport),
            platform: Some(self.facts.platform),
            firmware_product: told(self.facts.product),
            firmware_version: self.facts.product_version_told(),
            system_version: (self.facts.system_version > 0).then_some(self.facts.system_version),
            binary_bytes_max: Some(self.facts.binary_bytes_max()).filter(|bytes| *bytes > 0),
            description: self.description().cloned(),
            safe_mode: self.marks.safe_mode,
            updates_enabled: self.marks.updates_enabled,
            updates_forced: self.marks.updates_forced,
            events_dropped: u32::from(self.events_dropped),
            handshakes: self.handshakes,
            resumes: self.resumes,
        }
    }
}

/// A number of a Hello that has a value for none.
fn told(number: u16) -> Option<u16> {
    (number != u16::MAX).then_some(number)
}
