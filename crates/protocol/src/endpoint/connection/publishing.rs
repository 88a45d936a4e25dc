//! Publishes and descriptions of the device, in one message or in blocks.

use model::link::LinkEvent;
use model::message::Publish;
use model::{DescribePart, DeviceMessage};
use smallvec::SmallVec;

use super::bodies::BodyKey;
use super::duplicates::{Fate, Kind};
use super::incoming::Arrival;
use super::{Connection, Context};
use crate::coap::{Block, Code, Header, Step};
use crate::message::ack;
use crate::message::describe::{self, DescribePost};
use crate::message::event::PublishRequest;

impl Connection {
    pub(super) fn handle_publish(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        request: &PublishRequest<'_>,
    ) {
        match (request.block, fate) {
            (None, fate) => self.take_publish(cx, arrival, header, fate, request.to_publish()),
            (Some(block), None) => {
                let tag = SmallVec::from_slice(request.request_tag.unwrap_or_default());
                let key = BodyKey::Event(tag);
                let Some(whole) = self.take_block(cx, header, key, block, request.payload) else {
                    return;
                };
                let publish = request.to_publish_of(&whole);
                self.busy().bodies.finish(cx.now.mono, header.message_id, publish.clone());
                self.take_publish(cx, arrival, header, None, publish);
            }
            (Some(block), Some(fate)) => {
                let finished = self.busy().bodies.finished(header.message_id).cloned();
                match finished {
                    Some(whole) => self.take_publish(cx, arrival, header, Some(fate), whole),
                    None => self.repeat_block_answer(cx, header, fate, block),
                }
            }
        }
    }

    /// A whole publish. A copy of one that was refused is refused again; any other copy counts.
    fn take_publish(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        publish: Publish,
    ) {
        let message = DeviceMessage::Publish(publish);
        let is_copy = match fate {
            None => false,
            Some(Fate::Waiting(Kind::Publish) | Fate::Answered(Code::EMPTY)) => true,
            Some(fate) => return self.repeat_answer(cx, header, fate),
        };
        let source = self.source(header, arrival.record);
        let (link, receipt) = (self.link, header.receipt());
        if is_copy {
            cx.counters.copies += 1;
            cx.out.event(LinkEvent::Copy { link, message, receipt, source });
            return;
        }
        let fate = match receipt {
            Some(_) => Fate::Waiting(Kind::Publish),
            None => Fate::Answered(Code::EMPTY),
        };
        self.note(cx, header, fate);
        cx.out.event(LinkEvent::Message { link, message, receipt, source });
    }

    pub(super) fn handle_describe(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        fate: Option<Fate>,
        post: &DescribePost<'_>,
    ) {
        if let Some(fate) = fate {
            return match post.block {
                Some(block) => self.repeat_block_answer(cx, header, fate, block),
                None => self.repeat_answer(cx, header, fate),
            };
        }
        let Some(block) = post.block else {
            return self.take_description(cx, arrival, header, post, post.payload);
        };
        let key = BodyKey::Describe(post.flags);
        if let Some(whole) = self.take_block(cx, header, key, block, post.payload) {
            self.take_description(cx, arrival, header, post, &whole);
        }
    }

    /// A whole description: its parts are messages of their own, the last of which holds the answer.
    fn take_description(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival,
        header: Header,
        post: &DescribePost<'_>,
        whole: &[u8],
    ) {
        let mut parts = match describe::parse(post.flags, whole) {
            Ok(parts) => parts,
            Err(error) => return self.refuse(cx, header, error.code),
        };
        let Some(last) = parts.pop() else {
            return self.refuse(cx, header, Code::BAD_REQUEST);
        };
        let (link, source) = (self.link, self.source(header, arrival.record));
        let message = |part: DescribePart| DeviceMessage::Describe(part);
        for part in parts {
            let event = LinkEvent::Message { link, message: message(part), receipt: None, source };
            cx.out.event(event);
        }
        self.take_once(cx, arrival, header, None, Kind::Describe, message(last));
    }

    /// Takes a block and answers it, unless it was the last: then here is the whole.
    fn take_block(
        &mut self,
        cx: &mut Context<'_>,
        header: Header,
        key: BodyKey,
        block: Block,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let code = match self.busy().bodies.push(cx.now.mono, key, block, payload) {
            Step::Complete(whole) => return Some(whole),
            Step::Continue => Code::CONTINUE,
            Step::OutOfOrder => Code::REQUEST_ENTITY_INCOMPLETE,
            Step::TooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
        };
        self.note(cx, header, Fate::Answered(code));
        self.answer_block(cx, header, code, block);
        None
    }

    fn repeat_block_answer(
        &mut self,
        cx: &mut Context<'_>,
        header: Header,
        fate: Fate,
        block: Block,
    ) {
        cx.counters.copies += 1;
        if let Fate::Answered(code) = fate {
            self.answer_block(cx, header, code, block);
        }
    }

    fn answer_block(&mut self, cx: &mut Context<'_>, header: Header, code: Code, block: Block) {
        if code != Code::CONTINUE || header.receipt().is_none() {
            return self.refuse(cx, header, code);
        }
        cx.scratch.clear();
        ack::block(block, header.message_id, header.token, cx.scratch);
        self.send_reply(cx);
    }
}
