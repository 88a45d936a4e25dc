//! Block-wise bodies on their way in (RFC 7959, Block1).

use model::Mono;
use model::limits::{
    BODIES_MAX, BODY_LIFE, DESCRIBE_PART_BYTES_MAX, EVENT_DATA_BYTES_MAX_BLOCKWISE,
};
use model::message::Publish;
use smallvec::SmallVec;

use crate::coap::{Assembly, Block, Step};

/// Which body a block belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyKey {
    /// The parts of a Describe may come interleaved (`messages.md` §6.3).
    Describe(u8),
    /// An event, by its Request-Tag.
    Event(SmallVec<[u8; 8]>),
}

/// The bodies of one connection.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    open: Vec<Body>,
    /// The last event that was put together, so that a copy of its last block can be told as a copy
    /// of the whole.
    finished: Option<Box<Finished>>,
}

#[derive(Debug)]
struct Body {
    key: BodyKey,
    assembly: Assembly,
    touched_at: Mono,
}

#[derive(Debug)]
struct Finished {
    message_id: u16,
    publish: Publish,
    at: Mono,
}

impl Bodies {
    /// Takes a block. What is complete or too large is here no longer.
    pub(crate) fn push(&mut self, now: Mono, key: BodyKey, block: Block, payload: &[u8]) -> Step {
        let position = match self.open.iter().position(|body| body.key == key) {
            Some(position) => position,
            None => self.open_body(now, key),
        };
        let body = &mut self.open[position];
        body.touched_at = now;
        let step = body.assembly.push(block, payload);
        if matches!(step, Step::Complete(_) | Step::TooLarge) || body.assembly.is_empty() {
            self.open.swap_remove(position);
        }
        step
    }

    fn open_body(&mut self, now: Mono, key: BodyKey) -> usize {
        if self.open.len() == BODIES_MAX {
            let oldest = self.open.iter().enumerate().min_by_key(|(_, body)| body.touched_at);
            let oldest = oldest.map_or(0, |(position, _)| position);
            self.open.swap_remove(oldest);
        }
        let bytes_max = match key {
            BodyKey::Describe(_) => DESCRIBE_PART_BYTES_MAX,
            BodyKey::Event(_) => EVENT_DATA_BYTES_MAX_BLOCKWISE,
        };
        self.open.push(Body { key, assembly: Assembly::new(bytes_max), touched_at: now });
        self.open.len() - 1
    }

    pub(crate) fn finish(&mut self, now: Mono, message_id: u16, publish: Publish) {
        self.finished = Some(Box::new(Finished { message_id, publish, at: now }));
    }

    /// The event whose last block had this message id.
    pub(crate) fn finished(&self, message_id: u16) -> Option<&Publish> {
        let finished = self.finished.as_ref().filter(|event| event.message_id == message_id)?;
        Some(&finished.publish)
    }

    pub(crate) fn expire(&mut self, now: Mono) {
        self.open.retain(|body| body.touched_at.after(BODY_LIFE) > now);
        if self.finished.as_ref().is_some_and(|event| event.at.after(BODY_LIFE) <= now) {
            self.finished = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        let open = self.open.iter().map(|body| body.touched_at);
        open.chain(self.finished.as_ref().map(|event| event.at)).min().map(|at| at.after(BODY_LIFE))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.finished.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(num: u32, more: bool) -> Block {
        Block { num, more, szx: 0 }
    }

    #[test]
    fn interleaved_parts_are_put_together_each_by_its_flag() {
        let mut bodies = Bodies::default();
        let now = Mono(0);
        assert_eq!(
            bodies.push(now, BodyKey::Describe(1), block(0, true), &[1; 16]),
            Step::Continue
        );
        assert_eq!(
            bodies.push(now, BodyKey::Describe(2), block(0, true), &[2; 16]),
            Step::Continue
        );
        let first = bodies.push(now, BodyKey::Describe(1), block(1, false), &[1]);
        assert_eq!(first, Step::Complete(vec![1; 17]));
        let second = bodies.push(now, BodyKey::Describe(2), block(1, false), &[2]);
        assert_eq!(second, Step::Complete(vec![2; 17]));
        assert!(bodies.is_empty());
    }

    #[test]
    fn a_fifth_body_pushes_the_oldest_out_and_old_ones_go() {
        let mut bodies = Bodies::default();
        for flag in 0..5 {
            let now = Mono(u64::from(flag));
            bodies.push(now, BodyKey::Describe(flag), block(0, true), &[0; 16]);
        }
        let lost = bodies.push(Mono(5), BodyKey::Describe(0), block(1, false), &[0]);
        assert_eq!(lost, Step::OutOfOrder);
        bodies.expire(Mono(90_000_010));
        assert!(bodies.is_empty());
    }
}
