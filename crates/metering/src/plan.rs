//! Plans, and what an account agreed to.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Allowances, Anchor, CatalogueError, Catalogues, Cycle, PlanCatalogue};

/// What an account may use, and what happens when it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Figures of a contract, pooled over its year; notices only.
    Enterprise {
        /// What the contract gives for a year.
        contract: Allowances,
    },
    /// Paused when used up.
    Free,
    /// Blocks, of which there are more after a period that used more.
    Growth {
        /// Blocks held.
        blocks: NonZeroU32,
    },
    /// Everything is counted and nothing is limited.
    #[default]
    Unlimited,
}

/// A plan that nobody can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Zero, a negative number or one that is too large.
    #[error("{0} blocks are not possible: a growth plan holds from 1 to 1,000,000")]
    Blocks(i64),
    /// Only growth has blocks.
    #[error("the plan {0} has no blocks: only growth does")]
    BlocksWithoutGrowth(&'static str),
    /// Enterprise needs figures.
    #[error(
        "an enterprise plan needs the figures of its contract: devices, operations, cellular bytes and tracker bytes for a year"
    )]
    ContractMissing,
    /// Only enterprise has a contract.
    #[error("the plan {0} has no contract: its figures are those of its catalogue")]
    ContractWithoutEnterprise(&'static str),
    /// No plan has this name.
    #[error("there is no plan {0:?}: there are unlimited, free, growth, enterprise")]
    Unknown(String),
}

/// More blocks than this are a mistake in typing.
const BLOCKS_MAX: i64 = 1_000_000;

impl Plan {
    /// The plan of this name; `blocks` (default 1) is for growth alone, `contract` for enterprise.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn parse(
        name: &str,
        blocks: Option<i64>,
        contract: Option<Allowances>,
    ) -> Result<Self, PlanError> {
        let plan = match name {
            "enterprise" => {
                Self::Enterprise { contract: contract.ok_or(PlanError::ContractMissing)? }
            }
            "free" => Self::Free,
            "growth" => Self::Growth { blocks: parse_blocks(blocks.unwrap_or(1))? },
            "unlimited" => Self::Unlimited,
            _ => return Err(PlanError::Unknown(name.to_owned())),
        };
        if blocks.is_some() && !matches!(plan, Self::Growth { .. }) {
            return Err(PlanError::BlocksWithoutGrowth(plan.name()));
        }
        if contract.is_some() && !matches!(plan, Self::Enterprise { .. }) {
            return Err(PlanError::ContractWithoutEnterprise(plan.name()));
        }
        Ok(plan)
    }

    /// `unlimited`, `free`, `growth` or `enterprise`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Enterprise { .. } => "enterprise",
            Self::Free => "free",
            Self::Growth { .. } => "growth",
            Self::Unlimited => "unlimited",
        }
    }

    /// Blocks of growth; the other plans have none.
    pub const fn blocks(&self) -> Option<NonZeroU32> {
        match self {
            Self::Growth { blocks } => Some(*blocks),
            Self::Enterprise { .. } | Self::Free | Self::Unlimited => None,
        }
    }

    /// Whether an account that changes from `other` to this one pays for fewer blocks.
    pub fn is_less_than(&self, other: &Self) -> bool {
        matches!(self, Self::Free | Self::Growth { .. }) && self.blocks() < other.blocks()
    }

    /// How long its periods are.
    pub const fn cycle(&self) -> Cycle {
        match self {
            Self::Enterprise { .. } => Cycle::Year,
            Self::Free | Self::Growth { .. } | Self::Unlimited => Cycle::Month,
        }
    }
}

fn parse_blocks(blocks: i64) -> Result<NonZeroU32, PlanError> {
    let good = (1..=BLOCKS_MAX).contains(&blocks).then(|| u32::try_from(blocks).ok()).flatten();
    good.and_then(NonZeroU32::new).ok_or(PlanError::Blocks(blocks))
}

