//! What one operation costs (`metering/rules.md` §2), by catalogue (§5).

use std::num::NonZeroU32;

use model::journal::{Charge, OperationKind};
use model::{AccountId, DeviceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};

/// The catalogues that ship. They differ in what a ping costs and in whether large events count more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Catalogue {
    /// A ping costs an operation.
    #[serde(rename = "2021")]
    Y2021,
    /// A ping is free; an event is one operation whatever its size.
    #[default]
    #[serde(rename = "2022")]
    Y2022,
    /// As 2022, and events count once for each started 1,024 bytes of data.
    #[serde(rename = "2025")]
    Y2025,
}

impl Catalogue {
    /// The catalogue of this name: `2021`, `2022` or `2025`.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "2021" => Some(Self::Y2021),
            "2022" => Some(Self::Y2022),
            "2025" => Some(Self::Y2025),
            _ => None,
        }
    }
}

/// The variants of the counting rules. An operator's own catalogue is another value of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Operations for a ping that a user asks for (rule 9).
    pub ping_operations: u32,
    /// Events count once for each started so many bytes of data (rules 1, 2 and 4); absent: once.
    pub event_bytes_per_operation: Option<NonZeroU32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(Catalogue::default())
    }
}

impl Rules {
    /// The rules of a catalogue that ships.
    pub const fn of(catalogue: Catalogue) -> Self {
        match catalogue {
            Catalogue::Y2021 => Self { ping_operations: 1, event_bytes_per_operation: None },
            Catalogue::Y2022 => Self { ping_operations: 0, event_bytes_per_operation: None },
            Catalogue::Y2025 => {
                Self { ping_operations: 0, event_bytes_per_operation: NonZeroU32::new(1024) }
            }
        }
    }

    /// Data Operations for one counted thing with `bytes` of payload. For what is sent to a device:
    /// for one attempt, except a ping, which is counted once.
    pub fn operations_for(&self, kind: OperationKind, bytes: u32) -> u32 {
        match kind {
            OperationKind::Delivery
            | OperationKind::Publish
            | OperationKind::PublishCopy
            | OperationKind::WebhookAnswer => self.event_operations(bytes),
            OperationKind::FunctionCall
            | OperationKind::StoredPoint
            | OperationKind::VariableRequest => 1,
            OperationKind::Ping => self.ping_operations,
        }
    }

    /// What one counted thing costs its payer; absent when it costs nothing.
    pub fn charge(
        &self,
        kind: OperationKind,
        bytes: usize,
        payer: Payer,
        at: Timestamp,
    ) -> Option<Charge> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let operations = self.operations_for(kind, bytes);
        let Payer { account, product, device } = payer;
        (operations > 0).then_some(Charge { account, device, product, kind, operations, bytes, at })
    }

    fn event_operations(&self, bytes: u32) -> u32 {
        match self.event_bytes_per_operation {
            Some(unit) => bytes.div_ceil(unit.get()).max(1),
            None => 1,
        }
    }
}

/// Who is charged, and for which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer {
    /// Who pays: the owner of the device's product if it has one, else the device's owner.
    pub account: AccountId,
    /// The product of the device, if it has one.
    pub product: Option<ProductId>,
    /// The device that sent or was sent to.
    pub device: DeviceId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use OperationKind::{Delivery, FunctionCall, Ping, Publish, StoredPoint, VariableRequest};

    #[test]
    fn everything_but_a_ping_is_one_operation_of_any_size_in_catalogue_2022() {
        let rules = Rules::default();
        for kind in [Delivery, FunctionCall, Publish, StoredPoint, VariableRequest] {
            assert_eq!(rules.operations_for(kind, 0), 1, "{kind:?}");
            assert_eq!(rules.operations_for(kind, 16_384), 1, "{kind:?}");
        }
        assert_eq!(rules.operations_for(Ping, 0), 0);
        assert_eq!(Rules::of(Catalogue::Y2021).operations_for(Ping, 0), 1);
    }

    #[test]
    fn events_count_by_started_1024_bytes_in_catalogue_2025_and_calls_do_not() {
        let rules = Rules::of(Catalogue::Y2025);
        for (bytes, operations) in [(0, 1), (1, 1), (1024, 1), (1025, 2), (2048, 2), (16_384, 16)] {
            assert_eq!(rules.operations_for(Publish, bytes), operations, "{bytes}");
            assert_eq!(rules.operations_for(Delivery, bytes), operations, "{bytes}");
            assert_eq!(rules.operations_for(FunctionCall, bytes), 1, "{bytes}");
        }
    }

    #[test]
    fn what_costs_nothing_makes_no_charge() {
        let payer = Payer { account: AccountId(1), product: None, device: DeviceId([7; 12]) };
        assert_eq!(Rules::default().charge(Ping, 0, payer, Timestamp(0)), None);
        let charge = Rules::default().charge(Publish, 12, payer, Timestamp(5)).expect("counted");
        assert_eq!((charge.operations, charge.bytes, charge.at), (1, 12, Timestamp(5)));
    }
}
