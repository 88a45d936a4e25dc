//! Sums of charges by account, product, device, kind and UTC hour.

use std::collections::BTreeMap;

use model::journal::{Charge, OperationKind};
use model::{AccountId, DeviceId, ProductId, Timestamp};
use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;

/// Whole hours since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HourUtc(pub i64);

impl HourUtc {
    /// The hour that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(HOUR_MS))
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(HOUR_MS))
    }
}

/// One line of a [`Tally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TallyKey {
    /// Who pays.
    pub account: AccountId,
    /// The product of the device, if it has one.
    pub product: Option<ProductId>,
    /// The device that sent or was sent to.
    pub device: DeviceId,
    /// What it was.
    pub kind: OperationKind,
    /// When.
    pub hour: HourUtc,
}

/// A sum of charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sum {
    /// Data Operations.
    pub operations: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.operations = self.operations.saturating_add(other.operations);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Sums of charges. The order in which charges are added and tallies merged makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    sums: BTreeMap<TallyKey, Sum>,
}

impl Tally {
    /// Adds one charge.
    pub fn add(&mut self, charge: &Charge) {
        let key = TallyKey {
            account: charge.account,
            product: charge.product,
            device: charge.device,
            kind: charge.kind,
            hour: HourUtc::of(charge.at),
        };
        let sum = Sum { operations: charge.operations.into(), bytes: charge.bytes.into() };
        self.sums.entry(key).or_default().add(sum);
    }

    /// Adds everything of another tally.
    pub fn merge(&mut self, other: Self) {
        for (key, sum) in other.sums {
            self.sums.entry(key).or_default().add(sum);
        }
    }

    /// Its lines, sorted.
    pub fn lines(&self) -> impl Iterator<Item = (&TallyKey, &Sum)> {
        self.sums.iter()
    }

    /// The sum of the lines that `wanted` picks.
    pub fn total(&self, wanted: impl Fn(&TallyKey) -> bool) -> Sum {
        let mut total = Sum::default();
        self.sums.iter().filter(|(key, _)| wanted(key)).for_each(|(_, sum)| total.add(*sum));
        total
    }

    /// Data Operations of an account.
    pub fn operations(&self, account: AccountId) -> u64 {
        self.total(|key| key.account == account).operations
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }
}

impl<'a> FromIterator<&'a Charge> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Charge>>(charges: I) -> Self {
        let mut tally = Self::default();
        charges.into_iter().for_each(|charge| tally.add(charge));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(device: u8, kind: OperationKind, at: i64) -> Charge {
        Charge {
            account: AccountId(1),
            device: DeviceId([device; 12]),
            product: None,
            kind,
            operations: 1,
            bytes: 10,
            at: Timestamp(at),
        }
    }

    #[test]
    fn tallies_of_parts_merge_to_the_tally_of_the_whole_in_any_order() {
        let charges: Vec<Charge> = (0..40)
            .map(|n| {
                let kind = [OperationKind::Publish, OperationKind::Delivery][n % 2];
                charge((n % 3) as u8, kind, n as i64 * 700_000)
            })
            .collect();
        let whole: Tally = charges.iter().collect();
        let (left, right) = charges.split_at(17);
        let (left, right): (Tally, Tally) = (left.iter().collect(), right.iter().collect());
        let mut forward = left.clone();
        forward.merge(right.clone());
        let mut backward = right;
        backward.merge(left);
        assert_eq!(forward, whole);
        assert_eq!(backward, whole);
    }

    #[test]
    fn sums_by_device_kind_and_hour_agree_with_the_account() {
        let tally: Tally = [
            charge(1, OperationKind::Publish, 3_599_999),
            charge(1, OperationKind::Publish, 3_600_000),
            charge(2, OperationKind::Delivery, 3_600_000),
        ]
        .iter()
        .collect();
        assert_eq!(tally.operations(AccountId(1)), 3);
        assert_eq!(tally.total(|key| key.hour == HourUtc(1)), Sum { operations: 2, bytes: 20 });
        assert_eq!(tally.total(|key| key.device == DeviceId([1; 12])).operations, 2);
        assert_eq!(tally.total(|key| key.kind == OperationKind::Delivery).operations, 1);
        assert_eq!(tally.operations(AccountId(2)), 0);
    }

    #[test]
    fn an_hour_before_1970_begins_at_its_start_too() {
        assert_eq!(HourUtc::of(Timestamp(-1)), HourUtc(-1));
        assert_eq!(HourUtc(-1).start(), Timestamp(-3_600_000));
    }
}
