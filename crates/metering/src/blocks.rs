//! How many blocks of the growth plan a usage needs (`metering/rules.md` §6).

use std::num::NonZeroU32;

use crate::{Allowances, Limit, Usage};

/// Blocks, and what makes them so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksNeeded {
    /// How many.
    pub blocks: NonZeroU32,
    /// The limit that needs the most; absent if one block is enough for everything.
    pub forced_by: Option<Limit>,
}

/// The blocks that `usage` needs when one gives `per_block`: exceeding any one figure needs another.
pub fn blocks_needed(usage: &Usage, per_block: &Allowances) -> BlocksNeeded {
    let mut needed = BlocksNeeded { blocks: NonZeroU32::MIN, forced_by: None };
    for limit in Limit::ALL {
        let blocks = limit.used(usage).div_ceil(limit.allowed(per_block).get());
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        if let Some(blocks) = NonZeroU32::new(blocks).filter(|blocks| *blocks > needed.blocks) {
            needed = BlocksNeeded { blocks, forced_by: Some(limit) };
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogues;

    fn needed(usage: Usage) -> (u32, Option<Limit>) {
        let catalogue = Catalogues::shipped().expect("ships").get("2022").expect("ships");
        let needed = blocks_needed(&usage, &catalogue.growth);
        (needed.blocks.get(), needed.forced_by)
    }

    #[test]
    fn exceeding_any_one_figure_needs_another_block() {
        let usage = Usage { operations: 720_000, devices: 100, ..Usage::default() };
        assert_eq!(needed(Usage::default()), (1, None));
        assert_eq!(needed(usage), (1, None));
        assert_eq!(needed(Usage { devices: 150, ..usage }), (2, Some(Limit::Devices)));
        assert_eq!(needed(Usage { operations: 1_000_000, ..usage }), (2, Some(Limit::Operations)));
        let bytes = Usage { cellular_bytes: 540_000_001, tracker_bytes: 1_500_000_000, ..usage };
        assert_eq!(needed(bytes), (2, Some(Limit::CellularBytes)));
        let bytes = Usage { tracker_bytes: 4_500_000_001, ..bytes };
        assert_eq!(needed(bytes), (4, Some(Limit::TrackerBytes)));
        assert_eq!(needed(Usage { operations: u64::MAX, ..usage }).0, u32::MAX);
    }
}
