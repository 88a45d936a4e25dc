//! What an account is told about its limits, in words for its owner.

use std::num::NonZeroU32;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Limit, Period};

/// Something an account's owner is told: by e-mail, in the API's list, in the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it became due.
    pub at: Timestamp,
    /// The billing period it is about.
    pub period: Period,
    /// What it says.
    pub matter: Matter,
}

/// What a notice says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// A growth plan has more blocks from this period on.
    BlocksAdded {
        /// Blocks before.
        from: NonZeroU32,
        /// Blocks from here on.
        to: NonZeroU32,
        /// What made them necessary.
        limit: Limit,
    },
    /// Data stops.
    Paused(Pausing),
    /// Data goes on.
    Resumed,
    /// A threshold of an allowance was reached.
    Threshold {
        /// Of what.
        limit: Limit,
        /// 70, 90 or 100.
        percent: u8,
        /// How much was used then.
        used: u64,
        /// How much the plan gives.
        allowed: u64,
        /// What follows.
        then: Consequence,
    },
}

/// What follows when an allowance is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Growth: more blocks with the next period.
    MoreBlocks,
    /// No device can be added.
    NoMoreDevices,
    /// Nothing: below 100 %, or under contract.
    Nothing,
    /// Data stops at this moment unless the plan changes or the period ends before.
    PausesAt(Timestamp),
}

/// A pause: of what, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pausing {
    /// The allowance that is used up. For one of bytes, only cellular devices are paused.
    pub limit: Limit,
    /// How much the plan gives.
    pub allowed: u64,
    /// When data goes on by itself.
    pub until: Timestamp,
}

impl Pausing {
    /// Whether only the account's cellular devices are paused.
    pub fn is_cellular_only(&self) -> bool {
        matches!(self.limit, Limit::CellularBytes | Limit::TrackerBytes)
    }

    /// The limit and the time of resumption, for those who are refused.
    pub fn why(&self) -> String {
        let who = if self.is_cellular_only() { "its cellular devices are" } else { "it is" };
        format!(
            "This account has used the {} of its plan: {who} paused until {} or until the plan is changed",
            self.limit.amount(self.allowed),
            self.until
        )
    }
}

impl Notice {
    /// One line: the subject of its e-mail.
    pub fn subject(&self) -> String {
        match &self.matter {
            Matter::BlocksAdded { to, .. } => format!("Your plan has {to} blocks now"),
            Matter::Paused(pausing) if pausing.is_cellular_only() => {
                "Your cellular devices are paused".to_owned()
            }
            Matter::Paused(_) => "Your account is paused".to_owned(),
            Matter::Resumed => "Your account is resumed".to_owned(),
            Matter::Threshold { limit, percent, allowed, .. } => {
                format!("{percent} % of {} used", limit.amount(*allowed))
            }
        }
    }

    /// The whole text, of a few sentences.
    pub fn text(&self) -> String {
        match &self.matter {
            Matter::BlocksAdded { from, to, limit } => format!(
                "In the billing period that ended at {} your account used more than {} of the growth plan give ({}). The period that began then is billed with {}.",
                self.period.start,
                blocks(*from),
                limit.name(),
                blocks(*to)
            ),
            Matter::Paused(pausing) => format!("{}.", pausing.why()),
            Matter::Resumed => "Messages of your devices are taken and delivered again.".to_owned(),
            Matter::Threshold { limit, used, allowed, then, .. } => format!(
                "Your account used {} of {} in the billing period from {} to {}.{}",
                limit.amount(*used),
                limit.amount(*allowed),
                self.period.start,
                self.period.end,
                then.sentence()
            ),
        }
    }
}

impl Consequence {
    fn sentence(self) -> String {
        match self {
            Self::MoreBlocks => {
                " Nothing stops; the next period is billed with as many blocks as this one needs."
                    .to_owned()
            }
            Self::NoMoreDevices => {
                " Devices beyond this number cannot be claimed or imported on this plan.".to_owned()
            }
            Self::Nothing => String::new(),
            Self::PausesAt(at) => format!(
                " Unless the plan is changed, data stops at {at} and goes on when the next billing period begins."
            ),
        }
    }
}

fn blocks(number: NonZeroU32) -> String {
    if number.get() == 1 { "1 block".to_owned() } else { format!("{number} blocks") }
}
