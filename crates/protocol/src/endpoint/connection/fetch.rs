//! The description, asked for by the cloud: one answer, or blocks in order (`messages.md` §6.4).

use model::limits::{DESCRIBE_PART_BYTES_MAX, DESCRIBE_RESTARTS_MAX};
use model::{Answer, DescribePart};
use smallvec::SmallVec;

use crate::coap::{Assembly, Block, Code, Step};
use crate::message::describe;
use crate::message::response::DeviceAnswer;

/// What is there of a description that was asked for.
#[derive(Debug)]
pub(crate) struct Fetch {
    flags: u8,
    assembly: Assembly,
    /// Which version of the answer the blocks are of.
    etag: SmallVec<[u8; 8]>,
    /// Parts that came whole, while others are to come.
    parts: Vec<DescribePart>,
    restarts: u8,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Ask for this block; for none: from the beginning.
    Ask(Option<Block>),
    /// That is all there is.
    Answer(Answer),
    /// The other half may come by itself.
    Half,
}

impl Fetch {
    pub(crate) fn new(flags: u8) -> Self {
        Self {
            flags,
            assembly: Assembly::new(DESCRIBE_PART_BYTES_MAX),
            etag: SmallVec::new(),
            parts: Vec::new(),
            restarts: 0,
        }
    }

    pub(crate) fn flags(&self) -> u8 {
        self.flags
    }

    /// The parts that came, when the rest did not.
    pub(crate) fn into_parts(self) -> Vec<DescribePart> {
        self.parts
    }

    /// Takes an answer of the device.
    pub(crate) fn take(&mut self, answer: &DeviceAnswer<'_>) -> Fetched {
        if !answer.code.is_success() {
            return self.take_refusal(answer.code);
        }
        let Some(block) = answer.block else {
            return self.take_whole(answer.payload);
        };
        let etag = answer.etag.unwrap_or_default();
        if block.num == 0 {
            self.etag = SmallVec::from_slice(&etag[..etag.len().min(8)]);
        } else if *self.etag != *etag {
            return self.begin_again();
        }
        match self.assembly.push(block, answer.payload) {
            Step::Continue => Fetched::Ask(Some(block.next())),
            Step::Complete(whole) => self.take_whole(&whole),
            Step::OutOfOrder => self.begin_again(),
            Step::TooLarge => failed(Code::REQUEST_ENTITY_TOO_LARGE),
        }
    }

    /// The prepared answer of a block-wise transfer lives 90 s: one that is gone in the middle can be
    /// had anew.
    fn take_refusal(&mut self, code: Code) -> Fetched {
        if code == Code::NOT_FOUND && !self.assembly.is_empty() {
            return self.begin_again();
        }
        failed(code)
    }

    fn begin_again(&mut self) -> Fetched {
        self.restarts += 1;
        if self.restarts > DESCRIBE_RESTARTS_MAX {
            return failed(Code::INTERNAL_SERVER_ERROR);
        }
        self.assembly = Assembly::new(DESCRIBE_PART_BYTES_MAX);
        Fetched::Ask(None)
    }

    fn take_whole(&mut self, whole: &[u8]) -> Fetched {
        let Ok(parts) = describe::parse(self.flags, whole) else {
            return failed(Code::INTERNAL_SERVER_ERROR);
        };
        for part in parts {
            self.parts.retain(|known| !is_same_part(known, &part));
            self.parts.push(part);
        }
        // Only the query-less request of the oldest devices is answered in two halves.
        if self.flags == 0 && self.parts.len() < 2 {
            return Fetched::Half;
        }
        Fetched::Answer(Answer::Described(std::mem::take(&mut self.parts)))
    }
}

fn is_same_part(a: &DescribePart, b: &DescribePart) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn failed(code: Code) -> Fetched {
    Fetched::Answer(Answer::Failed(code.number()))
}
