//! An image on its way over this connection.

use model::UpdateId;
use model::link::{LinkEvent, Transfer as Order, TransferEnd, TransferNews};

use super::duplicates::Fate;
use super::incoming::Arrival;
use super::{Channel, Connection, Context, Phase, Upshot};
use crate::coap::{Code, Header, Packet, Type};
use crate::endpoint::output::Need;
use crate::message::ota::OtaRequest;
use crate::message::ota::v3::UpdateFinish;
use crate::transfer::{Ask, Transfer};

/// Frames that may wait for a stream beside those of a transfer.
const FRAMES_KEPT_FREE: usize = 128;
/// Frames of a transfer that are given out before it is asked again whether there is room.
const FRAMES_AT_ONCE: u16 = 32;
/// A stream that has no room is looked at again after this.
const ROOM_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

impl Connection {
    /// An image is to be sent. One that is under way gives way, and what of it is still in the network
    /// must not get into this one: chunks do not tell which transfer they are of.
    pub(super) fn begin_transfer(&mut self, cx: &mut Context<'_>, order: Order) {
        self.forget_transfer(cx.now.mono);
        if let Some(session) = self.session_mut() {
            session.outdate_sent();
        }
        self.reserve(cx);
        let bytes_max = self.traits.dialect(self.transport()).message_bytes_max;
        let bytes_max = u16::try_from(bytes_max).unwrap_or(u16::MAX);
        let transfer = Transfer::new(order, self.transport(), bytes_max);
        self.busy().transfer = Some(Box::new(Updating::new(transfer)));
    }

    /// Calls a transfer off. The device is told once, and again if it answers then that it begins: the
    /// two may have overtaken each other. If that is lost, it finds out in five minutes.
    pub(super) fn end_transfer(&mut self, cx: &mut Context<'_>, update: UpdateId) {
        let is_it = |updating: &Updating| updating.transfer.update() == update;
        let updating = self.busy.as_ref().and_then(|busy| busy.transfer.as_ref());
        let Some(updating) = updating.filter(|updating| is_it(updating)) else { return };
        let begun_by = updating.transfer.token().filter(|_| updating.transfer.is_v3());
        let is_unanswered = updating.transfer.is_starting();
        if begun_by.is_some() {
            self.call_off(cx);
        }
        self.forget_transfer(cx.now.mono);
        self.busy().called_off = begun_by.filter(|_| is_unanswered);
    }

    fn call_off(&mut self, cx: &mut Context<'_>) {
        if !self.can_send() {
            return;
        }
        let Some(token) = self.take_token(cx) else { return };
        let message_id = self.next_message_id();
        cx.scratch.clear();
        UpdateFinish { cancel: true, discard: false }.emit(message_id, token, cx.scratch);
        self.transmit(cx);
        self.busy().retire(Some(token), cx.now.mono);
    }

    /// An answer that nothing waits for: of a device that begins what was called off?
    pub(super) fn call_off_again(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) {
        let Some(busy) = self.busy.as_mut().filter(|busy| busy.transfer.is_none()) else { return };
        let is_it = busy.called_off.is_some() && packet.token().byte() == busy.called_off;
        if is_it && packet.code() == Code::CREATED {
            busy.called_off = None;
            self.call_off(cx);
        }
    }

    /// The transfer is over without a word.
    pub(super) fn forget_transfer(&mut self, now: model::Mono) {
        let Some(busy) = &mut self.busy else { return };
        if let Some(updating) = busy.transfer.take() {
            busy.retire(updating.transfer.token(), now);
        }
    }

    fn updating(&mut self) -> Option<&mut Updating> {
        self.busy.as_mut()?.transfer.as_deref_mut()
    }