/// What an account agreed to, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Name of its catalogue; absent: the one of the server's settings, whichever that is.
    pub catalogue: Option<String>,
    /// Its plan.
    pub plan: Plan,
    /// When its periods begin.
    pub anchor: Anchor,
}

impl Agreement {
    /// The agreement with its catalogue's figures; `default` names the catalogue of the settings.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`].
    pub fn terms(&self, catalogues: &Catalogues, default: &str) -> Result<Terms, CatalogueError> {
        let catalogue = catalogues.get(self.catalogue.as_deref().unwrap_or(default))?;
        let is_named = self.catalogue.is_some();
        Ok(Terms { catalogue, is_named, plan: self.plan, anchor: self.anchor })
    }
}

/// An agreement with the figures of its catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Its catalogue.
    pub catalogue: Arc<PlanCatalogue>,
    /// Whether the agreement names it; else it is the one of the settings.
    pub is_named: bool,
    /// Its plan.
    pub plan: Plan,
    /// When its periods begin.
    pub anchor: Anchor,
}

impl Terms {
    /// What a period gives; absent: no limits.
    pub fn allowances(&self) -> Option<Allowances> {
        match self.plan {
            Plan::Enterprise { contract } => Some(contract),
            Plan::Free => Some(self.catalogue.free),
            Plan::Growth { blocks } => Some(self.catalogue.growth.times(blocks.get())),
            Plan::Unlimited => None,
        }
    }

    /// How many devices may be claimed or imported; absent: any number. Growth takes more blocks
    /// for more devices, and a contract is not enforced.
    pub fn devices_max(&self) -> Option<u64> {
        match self.plan {
            Plan::Free => Some(self.catalogue.free.devices.get()),
            Plan::Enterprise { .. } | Plan::Growth { .. } | Plan::Unlimited => None,
        }
    }

    /// The stored form.
    pub fn agreement(&self) -> Agreement {
        let catalogue = self.is_named.then(|| self.catalogue.name.clone());
        Agreement { catalogue, plan: self.plan, anchor: self.anchor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_parsed_with_what_belongs_to_them() {
        assert_eq!(Plan::parse("free", None, None), Ok(Plan::Free));
        assert_eq!(Plan::parse("unlimited", None, None), Ok(Plan::default()));
        let three = NonZeroU32::new(3).expect("not zero");
        assert_eq!(Plan::parse("growth", Some(3), None), Ok(Plan::Growth { blocks: three }));
        assert_eq!(Plan::parse("growth", None, None), Ok(Plan::Growth { blocks: NonZeroU32::MIN }));
    }

    #[test]
    fn an_impossible_plan_is_refused_with_the_reason() {
        let contract = Catalogues::shipped().expect("ships").get("2022").expect("ships").growth;
        for (name, blocks, contract, reason) in [
            ("gold", None, None, "there is no plan \"gold\""),
            ("growth", Some(0), None, "0 blocks are not possible"),
            ("growth", Some(-3), None, "-3 blocks are not possible"),
            ("growth", Some(1_000_001), None, "1000001 blocks"),
            ("free", Some(1), None, "the plan free has no blocks"),
            ("enterprise", None, None, "figures of its contract"),
            ("enterprise", Some(2), Some(contract), "the plan enterprise has no blocks"),
            ("growth", None, Some(contract), "the plan growth has no contract"),
        ] {
            let why = Plan::parse(name, blocks, contract).expect_err(reason).to_string();
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn agreements_are_read_back_as_they_were_written() {
        let contract = Catalogues::shipped().expect("ships").get("2022").expect("ships").growth;
        for plan in [
            Plan::Unlimited,
            Plan::Free,
            Plan::Growth { blocks: NonZeroU32::MIN },
            Plan::Enterprise { contract },
        ] {
            let anchor = Anchor::new(2, 31).expect("a day");
            let agreement = Agreement { catalogue: Some("2022".into()), plan, anchor };
            let text = serde_json::to_string(&agreement).expect("JSON");
            assert_eq!(serde_json::from_str::<Agreement>(&text).expect("the same"), agreement);
        }
    }
}
