//! Block-wise transfers (RFC 7959): the option, and a bounded place to put the blocks.

/// The value of a Block1 or Block2 option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// Number of the block, from 0; below 2^20.
    pub num: u32,
    /// Whether more blocks follow.
    pub more: bool,
    /// Size exponent: a block has 2^(szx + 4) bytes; 0 to 6.
    pub szx: u8,
}

impl Block {
    /// Exponent of blocks of 1024 bytes.
    pub const SZX_1024: u8 = 6;
    /// Exponent of blocks of 512 bytes.
    pub const SZX_512: u8 = 5;

    /// Reads an option's value; absent if it is longer than 3 bytes or has the reserved size 7.
    pub fn read(value: &[u8]) -> Option<Self> {
        if value.len() > 3 {
            return None;
        }
        let number = super::option::read_uint(value)?;
        let szx = (number & 7) as u8;
        (szx != 7).then_some(Self { num: number >> 4, more: number & 8 != 0, szx })
    }

    /// The option's value as a number.
    pub fn to_uint(self) -> u32 {
        self.num << 4 | u32::from(self.more) << 3 | u32::from(self.szx)
    }

    /// Bytes of a block that is not the last.
    pub fn size(self) -> usize {
        16 << self.szx
    }

    /// Where this block begins in the whole.
    pub fn offset(self) -> usize {
        self.num as usize * self.size()
    }

    /// The block after this one, as a request for it: no more, same size.
    #[must_use]
    pub fn next(self) -> Self {
        Self { num: self.num + 1, more: false, szx: self.szx }
    }

    /// Cuts block `num` of this size out of a whole: its option and its bytes. Absent past the end.
    pub fn cut(num: u32, szx: u8, whole: &[u8]) -> Option<(Self, &[u8])> {
        let mut block = Self { num, more: false, szx };
        let rest = whole.get(block.offset()..)?;
        if rest.is_empty() && num > 0 {
            return None;
        }
        block.more = rest.len() > block.size();
        Some((block, &rest[..rest.len().min(block.size())]))
    }
}

/// Blocks that arrive in order, put together up to a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// What a block did to an [`Assembly`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Taken; more must come.
    Continue,
    /// It was the last: here is the whole.
    Complete(Vec<u8>),
    /// It does not follow what is there, or is short though more follow (4.08): begin again with block 0.
    OutOfOrder,
    /// The whole would pass the bound (4.13): what was there is dropped.
    TooLarge,
}

impl Assembly {
    /// An empty place for at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    /// Bytes taken so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes a block. Block 0 begins anew, so that a sender that gave up can start over; a block that
    /// was taken before must be kept away by the duplicate check of its message.
    pub fn push(&mut self, block: Block, payload: &[u8]) -> Step {
        if block.num == 0 {
            self.bytes.clear();
        }
        let unfilled = block.more && payload.len() != block.size();
        if block.offset() != self.bytes.len() || unfilled {
            return Step::OutOfOrder;
        }
        if self.bytes.len() + payload.len() > self.bytes_max {
            self.bytes = Vec::new();
            return Step::TooLarge;
        }
        self.bytes.extend_from_slice(payload);
        if block.more { Step::Continue } else { Step::Complete(std::mem::take(&mut self.bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_holds_number_more_and_size() {
        for (value, num, more, szx) in
            [(&[0x0e][..], 0, true, 6), (&[0x16], 1, false, 6), (&[0x01, 0x0d], 16, true, 5)]
        {
            let block = Block::read(value).expect("a block");
            assert_eq!(block, Block { num, more, szx });
            assert_eq!(super::super::option::uint(block.to_uint()).as_slice(), value);
        }
        assert_eq!(Block::read(&[]), Some(Block { num: 0, more: false, szx: 0 }));
        assert_eq!(Block::read(&[0x07]), None);
        assert_eq!(Block::read(&[0, 0, 0, 6]), None);
    }

    #[test]
    fn what_is_cut_into_blocks_is_put_together_again() {
        for length in [0, 1, 512, 513, 2048, 2151] {
            let whole: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut assembly = Assembly::new(4096);
            let mut steps = Vec::new();
            for num in 0.. {
                let Some((block, bytes)) = Block::cut(num, Block::SZX_512, &whole) else { break };
                steps.push(assembly.push(block, bytes));
            }
            assert_eq!(steps.pop(), Some(Step::Complete(whole)));
            assert!(steps.iter().all(|step| *step == Step::Continue));
        }
    }

    #[test]
    fn a_gap_and_a_short_block_in_the_middle_are_out_of_order() {
        let mut assembly = Assembly::new(4096);
        let first = Block { num: 0, more: true, szx: 0 };
        assert_eq!(assembly.push(first, &[0; 15]), Step::OutOfOrder);
        assert_eq!(assembly.push(first, &[0; 16]), Step::Continue);
        assert_eq!(assembly.push(Block { num: 2, ..first }, &[0; 16]), Step::OutOfOrder);
    }

    #[test]
    fn more_than_the_bound_is_refused_and_frees_what_was_there() {
        let mut assembly = Assembly::new(20);
        let first = Block { num: 0, more: true, szx: 0 };
        assert_eq!(assembly.push(first, &[0; 16]), Step::Continue);
        assert_eq!(assembly.push(Block { num: 1, ..first }, &[0; 16]), Step::TooLarge);
        assert!(assembly.is_empty());
    }
}