    /// Whether an update runs: then its own time-outs hold, and none of the connection's.
    pub(super) fn is_updating(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.transfer.is_some())
    }

    /// Takes what answers a message of a transfer; whether it was that.
    pub(super) fn transfer_answered(
        &mut self,
        cx: &Context<'_>,
        packet: &Packet<'_>,
        record: u64,
    ) -> bool {
        let Some(updating) = self.updating() else { return false };
        let transfer = &mut updating.transfer;
        match (packet.message_type(), packet.code()) {
            (Type::Acknowledgement, Code::EMPTY) => transfer.acknowledged(packet.message_id()),
            (Type::Reset, _) => false,
            (_, _) => transfer.answered(packet, record, cx.now.mono),
        }
    }

    /// A reset of no request: of a chunk, if any are on their way.
    pub(super) fn transfer_reset(&mut self) {
        if let Some(updating) = self.updating() {
            updating.transfer.reset();
        }
    }

    /// A request of the device about its update. One that nobody knows of is answered all the same.
    pub(super) fn handle_ota(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        request: &OtaRequest<'_>,
    ) {
        if let Some(fate) = fate {
            return self.repeat_answer(cx, header, fate);
        }
        let Some(updating) = self.updating() else {
            return self.refuse(cx, header, Code::NOT_FOUND);
        };
        updating.transfer.requested(request, arrival.record, cx.now.mono);
        if header.receipt().is_some() {
            self.note(cx, header, Fate::Answered(Code::EMPTY));
            self.acknowledge_with(cx, header.message_id, header.token, Code::EMPTY);
        }
    }

    /// Lets the transfer act and tells what became of it.
    pub(crate) fn drive_transfer(&mut self, cx: &mut Context<'_>) -> Upshot {
        if self.updating().is_none() || self.phase != Phase::Open {
            return Upshot::Done;
        }
        self.expire_transfer(cx);
        self.repeat_transfer(cx);
        self.ask_transfer(cx);
        self.tell_transfer(cx)
    }

    fn expire_transfer(&mut self, cx: &Context<'_>) {
        let now = cx.now.mono;
        if let Some(updating) = self.updating()
            && updating.transfer.deadline(now).is_some_and(|at| at <= now)
        {
            updating.transfer.expire(now);
        }
    }

    fn repeat_transfer(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        if !self.is_datagram() || !self.can_send() {
            return;
        }
        let ask = self.updating().and_then(|updating| updating.transfer.ask());
        let Some(bytes) = ask.as_ref().and_then(|ask| ask.due(now)) else { return };
        cx.scratch.clear();
        cx.scratch.extend_from_slice(bytes);
        self.transmit(cx);
        if let Some(ask) = self.updating().and_then(|updating| updating.transfer.ask()) {
            ask.repeated(now);
        }
    }

    fn ask_transfer(&mut self, cx: &mut Context<'_>) {
        let asked = self.updating().and_then(|updating| updating.transfer.request());
        let Some(asked) = asked.filter(|_| self.can_send()) else { return };
        let Some(token) = self.take_token(cx) else { return };
        let message_id = self.next_message_id();
        cx.scratch.clear();
        let Some(updating) = self.updating() else { return };
        updating.transfer.write_request(message_id, token, cx.scratch);
        self.transmit(cx);
        // TCP repeats by itself.
        let kept = if self.is_datagram() { &cx.scratch[..] } else { &[] };
        let ask = Ask::sent(token, message_id, kept, asked.patience, cx.now.mono);
        if let Some(updating) = self.updating() {
            updating.transfer.asked(ask);
        }
    }

    fn tell_transfer(&mut self, cx: &mut Context<'_>) -> Upshot {
        let link = self.link;
        let mut is_stalled = false;
        while let Some(updating) = self.updating()
            && let Some(news) = updating.transfer.poll_news()
        {
            is_stalled |= news == TransferNews::Ended(TransferEnd::Stalled);
            let update = updating.transfer.update();
            cx.out.event(LinkEvent::Transfer { link, update, news });
        }
        if self.updating().is_some_and(|updating| updating.transfer.is_over()) {
            self.forget_transfer(cx.now.mono);
        }
        if is_stalled && self.online && self.heard_at.after(SILENT) <= cx.now.mono {
            return self.fall_silent(cx);
        }
        Upshot::Done
    }

    /// Whether a chunk is to be sent and the connection does not stand in the queue for that already;
    /// from now on it does.
    pub(crate) fn joins_queue(&mut self, now: model::Mono) -> bool {
        if !self.wants_chunk(now) {
            return false;
        }
        self.updating().is_some_and(|updating| !std::mem::replace(&mut updating.queued, true))
    }

    fn wants_chunk(&mut self, now: model::Mono) -> bool {
        let can_send = self.phase == Phase::Open && self.can_send();
        let has_room = |updating: &Updating| match updating.room {
            Room::Frames(_) | Room::Unlimited => true,
            Room::Asked => false,
            Room::NoneUntil(at) => at <= now,
        };
        let updating = self.updating();
        can_send
            && updating
                .is_some_and(|updating| updating.transfer.wants_chunk(now) && has_room(updating))
    }

    /// Its turn in the queue came: sends at most `chunks_max` chunks. Gives their bytes.
    pub(crate) fn send_chunks(&mut self, cx: &mut Context<'_>, chunks_max: u16) -> u64 {
        let is_stream = matches!(self.channel, Channel::Stream(_));
        let link = self.link;
        let Some(updating) = self.updating() else { return 0 };
        updating.queued = false;
        let mut chunks_max = chunks_max;
        if is_stream {
            match updating.room {
                Room::Frames(frames @ 1..) => chunks_max = chunks_max.min(frames),
                Room::Frames(0) | Room::Unlimited | Room::NoneUntil(_) => {
                    updating.room = Room::Asked;
                    cx.out.need(Need::Room { link });
                    return 0;
                }
                Room::Asked => return 0,
            }
        }
        let mut sent = 0;
        for _ in 0..chunks_max {
            match self.send_chunk(cx) {
                Some(bytes) => sent += bytes,
                None => break,
            }
        }
        sent
    }

    fn send_chunk(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        let now = cx.now.mono;
        if !self.wants_chunk(now) {
            return None;
        }
        let message_id = self.next_message_id();
        cx.scratch.clear();
        let updating = self.updating()?;
        updating.transfer.write_chunk(message_id, now, cx.scratch)?;
        if let Room::Frames(frames) = &mut updating.room {
            *frames = frames.saturating_sub(1);
        }
        let bytes = cx.scratch.len() as u64;
        self.transmit(cx);
        Some(bytes)
    }

    /// So many more frames can wait for the stream.
    pub(crate) fn take_room(&mut self, now: model::Mono, frames: usize) {
        let Some(updating) = self.updating() else { return };
        let free = frames.saturating_sub(FRAMES_KEPT_FREE).min(FRAMES_AT_ONCE.into());
        updating.room = match u16::try_from(free) {
            Ok(free @ 1..) => Room::Frames(free),
            Ok(0) | Err(_) => Room::NoneUntil(now.after(ROOM_AGAIN)),
        };
    }
}

/// A device that was not heard for so long at the end of a transfer is not there.
const SILENT: std::time::Duration = std::time::Duration::from_secs(25);

/// A transfer and what its connection keeps for it.
#[derive(Debug)]
pub(crate) struct Updating {
    pub(crate) transfer: Transfer,
    /// Whether the connection stands in the queue of those that send chunks.
    queued: bool,
    room: Room,
}

/// How many frames of the transfer may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Nobody asked yet; datagrams have no bound of this kind.
    Unlimited,
    Frames(u16),
    Asked,
    NoneUntil(model::Mono),
}

impl Updating {
    fn new(transfer: Transfer) -> Self {
        Self { transfer, queued: false, room: Room::Unlimited }
    }

    /// When the transfer is to be looked at. Chunks that may leave already stand in the queue.
    pub(crate) fn deadline(&self, now: model::Mono) -> Option<model::Mono> {
        let room = match self.room {
            Room::NoneUntil(at) => Some(at).filter(|at| *at > now),
            Room::Unlimited | Room::Frames(_) | Room::Asked => None,
        };
        self.transfer.deadline(now).into_iter().chain(room).min()
    }
}
